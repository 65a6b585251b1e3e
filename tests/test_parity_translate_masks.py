"""Translate: what is written where a mask is true, and integers of which some mean that there is none."""

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
