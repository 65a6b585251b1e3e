"""Translate: what only some values, gradients or a second call show; a twin that differs never passes."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from einops_arch.translation import TranslationError, translate


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
    "a value as text": (
        lambda: _Net(lambda net, x: -net.fc(x) if f"{x.abs().mean():.2f}" == "0.00" else net.fc(x)),
        "text",
    ),
}


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
