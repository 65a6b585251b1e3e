"""Small pairs of models for the suite of the proof: how they are made, and the table of what came of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flax import nnx

from einops_arch.errors import EinopsArchError
from einops_arch.parity import compare, compare_training, randomize
from einops_arch.port import transfer

WIDTH = 50
HIDDEN = np.arange(WIDTH) > 30


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Float32 numbers."""
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


ROWS = draw(4, 6)
TOKENS = np.random.default_rng(5).integers(0, 11, (3, 7))
SEQUENCE = draw(3, 5, 8, seed=2)
IMAGE = draw(2, 3, 8, 10, seed=3)


@dataclasses.dataclass
class Trial:
    """Two models with the same weights, and how they are to be compared.

    Args:
        torch_model: PyTorch's.
        flax_model: Flax's.
        inputs: of `compare`.
        settings: of `compare`.
        optimizer: of `compare_training`, where the two are trained.
    """

    torch_model: Any
    flax_model: Any
    inputs: Any
    settings: dict[str, Any]
    optimizer: Any = None

    def report(self, *, causes: bool = False) -> Any:
        """What `compare` says, or `compare_training`."""
        if self.optimizer is not None:
            return compare_training(
                self.torch_model, self.flax_model, self.inputs, self.optimizer, causes=causes, **self.settings
            )
        return compare(self.torch_model, self.flax_model, self.inputs, **({"causes": causes} | self.settings))


class Torch(torch.nn.Module):
    """Layers by name, and what a function makes of them and of the inputs."""

    def __init__(self, function: Callable[..., Any], layers: dict[str, Any]) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            if isinstance(layer, torch.Tensor) and not isinstance(layer, torch.nn.Parameter):
                self.register_buffer(name, layer, persistent=False)  # so that no random weights go there
            else:
                setattr(self, name, layer)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


class Flax(nnx.Module):
    """The same in Flax."""

    def __init__(self, function: Callable[..., Any], layers: dict[str, Any]) -> None:
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, *inputs, **named):
        return self.function(self, *inputs, **named)


def nets(
    torch_layers: dict[str, Any],
    flax_layers: dict[str, Any],
    torch_function: Callable[..., Any],
    flax_function: Callable[..., Any],
    inputs: Any,
    *,
    carry: Callable[[Any, Any], None] | None = None,
    change: Callable[[Any, Any], None] | None = None,
    optimizer: Any = None,
    **settings: Any,
) -> Trial:
    """Two models of named layers.

    Args:
        torch_layers: PyTorch's; a tensor is a buffer.
        flax_layers: Flax's.
        torch_function: of the model and the inputs.
        flax_function: of the model and the inputs.
        inputs: of `compare`.
        carry: brings the weights over; None for `transfer` of all of them.
        change: what happens to both after that.
        optimizer: of `compare_training`.
        settings: of `compare`.
    """
    torch_model, flax_model = Torch(torch_function, torch_layers), Flax(flax_function, flax_layers)
    if torch_model.state_dict():
        randomize(torch_model)
    if carry is not None:
        carry(torch_model, flax_model)
    elif torch_model.state_dict():
        transfer(torch_model, flax_model)
    if change is not None:
        change(torch_model, flax_model)
    return Trial(torch_model, flax_model, inputs, settings, optimizer)


def after_linear(torch_function, flax_function, inputs=ROWS, *, width=WIDTH, change=None, **settings) -> Trial:
    """A layer `fc` on both sides, and what a function of one array makes of it."""
    return nets(
        {"fc": torch.nn.Linear(np.shape(inputs)[-1], width)},
        {"fc": nnx.Linear(np.shape(inputs)[-1], width, rngs=nnx.Rngs(0))},
        lambda model, x: torch_function(model.fc(x)),
        lambda model, x: flax_function(model.fc(x)),
        inputs,
        change=change,
        **settings,
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair by its name and kind; `make` builds it anew."""

    kind: str
    name: str
    make: Callable[[], Trial]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was said of a pair: whether it passed, the verdict, a sentence, and the CPU time that it took."""

    case: Case
    passed: bool
    verdict: str
    words: str
    seconds: float


class Cases(list):
    """A table of pairs that functions enter themselves in."""

    def of(self, kind: str) -> Callable[[Callable[[], Trial]], Callable[[], Trial]]:
        """Enter a function under its own name, spaces in the place of underscores."""

        def enter(make: Callable[[], Trial]) -> Callable[[], Trial]:
            self.append(Case(kind, make.__name__.strip("_").replace("_", " "), make))
            return make

        return enter

    def add(self, kind: str, name: str, make: Callable[[], Trial]) -> None:
        """Enter a pair by name."""
        self.append(Case(kind, name, make))


def outcome(case: Case) -> Outcome:
    """Build a pair and compare it, with default settings but for the search for causes.

    An error of this package is a refusal, which is no pass.
    """
    start = time.process_time()
    trial = case.make()
    try:
        report = trial.report()
    except EinopsArchError as error:
        return Outcome(case, False, "refused", str(error).splitlines()[0], time.process_time() - start)
    first = report.first_divergence
    words = "" if first is None else f"{first.path or 'the network'}: {first.verdict} {first.difference} {first.detail}"
    return Outcome(case, report.passed, str(report.verdict), words, time.process_time() - start)
