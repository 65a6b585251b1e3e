"""The channel shuffle of the last axis as an operation of JAX's own kind, with a form for each platform.

XLA's CPU backend transposes a few long groups slowly: to pick each channel from its place was measured at 0.4 to 0.8
of the time. The gradient of picking would be a scatter, ten times slower; but the transpose of a shuffle is the shuffle
with the other number of groups, so an operation that knows this needs none.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from einops_arch.functional import channel_shuffle, channel_unshuffle

__all__ = ["shuffled", "unshuffled"]

# Picking was measured, on two processors, at 0.6 to 0.8 of a transpose for three groups of 40 channels and more. Else
# one of them gained about half and the other lost: 1.2 to 1.5 for four and eight groups, which are worth it, but 2 for
# groups of 20 channels, 1.3 for groups of three, and 1.6 to 3 for few groups in bfloat16.
_PICKED_GROUPS = range(3, 9)
_FEWEST_CHANNELS = 40
_PICKED_BYTES = 4


def shuffled(x: jax.Array, groups: int, data_format: str) -> jax.Array:
    """`channel_shuffle`, by the form that is fast where it runs.

    Args:
        x: as in the core.
        groups: as in the core.
        data_format: as in the core.
    """
    return _fast(x, groups) if _fits(x, groups, data_format) else channel_shuffle(x, groups, data_format=data_format)


def unshuffled(x: jax.Array, groups: int, data_format: str) -> jax.Array:
    """`channel_unshuffle` likewise: to unshuffle g groups is to shuffle the k others.

    Args:
        x: as in the core.
        groups: as in the core.
        data_format: as in the core.
    """
    if _fits(x, groups, data_format):
        return _fast(x, x.shape[-1] // groups)
    return channel_unshuffle(x, groups, data_format=data_format)


def _fits(x: jax.Array, groups: int, data_format: str) -> bool:
    """Whether the fast form means the same; what is wrong is left to the core, which says so."""
    if data_format != "channels_last" or x.ndim < 2 or x.shape[-1] % groups:
        return False
    return _picking_pays(x, groups) or _picking_pays(x, x.shape[-1] // groups)


def _picking_pays(x: jax.Array, groups: int) -> bool:
    long = x.shape[-1] // groups >= _FEWEST_CHANNELS
    return long and groups in _PICKED_GROUPS and x.dtype.itemsize == _PICKED_BYTES


def _fast(x: jax.Array, groups: int) -> jax.Array:
    result: jax.Array = _shuffle_p.bind(x, groups=groups)
    return result


def _on_cpu(x: jax.Array, *, groups: int) -> jax.Array:
    return _pick(x, groups) if _picking_pays(x, groups) else _core(x, groups=groups)


def _pick(x: jax.Array, groups: int) -> jax.Array:
    order = np.arange(x.shape[-1]).reshape(groups, -1).T.ravel()
    # Of two axes: with more, XLA may make the channels the first axis in memory and transpose everything back.
    rows = rearrange(x, "... c -> (...) c")
    return rows.at[:, order].get(mode="promise_in_bounds", unique_indices=True).reshape(x.shape)


def _core(x: jax.Array, *, groups: int) -> jax.Array:
    return channel_shuffle(x, groups, data_format="channels_last")


def _transpose(cotangent: Any, x: Any, *, groups: int) -> list[Any]:
    return [_shuffle_p.bind(cotangent, groups=x.aval.shape[-1] // groups)]


def _batch(arguments: tuple[Any], axes: tuple[int], *, groups: int) -> tuple[Any, int]:
    """A batch axis anywhere but last changes nothing."""
    return _fast(jnp.moveaxis(arguments[0], axes[0], 0), groups), 0


@functools.partial(jax.jit, static_argnames="groups")
def _run(x: jax.Array, *, groups: int) -> jax.Array:
    return _fast(x, groups)


_shuffle_p = Primitive("channel_shuffle")
_shuffle_p.def_impl(_run)
_shuffle_p.def_abstract_eval(lambda x, *, groups: x)
ad.deflinear2(_shuffle_p, _transpose)
batching.primitive_batchers[_shuffle_p] = _batch
mlir.register_lowering(_shuffle_p, mlir.lower_fun(_core, multiple_results=False))
mlir.register_lowering(_shuffle_p, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu")
