"""Keeping a tensor's memory format, and asking when one of PyTorch's own kernels is worth calling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from einops_arch.errors import ShapeError

# Up to this many elements, which caches hold, PyTorch's kernel was measured to be faster for any number of groups.
_SMALL = 1 << 20


def is_channels_last(x: Tensor) -> bool:
    """Whether a 4D or 5D tensor lies channels last in memory, and in no other way.

    A tensor that fits both formats (one channel, one pixel, no element) counts as an ordinary one.
    Asked of the NHWC view, because `torch.func.vmap` answers `is_contiguous` for the default format only.
    """
    return x.ndim in (4, 5) and not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def keep_memory_format(
    core: Callable[..., Tensor], x: Tensor, data_format: str, *, moves_channels: bool = True
) -> Tensor:
    """Run a core so that a tensor that lies channels last is read as it lies, and stays so.

    The core gets the NHWC view, which costs nothing, and its result is seen channels first again.

    Args:
        core: takes the tensor and `data_format`.
        x: b c h w or b c d h w (anything else goes to the core as it is).
        data_format: what the axes mean, `"channels_first"` or `"channels_last"`.
        moves_channels: whether the result has channels to be moved back.
    """
    if data_format == "channels_first" and is_channels_last(x):
        try:
            moved = core(x.movedim(1, -1), data_format="channels_last")
        except ShapeError:
            pass  # below, the core says the same in the axes of the caller
        else:
            return moved.movedim(-1, 1) if moves_channels else moved
    return core(x, data_format=data_format)


def may_call_kernel(x: Tensor) -> bool:
    """Whether a kernel of PyTorch's own may stand in for a core: on a CPU, where it was measured, and eagerly.

    A compiler sees through the core and fuses it; a kernel it can only call.
    """
    return x.is_cpu and not torch.compiler.is_compiling()


def shuffle_kernel_pays(x: Tensor, groups: int) -> bool:
    """Whether `F.channel_shuffle` fits and beats the core.

    Measured, time of the kernel over time of the core: ordinary tensors 0.3 to 0.9; channels_last 0.2 to 1.1,
    but 0.9 to 3.4 for large tensors with 3, 5 or 6 groups or with groups of 3 channels.
    """
    if not x.is_cpu or x.ndim < 3 or x.shape[1] % groups:
        return False
    if x.is_contiguous():
        return True  # to a compiler as well, which knows this kernel as a view, a permutation and a view
    if not is_channels_last(x) or not may_call_kernel(x):
        return False
    return (groups not in (3, 5, 6) and x.shape[1] != 3 * groups) or x.numel() <= _SMALL


def pixel_kernel_factor(x: Tensor, factor: int | tuple[int, ...], order: str, data_format: str) -> int:
    """The factor to call PyTorch's kernel for pixels with, where that means the same and is faster, or 0."""
    if order != "CRD" or data_format != "channels_first" or x.ndim != 4 or not may_call_kernel(x):
        return 0
    only = {factor} if isinstance(factor, int) else set(factor)
    fits = isinstance(factor, int) or len(factor) == 2
    return only.pop() if fits and len(only) == 1 and is_channels_last(x) else 0


def interpolate_fits(x: Tensor, factor: int | tuple[int, ...], data_format: str) -> bool:
    """Whether `F.interpolate` is the core, which repeats the same pixels: it keeps the memory format, too.

    Measured, time of the kernel over time of the core: 0.2 to 0.8 forward, and 0.1 to 0.6 for the gradient, where the
    core sums over axes of its own. Not with three spatial axes: there the gradient loses the memory format.
    """
    fits = data_format == "channels_first" and x.ndim in (3, 4) and x.is_floating_point()
    fits = fits and (isinstance(factor, int) or len(factor) == x.ndim - 2)
    return fits and 0 not in x.shape and may_call_kernel(x)


def upsampled(sizes: torch.Size, factor: int | tuple[int, ...]) -> list[int]:
    """The sizes of an image after upsampling by a factor, or one for each axis."""
    factors = [factor] * len(sizes) if isinstance(factor, int) else factor
    return [size * factor for size, factor in zip(sizes, factors, strict=True)]
