"""The cores for PyTorch: in PyTorch's own kernels where those win, and as nodes of a graph of `torch.fx`.

Same names and arguments as in `einops_arch.functional`, whose documentation is theirs; so are `rearrange`, `reduce` and
`repeat` of einops. They keep the memory format of what they are given: a tensor in `torch.channels_last` comes out in
`torch.channels_last`.

`torch.fx.symbolic_trace` calls a model with symbols that have no shape, which neither checks nor einops can look into.
A function of this file becomes one node of the graph then, whatever tracer it is, and runs as usual when the graph
does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import einops
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Proxy

from einops_arch import functional as cores
from einops_arch.torch.memory import (
    interpolate_fits,
    keep_memory_format,
    pixel_kernel_factor,
    shuffle_kernel_pays,
    upsampled,
)

__all__ = [
    "channel_shuffle",
    "channel_unshuffle",
    "content_loss",
    "depth_to_space",
    "flatten_features",
    "flatten_sequence",
    "gram_matrix",
    "leaf",
    "merge_directions",
    "merge_heads",
    "patchify",
    "rearrange",
    "reduce",
    "repeat",
    "space_to_depth",
    "split_directions",
    "split_heads",
    "style_loss",
    "to_channels_first",
    "to_channels_last",
    "total_variation",
    "unflatten_features",
    "unflatten_sequence",
    "unpatchify",
    "upsample_nearest",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def leaf(function: Function) -> Function:
    """Make a function one node of a graph of `torch.fx`: called with a symbol, it is recorded and not run.

    As `torch.fx.wrap` does for the functions of one file; this one keeps its meaning where it is imported.

    >>> import torch
    >>> double = leaf(lambda x: 2 * x if len(x) else x)
    >>> torch.fx.symbolic_trace(lambda x: double(x) + 1)(torch.ones(1))
    tensor([3.])
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            if isinstance(value, Proxy):
                # A graph is pickled by the names of its functions: decorated, the name is that of `call`.
                named = getattr(sys.modules[function.__module__], function.__name__, None)
                return value.__torch_function__(function if named is function else call, (Proxy,), args, kwargs)
        return function(*args, **kwargs)

    return cast("Function", call)


@leaf
def gram_matrix(x: Tensor, *, normalize: str = "spatial", data_format: str = "channels_first") -> Tensor:
    """`b c ... -> b c1 c2`; the NHWC view of a channels_last tensor is multiplied without a copy."""
    core = partial(cores.gram_matrix, normalize=normalize)
    return keep_memory_format(core, x, data_format, moves_channels=False)


@leaf
def channel_shuffle(x: Tensor, groups: int, *, data_format: str = "channels_first") -> Tensor:
    """`b (g k) ... -> b (k g) ...`."""
    if data_format == "channels_first" and shuffle_kernel_pays(x, groups):
        return F.channel_shuffle(x, groups)
    return keep_memory_format(partial(cores.channel_shuffle, groups=groups), x, data_format)


@leaf
def channel_unshuffle(x: Tensor, groups: int, *, data_format: str = "channels_first") -> Tensor:
    """`b (k g) ... -> b (g k) ...`."""
    # Unshuffling g groups is shuffling the k others.
    others = x.shape[1] // groups if x.ndim > 2 else 0
    fits = data_format == "channels_first" and others and x.shape[1] % groups == 0
    if fits and shuffle_kernel_pays(x, others):
        return F.channel_shuffle(x, others)
    return keep_memory_format(partial(cores.channel_unshuffle, groups=groups), x, data_format)


@leaf
def depth_to_space(
    x: Tensor,
    factor: int | tuple[int, ...],
    *,
    order: str = "CRD",
    drop_channel: bool = False,
    data_format: str = "channels_first",
) -> Tensor:
    """`b (c r1 r2) h w -> b c (h r1) (w r2)`."""
    kernel = pixel_kernel_factor(x, factor, order, data_format)
    # Measured: 0.4 to 0.7 of the core's time on channels_last with two channels left, else 1.4 to 4.
    if kernel and not drop_channel and x.shape[1] % kernel**2 == 0 and x.shape[1] > kernel**2:
        return F.pixel_shuffle(x, kernel)
    core = partial(cores.depth_to_space, factor=factor, order=order, drop_channel=drop_channel)
    return keep_memory_format(core, x, data_format, moves_channels=not drop_channel)


@leaf
def space_to_depth(
    x: Tensor, factor: int | tuple[int, ...], *, order: str = "CRD", data_format: str = "channels_first"
) -> Tensor:
    """`b c (h r1) (w r2) -> b (c r1 r2) h w`."""
    kernel = pixel_kernel_factor(x, factor, order, data_format)
    # Measured: 0.5 to 0.9 of the core's time on channels_last, 1.4 to 2.6 otherwise.
    if kernel and x.shape[2] % kernel == 0 and x.shape[3] % kernel == 0:
        return F.pixel_unshuffle(x, kernel)
    return keep_memory_format(partial(cores.space_to_depth, factor=factor, order=order), x, data_format)


@leaf
def upsample_nearest(x: Tensor, factor: int | tuple[int, ...], *, data_format: str = "channels_first") -> Tensor:
    """`b c h w -> b c (h r1) (w r2)`."""
    if interpolate_fits(x, factor, data_format):
        return F.interpolate(x, size=upsampled(x.shape[2:], factor), mode="nearest")
    return keep_memory_format(partial(cores.upsample_nearest, factor=factor), x, data_format)


patchify = leaf(cores.patchify)
unpatchify = leaf(cores.unpatchify)
flatten_features = leaf(cores.flatten_features)
unflatten_features = leaf(cores.unflatten_features)
flatten_sequence = leaf(cores.flatten_sequence)
unflatten_sequence = leaf(cores.unflatten_sequence)
split_heads = leaf(cores.split_heads)
merge_heads = leaf(cores.merge_heads)
split_directions = leaf(cores.split_directions)
merge_directions = leaf(cores.merge_directions)
content_loss = leaf(cores.content_loss)
style_loss = leaf(cores.style_loss)
total_variation = leaf(cores.total_variation)
to_channels_first = leaf(cores.to_channels_first)
to_channels_last = leaf(cores.to_channels_last)

rearrange = leaf(einops.rearrange)
reduce = leaf(einops.reduce)
repeat = leaf(einops.repeat)
