"""Keeping a tensor's memory format, and asking when one of PyTorch's own kernels is worth calling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from einops_arch.errors import ShapeError


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
    """Whether an own kernel of PyTorch may stand in for a core: eagerly and on a CPU, where it was measured.

    A compiler sees through the core, and forward-mode derivatives of `F.channel_shuffle` go through the
    deprecated `torch.jit.script`.
    """
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and forward_ad.unpack_dual(x).tangent is None
    )
