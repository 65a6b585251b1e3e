"""Functions of images and writes on parts of tensors, translated and held against PyTorch at sizes never recorded."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor, nn

from einops_arch.translation import TranslationError, translate

Function = Callable[[Tensor], Tensor]

# Each gives an image; the height and the width of the input differ, and no window divides both.
FUNCTIONS: dict[str, Function] = {
    "a max pool that reaches beyond the image": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "a dilated max pool": lambda x: F.max_pool2d(x, 3, 2, 1, 2),
    "an average that reaches beyond the image": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "an average without its padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "an average with a divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive means": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "adaptive means of one axis": lambda x: F.adaptive_avg_pool2d(x, (None, 1)),
    "adaptive maxima": lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    "adaptive means of a size that depends on the input": lambda x: F.adaptive_avg_pool2d(x, x.shape[-1] // 2),
    "bilinear to a size of another tensor": lambda x: F.interpolate(
        F.max_pool2d(x, 2), x.shape[-2:], mode="bilinear", align_corners=False
    ),
    "bilinear by a factor": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "bicubic with corners": lambda x: F.interpolate(x, (9, 7), mode="bicubic", align_corners=True),
    "nearest to a size": lambda x: F.interpolate(x, size=(x.shape[2] * 2, 5)),
    "nearest twice": lambda x: F.interpolate(x, scale_factor=2),
    "places of a grid": lambda x: F.grid_sample(
        x, x[:, :2, ::2].permute(0, 2, 3, 1) / 2, padding_mode="border", align_corners=True
    ),
}


class _All(nn.Module):
    def __init__(self, functions: list[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in self.functions)


def _channels_first(array: object) -> np.ndarray:
    return np.moveaxis(np.asarray(array), -1, 1)


def test_functions_of_images_agree_at_a_size_that_was_not_recorded() -> None:
    model = _All(list(FUNCTIONS.values()))
    twin = translate(model, torch.randn(2, 3, 12, 18), axes="b 3 h w", prove=False)
    assert not twin.fixed
    x = torch.randn(3, 3, 23, 15)
    results = nnx.jit(lambda model, x: model(x))(twin.model, jnp.asarray(np.moveaxis(x.numpy(), 1, -1)))
    for name, expected, received in zip(FUNCTIONS, model(x), results, strict=True):
        np.testing.assert_allclose(
            _channels_first(received), expected.numpy(), rtol=1e-5, atol=1e-5, err_msg=name, strict=True
        )


def _part_doubled(x: Tensor) -> Tensor:
    y = x * 1
    y[:, 1:].mul_(2)
    return y


def _part_written_twice(x: Tensor) -> Tensor:
    y = x + 1
    part = y[..., 0]
    part.zero_()
    total = y.sum(-1, keepdim=True)
    part.add_(3)
    return y + total


def _middle_of_a_copy(x: Tensor) -> Tensor:
    y = x.clone()
    third = y.shape[0] // 3
    y[third : 2 * third].zero_()
    return y


PARTS: list[Function] = [_part_doubled, _part_written_twice, _middle_of_a_copy]


def test_a_part_that_is_overwritten_is_part_of_the_whole() -> None:
    model = _All(PARTS)
    twin = translate(model, torch.randn(6, 4), axes="b 4", prove=False)
    x = torch.randn(12, 4)
    for function, expected, received in zip(PARTS, model(x), twin.model(jnp.asarray(x.numpy())), strict=True):
        np.testing.assert_allclose(received, expected.numpy(), rtol=1e-6, err_msg=function.__name__)


def _through_two_parts(x: Tensor) -> Tensor:
    y = x * 1
    first, second = y[:, :2], y[:, 1:]
    first.mul_(2)
    second.mul_(3)
    return y


def _a_part_beside_the_overwritten_one(x: Tensor) -> Tensor:
    y = x * 1
    first, second = y[:, :2], y[:, 1:]
    second.mul_(3)
    return first + 1


def _a_part_of_a_part(x: Tensor) -> Tensor:
    y = x * 1
    y[:, 1:][:1].mul_(3)
    return y


@pytest.mark.parametrize("function", [_through_two_parts, _a_part_beside_the_overwritten_one, _a_part_of_a_part])
def test_what_else_lies_in_overwritten_memory_is_refused(function: Function) -> None:
    with pytest.raises(TranslationError, match="overwritten in place through another"):
        translate(_All([function]), torch.randn(3, 4), axes="b 4", prove=False)


class _Joins(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 2)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.fc(torch.cat(features, 1))


class _Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Joins(3 + 2 * n) for n in range(4))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features[::-1], 1)


def test_a_module_that_joins_a_list_is_one_class_for_every_length() -> None:
    model = _Dense()
    twin = translate(model, torch.randn(2, 3), axes="b 3", prove=False)
    assert dict(twin.classes) == {"Joins": 4, "Dense": 1}
    x = torch.randn(5, 3)
    np.testing.assert_allclose(twin.model(jnp.asarray(x.numpy())), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


class _Shuffles(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = x.chunk(2, 1)[0]
        y = torch.cat([kept, self.conv(x)], 1)
        b, c, h, w = y.shape
        return y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class _Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Sequential(*(_Shuffles(8) for _ in range(3)))
        self.up = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(self.up(F.channel_shuffle(self.units(x), 4)) * 2, 2)


def test_images_whose_channels_are_shuffled_stay_channels_last_between_modules() -> None:
    model = _Pixels()
    twin = translate(model, torch.randn(2, 8, 6, 10), axes="b 8 h w", prove=False)
    assert dict(twin.classes) == {"Shuffles": 3, "Pixels": 1}
    assert twin.outputs == ("b h w c",)
    assert '"b h w (g c) -> b h w (c g)", g=2' in twin.source
    assert "b c h w" not in twin.source
    x = torch.randn(3, 8, 5, 7)
    received = twin.model(jnp.asarray(np.moveaxis(x.numpy(), 1, -1)))
    np.testing.assert_allclose(_channels_first(received), model(x).detach().numpy(), rtol=1e-5, atol=1e-5)


class _Projected(nn.Module):
    """Attention over pixels, and what begins with an activation and goes on with a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        pixels = x.flatten(2)
        mixed = pixels @ (pixels.transpose(1, 2) @ pixels).softmax(-1)
        return self.proj(mixed.view(b, c, h, w))


def test_what_begins_with_an_activation_takes_images_channels_last() -> None:
    model = _Projected()
    twin = translate(model, torch.randn(2, 4, 6, 10), axes="b 4 h w", prove=False)
    assert dict(twin.classes) == {"Projected": 1}
    assert "self.proj = Sequential(ReLU(), Conv(4, 3, (1, 1), rngs=rngs))" in twin.source
    x = torch.randn(3, 4, 5, 7)
    received = twin.model(jnp.asarray(np.moveaxis(x.numpy(), 1, -1)))
    np.testing.assert_allclose(_channels_first(received), model(x).detach().numpy(), rtol=1e-5, atol=1e-5)
