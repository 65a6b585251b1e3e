"""Translate what transformers is made of, in plain PyTorch: dataclass outputs, inputs by name, masks, positions."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einops_arch.errors import ShapeError
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


class Tied(nn.Module):
    """A decoder with the weights of its embedding, and an encoder with the same table."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(11, 6)
        self.encoder = Encoder()
        self.encoder.table.weight = self.shared.weight
        self.block = nn.Linear(6, 6)
        self.again = self.block
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.shared.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.encoder(tokens).last_hidden_state + self.shared(tokens)
        return self.head(self.again(F.relu(self.block(hidden))))


def test_tied_weights_and_shared_modules_are_one_in_the_twin_too() -> None:
    translation = translate(Tied(), {"tokens": torch.randint(0, 11, (2, 7))}, axes={"tokens": "b t"})
    assert translation.passed, translation.report
    twin = translation.model
    assert twin.again is twin.block
    assert twin.encoder.table.embedding is twin.shared.embedding is twin.head.weight
    assert "TiedLinear(self.shared, use_bias=False, rngs=rngs)" in translation.source


class Mixed(nn.Module):
    """Tokens are mixed by Fourier transforms, as FNet does."""

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.fft.fftn(x, dim=(1, 2)).real
        halves = torch.fft.irfft(torch.fft.rfft(x, dim=-1, norm="ortho"), n=x.shape[-1], dim=-1, norm="ortho")
        return mixed + halves * torch.fft.fft2(x).imag


def test_fourier_transforms_agree() -> None:
    agrees(Mixed(), {"x": torch.randn(2, 7, 6)}, {"x": "b t 6"}, {"x": torch.randn(3, 10, 6)})


class Buckets(nn.Module):
    """Relative positions in buckets, as T5 does: the logarithm of 0 becomes an integer that is left out."""

    def __init__(self, *, keep: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(16, 3)
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[1])
        distance = (place[None] - place[:, None]).abs()
        far = 4 + (torch.log(distance.float() / 4) / math.log(8.0) * 4).to(torch.long)
        far = torch.min(far, torch.full_like(far, 7))
        bucket = torch.where(distance < 4, distance, far) + torch.where(place[None] > place[:, None], 8, 0)
        bias = self.table(bucket).permute(2, 0, 1)
        return x + bias.softmax(-1).sum(0) @ x + (far.clamp(-50).float().mean() if self.keep else 0)


def test_an_integer_of_what_is_not_finite_may_be_left_out() -> None:
    agrees(Buckets(), {"x": torch.randn(2, 7, 6)}, {"x": "b t 6"}, {"x": torch.randn(3, 23, 6)})


def test_an_integer_of_what_is_not_finite_that_is_used_is_refused() -> None:
    class Used(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (torch.log(x * 0).long() % 7)

    with pytest.raises(TranslationError, match="not finite becomes an integer"):
        translate(Used(), torch.randn(2, 7), axes="b t", prove=False)


class Warns(nn.Module):
    def __init__(self, *, counts: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.counts = counts

    def forward(self, tokens: Tensor) -> Tensor:
        if 0 in tokens[:, [-1, 0]]:
            message = "padding"
            if self.counts:
                message += " and nothing else"
            warnings.warn(message, stacklevel=2)
        return self.table(tokens)


class Chooses(Warns):
    def forward(self, tokens: Tensor) -> Tensor:
        scale = 1.0
        if 0 in tokens:
            scale = 2.0
        return self.table(tokens) * scale


@pytest.mark.filterwarnings("ignore:padding")
def test_a_branch_that_only_warns_is_left_out() -> None:
    agrees(Warns(), {"tokens": torch.randint(0, 11, (2, 7))}, {"tokens": "b t"}, {"tokens": torch.zeros(3, 4).long()})


def test_a_branch_on_values_that_sets_a_number_is_refused() -> None:
    with pytest.raises(TranslationError, match="__contains__: the program takes another way"):
        translate(Chooses(), torch.randint(0, 11, (2, 7)), axes="b t", prove=False)


class Shifts(nn.Module):
    """Gives up its shift when it is first called with few tokens, as Swin does."""

    def __init__(self, *, told: bool = False) -> None:
        super().__init__()
        self.shift = 2
        self.fc = nn.Linear(6, 6)
        self.told = told

    def forward(self, x: Tensor) -> Tensor:
        first = self.shift == 2
        if x.shape[1] <= 9:
            self.shift = 0
        y = self.fc(x)
        return y + 1 if self.told and first else torch.roll(y, self.shift, 1)


def test_settings_of_the_first_call_are_kept_and_asked_for() -> None:
    translation = agrees(Shifts(), {"x": torch.randn(2, 7, 6)}, {"x": "b t 6"}, {"x": torch.randn(4, 7, 6)})
    assert "shift from 2 to 0" in translation.source
    with pytest.raises(ShapeError):
        translation.model(jnp.zeros((2, 12, 6)))


def test_a_first_call_that_gives_something_else_is_refused() -> None:
    with pytest.raises(TranslationError, match="forward changes shift"):
        translate(Shifts(told=True), torch.randn(2, 7, 6), axes="b t 6", prove=False)


class Gelu(torch.autograd.Function):
    """With its gradient written by hand, as Bloom does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(1.702 * x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(1.702 * x)
        return grad * (gate + 1.702 * x * gate * (1 - gate))


class Clipped(Gelu):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Gelu.backward(ctx, grad).clamp(-50, 50)


class Own(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(self.fc(x))


def test_a_gradient_written_by_hand_that_is_that_of_the_forward_is_no_reason_against_it() -> None:
    translation = translate(Own(Gelu), torch.randn(2, 6), axes="b 6")
    assert translation.passed, translation.report


def test_a_gradient_of_its_own_is_refused() -> None:
    with pytest.raises(TranslationError, match="has a gradient of its own"):
        translate(Own(Clipped), torch.randn(2, 6), axes="b 6", prove=False)


class Single(nn.Module):
    """Asks for the size of the batch, as transformers does before it repeats positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 6)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])[None]
        if x.shape[0] != positions.shape[0]:
            positions = positions.expand(x.shape[0], -1)
        return x + self.table(positions)


class OnlySingle(Single):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.shape[0] != 1 else x


def test_a_batch_of_one_is_taken_where_nothing_depends_on_it() -> None:
    x = torch.randn(2, 7, 6)
    agrees(Single(), {"x": x}, {"x": "b t 6"}, {"x": torch.randn(1, 11, 6)})
    translation = translate(OnlySingle(), {"x": x}, axes={"x": "b t 6"}, prove=False)
    with pytest.raises(ShapeError, match="!= 1"):
        translation.model(jnp.zeros((1, 7, 6)))


class Widened(nn.Module):
    """Casts a copy to float32 and goes on with the original, and gives a None beside two tensors, as T5 does."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(variance + 1e-6), variance, None


class UsesWidened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.inner = nn.ModuleList([Widened()])
        self.inner[0].scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        y, variance, _ = self.inner[0](self.fc(x))
        return y + variance


def test_a_cast_of_a_copy_leaves_the_original_in_its_dtype() -> None:
    translation = translate(UsesWidened(), torch.randn(2, 6), axes="b 6")
    assert "astype(jnp.float32)" in translation.source
    assert translation.passed, translation.report


class Growing(nn.Module):
    """Overwrites its own weight, which no twin can do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.mul_(1.5)
        return x * self.weight


def test_a_weight_that_forward_overwrites_is_refused_and_stays_as_it_was() -> None:
    model = Growing()
    with pytest.raises(TranslationError, match="overwritten in forward"):
        translate(model, torch.randn(2, 4), axes="b 4")
    assert torch.equal(model.weight, torch.ones(4))


class Auxiliary(nn.Module):
    """As Inception: a second head in training, for which small images are too small."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.aux = nn.Conv2d(4, 5, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x.mean((2, 3)) + (self.aux(x).mean() if self.training else 0.0)


def test_a_model_that_does_not_train_at_the_size_is_refused_with_what_it_raises() -> None:
    with pytest.raises(TranslationError, match=r"in training.*Kernel size can't be greater"):
        translate(Auxiliary(), torch.randn(2, 3, 8, 8), axes="b 3 h w")
