"""Moves at 1 GB: bytes per second, as a ratio of a copy of the same bytes on the device in the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch

from benchmarks.gpu.clock import times
from benchmarks.gpu.row import Job, guarded, held, seen
from benchmarks.moves import MOVES, Move
from einops_arch.flax import layers as flax_layers
from einops_arch.torch import layers as torch_layers

__all__ = ["rows"]

_BAR = 0.8


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """Each move eager and in both memory formats in PyTorch, and under jit in Flax; some of them compiled."""
    size = 2**20 if job.quick else 2**30
    for move in MOVES[:2] if job.quick else MOVES:
        formats = [torch.contiguous_format, *([torch.channels_last] if move.image else [])]
        for memory in formats:
            title = f"{move.name}, PyTorch, {str(memory).removeprefix('torch.')}"
            yield guarded(title, partial(_torch, title, move, size, memory, job, compiled=False))
        yield guarded(f"{move.name}, Flax, jit", partial(_flax, f"{move.name}, Flax, jit", move, size, job))
        if not job.quick:
            title = f"{move.name}, PyTorch, compiled"
            yield guarded(title, partial(_torch, title, move, size, formats[0], job, compiled=True))


def _larger(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The shape with as many times its first axis as `size` bytes of float32 have room for, and once at least."""
    return (shape[0] * max(1, size // (4 * math.prod(shape))), *shape[1:])


def _torch(title: str, move: Move, size: int, memory: Any, job: Job, *, compiled: bool) -> dict[str, Any]:
    x = torch.randn(_larger(move.first[1], size), device=job.device)
    if move.image:
        x = x.contiguous(memory_format=memory)
    layer: Callable[..., Any] = getattr(torch_layers, move.layer)(**move.arguments)
    if layer(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        return seen(title, "a view: nothing is moved")
    call = torch.compile(layer, fullgraph=True) if compiled else layer
    # Read and write count: where more is written than was read, as in an upsampling, the copy is of the mean.
    read, written = x.numel(), layer(x).numel()
    copied = torch.empty((read + written) // 2, device=job.device)
    return _row(title, times({"move": partial(call, x), "copy": copied.clone}, _rounds(job)), 8 * copied.numel(), job)


def _flax(title: str, move: Move, size: int, job: Job) -> dict[str, Any]:
    x = jnp.ones(_larger(move.last[1], size), jnp.float32)
    layer = jax.jit(getattr(flax_layers, move.layer)(**move.arguments))
    copied = jnp.ones((x.size + layer(x).size) // 2, jnp.float32)
    # jit hands an array on without a copy; a change of sign reads and writes the same bytes.
    copy = jax.jit(jnp.negative)
    return _row(
        title, times({"move": partial(layer, x), "copy": partial(copy, copied)}, _rounds(job)), 8 * copied.size, job
    )


def _rounds(job: Job) -> int:
    return 3 if job.quick else 10


def _row(title: str, seconds: dict[str, float], moved: int, job: Job) -> dict[str, Any]:
    ratio = seconds["copy"] / seconds["move"]
    text = f"{ratio:.2f} of a copy, {moved / seconds['move'] / 1e9:.0f} GB/s"
    row = held(title, ratio >= _BAR, text) if job.device == "cuda" and not job.quick else seen(title, text)
    return row | {"ratio": ratio, "bytes": moved, "seconds": seconds}
