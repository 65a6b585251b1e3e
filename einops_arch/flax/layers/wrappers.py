"""The cores over images as `nnx.Module`s: channels, pixels and patches.

Each module holds its arguments, checks them when it is built and prints them. It has no parameters: all of it
is static in a program. Channels are last unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from flax import nnx
from flax.nnx import reprlib
from jax import Array

from einops_arch import _layer_checks as checks
from einops_arch.flax.kernels.gram import gram
from einops_arch.functional import (
    channel_shuffle,
    channel_unshuffle,
    depth_to_space,
    patchify,
    space_to_depth,
    unpatchify,
    upsample_nearest,
)
from einops_arch.functional.depth_space import ORDERS
from einops_arch.functional.gram import NORMALIZE


class Wrapper(nnx.Module):
    """A module without parameters that prints the arguments it was built with, in one line."""

    def __nnx_repr__(self) -> Iterator[reprlib.Object]:
        yield reprlib.Object(type=type(self), empty_repr=checks.printed(self))


class GramMatrix(Wrapper):
    """`b ... c -> b c1 c2`: the inner product of each two channels over space.

    Args:
        normalize: `"spatial"` divides by the number of positions (h*w), `"full"` by c*h*w, `"none"` by
            nothing.
        data_format: where the channels of the input are.

    Raises:
        ConfigError: an argument is none of the names above.

    Source:
        Gatys et al., https://arxiv.org/abs/1508.06576

    Example:
        >>> import jax.numpy as jnp
        >>> GramMatrix()
        GramMatrix(normalize='spatial')
        >>> GramMatrix()(jnp.ones((2, 5, 7, 3)))[0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, normalize: str = "spatial", *, data_format: str = "channels_last") -> None:
        name = type(self).__name__
        self.normalize = checks.choice(name, "normalize", normalize, NORMALIZE)
        self.data_format = checks.data_format(name, data_format)

    def __call__(self, x: Array) -> Array:
        return gram(x, self.normalize, self.data_format)


class ChannelShuffle(Wrapper):
    """`b ... (g k) -> b ... (k g)`: deal the channels of `groups` groups out in turn.

    Args:
        groups: number of groups g; divides the channels.
        data_format: where the channels are.

    Raises:
        ConfigError: `groups` is no positive int.
        ShapeError: when called with channels that `groups` does not divide.

    Source:
        ShuffleNet, https://arxiv.org/abs/1707.01083

    Example:
        >>> import jax.numpy as jnp
        >>> ChannelShuffle(3)
        ChannelShuffle(groups=3)
        >>> ChannelShuffle(3)(jnp.arange(6).reshape(1, 1, 1, 6)).flatten().tolist()
        [0, 2, 4, 1, 3, 5]
    """

    def __init__(self, groups: int, *, data_format: str = "channels_last") -> None:
        self.groups = checks.whole(type(self).__name__, "groups", groups)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def __call__(self, x: Array) -> Array:
        return channel_shuffle(x, self.groups, data_format=self.data_format)


class ChannelUnshuffle(Wrapper):
    """`b ... (k g) -> b ... (g k)`: the inverse of `ChannelShuffle`.

    Args:
        groups: number of groups g that the shuffle had; divides the channels.
        data_format: where the channels are.

    Raises:
        ConfigError: `groups` is no positive int.
        ShapeError: when called with channels that `groups` does not divide.

    Example:
        >>> import jax.numpy as jnp
        >>> ChannelUnshuffle(3)(jnp.array([[0, 2, 4, 1, 3, 5]])).tolist()
        [[0, 1, 2, 3, 4, 5]]
    """

    def __init__(self, groups: int, *, data_format: str = "channels_last") -> None:
        self.groups = checks.whole(type(self).__name__, "groups", groups)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def __call__(self, x: Array) -> Array:
        return channel_unshuffle(x, self.groups, data_format=self.data_format)


class DepthToSpace(Wrapper):
    """`b h w (c r1 r2) -> b (h r1) (w r2) c`: lay groups of channels out as pixels (sub-pixel convolution).

    Equal to PyTorch's `nn.PixelShuffle` with the default order; also for one or three spatial
    axes, with a factor per axis, and in TensorFlow's order.

    Args:
        factor: r, one for all spatial axes or one per axis.
        order: `"CRD"` as in PyTorch, (c r1 r2), or `"DCR"` as in TensorFlow, (r1 r2 c).
        drop_channel: give b h w, without the axis of the one channel that is left.
        data_format: where the channels are.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: when called with channels that the product of the factors does not divide.

    Source:
        ESPCN, https://arxiv.org/abs/1609.05158; the names of the orders are those of ONNX

    Example:
        >>> import jax.numpy as jnp
        >>> DepthToSpace(3)
        DepthToSpace(factor=3, order='CRD')
        >>> DepthToSpace(3)(jnp.zeros((2, 5, 7, 18))).shape
        (2, 15, 21, 2)
        >>> DepthToSpace((3, 2), drop_channel=True)(jnp.zeros((2, 5, 7, 6))).shape
        (2, 15, 14)
    """

    def __init__(
        self,
        factor: int | tuple[int, ...],
        order: str = "CRD",
        *,
        drop_channel: bool = False,
        data_format: str = "channels_last",
    ) -> None:
        name = type(self).__name__
        self.factor = checks.factors(name, "factor", factor)
        self.order = checks.choice(name, "order", order, ORDERS)
        self.drop_channel = checks.flag(name, "drop_channel", drop_channel)
        self.data_format = checks.data_format(name, data_format)

    def __call__(self, x: Array) -> Array:
        return depth_to_space(
            x,
            self.factor,
            order=self.order,
            drop_channel=self.drop_channel,
            data_format=self.data_format,
        )


class SpaceToDepth(Wrapper):
    """`b (h r1) (w r2) c -> b h w (c r1 r2)`: the inverse of `DepthToSpace`.

    Equal to PyTorch's `nn.PixelUnshuffle` with the default order.

    Args:
        factor: r, one for all spatial axes or one per axis.
        order: `"CRD"` as in PyTorch, (c r1 r2), or `"DCR"` as in TensorFlow, (r1 r2 c).
        data_format: where the channels are.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: when called with spatial sizes that the factors do not divide.

    Example:
        >>> import jax.numpy as jnp
        >>> SpaceToDepth(2, order="DCR")
        SpaceToDepth(factor=2, order='DCR')
        >>> SpaceToDepth(2)(jnp.zeros((2, 10, 14, 3))).shape
        (2, 5, 7, 12)
    """

    def __init__(
        self, factor: int | tuple[int, ...], order: str = "CRD", *, data_format: str = "channels_last"
    ) -> None:
        name = type(self).__name__
        self.factor = checks.factors(name, "factor", factor)
        self.order = checks.choice(name, "order", order, ORDERS)
        self.data_format = checks.data_format(name, data_format)

    def __call__(self, x: Array) -> Array:
        return space_to_depth(x, self.factor, order=self.order, data_format=self.data_format)


class UpsampleNearest(Wrapper):
    """`b h w c -> b (h r1) (w r2) c`: repeat every pixel.

    Equal to PyTorch's `nn.Upsample(scale_factor=r, mode="nearest")` for whole factors.

    Args:
        factor: r, one for all spatial axes or one per axis.
        data_format: where the channels are.

    Raises:
        ConfigError: `factor` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> UpsampleNearest(2)
        UpsampleNearest(factor=2)
        >>> UpsampleNearest((1, 2))(jnp.array([[[[1], [2]]]])).tolist()
        [[[[1], [1], [2], [2]]]]
    """

    def __init__(self, factor: int | tuple[int, ...], *, data_format: str = "channels_last") -> None:
        self.factor = checks.factors(type(self).__name__, "factor", factor)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def __call__(self, x: Array) -> Array:
        return upsample_nearest(x, self.factor, data_format=self.data_format)


class Patchify(Wrapper):
    """`b (h p1) (w p2) c -> b (h w) (c p1 p2)`: cut an image into patches, one token each.

    A Linear after it is a convolution whose kernel and stride are the patch.

    Args:
        patch: p, one for all spatial axes or one per axis.
        data_format: where the channels of the image are.

    Raises:
        ConfigError: `patch` is out of range.
        ShapeError: when called with spatial sizes that the patch does not divide.

    Source:
        Vision Transformer, https://arxiv.org/abs/2010.11929

    Example:
        >>> import jax.numpy as jnp
        >>> Patchify(4)
        Patchify(patch=4)
        >>> Patchify(4)(jnp.zeros((2, 8, 12, 3))).shape
        (2, 6, 48)
    """

    def __init__(self, patch: int | tuple[int, ...], *, data_format: str = "channels_last") -> None:
        self.patch = checks.factors(type(self).__name__, "patch", patch)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def __call__(self, x: Array) -> Array:
        return patchify(x, self.patch, data_format=self.data_format)


class Unpatchify(Wrapper):
    """`b (h w) (c p1 p2) -> b (h p1) (w p2) c`: the inverse of `Patchify`.

    Args:
        patch: p, one for all spatial axes or one per axis.
        grid: number of patches along each spatial axis, (h, w).
        data_format: where the channels of the image are to be.

    Raises:
        ConfigError: an argument is out of range, or both speak of different numbers of axes.
        ShapeError: when called with tokens that do not fill the grid.

    Example:
        >>> import jax.numpy as jnp
        >>> Unpatchify(4, grid=(2, 3))
        Unpatchify(patch=4, grid=(2, 3))
        >>> Unpatchify(4, grid=(2, 3))(jnp.zeros((2, 6, 48))).shape
        (2, 8, 12, 3)
    """

    def __init__(
        self, patch: int | tuple[int, ...], grid: tuple[int, ...], *, data_format: str = "channels_last"
    ) -> None:
        name = type(self).__name__
        self.patch = checks.factors(name, "patch", patch)
        self.grid = checks.sizes(name, "grid", grid, fewest=1)
        checks.one_per_axis(name, "patch", self.patch, self.grid)
        self.data_format = checks.data_format(name, data_format)

    def __call__(self, x: Array) -> Array:
        return unpatchify(x, self.patch, self.grid, data_format=self.data_format)
