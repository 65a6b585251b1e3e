"""Translate: what could go wrong in silence is written rightly, asked for by the twin, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einops_arch.errors import ShapeError
from einops_arch.flax import load_state_dict
from einops_arch.parity import randomize
from einops_arch.translation import Translation, TranslationError, translate

WIDTHS = [1, 2, 2, 3, 1, 4, 2, 3, 1, 2, 5, 3, 1, 2, 4, 3, 2, 1]
SCALE = {"now": 2.0}


class _Net(nn.Module):
    def __init__(self, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.embedding = nn.Embedding(97, 6)
        self.prelu = nn.PReLU(6)
        self.widths = list(WIDTHS)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def _write_on_a_row(net: _Net, x: Tensor) -> Tensor:
    x = net.fc(x)
    row = x[:, 0]
    row += 1.5
    return x


def _write_on_a_view(net: _Net, x: Tensor) -> Tensor:
    x = net.fc(x)
    x.view(-1, 3)[:, 1] = 0.5
    return x


def _write_on_a_turned_view(net: _Net, x: Tensor) -> Tensor:
    x = net.fc(x)
    x.transpose(1, 2).mul_(torch.arange(1.0, 1 + x.shape[1]))
    return x


def _write_on_half(net: _Net, x: Tensor) -> Tensor:
    x = net.fc(x)
    first = x[..., :3]
    first.mul_(3)
    return x


def _write_through_an_alias(net: _Net, x: Tensor) -> Tensor:
    x = net.fc(x)
    y = x
    y += 2
    return x * y


def _write_before_a_view_is_read(net: _Net, x: Tensor) -> Tensor:
    x = net.fc(x)
    row = x[:, 0]
    x.add_(1.0)
    return x + row[:, None]


def _write_on_the_input(net: _Net, x: Tensor) -> Tensor:
    y = x * 1
    x += 1
    return net.fc(x + y)


def _copy_into(net: _Net, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], x.shape[1] + 1, 6, dtype=x.dtype)
    y[:, 1:].copy_(x)
    return net.fc(y)


def _through_numpy(net: _Net, x: Tensor) -> Tensor:
    return net.fc(x) + torch.from_numpy(np.sin(x.detach().numpy()).astype(str(x.dtype)[6:]))


def _numpy_of_sizes(net: _Net, x: Tensor) -> Tensor:
    return net.fc(x) / float(np.sqrt(x.shape[1]))


def _numpy_positions(net: _Net, x: Tensor) -> Tensor:
    return net.fc(x) + torch.from_numpy(np.arange(x.shape[1])).to(x.dtype)[None, :, None]


def _a_global(net: _Net, x: Tensor) -> Tensor:
    SCALE["now"] += 1.0
    return net.fc(x) * SCALE["now"]


def _hashed(net: _Net, x: Tensor) -> Tensor:
    tokens = (x[..., 0] * 10).abs().long() + torch.arange(x.shape[1])
    return net.embedding(tokens * 2654435761 % 97)


def _hashed_by_products(net: _Net, x: Tensor) -> Tensor:
    tokens = torch.arange(x.shape[1]) + 50_000
    return net.fc(x) + net.embedding(tokens * tokens * tokens % 97)


def _with_two_activations(net: _Net, x: Tensor) -> Tensor:
    return net.fc(net.fc(x)) + net.fc(x.sum(1, keepdim=True))


FLOATS = {
    "a list indexed by a size": lambda net, x: net.fc(x)[:, : net.widths[x.shape[1]]],
    "a list cut at a size": lambda net, x: net.fc(x) * float(sum(net.widths[: x.shape[1]])),
    "a tuple of a size's digits": lambda net, x: net.fc(x) * float(str(x.shape[1])[-1]),
    "a dict by a size": lambda net, x: net.fc(x) * {4: 2.0}.get(x.shape[1], 5.0),
    "a write on a row": _write_on_a_row,
    "a write on a view": _write_on_a_view,
    "a write on a turned view": _write_on_a_turned_view,
    "a write on half": _write_on_half,
    "a write through an alias": _write_through_an_alias,
    "a write before a view is read": _write_before_a_view_is_read,
    "a write on the input": _write_on_the_input,
    "a copy into a part": _copy_into,
    "numpy on values": _through_numpy,
    "numpy on sizes": _numpy_of_sizes,
    "numpy for positions": _numpy_positions,
    "a global that changes": _a_global,
    "a number of a value": lambda net, x: net.fc(x) * (2.0 if float(x.detach().sum()) > 0 else 3.0),
    "an item": lambda net, x: net.fc(x) * x.max().item(),
    "a size of a value": lambda net, x: net.fc(x)[:, : max(1, int(x.abs().max()) % 3)],
    "a list of values": lambda net, x: net.fc(x) * x[0, 0].tolist()[0],
    "integers beyond 32 bits": _hashed,
    "products beyond 32 bits": _hashed_by_products,
    "one module twice": _with_two_activations,
    "forty axes": lambda net, x: net.fc(x).view(*x.shape, *[1] * 37).sum(5).reshape(x.shape) * 2,
    "many axes of two": lambda net, x: (
        F.pad(net.fc(x), (0, 2)).view(x.shape[0], x.shape[1], 2, 2, 2).permute(0, 1, 4, 2, 3).flatten(2)
    ),
}


def _translated(model: nn.Module, inputs: Tensor, axes: str, *, prove: bool) -> Translation | None:
    """The translation; None where it is refused, with a reason each."""
    try:
        return translate(model, inputs, axes=axes, prove=prove)
    except TranslationError as error:
        reasons = [item.reason for item in error.refusals]
    assert reasons
    assert all(reasons)
    return None


def _problem(model: nn.Module, twin: nn.Module, x: Tensor) -> str | None:
    """What differs between both at these inputs; a question that the twin asks is no difference."""
    before = dict(SCALE)
    expected = model(x.clone()).detach().numpy()
    SCALE.update(before)
    try:
        received = np.asarray(twin(jnp.asarray(x.numpy())))
    except ShapeError:
        return None
    if received.shape != expected.shape:
        return f"shape {received.shape} for {expected.shape} at {tuple(x.shape)}"
    difference = float(np.abs(received - expected).max())
    return f"{difference:.1e} at {tuple(x.shape)}" if not difference <= 1e-4 * float(np.abs(expected).max()) else None


@pytest.mark.parametrize("name", FLOATS)
def test_nothing_differs_in_silence(name: str) -> None:
    torch.manual_seed(0)
    model = _Net(FLOATS[name]).eval()
    translation = _translated(model, torch.randn(2, 4, 6), "b t 6", prove=False)
    if translation is None:
        return
    model = copy.deepcopy(model)
    randomize(model)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    generator = torch.Generator().manual_seed(9)
    sizes = [(2, 4), (3, 4), (2, 7), (1, 5), (4, 1), (2, 13), (5, 16)]
    problems = [
        _problem(model, translation.model, scale * torch.randn(b, t, 6, generator=generator))
        for b, t in sizes
        for scale in (1.0, -7.0)
    ]
    assert [problem for problem in problems if problem is not None] == [], translation.source


class _Double(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight + weight.T


def _parametrized() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    nn.utils.parametrize.register_parametrization(model[0], "weight", _Double())
    return model


def _hooked(*, before: bool) -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    if before:
        model[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    else:
        model[0].register_forward_hook(lambda module, args, output: output + args[0])
    return model


def _patched() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    model[0].forward = lambda x: F.linear(x, model[0].weight) * 3
    return model


CHANGED = {
    "a parametrization": _parametrized,
    "a hook before": lambda: _hooked(before=True),
    "a hook behind": lambda: _hooked(before=False),
    "a forward of its own": _patched,
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_hung_onto_a_layer_is_computed_or_refused(name: str) -> None:
    torch.manual_seed(0)
    model = CHANGED[name]().eval()
    translation = _translated(model, torch.randn(2, 5), "b 5", prove=True)
    if translation is None:
        return
    x = torch.randn(7, 5)
    translation.model.eval()
    received = np.asarray(translation.model(jnp.asarray(x.numpy())))
    np.testing.assert_allclose(received, model(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert translation.passed
