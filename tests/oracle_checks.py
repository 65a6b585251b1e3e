"""One public network beside our twins: a network that nobody here wrote says what ours must compute.

Importing this file makes torchvision importable beside a PyTorch without CUDA: its wheel looks for two operations
of object detection that were compiled for CUDA, and no classifier calls them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from einops import rearrange
from flax import nnx

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.flax import from_state, state_dict
from einops_arch.parity import random_state
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.limits import FLOAT64, FLOOR, RATIO

for _name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

State = Mapping[str, torch.Tensor]
# Gradients that are nought in exact arithmetic, such as those of a bias before a norm, are rounding noise in both.
NOUGHT = 1e-10
# Compiled as quickly as can be where only the formula is asked for; as users get it where its rounding is.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class Public:
    """A public network with random weights, and the config that should be the same network here.

    Args:
        oracle: the public network, in float32; the checks leave it as it is.
        config: of our twins, without dropout where the network is trained.
        to_canonical: from the oracle's state to ours, where a rename is declared.
        to_oracle: its inverse.
        call: how the oracle is called on PyTorch tensors; gives a tensor or a tuple of tensors.
        call_twin: how a twin of either framework is called; likewise.
    """

    oracle: Any
    config: Config
    to_canonical: Callable[[dict[str, Any]], dict[str, Any]] = dict
    to_oracle: Callable[[dict[str, Any]], dict[str, Any]] = dict
    call: Callable[..., Any] = lambda model, *inputs: model(*inputs)
    call_twin: Callable[..., Any] = lambda model, *inputs: model(*inputs)

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """The oracle's state by our names."""
        return self.to_canonical(dict(self.oracle.state_dict()))

    @property
    def architecture(self) -> architectures.Architecture:
        return architectures.of_config(self.config)

    def torch_twin(self, dtype: str) -> Any:
        """Ours in PyTorch, with the oracle's weights: every name is there, and no other."""
        model = self.architecture.torch_class()(self.config).to(getattr(torch, dtype))
        assert set(model.state_dict()) == set(self.state)
        model.load_state_dict(self.state, strict=True)
        return model

    def flax_twin(self, dtype: str) -> Any:
        """Ours in Flax, with the oracle's weights."""
        return from_state(self.config, widened(self.state, dtype))


def unsettle(oracle: Any, seed: int = 0) -> Any:
    """Biases away from 0, scales from 1, statistics from where they start; the matrices are random as they are."""
    tensors = {name: value for name, value in oracle.state_dict().items() if value.ndim < 2}
    shapes = {
        name: (tuple(value.shape), "floating-point" if value.is_floating_point() else "integer")
        for name, value in tensors.items()
    }
    for name, value in random_state(shapes, seed).items():
        tensors[name].copy_(torch.from_numpy(value))
    return oracle


def images(*shape: int, seed: int = 0) -> np.ndarray:
    """Random images `b c h w` that float32 holds exactly."""
    return random_numbers(f"images {shape}", shape, seed).astype(np.float32)


def tokens(*shape: int, high: int, seed: int = 0) -> np.ndarray:
    """Random indices `b t` below `high`."""
    return np.random.default_rng(seed).integers(0, high, shape)


def parameter_count(oracle: Any) -> int:
    """As it is published: a tied parameter counts once."""
    return sum(parameter.numel() for parameter in oracle.parameters())


def assert_state_fits_both_ways(public: Public) -> None:
    """The oracle's state loads into both twins, strictly, and comes back bit for bit."""
    assert parameter_count(public.torch_twin("float32")) == parameter_count(public.oracle)
    back = public.to_oracle(
        {name: torch.from_numpy(value.copy()) for name, value in state_dict(public.flax_twin("float32")).items()}
    )
    other = copy.deepcopy(public.oracle)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(back, strict=True)
    received = other.state_dict()
    for name, value in public.oracle.state_dict().items():
        assert same_bits(value, received[name]), name


def assert_same_outputs(public: Public, *cases: Sequence[np.ndarray]) -> dict[str, float]:
    """In float64 and in evaluation mode, for each of the inputs: the outputs of both twins are the oracle's.

    Returns:
        The largest difference of each twin, relative to the rms.
    """
    oracle, ours = copy.deepcopy(public.oracle).double().eval(), public.torch_twin("float64").eval()
    flax_model = public.flax_twin("float64")
    flax_model.eval()
    run = compiled(public, flax_model, QUICKLY)
    worst = {"torch": 0.0, "flax": 0.0}
    for inputs in cases:
        with torch.no_grad():
            expected = flatten(public.call(oracle, *as_tensors(inputs, "float64")))
            received = flatten(public.call_twin(ours, *as_tensors(inputs, "float64")))
        others = to_torch_axes(public, run(*as_arrays(public, inputs, "float64")))
        for side, outputs in (("torch", received), ("flax", others)):
            where = f"{side}, inputs of {[np.shape(x) for x in inputs]}"
            worst[side] = max(worst[side], assert_close(where, outputs, expected))
    return worst


def assert_same_training(
    public: Public, steps: Sequence[Sequence[np.ndarray]], mode: str = "train"
) -> dict[str, float]:
    """In float64: the outputs of a forward pass for each step, the statistics after the last, and then gradients.

    The gradients are those of a random projection of the outputs on the inputs of the last step, by every parameter.

    Returns:
        The largest difference of each twin, relative to the rms.
    """
    training = mode == "train"
    oracle, ours = copy.deepcopy(public.oracle).double(), public.torch_twin("float64")
    flax_model = public.flax_twin("float64")
    flax_model.train() if training else flax_model.eval()
    worst = {"torch": 0.0, "flax": 0.0}

    expected = train_torch(oracle.train(training), public.call, steps)
    parameters = public.to_canonical(expected.pop("gradients"))
    buffers = public.to_canonical({name: value for name, value in oracle.named_buffers() if value.is_floating_point()})
    counts = public.to_canonical(
        {name: value for name, value in oracle.named_buffers() if not value.is_floating_point()}
    )

    received = train_torch(ours.train(training), public.call_twin, steps)
    other = train_flax(public, flax_model, steps)
    for side, results in (("torch", received), ("flax", other)):
        gradients = results.pop("gradients")
        state = dict(ours.state_dict()) if side == "torch" else state_dict(flax_model)
        found = [
            assert_close(side, results["outputs"], expected["outputs"]),
            *(assert_close(f"{side}, {name}", [state[name]], [value]) for name, value in buffers.items()),
            assert_gradients(side, gradients, parameters),
        ]
        for name, value in counts.items():
            if name in state:
                assert int(np.asarray(state[name])) == int(value), f"{side}, {name}"
        worst[side] = max(found)
    return worst


def assert_rounds_as_well(public: Public, inputs: Sequence[np.ndarray]) -> dict[str, float]:
    """In float32: the errors of both twins against the oracle's float64 result are no larger than the oracle's own.

    Returns:
        The ratio of the errors, the twin's by the oracle's.
    """
    with torch.no_grad():
        exact = flatten(public.call(copy.deepcopy(public.oracle).double().eval(), *as_tensors(inputs, "float64")))
        rounded = flatten(public.call(public.oracle.eval(), *as_tensors(inputs, "float32")))
        ours = flatten(public.call_twin(public.torch_twin("float32").eval(), *as_tensors(inputs, "float32")))
    flax_model = public.flax_twin("float32")
    flax_model.eval()
    run = compiled(public, flax_model)
    others = to_torch_axes(public, run(*as_arrays(public, inputs, "float32")))
    ratios = {"torch": 0.0, "flax": 0.0}
    for reference, of_oracle, of_ours, of_other in zip(exact, rounded, ours, others, strict=True):
        error = rms(numpy(of_oracle) - numpy(reference))
        limit = max(RATIO * error, FLOOR * 2.0**-24 * rms(numpy(reference)))
        for side, outputs in (("torch", of_ours), ("flax", of_other)):
            assert str(outputs.dtype).endswith("float32"), outputs.dtype
            found = rms(numpy(outputs) - numpy(reference))
            ratios[side] = max(ratios[side], found / error)
            assert found <= limit, f"{side}: float32 error {found:.2e}, the oracle's {error:.2e}"
    return ratios


def train_torch(model: Any, call: Callable[..., Any], steps: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
    outputs: list[Any] = []
    for inputs in steps:
        outputs = flatten(call(model, *as_tensors(inputs, "float64")))
    results: dict[str, Any] = {"outputs": [output.detach() for output in outputs]}
    projected(outputs, torch.from_numpy).backward()
    # A tied parameter counts under each of its names.
    named = model.named_parameters(remove_duplicate=False)
    return results | {"gradients": {name: p.grad for name, p in named if p.grad is not None}}


def train_flax(public: Public, model: Any, steps: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
    """The same; the statistics of `model` change."""
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def step(parameters: Any, rest: Any, arrays: Any) -> Any:
        def loss(parameters: Any, rest: Any) -> Any:
            # Variables made here, inside of the trace, or the running statistics could not be written.
            module = nnx.merge(graph, parameters, jax.tree.map(lambda leaf: leaf, rest))
            outputs = to_torch_axes(public, jax.tree.leaves(public.call_twin(module, *arrays)))
            return projected(outputs, jnp.asarray), (outputs, nnx.split(module, nnx.Param, ...)[2])

        return jax.grad(loss, has_aux=True)(parameters, rest)

    outputs: list[Any] = []
    gradients = parameters
    for inputs in steps:
        gradients, (outputs, rest) = step(parameters, rest, as_arrays(public, inputs, "float64"))
    nnx.update(model, rest)
    # Gradients lie in Flax's layout; a copy of the model carries them to PyTorch's.
    copied = nnx.merge(graph, jax.tree.map(lambda _, gradient: gradient, parameters, gradients), rest)
    return {"outputs": outputs, "gradients": state_dict(copied)}


def compiled(public: Public, model: Any, options: Mapping[str, Any] | None = None) -> Callable[..., list[Any]]:
    graph, state = nnx.split(model)

    def run(state: Any, *arrays: Any) -> list[Any]:
        return jax.tree.leaves(public.call_twin(nnx.merge(graph, state), *arrays))

    return functools.partial(jax.jit(run, compiler_options=options), state)


def projected(outputs: Sequence[Any], array: Callable[[np.ndarray], Any]) -> Any:
    """A number that depends on every output in a way of its own."""
    return sum((y * array(random_numbers(f"projection.{n}", y.shape))).sum() for n, y in enumerate(outputs))


def as_tensors(inputs: Sequence[np.ndarray], dtype: str) -> list[torch.Tensor]:
    return [torch.from_numpy(x.astype(dtype) if x.dtype.kind == "f" else x) for x in inputs]


def as_arrays(public: Public, inputs: Sequence[np.ndarray], dtype: str) -> list[Any]:
    """In Flax's axes; inputs beyond those that the config states are as they are."""
    stated = [*public.config.inputs(), *[None] * len(inputs)]
    moved = [rearrange(x, f"{s.axes} -> {s.flax_axes}") if s else x for s, x in zip(stated, inputs, strict=False)]
    return [jnp.asarray(x.astype(dtype) if x.dtype.kind == "f" else x) for x in moved]


def to_torch_axes(public: Public, outputs: Sequence[Any]) -> list[Any]:
    stated = [*public.config.outputs(), *[None] * len(outputs)]
    return [rearrange(y, f"{s.flax_axes} -> {s.axes}") if s else y for s, y in zip(stated, outputs, strict=False)]


def assert_close(where: str, received: Sequence[Any], expected: Sequence[Any]) -> float:
    assert len(received) == len(expected), where
    worst = 0.0
    for index, (one, other) in enumerate(zip(received, expected, strict=True)):
        value, reference = numpy(one), numpy(other)
        assert value.shape == reference.shape, f"{where}: {value.shape}, expected {reference.shape}"
        assert np.isfinite(reference).all(), f"{where}: the oracle's own result is not finite"
        assert rms(reference) > 0, where
        difference = rms(value - reference) / rms(reference)
        worst = max(worst, difference)
        assert difference <= FLOAT64, f"{where}, result {index}: {difference:.1e} of its rms"
    return worst


def assert_gradients(side: str, received: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    largest = max(rms(numpy(value)) for value in expected.values())
    worst = 0.0
    for name, value in expected.items():
        if rms(numpy(value)) < NOUGHT * largest:
            assert rms(numpy(received[name])) < NOUGHT * largest, f"{side}, gradient of {name}"
        else:
            worst = max(worst, assert_close(f"{side}, gradient of {name}", [received[name]], [value]))
    return worst


def widened(state: State, dtype: str) -> dict[str, torch.Tensor]:
    """Floating-point tensors in another dtype."""
    kind = getattr(torch, dtype)
    return {name: value.to(kind) if value.is_floating_point() else value for name, value in state.items()}


def flatten(outputs: Any) -> list[Any]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for value in outputs for tensor in flatten(value)]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and numpy(one).tobytes() == numpy(other).tobytes()


def numpy(value: Any) -> np.ndarray:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
