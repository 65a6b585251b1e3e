"""Any of our Flax networks with Flax's own layers in it: what it would be in plain NNX.

Our layers are subclasses of Flax's with the same variables, or stand for a function of Flax. Inside of `plain()` they
compute as those do. A program that is traced there is that of the network in plain NNX: what Python does on the way is
not in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.flax import layers

__all__ = ["plain"]

_SUBCLASSES = {
    layers.Conv: nnx.Conv,
    layers.Linear: nnx.Linear,
    layers.Embed: nnx.Embed,
    layers.LayerNorm: nnx.LayerNorm,
    layers.GroupNorm: nnx.GroupNorm,
    layers.InstanceNorm: nnx.InstanceNorm,
}
_NORMS = (layers.BatchNorm, layers.LayerNorm, layers.GroupNorm, layers.InstanceNorm)


@contextlib.contextmanager
def plain(*, fast_variance: bool = False) -> Iterator[None]:
    """Let our layers compute as those of Flax do.

    Args:
        fast_variance: the variance as the mean of squares less the square of the mean, in one pass: what Flax's norms
            do unless told otherwise. It loses every digit where the mean is large, so PyTorch and our layers do not.
    """
    with contextlib.ExitStack() as stack:
        for ours, theirs in _SUBCLASSES.items():
            stack.enter_context(mock.patch.object(ours, "__call__", theirs.__call__))
        for ours, function in _FUNCTIONS.items():
            stack.enter_context(mock.patch.object(ours, "__call__", function))
        if fast_variance:
            for norm in _NORMS:
                stack.enter_context(mock.patch.object(norm, "__call__", _with_fast_variance(norm.__call__)))
        yield


def _with_fast_variance(call: Any) -> Any:
    def run(self: Any, *arguments: Any) -> Any:
        with mock.patch.object(self, "use_fast_variance", new=True):
            return call(self, *arguments)

    return run


def _batch_norm(self: Any, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
    """Flax keeps the share of the old statistics, PyTorch that of the new."""
    with mock.patch.object(self, "momentum", 1.0 - self.momentum):
        return nnx.BatchNorm.__call__(self, x, use_running_average)


def _spatial(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if len(value) == axes else tuple(value) * axes


def _max_pool(self: Any, x: jax.Array) -> jax.Array:
    axes = x.ndim - 2
    pads = [(p, p) for p in _spatial(self.padding, axes)]
    return nnx.max_pool(x, _spatial(self.window, axes), _spatial(self.strides, axes), pads)


def _avg_pool(self: Any, x: jax.Array) -> jax.Array:
    axes = x.ndim - 2
    pads = [(p, p) for p in _spatial(self.padding, axes)]
    return nnx.avg_pool(x, _spatial(self.window, axes), _spatial(self.strides, axes), pads, self.count_include_pad)


def _lstm(self: Any, x: jax.Array, state: Any = None, *, lengths: Any = None) -> tuple[jax.Array, Any]:
    """`nnx.RNN` of `nnx.OptimizedLSTMCell`, one for each layer and direction, from zeros over whole sequences."""
    del state, lengths
    finals = []
    for index in range(self.num_layers):
        outputs = []
        for suffix in ("", "_reverse")[: 2 if self.bidirectional else 1]:
            cell = nnx.OptimizedLSTMCell(x.shape[-1], self.hidden_size, rngs=nnx.Rngs(0))
            read = {leaf: getattr(self, f"{leaf}_l{index}{suffix}").get_value() for leaf in _LEAVES}
            cell.dense_i.kernel.set_value(read["weight_ih"])
            cell.dense_h.kernel.set_value(read["weight_hh"])
            cell.dense_h.bias.set_value(read["bias_ih"] + read["bias_hh"])
            layer = nnx.RNN(cell, time_major=True, return_carry=True, reverse=bool(suffix), keep_order=True)
            final, output = layer(x)
            outputs.append(output)
            finals.append(final)
        x = jnp.concatenate(outputs, axis=-1)
    cells, hidden = (jnp.stack(parts) for parts in zip(*finals, strict=True))
    return x, (hidden, cells)


_LEAVES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

_FUNCTIONS = {
    layers.BatchNorm: _batch_norm,
    layers.MaxPool: _max_pool,
    layers.AvgPool: _avg_pool,
    layers.LSTM: _lstm,
    layers.GELU: lambda self, x: nnx.gelu(x, approximate=self.approximate),
    layers.ReLU: lambda _, x: nnx.relu(x),
}
