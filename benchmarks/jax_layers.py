"""The layers that mean what PyTorch's mean, beside the plainest form of the same function and beside stock NNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from benchmarks.case import Bar, Case, Work
from benchmarks.jax_programs import compile_for, nearly, program_text
from einops_arch.flax import functional, layers

__all__ = ["cases"]

IMAGE, TOKENS = (8, 56, 56, 64), (16, 197, 384)
LIMIT = 1.1  # of the quickest peer

Sides = dict[str, Callable[..., Any]]


def cases(device: str) -> Iterator[Case]:
    """All rows; jax puts its arrays on the device that the process was started for."""
    del device
    for name, (shapes, sides) in _rows().items():
        size = "; ".join("x".join(map(str, shape)) for shape in shapes)
        for setting, backward in (("forward", False), ("forward + backward", True)):
            make = partial(_work, shapes, sides, backward=backward)
            yield Case(name, "jax", size, f"jit, {setting}", make, Bar(LIMIT))


def _rows() -> dict[str, tuple[tuple[tuple[int, ...], ...], Callable[[], Sides]]]:
    """Shapes of the inputs, and the sides: ours, by hand, stock."""
    return {
        "SiLU": ((IMAGE,), lambda: {"ours": layers.SiLU(), "nnx.silu": nnx.silu}),
        "Hardswish": ((IMAGE,), lambda: {"ours": layers.Hardswish(), "nnx.hard_swish": nnx.hard_swish}),
        "Mish": ((IMAGE,), lambda: {"ours": layers.Mish(), "by hand": lambda x: x * jnp.tanh(jax.nn.softplus(x))}),
        "Softmax": ((TOKENS,), lambda: {"ours": layers.Softmax(), "nnx.softmax": nnx.softmax}),
        "MaxPool": ((IMAGE,), _max_pool),
        "AvgPool": ((IMAGE,), _avg_pool),
        "AdaptiveAvgPool": ((IMAGE,), _adaptive),
        "Upsample bilinear": ((IMAGE,), _upsample),
        "ReflectionPad": ((IMAGE,), _reflection),
        "Unfold": (((8, 28, 28, 64),), _unfold),
        "LayerNorm2d": ((IMAGE,), _layer_norm),
        "RMSNorm": ((TOKENS,), _rms_norm),
        "InstanceNorm": ((IMAGE,), _instance_norm),
        "scaled_dot_product_attention": (((4, 6, 197, 64),) * 3, _attention),
        "cross_entropy": (((256, 1000),), _cross_entropy),
    }


def _max_pool() -> Sides:
    return {
        "ours": layers.MaxPool(3, 2, 1),
        "nnx.max_pool": lambda x: nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
    }


def _avg_pool() -> Sides:
    return {"ours": layers.AvgPool(2), "nnx.avg_pool": lambda x: nnx.avg_pool(x, (2, 2), (2, 2))}


def _adaptive() -> Sides:
    def by_hand(x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        return x.reshape(b, 7, h // 7, 7, w // 7, c).mean((2, 4))

    return {"ours": layers.AdaptiveAvgPool(7), "by hand": by_hand}


def _upsample() -> Sides:
    def resize(x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        return jax.image.resize(x, (b, 2 * h, 2 * w, c), "bilinear")

    return {"ours": layers.Upsample(scale_factor=2, mode="bilinear"), "jax.image.resize": resize}


def _reflection() -> Sides:
    pads = ((0, 0), (3, 3), (3, 3), (0, 0))
    return {"ours": layers.ReflectionPad(3), "jnp.pad": lambda x: jnp.pad(x, pads, mode="reflect")}


def _unfold() -> Sides:
    def patches(x: jax.Array) -> jax.Array:
        axes = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated_patches(x, (3, 3), (1, 1), ((1, 1), (1, 1)), dimension_numbers=axes)
        return y.reshape(y.shape[0], -1, y.shape[-1])

    return {"ours": layers.Unfold(3, 1, 1), "lax patches": patches}


def _layer_norm() -> Sides:
    stock = nnx.LayerNorm(IMAGE[-1], epsilon=1e-6, use_fast_variance=False, rngs=nnx.Rngs(0))
    return {"ours": layers.LayerNorm2d(IMAGE[-1], rngs=nnx.Rngs(0)), "nnx.LayerNorm": stock}


def _rms_norm() -> Sides:
    width = TOKENS[-1]
    stock = nnx.RMSNorm(width, epsilon=1e-6, use_fast_variance=False, rngs=nnx.Rngs(0))
    return {"ours": layers.RMSNorm(width, epsilon=1e-6, rngs=nnx.Rngs(0)), "nnx.RMSNorm": stock}


def _instance_norm() -> Sides:
    settings: dict[str, Any] = {"epsilon": 1e-5, "use_scale": True, "use_bias": True}
    stock = nnx.InstanceNorm(IMAGE[-1], use_fast_variance=False, rngs=nnx.Rngs(0), **settings)
    return {"ours": layers.InstanceNorm(IMAGE[-1], rngs=nnx.Rngs(0), **settings), "nnx.InstanceNorm": stock}


def _attention() -> Sides:
    def stock(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
        return jnp.swapaxes(jax.nn.dot_product_attention(q, k, v, is_causal=True), 1, 2)

    def by_hand(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        scores = q @ jnp.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        return jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ v

    ours = partial(functional.scaled_dot_product_attention, is_causal=True)
    return {"ours": ours, "jax.nn": stock, "by hand": by_hand}


def _cross_entropy() -> Sides:
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 1000, 256))
    return {
        "ours": lambda x: functional.cross_entropy(x, labels),
        "by hand": lambda x: -jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], axis=1).mean(),
    }


def _work(shapes: tuple[tuple[int, ...], ...], build: Callable[[], Sides], *, backward: bool) -> Work:
    rng = np.random.default_rng(0)
    inputs = tuple(jnp.asarray(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes)
    compiled: dict[str, Any] = {}
    calls: dict[str, Callable[[], Any]] = {}
    for name, side in build().items():
        compiled[name], arguments = compile_for(side, inputs, backward=backward)
        calls[name] = partial(_wait, compiled[name], arguments)
    ours = calls.pop("ours")
    return Work(ours, calls, nearly, program=lambda name: program_text(compiled[name]))


def _wait(program: Any, inputs: tuple[Any, ...]) -> Any:
    return jax.block_until_ready(program(*inputs))
