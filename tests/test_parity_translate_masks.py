"""Translate: what is written where a mask is true, and inputs of which not every number has a meaning."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from einops_arch.translation import TranslationError, translate


class _Written(nn.Module):
    """Masks of one, two and three axes, in front, behind and in the middle, with numbers and with tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(6))
        self.register_buffer("places", torch.tensor([True, False, True, True, False, False]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        degrees = (x.abs() - 0.5).clamp(min=0).pow(-0.5)
        degrees[torch.isinf(degrees)] = 0.0
        steps = x.mean(-1) > 0
        tokens = x * 2
        tokens[steps] = self.token
        rows = x * 3
        rows[steps] = self.token[None] * rows.new_ones(1, 1)
        flags = x > 0.1
        flags[steps] = True
        counts = (x * 3).long()
        counts[flags] = 2.0
        columns = x.clone()
        columns[..., self.places] = -1.0
        middle = x.clone()
        middle[:, x[0, :, 0] > 0, :] = x[:, :1] * 5
        put = x.index_put((steps,), self.token)
        half = torch.zeros_like(x)
        half[steps] = torch.tensor(2)
        return degrees, tokens, rows, flags, counts, columns, middle, put, half


def test_what_is_written_at_a_mask_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    model = _Written().eval()
    twin = translate(model, torch.randn(2, 5, 6), axes="b t 6")
    assert twin.passed, str(twin.report)
    assert not twin.fixed
    x = torch.randn(3, 7, 6)
    for expected, received in zip(model(x), twin.model(jnp.asarray(x.numpy())), strict=True):
        assert expected.detach().numpy().dtype.kind == np.asarray(received).dtype.kind
        np.testing.assert_allclose(np.asarray(received), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


class _Different(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[torch.tensor([True, False, True])] = x[:2]
        return y


def test_other_numbers_for_each_place_of_a_mask_are_refused() -> None:
    with pytest.raises(TranslationError, match="other numbers for each place of a mask are written"):
        translate(_Different(), torch.randn(3, 4), axes="3 b")


class _Labels(nn.Module):
    """Labels of -100 count for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 7)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.head(x).flatten(0, 1), labels.flatten(), ignore_index=-100)


def test_labels_that_count_for_nothing_are_drawn_as_such() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 7, (2, 5))
    labels[0, 1] = -100
    model = _Labels().eval()
    twin = translate(model, (torch.randn(2, 5, 4), labels), axes=("b t 4", "b t"))
    assert twin.passed, str(twin.report)
    assert not twin.fixed
    x, labels = torch.randn(3, 9, 4), torch.randint(0, 7, (3, 9))
    labels[1, 3:] = -100
    received = twin.model(jnp.asarray(x.numpy()), jnp.asarray(labels.numpy()))
    np.testing.assert_allclose(received, model(x, labels).detach().numpy(), rtol=1e-5)


class _Shares(nn.Module):
    """The logarithm of what lies between 0 and 1, which has no value for normal numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 5)

    def forward(self, x: Tensor, seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        odds = self.fc(torch.log(x) - torch.log1p(-x))
        loss = nn.functional.binary_cross_entropy(torch.sigmoid(odds), target, reduction="none").sum(-1)
        return odds.exp() * seen[..., None], (loss * seen).sum() / seen.sum()


def test_inputs_of_a_range_stay_in_it_where_others_have_no_value() -> None:
    torch.manual_seed(0)
    seen = torch.tensor([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    inputs = (torch.rand(2, 4, 5) * 0.8 + 0.1, seen, torch.rand(2, 4, 5))
    model = _Shares().eval()
    twin = translate(model, inputs, axes=("b t 5", "b t", "b t 5"))
    assert twin.passed, str(twin.report)
    assert not twin.fixed
    other = (torch.rand(3, 7, 5) * 0.8 + 0.1, torch.ones(3, 7), torch.rand(3, 7, 5))
    received = twin.model(*(jnp.asarray(item.numpy()) for item in other))
    for expected, array in zip(model(*other), received, strict=True):
        np.testing.assert_allclose(np.asarray(array), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
