"""A translated class means what the original means for constructor arguments that it was not translated with."""

from __future__ import annotations

import importlib.util
import inspect
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from own_models import OWN_MODELS
from torch import Tensor, nn

from einops_arch.flax import load_state_dict
from einops_arch.parity import randomize
from einops_arch.translation import translate

GOLDEN = Path(__file__).parent / "golden" / "translate"
CASES = [
    ("unet", {"base": 6}),
    ("text_cnn", {"width": 10, "filters": 5}),
    ("transformer_encoder", {"width": 36}),
    ("transformer_encoder", {"heads": 6, "depth": 2}),
    ("diffusion_unet", {"base": 8}),
    ("diffusion_unet", {"time": 14}),
    ("llama_block", {"groups": 4, "hidden": 30}),
    ("seq2seq", {"words": 31, "width": 6, "hidden": 7}),
    ("generator", {"base": 6}),
]


def _golden(name: str):
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _hold(original: torch.nn.Module, twin: nnx.Module, inputs: tuple[Tensor, ...]) -> None:
    randomize(original)
    load_state_dict(twin, original.state_dict())
    twin.eval()
    expected = original.eval()(*inputs).detach().numpy()
    arrays = [np.moveaxis(x.numpy(), 1, -1) if x.ndim == 4 else x.numpy() for x in inputs]
    received = np.asarray(twin(*map(jnp.asarray, arrays)))
    received = received if received.ndim < 4 else np.moveaxis(received, -1, 1)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))
    assert float(expected.std()) > 0


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[f"{name}-{'-'.join(changed)}" for name, changed in CASES])
def test_a_stored_twin_built_with_other_arguments_agrees(name, arguments):
    own = OWN_MODELS[name]
    inputs = own.inputs()
    original = own.make(**arguments)
    twin = getattr(_golden(name), type(original).__name__)(**arguments, rngs=nnx.Rngs(0))
    _hold(original, twin, inputs if isinstance(inputs, tuple) else (inputs,))


class Scaled(torch.nn.Module):
    """The scale by a local name, by a root of an attribute, and by a size that was looked up lines before."""

    def __init__(self, width: int = 12, heads: int = 3, gain: float = 0.7) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.gain = gain
        self.qkv = torch.nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        per_head = c // self.heads
        scale = 1.0 / math.sqrt(per_head)
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        factor = self.gain * 2
        weights = (q * scale @ k.transpose(-2, -1)).softmax(-1)
        x = (weights @ v * factor / math.sqrt(self.head_dim)).transpose(1, 2).reshape(b, t, c)
        return x + math.sqrt(t) * x.mean()


class Holder(torch.nn.Module):
    """The outermost module holds its inputs to the sizes that it was translated for; those inside of it do not."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.scaled = Scaled(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x)


def test_scales_follow_the_arguments_however_they_are_written():
    torch.manual_seed(0)
    translation = translate(Holder(), torch.randn(2, 5, 12), axes="b t 12", prove=False)
    names = list(inspect.signature(translation.module.Scaled.__init__).parameters)
    assert {"width", "heads", "gain"} <= set(names), translation.source
    arguments = {"width": 20, "heads": 2, "gain": 0.3}
    _hold(Scaled(**arguments), translation.module.Scaled(**arguments, rngs=nnx.Rngs(0)), (torch.randn(3, 9, 20),))


class Halved(nn.Module):
    """Its attribute is half of the argument of its name."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.hidden = hidden // 2
        self.a = nn.Linear(6, self.hidden)
        self.b = nn.Linear(self.hidden, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Doubled(Halved):
    """The same, twice as wide, and read in its call."""

    def __init__(self, hidden: int = 24) -> None:
        nn.Module.__init__(self)
        self.hidden = 2 * hidden
        self.a = nn.Linear(6, 2 * hidden)
        self.b = nn.Linear(2 * hidden, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x))) * self.hidden


class Filled(Halved):
    """Its argument is changed before it is held."""

    def __init__(self, hidden: int | None = None) -> None:
        nn.Module.__init__(self)
        hidden = hidden or 12
        self.hidden = hidden
        self.a = nn.Linear(6, hidden)
        self.b = nn.Linear(hidden, 6)


class Three(nn.Module):
    def __init__(self, kind: type, *sizes: int) -> None:
        super().__init__()
        self.p, self.q, self.r = (kind(size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.r(self.q(self.p(x)))


@pytest.mark.parametrize("factory", [False, True])
@pytest.mark.parametrize("kind", [Halved, Doubled, Filled])
def test_attribute_made_of_the_argument_of_its_name_is_not_taken_for_it(kind, factory):
    model = Three(kind, 24, 48, 12)
    translation = translate(
        (lambda: Three(kind, 24, 48, 12)) if factory else model, torch.randn(2, 5, 6), axes="b t e", prove=False
    )
    twin_kind = getattr(translation.module, kind.__name__)
    parameters = inspect.signature(twin_kind.__init__).parameters
    assert "hidden" in parameters or not factory or kind is Filled
    if "hidden" in parameters:  # what goes by the original's name means what it means there
        assert twin_kind(hidden=36, rngs=nnx.Rngs(0)).a.bias.shape == (kind(36).a.out_features,)
        if parameters["hidden"].default is not inspect.Parameter.empty:
            assert twin_kind(rngs=nnx.Rngs(0)).a.bias.shape == (kind().a.out_features,)
    held = [getattr(item, "hidden", None) for item in (translation.model.p, translation.model.q, translation.model.r)]
    assert held in ([None] * 3, [model.p.hidden, model.q.hidden, model.r.hidden])


class Width(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.width = size


class Inherited(Width):
    """The base holds its argument under the argument's name."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.layers = nn.Sequential(nn.Linear(6, 3 * width), nn.Tanh(), nn.Linear(3 * width, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_argument_that_the_base_holds_is_read_from_it():
    translation = translate(Three(Inherited, 4, 5, 7), torch.randn(2, 5, 6), axes="b t e", prove=False)
    assert "def __init__(self, width: int, *, rngs" in translation.source
    assert "self.r = Inherited(7, rngs=rngs)" in translation.source


class _Named(nn.Module):
    def __init__(self, dim: int, type: str) -> None:  # noqa: A002 as people write it
        super().__init__()
        self.mix = nn.Linear(dim, dim) if type == "linear" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x) + 1.0


def test_an_argument_may_have_the_name_of_a_builtin_and_keeps_it() -> None:
    def make() -> nn.Module:
        return nn.Sequential(_Named(3, type="linear"), _Named(3, type="none"))

    source = translate(make, torch.randn(2, 3), axes="b 3", prove=False).source
    assert "dim: int, type: str" in source
    assert "# ruff: noqa: A002" in source


class Categories(nn.Module):
    """Columns with tables of their own, which follow one another in one table."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.offsets = np.cumsum([0, *sizes[:-1]])
        self.table = nn.Embedding(sum(sizes), 4)
        self.tables = nn.ModuleList(nn.Embedding(size, 4) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        shifted = x + x.new_tensor(self.offsets)
        return self.table(shifted).tanh() + torch.stack([table(x[:, n]) for n, table in enumerate(self.tables)], 1)


def test_each_column_of_integers_keeps_its_range() -> None:
    torch.manual_seed(0)
    model = Categories((5, 9, 2))
    x = torch.stack([torch.randint(0, size, (6,)) for size in (5, 9, 2)], dim=1)
    twin = translate(model, x, axes="b n")
    assert twin.passed, str(twin.report)
    assert "jnp.asarray([0, 5, 14], int)" in twin.source
    other = torch.tensor([[4, 8, 1], [0, 0, 0]])
    difference = np.asarray(twin.model(jnp.asarray(other.numpy()))) - model(other).detach().numpy()
    assert np.abs(difference).max() < 1e-5


class Dilated(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.logsigmoid(self.conv(x)) + x


class Stack(nn.Module):
    def __init__(self, width: int = 4, depth: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Dilated(width, 2**n) for n in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_number_of_a_loop_is_no_argument_that_is_the_same_by_chance() -> None:
    source = translate(Stack, torch.randn(2, 4, 9), axes="b c t", prove=False).source
    assert "dilation" in source
    assert "(1, 2, 4)" in source


class _Turned(nn.Module):
    """A table whose length is not the width's alone, and a layer that only some depths have."""

    def __init__(self, width: int = 12, heads: int = 2, depth: int = 2, hidden: int = 7) -> None:
        super().__init__()
        self.register_buffer("rates", torch.arange(width // heads).float())
        self.first = nn.Linear(width, hidden)
        self.middle = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth))
        self.more = nn.Linear(hidden, hidden) if depth > 2 else nn.Identity()
        self.last = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.middle:
            x = layer(x).relu()
        x = self.last(self.more(x))
        return x + torch.cat([self.rates] * (x.shape[-1] // self.rates.shape[0])).cos()


def test_an_argument_with_which_states_would_differ_is_a_literal():
    translation = translate(_Turned, torch.randn(2, 5, 12), axes="b t 12", name="Turned")
    assert translation.passed, translation.report
    parameters = inspect.signature(translation.module.Turned.__init__).parameters
    assert not {"width", "heads", "depth"} & set(parameters)
    assert "Written for " in translation.source.partition("from __future__")[0]
    twin = translation.module.Turned(hidden=9, rngs=nnx.Rngs(0))
    state = _Turned(hidden=9).state_dict()
    load_state_dict(twin, state)
    with pytest.raises(TypeError, match="width"):
        translation.module.Turned(width=24, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", sorted(OWN_MODELS))
def test_arguments_that_a_twin_has_make_the_states_of_the_original(name):
    own = OWN_MODELS[name]
    kind = type(own.make())
    flax_class = getattr(_golden(name), kind.__name__)
    checked = 0
    for argument, parameter in inspect.signature(flax_class.__init__).parameters.items():
        if argument in ("self", "rngs"):
            continue
        for value in (2 * parameter.default, parameter.default + 3 * max(1, parameter.default // 2)):
            try:
                state = kind(**{argument: value}).state_dict()
            except (ValueError, RuntimeError):
                continue
            load_state_dict(flax_class(**{argument: value}, rngs=nnx.Rngs(0)), state)
            checked += 1
    assert checked
