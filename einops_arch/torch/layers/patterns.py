"""einops' layers, each one node in a graph of `torch.fx`, and `Repeat`, for which einops has no PyTorch class."""

from __future__ import annotations

from typing import Any

import torch
from einops._torch_specific import apply_for_scriptable_torch
from einops.layers import torch as einops_layers
from torch import Tensor, nn
from torch.fx import Proxy

from einops_arch import _layer_checks as checks
from einops_arch.torch.functional import leaf, rearrange, reduce

__all__ = ["EinMix", "Rearrange", "Reduce", "Repeat"]


class Rearrange(einops_layers.Rearrange):
    """`einops.layers.torch.Rearrange`, which `torch.fx` can trace.

    `forward` is einops' own where no symbol comes; TorchScript, which reads it, knows no `super`.

    It takes what einops' takes: the pattern, both sides, such as `"b c h w -> b (c h w)"`, and by name the sizes of
    axes that cannot be told from the array.

    Source:
        https://einops.rocks/api/rearrange

    Example:
        >>> import torch
        >>> torch.fx.symbolic_trace(Rearrange("b (c r) -> b c r", r=3))(torch.zeros(2, 12)).shape
        torch.Size([2, 4, 3])
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - einops' name
        if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript leaves out what stands below this alone
            if isinstance(input, Proxy):
                return self._node(input)
        recipe = self._multirecipe[input.ndim]
        return apply_for_scriptable_torch(recipe, input, reduction_type="rearrange", axes_dims=self._axes_lengths)

    @torch.jit.unused
    def _node(self, input: Proxy) -> Any:  # noqa: A002
        return rearrange(input, self.pattern, **self.axes_lengths)


class Reduce(einops_layers.Reduce):
    """`einops.layers.torch.Reduce`, which `torch.fx` can trace.

    It takes what einops' takes: the pattern, both sides, such as `"b c h w -> b c"`; the reduction, `"mean"`, `"sum"`,
    `"max"`, `"min"`, `"prod"`, `"any"` or `"all"`; and by name the sizes of axes that cannot be told from the array.

    Source:
        https://einops.rocks/api/reduce

    Example:
        >>> import torch
        >>> torch.fx.symbolic_trace(Reduce("b c h w -> b c", "mean"))(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 3])
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - einops' name
        if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript leaves out what stands below this alone
            if isinstance(input, Proxy):
                return self._node(input)
        recipe = self._multirecipe[input.ndim]
        return apply_for_scriptable_torch(recipe, input, reduction_type=self.reduction, axes_dims=self._axes_lengths)

    @torch.jit.unused
    def _node(self, input: Proxy) -> Any:  # noqa: A002
        return reduce(input, self.pattern, self.reduction, **self.axes_lengths)


class EinMix(einops_layers.EinMix):
    """`einops.layers.torch.EinMix`, which `torch.fx` can trace.

    It takes what einops' takes: the pattern, both sides, such as `"b t i -> b t o"`; `weight_shape`, the axes of the
    weight, such as `"i o"`; `bias_shape`, those of the bias, none if left out; and by name the sizes of the weight's
    axes.

    Source:
        https://einops.rocks/docs/3-einmix-layer

    Example:
        >>> import torch
        >>> mix = EinMix("b (h i) -> b (h o)", weight_shape="h i o", h=2, i=3, o=5)
        >>> torch.fx.symbolic_trace(mix)(torch.zeros(7, 6)).shape
        torch.Size([7, 10])
    """

    def _create_rearrange_layers(
        self, before: str | None, before_lengths: Any, after: str | None, after_lengths: Any
    ) -> None:
        self.pre_rearrange = None if before is None else Rearrange(before, **before_lengths)
        self.post_rearrange = None if after is None else Rearrange(after, **after_lengths)


class Repeat(nn.Module):
    """`einops.repeat(x, pattern, **axes_lengths)` as a layer, checked when it is built.

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
        repeated: Tensor = _apply_pattern(x, type(self).__name__, self.pattern, sizes)
        return repeated

    def extra_repr(self) -> str:
        return checks.printed_pattern([self.pattern], self.axes_lengths.items())


@leaf
def _apply_pattern(x: Tensor, owner: str, pattern: str, sizes: checks.AxesLengths) -> Any:
    return checks.apply_pattern(owner, x, pattern, "repeat", sizes)
