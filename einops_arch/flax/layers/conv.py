"""Convolutions that mean what PyTorch's mean: integer padding, padding modes, groups, output padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from flax.nnx.nn import dtypes

from einops_arch._settings import check_choice
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import (
    check_channels,
    check_groups,
    check_rank,
    check_sizes,
    check_space,
    per_axis,
    spatial_pattern,
    window_outputs,
)
from einops_arch.flax.functional._dtypes import check_floating
from einops_arch.flax.functional.pad import check_reach
from einops_arch.flax.kernels.convolve import Settings, convolve
from einops_arch.flax.layers.init import Initializer, uniform_fan_in

__all__ = ["Conv", "ConvTranspose"]

_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "circular": "wrap", "replicate": "edge"}


class Conv(nnx.Conv):
    """`b *s i -> b *s o`: PyTorch's `Conv1d`, `Conv2d` and `Conv3d`, by the length of kernel_size.

    Differs from `nnx.Conv`: integer padding (default 0) as in PyTorch, never `"SAME"`, which is not symmetric with
    strides; `padding_mode`; PyTorch's initial distribution, for the bias too; grouped, depthwise and 1x1 convolutions
    are fast on a CPU. The leaves are those of `nnx.Conv`: `kernel` (`*k i o`, i counted per group) and `bias` (o).

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: a tuple with one size per spatial axis. One integer is refused, as `nnx.Conv` reads it as 1D.
        strides: one integer, or one per spatial axis; the same for padding and kernel_dilation.
        padding: how much is put on both sides of each spatial axis; or PyTorch's `"same"`, which is for strides of 1
            and puts the odd one on the far side, or `"valid"`, which is 0.
        kernel_dilation: the distance between two values that the kernel takes.
        feature_group_count: PyTorch's `groups`.
        use_bias: whether a bias is added.
        padding_mode: `"zeros"`, `"reflect"`, `"circular"` or `"replicate"`.
        kernel_init: another initial distribution, as NNX has them; PyTorch's if left out. The same for bias_init.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a setting is out of range, kernel_size is an integer, or the groups do not divide the channels.
        ShapeError: when called with another rank or number of channels, or with an image smaller than the kernel.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> conv = Conv(3, 8, (3, 3), strides=2, padding=1, rngs=nnx.Rngs(0))
    >>> conv(jnp.ones((2, 9, 12, 3))).shape
    (2, 5, 6, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, ...],
        strides: int | Sequence[int] = 1,
        *,
        padding: int | Sequence[int] | str = 0,
        kernel_dilation: int | Sequence[int] = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        padding_mode: str = "zeros",
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        kernel_size = _kernel_size("Conv", kernel_size)
        axes = len(kernel_size)
        check_sizes("Conv", in_features=in_features, out_features=out_features)
        check_groups("Conv", feature_group_count, in_features=in_features, out_features=out_features)
        check_choice("Conv", "padding_mode", padding_mode, tuple(_PAD_MODES))
        strides = per_axis("Conv", "strides", strides, axes, 1)
        kernel_dilation = per_axis("Conv", "kernel_dilation", kernel_dilation, axes, 1)
        self.padding_widths = _padding_pairs(padding, kernel_size, strides, kernel_dilation)
        self.padding_mode = padding_mode
        fan_in = in_features // feature_group_count
        for size in kernel_size:
            fan_in *= size
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            padding=self.padding_widths,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            use_bias=use_bias,
            kernel_init=kernel_init or uniform_fan_in(fan_in),
            bias_init=bias_init or uniform_fan_in(fan_in),
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Convolves.

        Args:
            inputs: b *s i, channels last; the batch axis may be left out.

        Returns:
            b *s o.
        """
        axes, shape = len(self.kernel_size), inputs.shape
        check_rank("Conv", shape, axes)
        check_space("Conv", shape, axes)
        check_floating("Conv", inputs)
        check_channels("Conv", shape, self.in_features, what="input channels")
        window_outputs("Conv", shape, self.kernel_size, self.strides, self.padding_widths, self.kernel_dilation)
        x, kernel, bias = self.promote_dtype((inputs, self._kernel(), _value(self.bias)), dtype=self.dtype)
        if x.ndim == axes + 1:
            x = x[None]
        padding = self.padding
        if self.padding_mode != "zeros" and any(map(any, self.padding_widths)):
            check_reach("Conv", shape, self.padding_mode, self.padding)
            x = jnp.pad(x, [(0, 0), *self.padding, (0, 0)], mode=_PAD_MODES[self.padding_mode])
            padding = ((0, 0),) * axes
        y = convolve(
            x,
            kernel,
            Settings(
                strides=self.strides,
                padding=padding,
                lhs_dilation=(1,) * axes,
                rhs_dilation=self.kernel_dilation,
                groups=self.feature_group_count,
                precision=self.precision,
            ),
        )
        if bias is not None:
            y = y + jnp.reshape(bias, (1,) * (axes + 1) + (-1,))
        return y if inputs.ndim == axes + 2 else y[0]

    def _kernel(self) -> jax.Array:
        """The kernel that is convolved with; a subclass may make it of the leaf."""
        return self.kernel[...]


class ConvTranspose(nnx.Module):
    """`b *s i -> b *s o`: PyTorch's `ConvTranspose1d`, `2d` and `3d`, by the length of kernel_size.

    Differs from `nnx.ConvTranspose`, which has neither groups nor output padding: padding is PyTorch's (it takes away
    from the output), and `kernel` is stored `*k o i`, with o counted per group and i over all input channels, which
    is PyTorch's `i o *k` with its axes moved and nothing flipped.

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: a tuple with one size per spatial axis.
        strides: one integer, or one per spatial axis; the same for the next three.
        padding: how much is taken from both sides of the output.
        output_padding: how much is added to the far side of the output; smaller than stride or dilation.
        kernel_dilation: the distance between two values that the kernel reaches.
        feature_group_count: PyTorch's `groups`.
        use_bias: whether a bias is added.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a setting is out of range, or the groups do not divide the channels.
        ShapeError: when called with another rank or number of channels, or with an image that leaves no output.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> up = ConvTranspose(4, 6, (3, 3), strides=2, padding=1, output_padding=1, rngs=nnx.Rngs(0))
    >>> up(jnp.ones((2, 5, 7, 4))).shape
    (2, 10, 14, 6)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, ...],
        strides: int | Sequence[int] = 1,
        *,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        kernel_dilation: int | Sequence[int] = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        layer = "ConvTranspose"
        self.kernel_size = _kernel_size(layer, kernel_size)
        axes = len(self.kernel_size)
        check_sizes(layer, in_features=in_features, out_features=out_features)
        check_groups(layer, feature_group_count, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.strides = per_axis(layer, "strides", strides, axes, 1)
        self.padding = _padding(layer, padding, axes)
        self.output_padding = per_axis(layer, "output_padding", output_padding, axes, 0)
        self.kernel_dilation = per_axis(layer, "kernel_dilation", kernel_dilation, axes, 1)
        self.feature_group_count = feature_group_count
        self.use_bias = use_bias
        limits = tuple(max(s, d) for s, d in zip(self.strides, self.kernel_dilation, strict=True))
        if any(extra >= limit for extra, limit in zip(self.output_padding, limits, strict=True)):
            raise ConfigError(
                f"{layer}: expected output_padding below the larger of strides and kernel_dilation, {limits}, "
                f"received {self.output_padding}"
            )
        fan_in = out_features // feature_group_count  # PyTorch counts axis 1 of its (i o *k) weight
        for size in self.kernel_size:
            fan_in *= size
        init = uniform_fan_in(fan_in)
        kernel_shape = (*self.kernel_size, out_features // feature_group_count, in_features)
        self.dtype: Any = None  # what is computed in; the widest of input and weights if None
        self.kernel = nnx.Param(init(rngs.params(), kernel_shape, jnp.float32))
        self.bias: Any = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(init(rngs.params(), (out_features,), jnp.float32))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the transposed convolution.

        Args:
            inputs: b *s i, channels last; the batch axis may be left out.

        Returns:
            b *s o, each spatial size being
            (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1.
        """
        axes, shape = len(self.kernel_size), inputs.shape
        check_rank("ConvTranspose", shape, axes)
        check_space("ConvTranspose", shape, axes)
        check_floating("ConvTranspose", inputs)
        check_channels("ConvTranspose", shape, self.in_features, what="input channels")
        reach = [d * (k - 1) for k, d in zip(self.kernel_size, self.kernel_dilation, strict=True)]
        padding = tuple(
            (r - p, r - p + extra) for r, p, extra in zip(reach, self.padding, self.output_padding, strict=True)
        )
        outputs = tuple(
            (size - 1) * s + 1 + low + high - r
            for size, s, (low, high), r in zip(shape[-axes - 1 : -1], self.strides, padding, reach, strict=True)
        )
        if min(outputs) < 1:
            raise ShapeError(
                f"ConvTranspose: expected an output of at least 1 along each of '{spatial_pattern(axes)[2:-2]}', "
                f"received {outputs} from shape {shape}; likely fix: less padding than {self.padding}"
            )
        x, kernel, bias = dtypes.promote_dtype((inputs, self.kernel[...], _value(self.bias)), dtype=self.dtype)
        if x.ndim == axes + 1:
            x = x[None]
        kernel = jnp.flip(kernel, axis=tuple(range(axes)))
        y = convolve(
            x,
            rearrange(kernel, "... o (g i) -> ... i (g o)", g=self.feature_group_count),
            Settings(
                strides=(1,) * axes,
                padding=padding,
                lhs_dilation=self.strides,
                rhs_dilation=self.kernel_dilation,
                groups=self.feature_group_count,
            ),
        )
        if bias is not None:
            y = y + jnp.reshape(bias, (1,) * (axes + 1) + (-1,))
        return y if inputs.ndim == axes + 2 else y[0]


def _value(variable: nnx.Param | None) -> jax.Array | None:
    return None if variable is None else variable[...]


def _kernel_size(layer: str, kernel_size: Any) -> tuple[int, ...]:
    if isinstance(kernel_size, int):
        raise ConfigError(
            f"{layer}: expected kernel_size as a tuple with one size per spatial axis, received the integer "
            f"{kernel_size}, which NNX would read as a 1D kernel whatever the input; "
            f"likely fix: kernel_size=({kernel_size}, {kernel_size}) for images"
        )
    if not isinstance(kernel_size, (tuple, list)) or not 1 <= len(kernel_size) <= 3:
        raise ConfigError(f"{layer}: expected kernel_size as a tuple of 1, 2 or 3 integers, received {kernel_size!r}")
    return per_axis(layer, "kernel_size", kernel_size, len(kernel_size), 1)


def _padding_pairs(
    padding: Any, kernel_size: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """How much is put before and after each spatial axis."""
    if padding == "valid":
        padding = 0
    if not isinstance(padding, str):
        return tuple((p, p) for p in _padding("Conv", padding, len(kernel_size)))
    if padding != "same":
        raise ConfigError(
            f"Conv: expected padding in integers, 'same' or 'valid', received {padding!r}; likely fix: "
            "padding=kernel_size // 2 for odd kernels ('SAME' pads the two sides unequally where strides are above 1)"
        )
    if any(stride != 1 for stride in strides):
        raise ConfigError(f"Conv: expected strides of 1 with padding 'same', as PyTorch does, received {strides}")
    spare = [d * (size - 1) for size, d in zip(kernel_size, dilation, strict=True)]
    return tuple((s // 2, s - s // 2) for s in spare)


def _padding(layer: str, padding: Any, axes: int) -> tuple[int, ...]:
    if isinstance(padding, str):
        raise ConfigError(f"{layer}: expected padding in integers, received {padding!r}")
    return per_axis(layer, "padding", padding, axes, 0)
