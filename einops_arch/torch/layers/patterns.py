"""`Repeat`, the pattern layer that einops has no PyTorch class for."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch import _layer_checks as checks


class Repeat(nn.Module):
    """`einops.repeat(x, pattern, **axes_lengths)` as a layer, checked when it is built.

    Beside `Rearrange` and `Reduce`, which `einops.layers.torch` has, and which are exported here as they are.

    Args:
        pattern: both sides, such as `"b c h w -> b c (h r) (w r2)"`.
        **axes_lengths: size of each new axis; each a positive int.

    Raises:
        PatternError: the pattern does not parse, or a new axis has no size.
        ConfigError: a size is no positive int.
        ShapeError: when called with a tensor that does not fit the left side.

    Source:
        https://einops.rocks/api/repeat

    Example:
        >>> import torch
        >>> grey_to_rgb = Repeat("b h w -> b c h w", c=3)
        >>> grey_to_rgb
        Repeat('b h w -> b c h w', c=3)
        >>> grey_to_rgb(torch.zeros(2, 5, 7)).shape
        torch.Size([2, 3, 5, 7])
    """

    def __init__(self, pattern: str, **axes_lengths: int) -> None:
        super().__init__()
        self.pattern, sizes = checks.check_pattern(type(self).__name__, pattern, "repeat", axes_lengths)
        self.axes_lengths = dict(sizes)

    def forward(self, x: Tensor) -> Tensor:
        sizes = tuple(self.axes_lengths.items())
        repeated: Tensor = checks.apply_pattern(type(self).__name__, x, self.pattern, "repeat", sizes)
        return repeated

    def extra_repr(self) -> str:
        return checks.printed_pattern([self.pattern], self.axes_lengths.items())
