"""Translate: what only some values, gradients or a second call show; a twin that differs never passes."""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor, nn

from einops_arch.errors import ShapeError
from einops_arch.flax import load_state_dict
from einops_arch.translation import TranslationError, translate
from einops_arch.translation.inputs import arguments_of, resized


class _Net(nn.Module):
    """A layer, and what a test puts around it."""

    def __init__(self, forward, **held: object) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.call = forward
        for name, item in held.items():
            if isinstance(item, Tensor):
                self.register_buffer(name, item)
            else:
                setattr(self, name, item)

    def forward(self, *inputs: Tensor):
        return self.call(self, *inputs)


def _counts(net: _Net, x: Tensor) -> Tensor:
    net.calls += 1
    return net.fc(x)


def _counts_deep(net: _Net, x: Tensor) -> Tensor:
    net.config.calls += 1
    return net.fc(x)


def _next(net: _Net, x: Tensor) -> Tensor:
    next(net.counter)
    return net.fc(x)


def _caches(net: _Net, x: Tensor) -> Tensor:
    y = net.fc(x)
    net.cache.append(y.detach())
    return y


def _average_through_data(net: _Net, x: Tensor) -> Tensor:
    y = net.fc(x)
    net.average.data.mul_(0.9).add_(y.detach().mean(0), alpha=0.1)
    return y


def _average_in_training(net: _Net, x: Tensor) -> Tensor:
    return _average_through_data(net, x) if net.training else net.fc(x)


def _average_in_evaluation(net: _Net, x: Tensor) -> Tensor:
    return net.fc(x) if net.training else _average_through_data(net, x)


def _clips_weights(net: _Net, x: Tensor) -> Tensor:
    net.fc.weight.data.clamp_(-6, 6)
    return net.fc(x)


def _writes_a_view(net: _Net, x: Tensor) -> Tensor:
    net.average.detach()[1:].mul_(1.0)
    return net.fc(x)


_CALLS = {"n": 0}


def _counts_outside(net: _Net, x: Tensor) -> Tensor:
    _CALLS["n"] += 1
    return net.fc(x) * _CALLS["n"]


def _skips_at_random(net: _Net, x: Tensor) -> Tensor:
    return x if net.training and random.random() < 1e-9 else net.fc(x)


def _drops_always(net: _Net, x: Tensor) -> Tensor:
    net.drop.train()
    return net.drop(net.fc(x))


def _schedules(net: _Net, x: Tensor) -> Tensor:
    net.drop.p = 0.9 if net.training else 0.0
    return net.drop(net.fc(x))


class _TrainsAlways(nn.Dropout):
    def train(self, mode: bool = True) -> nn.Module:
        return super().train()


class _Frozen(nn.Dropout):
    def train(self, mode: bool = True) -> nn.Module:
        return super().train(mode=False)


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad.clamp(-500, 500)


def _hooked(net: _Net, x: Tensor) -> Tensor:
    y = net.fc(x) * 1
    if y.requires_grad:
        y.register_hook(lambda grad: grad.clamp(-500, 500))
    return y


def _asks_for_gradients(net: _Net, x: Tensor) -> Tensor:
    y = net.fc(x)
    return y * 2 if y.requires_grad else y


def _casts_by_itself(net: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net.fc(x)
    return y.float()


REFUSED = {
    "a counter of Python": (lambda: _Net(_counts, calls=0), "calls"),
    "a counter in an object": (lambda: _Net(_counts_deep, config=SimpleNamespace(calls=0)), "config"),
    "an iterator": (lambda: _Net(_next, counter=itertools.count()), "counter"),
    "a list that grows": (lambda: _Net(_caches, cache=[]), "cache"),
    "a buffer through data in training": (lambda: _Net(_average_in_training, average=torch.zeros(3)), "mul_"),
    "a buffer through data in evaluation": (lambda: _Net(_average_in_evaluation, average=torch.zeros(3)), "mul_"),
    "a view of a buffer": (lambda: _Net(_writes_a_view, average=torch.zeros(3)), "mul_"),
    "weights through data": (lambda: _Net(_clips_weights), "clamp_"),
    "a counter of the file": (lambda: _Net(_counts_outside), "second call"),
    "random of Python": (lambda: _Net(_skips_at_random), "random numbers"),
    "a mode set in forward": (lambda: _Net(_drops_always, drop=nn.Dropout(0.5)), "mode"),
    "a rate set in forward": (lambda: _Net(_schedules, drop=nn.Dropout(0.0)), "changes"),
    "dropout that is never off": (lambda: nn.Sequential(nn.Linear(3, 3), _TrainsAlways(0.5)), "training mode"),
    "dropout that is never on": (lambda: nn.Sequential(nn.Linear(3, 3), _Frozen(0.5)), "evaluation mode"),
    "a function with its own gradient": (lambda: _Net(lambda net, x: _Clipped.apply(net.fc(x))), "_Clipped"),
    "a hook on a tensor": (lambda: _Net(_hooked), "register_hook"),
    "a question about gradients": (lambda: _Net(_asks_for_gradients), "without gradients"),
    "integers of more than 32 bits": (
        lambda: _Net(lambda net, x: net.fc(x)[((x > 9).long() + 3) * 40503 * 7919 % 2]),
        "32 bits",
    ),
    "autocast": (lambda: _Net(_casts_by_itself), "under autocast"),
    "a value as text": (
        lambda: _Net(lambda net, x: -net.fc(x) if f"{x.abs().mean():.2f}" == "0.00" else net.fc(x)),
        "text",
    ),
}


class _Keeps(nn.Module):
    """Keeps tensors of its last call; `read` tells what of them a later call takes."""

    def __init__(self, read: str) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.read = read
        self.last: Tensor | None = None
        self.maps: dict[str, Tensor] = {}
        self.queue: tuple[Tensor, ...] = (torch.zeros(3),) * 4
        self.every: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.read == "the last" and self.last is not None:
            y = y + self.last.mean()
        if self.read == "one of the queue":
            y = y + self.queue[0]
            self.queue = (*self.queue[1:], y.detach().mean(0))
        if self.read == "some of all, later":
            self.every.append(y.detach().mean())
            y = y + self.every[-4] if len(self.every) > 5 else y
        self.last = self.fc(y)
        self.maps["y"] = y.detach()
        return self.last + self.maps["y"]


def test_tensors_that_a_model_keeps_for_a_picture_are_left_out_and_said() -> None:
    twin = translate(_Keeps("nothing"), torch.randn(2, 3), axes="b 3")
    assert twin.passed, twin.report
    assert "tensors of its last call as last, maps" in twin.source


@pytest.mark.parametrize("read", ["the last", "one of the queue", "some of all, later"])
def test_tensors_of_an_earlier_call_that_are_read_are_refused(read: str) -> None:
    with pytest.raises(TranslationError, match=r"keeps a tensor|changes (queue|every)"):
        translate(_Keeps(read), torch.randn(2, 3), axes="b 3", prove=False)


class _HoldsItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.seen: list[Tensor] = []
        self.fc.register_forward_hook(lambda module, args, output: self.seen.append(output))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.clear()
        return self.fc(x) + self.seen[0]


def test_a_model_whose_copies_do_not_run_is_refused_with_what_they_raise() -> None:
    with pytest.raises(TranslationError, match=r"a copy of the model raises IndexError.*hooks"):
        translate(_HoldsItself(), torch.randn(2, 3), axes="b 3")


def test_packed_sequences_are_refused_by_name() -> None:
    def call(net: nn.Module, x: Tensor) -> Tensor:
        lengths = torch.tensor([2, 1])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(net.rnn(packed)[0], batch_first=True)[0]

    net = _Net(call)
    net.rnn = nn.GRU(3, 2, batch_first=True)
    with pytest.raises(TranslationError, match="a packed sequence"):
        translate(net, torch.randn(2, 2, 3), axes="2 2 3", prove=False)


def test_one_module_for_tensors_of_other_ranks_is_refused_by_name() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x) * self.scale

    net = _Net(lambda net, x: net.inner(x) + net.inner(x[:, 0])[:, None])
    net.inner = Inner()
    with pytest.raises(TranslationError, match="another number of axes"):
        translate(net, torch.randn(2, 4, 3), axes="b t 3", prove=False)


def test_another_way_in_half_precision_is_asked_for_in_the_twin() -> None:
    net = _Net(lambda net, x: net.fc(x) * 2 if x.dtype == torch.bfloat16 else net.fc(x))
    translation = translate(net, torch.randn(2, 3), axes="b 3", prove=False)
    translation.model(jnp.ones((4, 3), jnp.float16))
    load_state_dict(translation.model, net.bfloat16().state_dict())
    with pytest.raises(ShapeError, match="bfloat16"):
        translation.model(jnp.ones((4, 3), jnp.bfloat16))


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_a_recording_cannot_hold_is_refused_by_name(kind: str) -> None:
    make, fact = REFUSED[kind]
    with pytest.raises(TranslationError, match=fact) as caught:
        translate(make(), torch.randn(2, 3), axes="b 3", prove=False)
    assert all(".py:" in refusal.place and refusal.fix for refusal in caught.value.refusals), caught.value


def _with_hook(name: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    if name == "weight":
        model[0].weight.register_hook(lambda grad: grad.clamp(-500, 500))
    elif name == "accumulated":
        model[0].weight.register_post_accumulate_grad_hook(lambda parameter: None)
    elif name == "forward":
        model.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    elif name == "backward":
        model[0].register_full_backward_hook(lambda module, inputs, outputs: None)
    else:
        model[0].register_full_backward_pre_hook(lambda module, outputs: None)
    return model


@pytest.mark.parametrize("name", ["weight", "accumulated", "forward", "backward", "backward pre"])
def test_hooks_around_the_recording_are_refused_by_name(name: str) -> None:
    with pytest.raises(TranslationError, match=r"hook.*_with_hook|_with_hook.*hook"):
        translate(_with_hook(name), torch.randn(2, 3), axes="b 3")


def test_parameters_that_are_not_trained_stand_in_the_file() -> None:
    model = _Net(lambda net, x: net.head(net.fc(x)), head=nn.Linear(3, 2))
    model.fc.requires_grad_(requires_grad=False)
    source = translate(model, torch.randn(2, 3), axes="b 3", prove=False).source
    assert "fc.weight, fc.bias" in source
    assert "head.weight" not in source


def _gate_without_gradient(net: _Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        gate = net.gate(x).sigmoid() * x
    return net.fc(x) * gate


def test_a_part_without_gradients_has_none_in_the_twin() -> None:
    model = _Net(_gate_without_gradient, gate=nn.Linear(3, 3))
    translation = translate(model, torch.randn(2, 3), axes="b 3")
    assert translation.passed, translation.report
    assert "stop_gradient" in translation.source


INFINITY = float("inf")


def _normalized(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)


# What is called, and values at which its gradient, or its value, is PyTorch's own choice.
KINKS = {
    "norm": (lambda x: x.norm(dim=-1), [[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]]),
    "norm of order 1": (lambda x: torch.linalg.vector_norm(x, 1, -1), [[0.0, 0.0, 2.0], [1.0, -2.0, 3.0]]),
    "normalize": (lambda x: F.normalize(x, dim=-1), [[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]]),
    "cosine": (lambda x: F.cosine_similarity(x, x.flip(-1) + 0.25, -1), [[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]]),
    "cosine of nothing": (lambda x: F.cosine_similarity(x, x * 0, -1), [[0.0, 0.0, 0.0], [1e-9, 0.0, 0.0]]),
    "std": (_normalized, [[2.0, 2.0, 2.0], [1.0, -2.0, 3.0]]),
    "std and mean": (lambda x: torch.std_mean(x, dim=-1)[0], [[2.0, 2.0, 2.0], [1.0, -2.0, 3.0]]),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), [[0.0, -0.0, 1.0]]),
    "clamp": (lambda x: x.clamp(0, 1), [[0.0, 1.0, 0.5]]),
    "clamp below": (lambda x: x.clamp(min=1), [[0.0, 1.0, 2.0]]),
    "clamp_max": (lambda x: x.clamp_max(max=1), [[0.0, 1.0, 2.0]]),
    "clamp of crossed bounds": (lambda x: x.clamp(2, 1), [[0.0, 1.5, 3.0]]),
    "hardtanh": (F.hardtanh, [[-1.0, 1.0, 0.5]]),
    "relu6": (F.relu6, [[0.0, 6.0, 3.0]]),
    "hardswish": (F.hardswish, [[-3.0, 3.0, 0.0]]),
    "hardsigmoid": (F.hardsigmoid, [[-3.0, 3.0, 0.0]]),
    "abs": (torch.abs, [[0.0, -0.0, -1.0]]),
    "atan2": (lambda x: torch.atan2(x, x * 2), [[0.0, 1.0, -1.0]]),
    "elu": (lambda x: F.elu(x, 0.5), [[0.0, -1.0, 1.0]]),
    "selu": (F.selu, [[0.0, -1.0, 1.0]]),
    "celu": (lambda x: F.celu(x, 0.5), [[0.0, -1.0, 1.0]]),
    "prelu": (lambda x: F.prelu(x, torch.full((1,), 0.25, dtype=x.dtype)), [[0.0, -1.0, 1.0]]),
    "softplus": (lambda x: F.softplus(x, 2, 1.0), [[0.0, 0.5, 90.0]]),
    "glu": (lambda x: F.glu(torch.cat([x, x * 2], -1)), [[0.0, -1.0, 1.0]]),
}


class _Calls(nn.Module):
    """One network for all functions, so that one translation and one proof do."""

    def __init__(self, functions) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor):
        return tuple(function(x) for function in self.functions)


@pytest.fixture(scope="module")
def kinks():
    """The outputs of the twin at the rows of all functions, and its backward pass."""
    translation = translate(_Calls([function for function, _ in KINKS.values()]), torch.randn(2, 3), axes="b 3")
    assert translation.passed, translation.report
    rows = jnp.asarray([row for _, rows in KINKS.values() for row in rows])
    return jax.vjp(translation.model, rows)


@pytest.mark.parametrize("name", list(KINKS))
def test_gradients_at_kinks_are_those_of_pytorch(kinks, name: str) -> None:
    function, rows = KINKS[name]
    x = torch.tensor(rows, requires_grad=True)
    value = function(x)
    weights = torch.cos(torch.arange(value.numel(), dtype=torch.float32)).reshape(value.shape)
    (value * weights).sum().backward()
    outputs, backward = kinks
    place = list(KINKS).index(name)
    start = sum(len(rows) for _, rows in list(KINKS.values())[:place])
    own = slice(start, start + len(rows))
    np.testing.assert_allclose(np.asarray(outputs[place][own]), value.detach().numpy(), rtol=2e-5, atol=1e-6)
    ahead = [jnp.zeros_like(output) for output in outputs]
    ahead[place] = ahead[place].at[own].set(weights.numpy())
    gradient, expected = np.asarray(backward(tuple(ahead))[0][own]), x.grad.numpy()
    np.testing.assert_allclose(gradient, expected, rtol=2e-5, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


def test_a_padding_row_has_no_gradient() -> None:
    model = _Net(lambda net, i: F.embedding(i, net.table, padding_idx=-6), table=None)
    model.table = nn.Parameter(torch.randn(6, 3))
    del model.fc
    translation = translate(model, torch.randint(1, 6, (2, 4)), axes="b t")
    assert translation.passed, translation.report
    twin = translation.model
    gradient = nnx.grad(lambda net: net(jnp.asarray([[0, 1], [2, 0]])).sum())(twin)
    assert np.asarray(gradient["table"][...]).sum(-1).tolist() == [0, 3, 3, 0, 0, 0]


def _integers(net: nn.Module, x: Tensor):
    return x.cumsum(1), x.sum(1), x.prod(1), x.cumprod(1), torch.logical_not(x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_sums_of_small_integers_are_wide(dtype: torch.dtype) -> None:
    model = _Net(_integers)
    del model.fc
    translation = translate(model, torch.randint(0, 9, (2, 4), dtype=dtype), axes="b t")
    assert translation.passed, translation.report
    x = torch.tensor([[100, 90, 120, 3, 0], [0, 1, 0, 2, 99]], dtype=dtype)
    for expected, received in zip(model(x), translation.model(jnp.asarray(x.numpy())), strict=True):
        np.testing.assert_allclose(np.asarray(received), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_a_query_that_a_mask_hides_from_all_keys_gives_zeros(dropout: float) -> None:
    def attend(net: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        q = net.fc(x)
        return F.scaled_dot_product_attention(q, q, x, mask, dropout_p=dropout if net.training else 0.0)

    model = _Net(attend)
    translation = translate(model, (torch.randn(2, 4, 3), torch.zeros(2, 4, 4)), axes=["b t 3", "b t t"])
    assert translation.passed, translation.report
    mask = torch.zeros(2, 4, 4)
    mask[0, 1] = -INFINITY
    x = torch.randn(2, 4, 3)
    twin = translation.model
    twin.eval()
    received = np.asarray(twin(jnp.asarray(x.numpy()), jnp.asarray(mask.numpy())))
    np.testing.assert_allclose(received, model.eval()(x, mask).detach().numpy(), rtol=1e-5, atol=1e-6)
    twin.train()
    assert np.isfinite(np.asarray(twin(jnp.asarray(x.numpy()), jnp.asarray(mask.numpy())))).all()


def test_a_single_number_has_no_say_in_the_dtype() -> None:
    model = _Net(lambda net, x: (x * torch.tensor(0.3), x.masked_fill(x > 0, torch.tensor(2.5)), x + x.new_ones(3)))
    del model.fc
    translation = translate(model, torch.randn(2, 3), axes="b 3")
    assert translation.passed, translation.report
    assert {item.dtype for item in translation.model(jnp.ones((2, 3), jnp.bfloat16))} == {jnp.dtype(jnp.bfloat16)}


def test_integer_masks_of_a_proof_hold_both_values() -> None:
    """All ones as given: what a zero does has to be compared too."""
    ones = arguments_of((torch.ones(2, 4, dtype=torch.long),), ["b t"])
    assert set(resized(ones, {"b": 3}).args[0].flatten().tolist()) == {0, 1}
    tokens = arguments_of((torch.full((2, 4), 7),), ["b t"])
    assert len(set(resized(tokens, {"b": 3}).args[0].flatten().tolist())) > 1


class _Bounded(nn.Module):
    """Bounds that bound nothing, as those of a model that may be quantized later."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.register_buffer("low", torch.tensor(-math.inf))
        self.register_buffer("high", torch.tensor(math.inf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.fc(x), self.low, self.high)


def test_infinite_numbers_have_a_name_and_stay_infinite_in_the_proof() -> None:
    translation = translate(_Bounded, torch.randn(2, 3), axes="b 3")
    assert translation.passed, translation.report
    assert "nnx.Variable(jnp.full((), -jnp.inf))" in translation.source
