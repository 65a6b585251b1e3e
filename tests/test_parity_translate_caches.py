"""Tables that a model computes of its weights and keeps until it trains again; and names of arguments."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import Tensor, nn

from einops_arch.flax import load_state_dict
from einops_arch.translation import TranslationError, translate


class _Biased(nn.Module):
    """As timm and transformers write LeViT's attention: the biases of all places are looked up once."""

    def __init__(self, bias: Callable[[_Biased, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.biases = nn.Parameter(torch.randn(2, 3))
        self.register_buffer("places", torch.tensor([2, 0, 1, 1]), persistent=False)
        self.bias = bias
        self.cache: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> _Biased:
        if mode:
            self.cache = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.fc(x) + self.biases[:, self.places].sum(0)
        key = str(x.device)
        if key not in self.cache:
            self.cache[key] = self.bias(self, x)
        return self.fc(x) + self.cache[key].sum(0)


def _of_weights(model: _Biased, x: Tensor) -> Tensor:
    return model.biases[:, model.places]


def _of_the_input(model: _Biased, x: Tensor) -> Tensor:
    return model.biases[:, model.places] * x.detach().mean()


def _of_the_batch(model: _Biased, x: Tensor) -> Tensor:
    return model.biases[:, model.places] * x.shape[0]


def _of_a_draw(model: _Biased, x: Tensor) -> Tensor:
    return model.biases[:, model.places] + torch.rand(4, dtype=x.dtype)


def test_a_table_of_weights_that_is_kept_is_computed_in_each_call_and_follows_new_weights() -> None:
    twin = translate(lambda: _Biased(_of_weights), torch.randn(2, 4), axes="b 4")
    assert twin.passed, str(twin.report)
    other = _Biased(_of_weights).eval()
    load_state_dict(twin.model, other.state_dict())
    x = torch.randn(5, 4)
    np.testing.assert_allclose(twin.model(jnp.asarray(x.numpy())), other(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [_of_the_input, _of_the_batch, _of_a_draw])
def test_a_table_that_depends_on_more_than_weights_is_refused(bias: Callable[[_Biased, Tensor], Tensor]) -> None:
    with pytest.raises(TranslationError, match=r"forward changes .*cache|draws random numbers"):
        translate(_Biased(bias), torch.randn(2, 4), axes="b 4", prove=False)


class _Inner(nn.Module):
    def __init__(self, N: int, hasBias: bool) -> None:  # noqa: N803 as people write it
        super().__init__()
        self.fc = nn.Linear(4, N, bias=hasBias)

    def forward(self, input: Tensor, H: int, Mask: Tensor) -> Tensor:  # noqa: A002, N803 as people write it
        return self.fc(input) * Mask + H


class _Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Inner(4, True)
        self.other = _Inner(N=4, hasBias=False)
        self.last = _Inner(3, True)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803 as people write it
        x = self.other(self.inner(input=X, H=X.shape[0], Mask=X > 0), X.shape[0], X > 1)
        return self.last(x, X.shape[0], X[:, :3] > 0)


def test_arguments_have_small_letters_and_are_passed_by_the_same_names() -> None:
    model = _Outer()
    twin = translate(_Outer, torch.randn(2, 4), axes="b 4", prove=False)
    assert "def __init__(self, n: int, has_bias: bool, *" in twin.source
    assert "def __call__(self, x: Array, h: " in twin.source
    load_state_dict(twin.model, model.state_dict())
    x = torch.randn(5, 4)
    np.testing.assert_allclose(twin.model(jnp.asarray(x.numpy())), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


class _Frozen(nn.Module):
    """As transformers writes Marian's positions: a parameter that is not trained, read without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4), requires_grad=False)

    @torch.no_grad()
    def rows(self) -> Tensor:
        return self.table * 2

    def forward(self, x: Tensor) -> Tensor:
        return x.sin() + self.rows()


def test_a_frozen_parameter_that_is_read_without_gradients_has_none_in_the_twin() -> None:
    twin = translate(_Frozen(), torch.randn(2, 4), axes="b 4", prove=False)
    x = jnp.ones((3, 4))
    slopes = nnx.grad(lambda model: model(x).sum())(twin.model)
    assert not np.asarray(slopes["table"][...]).any()
    assert np.asarray(nnx.grad(lambda x: twin.model(x).sum())(x)).all()
