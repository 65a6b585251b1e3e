"""The cores over images as `nn.Module`s: channels, pixels and patches.

Each module holds its arguments, checks them when it is built, prints them, and keeps the memory format of
what it is given: a tensor in `torch.channels_last` comes out in `torch.channels_last`.
"""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch import _layer_checks as checks
from einops_arch.functional.depth_space import ORDERS
from einops_arch.functional.gram import NORMALIZE
from einops_arch.torch.functional import (
    channel_shuffle,
    channel_unshuffle,
    depth_to_space,
    gram_matrix,
    patchify,
    space_to_depth,
    unpatchify,
    upsample_nearest,
)


class Wrapper(nn.Module):
    """A module without parameters that prints the arguments it was built with."""

    def extra_repr(self) -> str:
        return checks.printed(self)


class GramMatrix(Wrapper):
    """`b c ... -> b c1 c2`: the inner product of each two channels over space.

    Args:
        normalize: `"spatial"` divides by the number of positions (h*w), `"full"` by c*h*w, `"none"` by
            nothing.
        data_format: where the channels of the input are.

    Raises:
        ConfigError: an argument is none of the names above.

    Source:
        Gatys et al., https://arxiv.org/abs/1508.06576

    Example:
        >>> import torch
        >>> GramMatrix()
        GramMatrix(normalize='spatial')
        >>> GramMatrix()(torch.ones(2, 3, 5, 7))[0]
        tensor([[1., 1., 1.],
                [1., 1., 1.],
                [1., 1., 1.]])
    """

    def __init__(self, normalize: str = "spatial", *, data_format: str = "channels_first") -> None:
        super().__init__()
        name = type(self).__name__
        self.normalize = checks.choice(name, "normalize", normalize, NORMALIZE)
        self.data_format = checks.data_format(name, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return gram_matrix(x, normalize=self.normalize, data_format=self.data_format)


class ChannelShuffle(Wrapper):
    """`b (g k) ... -> b (k g) ...`: deal the channels of `groups` groups out in turn.

    Args:
        groups: number of groups g; divides the channels.
        data_format: where the channels are.

    Raises:
        ConfigError: `groups` is no positive int.
        ShapeError: when called with channels that `groups` does not divide.

    Source:
        ShuffleNet, https://arxiv.org/abs/1707.01083

    Example:
        >>> import torch
        >>> ChannelShuffle(3)
        ChannelShuffle(groups=3)
        >>> ChannelShuffle(3)(torch.arange(6).reshape(1, 6, 1, 1)).flatten()
        tensor([0, 2, 4, 1, 3, 5])
    """

    def __init__(self, groups: int, *, data_format: str = "channels_first") -> None:
        super().__init__()
        self.groups = checks.whole(type(self).__name__, "groups", groups)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(x, self.groups, data_format=self.data_format)


class ChannelUnshuffle(Wrapper):
    """`b (k g) ... -> b (g k) ...`: the inverse of `ChannelShuffle`.

    Args:
        groups: number of groups g that the shuffle had; divides the channels.
        data_format: where the channels are.

    Raises:
        ConfigError: `groups` is no positive int.
        ShapeError: when called with channels that `groups` does not divide.

    Example:
        >>> import torch
        >>> ChannelUnshuffle(3)(torch.tensor([0, 2, 4, 1, 3, 5]).reshape(1, 6, 1, 1)).flatten()
        tensor([0, 1, 2, 3, 4, 5])
    """

    def __init__(self, groups: int, *, data_format: str = "channels_first") -> None:
        super().__init__()
        self.groups = checks.whole(type(self).__name__, "groups", groups)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return channel_unshuffle(x, self.groups, data_format=self.data_format)


class DepthToSpace(Wrapper):
    """`b (c r1 r2) h w -> b c (h r1) (w r2)`: lay groups of channels out as pixels (sub-pixel convolution).

    Equal to `nn.PixelShuffle` with the default order; also for one or three spatial axes, with a factor per
    axis, and in TensorFlow's order.

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
        >>> import torch
        >>> DepthToSpace(3)
        DepthToSpace(factor=3, order='CRD')
        >>> DepthToSpace(3)(torch.zeros(2, 18, 5, 7)).shape
        torch.Size([2, 2, 15, 21])
        >>> DepthToSpace((3, 2), drop_channel=True)(torch.zeros(2, 6, 5, 7)).shape
        torch.Size([2, 15, 14])
    """

    def __init__(
        self,
        factor: int | tuple[int, ...],
        order: str = "CRD",
        *,
        drop_channel: bool = False,
        data_format: str = "channels_first",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.factor = checks.factors(name, "factor", factor)
        self.order = checks.choice(name, "order", order, ORDERS)
        self.drop_channel = checks.flag(name, "drop_channel", drop_channel)
        self.data_format = checks.data_format(name, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(
            x,
            self.factor,
            order=self.order,
            drop_channel=self.drop_channel,
            data_format=self.data_format,
        )


class SpaceToDepth(Wrapper):
    """`b c (h r1) (w r2) -> b (c r1 r2) h w`: the inverse of `DepthToSpace`.

    Equal to `nn.PixelUnshuffle` with the default order.

    Args:
        factor: r, one for all spatial axes or one per axis.
        order: `"CRD"` as in PyTorch, (c r1 r2), or `"DCR"` as in TensorFlow, (r1 r2 c).
        data_format: where the channels are.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: when called with spatial sizes that the factors do not divide.

    Example:
        >>> import torch
        >>> SpaceToDepth(2, order="DCR")
        SpaceToDepth(factor=2, order='DCR')
        >>> SpaceToDepth(2)(torch.zeros(2, 3, 10, 14)).shape
        torch.Size([2, 12, 5, 7])
    """

    def __init__(
        self, factor: int | tuple[int, ...], order: str = "CRD", *, data_format: str = "channels_first"
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.factor = checks.factors(name, "factor", factor)
        self.order = checks.choice(name, "order", order, ORDERS)
        self.data_format = checks.data_format(name, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return space_to_depth(x, self.factor, order=self.order, data_format=self.data_format)


class UpsampleNearest(Wrapper):
    """`b c h w -> b c (h r1) (w r2)`: repeat every pixel.

    Equal to `nn.Upsample(scale_factor=r, mode="nearest")` for whole factors, in any dtype.

    Args:
        factor: r, one for all spatial axes or one per axis.
        data_format: where the channels are.

    Raises:
        ConfigError: `factor` is out of range.

    Example:
        >>> import torch
        >>> UpsampleNearest(2)
        UpsampleNearest(factor=2)
        >>> UpsampleNearest((1, 2))(torch.tensor([[[[1, 2]]]]))
        tensor([[[[1, 1, 2, 2]]]])
    """

    def __init__(self, factor: int | tuple[int, ...], *, data_format: str = "channels_first") -> None:
        super().__init__()
        self.factor = checks.factors(type(self).__name__, "factor", factor)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return upsample_nearest(x, self.factor, data_format=self.data_format)


class Patchify(Wrapper):
    """`b c (h p1) (w p2) -> b (h w) (c p1 p2)`: cut an image into patches, one token each.

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
        >>> import torch
        >>> Patchify(4)
        Patchify(patch=4)
        >>> Patchify(4)(torch.zeros(2, 3, 8, 12)).shape
        torch.Size([2, 6, 48])
    """

    def __init__(self, patch: int | tuple[int, ...], *, data_format: str = "channels_first") -> None:
        super().__init__()
        self.patch = checks.factors(type(self).__name__, "patch", patch)
        self.data_format = checks.data_format(type(self).__name__, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return patchify(x, self.patch, data_format=self.data_format)


class Unpatchify(Wrapper):
    """`b (h w) (c p1 p2) -> b c (h p1) (w p2)`: the inverse of `Patchify`.

    Args:
        patch: p, one for all spatial axes or one per axis.
        grid: number of patches along each spatial axis, (h, w).
        data_format: where the channels of the image are to be.

    Raises:
        ConfigError: an argument is out of range, or both speak of different numbers of axes.
        ShapeError: when called with tokens that do not fill the grid.

    Example:
        >>> import torch
        >>> Unpatchify(4, grid=(2, 3))
        Unpatchify(patch=4, grid=(2, 3))
        >>> Unpatchify(4, grid=(2, 3))(torch.zeros(2, 6, 48)).shape
        torch.Size([2, 3, 8, 12])
    """

    def __init__(
        self, patch: int | tuple[int, ...], grid: tuple[int, ...], *, data_format: str = "channels_first"
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.patch = checks.factors(name, "patch", patch)
        self.grid = checks.sizes(name, "grid", grid, fewest=1)
        checks.one_per_axis(name, "patch", self.patch, self.grid)
        self.data_format = checks.data_format(name, data_format)

    def forward(self, x: Tensor) -> Tensor:
        return unpatchify(x, self.patch, self.grid, data_format=self.data_format)
