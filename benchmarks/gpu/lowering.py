"""What the device is given: of a layer with a form for CPUs, the program must be that of Flax's own layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.gpu.row import Job, guarded, held, seen
from benchmarks.jax_programs import program_text
from benchmarks.plain_nnx import plain
from einops_arch.flax import layers
from einops_arch.functional import gram_matrix

__all__ = ["rows"]


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """One for each kind of convolution, the gram matrix, and the LSTM."""
    kinds = {
        "dense 3x3": ((3, 3), 64, 64, 1),
        "depthwise 3x3": ((3, 3), 64, 64, 64),
        "depthwise 9x9": ((9, 9), 64, 64, 64),
        "grouped 1x1": ((1, 1), 60, 60, 3),
        "wide stem 7x7": ((7, 7), 3, 64, 1),
    }
    for name, sizes in kinds.items():
        yield guarded(f"Conv, {name}", partial(_convolution, f"Conv, {name}", sizes, job.device))
    yield guarded("gram_matrix", partial(_gram, job.device))


def _convolution(title: str, sizes: tuple[tuple[int, int], int, int, int], device: str) -> dict[str, Any]:
    kernel, channels, out, groups = sizes
    layer = layers.Conv(channels, out, kernel, padding=kernel[0] // 2, feature_group_count=groups, rngs=nnx.Rngs(0))
    x = jnp.ones((4, 56, 56, channels))
    graph, state = nnx.split(layer)

    def call(state: Any, x: jax.Array) -> Any:
        return nnx.merge(graph, state)(x)

    return _row(title, _text(call, state, x), _text_plain(call, state, x), device)


def _gram(device: str) -> dict[str, Any]:
    x = jnp.ones((4, 56, 56, 64))
    layer = layers.GramMatrix("none")
    core = partial(gram_matrix, normalize="none", data_format="channels_last")
    return _row("gram_matrix", _text(layer, x), _text(core, x), device)


def _text(function: Callable[..., Any], *arguments: Any) -> str:
    def anew(*arrays: Any) -> Any:  # jit would give the program that it knows of the function itself
        return function(*arrays)

    return program_text(jax.jit(anew).lower(*arguments).compile())


def _text_plain(function: Callable[..., Any], *arguments: Any) -> str:
    with plain():
        return _text(function, *arguments)


def _row(title: str, ours: str, flax: str, device: str) -> dict[str, Any]:
    same = ours == flax
    text = "the program of Flax's own layer" if same else "another program than that of Flax's own layer"
    return held(title, same, text) if device == "cuda" else seen(title, text)
