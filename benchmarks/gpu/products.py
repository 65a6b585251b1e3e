"""Gram matrix and grouped convolutions: operations per second, as a ratio of a large product in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import nnx

from benchmarks.gpu.clock import times
from benchmarks.gpu.row import Job, guarded, seen
from einops_arch.flax import layers as flax_layers
from einops_arch.torch import layers as torch_layers

__all__ = ["rows"]


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """The same work in both frameworks."""
    batch, size = (1, 256) if job.quick else (32, 8192)
    product = torch.randn(size, size, device=job.device)
    flax_product = jnp.ones((size, size), jnp.float32)
    peers = {
        "PyTorch": (partial(torch.mm, product, product), 2 * size**3),
        "Flax": (partial(jax.jit(jnp.matmul), flax_product, flax_product), 2 * size**3),
    }
    for groups in (60,) if job.quick else (1, 3, 60):
        work = _convolutions(batch, groups, job.device)
        operations = 2 * batch * 56 * 56 * 240 * 240 * 9 // groups
        for side, call in work.items():
            title = f"3x3 convolution of 240 channels in {groups} groups, {side}"
            yield guarded(title, partial(_row, title, call, operations, *peers[side], job))
    for side, call in _grams(batch, job.device).items():
        title = f"gram matrix of 256 channels, {side}"
        yield guarded(title, partial(_row, title, call, 2 * batch * 256 * 256 * 64 * 64, *peers[side], job))


def _convolutions(batch: int, groups: int, device: str) -> dict[str, Callable[[], Any]]:
    x = torch.randn(batch, 240, 56, 56, device=device)
    layer = torch.nn.Conv2d(240, 240, 3, padding=1, groups=groups, bias=False, device=device).eval()
    flax_layer = flax_layers.Conv(
        240, 240, (3, 3), padding=1, feature_group_count=groups, use_bias=False, rngs=nnx.Rngs(0)
    )
    return {
        "PyTorch": partial(layer, x),
        "Flax": partial(nnx.jit(flax_layer), jnp.ones((batch, 56, 56, 240), jnp.float32)),
    }


def _grams(batch: int, device: str) -> dict[str, Callable[[], Any]]:
    x = torch.randn(batch, 256, 64, 64, device=device)
    gram: Callable[..., Any] = torch_layers.GramMatrix()
    flax_layer = jax.jit(flax_layers.GramMatrix())
    return {
        "PyTorch": partial(gram, x),
        "Flax": partial(flax_layer, jnp.ones((batch, 64, 64, 256), jnp.float32)),
    }


def _row(
    title: str, call: Callable[[], Any], operations: int, peer: Callable[[], Any], peer_operations: int, job: Job
) -> dict[str, Any]:
    seconds = times({"work": call, "product": peer}, 3 if job.quick else 10)
    rate, peer_rate = operations / seconds["work"], peer_operations / seconds["product"]
    text = f"{rate / peer_rate:.2f} of a large product, {rate / 1e12:.2f} TFLOP/s"
    return seen(title, text, ratio=rate / peer_rate, seconds=seconds)
