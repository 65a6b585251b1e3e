"""Translate what transformers is made of, in plain PyTorch: dataclass outputs, inputs by name, masks, positions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einops_arch.flax import load_state_dict, state_dict
from einops_arch.parity import randomize
from einops_arch.translation import TranslationError, translate


def agrees(model: nn.Module, inputs: dict[str, Tensor], axes: dict[str, str], *others: dict[str, Tensor]) -> Any:
    """Translate by name and compare in float32 at the sizes of `others`, which were not recorded."""
    translation = translate(model, inputs, axes=axes, prove=False)
    model = copy.deepcopy(model).eval()
    randomize(model)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    for arrays in (inputs, *others):
        expected = _leaves(model(**arrays))
        received = jax.tree.leaves(translation.model(**{name: jnp.asarray(x.numpy()) for name, x in arrays.items()}))
        assert len(expected) == len(received) > 0
        for tensor, array in zip(expected, received, strict=True):
            left = tensor.detach().numpy()
            np.testing.assert_allclose(np.asarray(array), left, rtol=2e-4, atol=2e-5 * float(np.abs(left).max()))
            assert left.size < 2 or float(left.astype(np.float64).std()) > 0
    back = state_dict(translation.model)
    assert all(
        np.asarray(back[name]).tobytes() == value.numpy().tobytes() for name, value in model.state_dict().items()
    )
    return translation


def _leaves(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if hasattr(tree, "__dataclass_fields__"):
        tree = [getattr(tree, name) for name in tree.__dataclass_fields__]
    return [leaf for part in tree or () for leaf in _leaves(part)]


@dataclass
class Encoded:
    last_hidden_state: Tensor
    pooled: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class Whole:
    encoded: Encoded
    logits: Tensor


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Encoded:
        hidden = self.mix(self.table(tokens))
        if mask is not None:
            hidden = hidden * mask[..., None]
        return Encoded(hidden, attentions=(hidden.mean(1), hidden.sum(-1)))


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Linear(6, 5)

    def forward(self, tokens: Tensor | None = None, mask: Tensor | None = None) -> Whole:
        encoded = self.encoder(tokens, mask=mask)
        return Whole(encoded, self.head(encoded.last_hidden_state.mean(1)))


def test_dataclasses_come_out_as_dataclasses_of_the_same_fields() -> None:
    tokens = {"tokens": torch.randint(0, 11, (2, 7))}
    other = {"tokens": torch.randint(0, 11, (3, 4))}
    translation = agrees(Classifier(), tokens, {"tokens": "b t"}, other)
    result = translation.model(tokens=jnp.asarray(tokens["tokens"].numpy()))
    assert type(result).__name__ == "Whole"
    assert result.encoded.last_hidden_state.shape == (2, 7, 6)
    assert result.logits.shape == (2, 5)
    assert not hasattr(result.encoded, "pooled")
    assert "class Encoded:" in translation.source


def test_an_optional_mask_is_an_argument_where_it_was_passed() -> None:
    def inputs(*shape: int) -> dict[str, Tensor]:
        mask = torch.ones(shape)
        mask[0, -2:] = 0
        return {"tokens": torch.randint(0, 11, shape), "mask": mask}

    translation = agrees(Classifier(), inputs(2, 7), {"tokens": "b t", "mask": "b t"}, inputs(3, 5), inputs(1, 9))
    assert "def __call__(self, tokens: Array, mask: Array) -> Whole:" in translation.source


class Positions(nn.Module):
    """Asks of positions whether they are in a row, as transformers does for packed sequences."""

    def __init__(self, step: int = 1, first: int = 0) -> None:
        super().__init__()
        self.table = nn.Embedding(400, 6)
        self.step, self.first = step, first

    def forward(self, x: Tensor) -> Tensor:
        positions = (torch.arange(x.shape[1]) + self.first)[None].expand(x.shape[0], -1)
        steps = torch.diff(positions, prepend=positions[:, :1] - self.step, dim=-1)
        packed = (steps != 1).cumsum(-1)
        if (packed[:, -1] == 0).all():
            return x + self.table(positions)
        return x * packed[..., None]


def test_a_question_about_positions_has_one_answer_at_every_size() -> None:
    x, other = torch.randn(2, 7, 6), torch.randn(3, 211, 6)
    translation = agrees(Positions(first=3), {"x": x}, {"x": "b t 6"}, {"x": other})
    assert "diff" not in translation.source


class Long(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if (torch.arange(x.shape[1]) > 200).any() else x


class Given(Positions):
    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + self.table(positions) if (torch.diff(positions, dim=-1) == 1).all() else x


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Long(), {"x": torch.randn(2, 7)}),
        (Positions(step=2), {"x": torch.randn(2, 7, 6)}),
        (Given(), {"x": torch.randn(2, 7, 6), "positions": torch.arange(7).repeat(2, 1)}),
    ],
)
def test_a_question_about_values_is_refused_where_the_answer_may_be_another(
    model: nn.Module, inputs: dict[str, Tensor]
) -> None:
    with pytest.raises(TranslationError, match="__bool__: the program takes another way for other values"):
        translate(model, inputs, prove=False)


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"hidden": F.relu(self.fc(x)), "past_key_values": KeyCache()}


class KeyCache:
    pass


def test_a_cache_is_refused_with_what_to_do() -> None:
    with pytest.raises(TranslationError, match=r"KeyCache.*use_cache=False"):
        translate(Cached(), torch.randn(2, 3), axes="b 3", prove=False)
