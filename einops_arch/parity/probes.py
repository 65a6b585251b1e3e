"""Inputs and weights in which a mistake shows: no two sizes equal, no bias zero, no statistics as they start out.

Numbers are keyed by name, so the order of names does not matter and one more parameter changes no other. They are
made by exact arithmetic from raw bits, and so have the same bits on every machine and in every version of numpy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.errors import PortError

__all__ = ["example_inputs", "random_numbers", "random_state", "randomize"]


def example_inputs(
    config: Config, seed: int = 0, batch: int | None = None, sizes: Mapping[str, int] | None = None
) -> tuple[np.ndarray[Any, Any], ...]:
    """Inputs for a network of this config, in PyTorch's layout.

    Floats are bell-shaped with mean 0 and variance 1, in float32; indices are int64. Axes that the config leaves free
    have the sizes of its examples, or small ones, no two of them equal, odd and even ones.

    Args:
        config: what the network takes.
        seed: another seed, other numbers.
        batch: the size of the axis `b`; a free size like the others if left out.
        sizes: sizes of other axes that the config leaves free, where small ones will not do.

    >>> from einops_arch.architectures.convnet import ConvNetConfig
    >>> [x.shape for x in example_inputs(ConvNetConfig.mnist())]
    [(3, 1, 28, 28)]
    >>> from einops_arch.architectures.super_resolution import SuperResolutionConfig
    >>> [x.shape for x in example_inputs(SuperResolutionConfig.tiny(), batch=2, sizes={"h": 64, "w": 96})]
    [(2, 1, 64, 96)]
    """
    inputs = config.inputs()
    bound = _free_sizes(inputs, {**(sizes or {}), **({} if batch is None else {"b": batch})})
    return tuple(_example(axes, tuple(bound[name] for name in axes.axes.split()), seed) for axes in inputs)


def random_state(
    shapes: Mapping[str, tuple[Sequence[int], str]], seed: int = 0, aliases: Iterable[Sequence[str]] = ()
) -> dict[str, np.ndarray[Any, Any]]:
    """A state in which mistakes show, by PyTorch's names.

    Weights are bell-shaped with variance 1/fan_in, biases and running means are far from 0, scales and running
    variances between 0.5 and 2, `num_batches_tracked` a small integer. Everything else that is floating-point is
    taken as a weight. Floats are float32.

    Args:
        shapes: shape and kind of number, `"floating-point"` or `"integer"`, by name.
        seed: another seed, other numbers.
        aliases: groups of names that are one array.

    Raises:
        PortError: an integer of unknown meaning, or names of one array with different shapes.

    >>> state = random_state({"bn.running_var": ((3,), "floating-point"), "fc.bias": ((2,), "floating-point")})
    >>> bool((state["bn.running_var"] >= 0.5).all()), bool((abs(state["fc.bias"]) >= 0.1).all())
    (True, True)
    """
    first = {name: min(group) for group in aliases for name in group}
    state = {}
    for name, (shape, kind) in shapes.items():
        source = first.get(name, name)
        if source in shapes and tuple(shapes[source][0]) != tuple(shape):
            raise PortError(f"{name}: expected the shape of {source}, which is the same array, received {shape}")
        state[name] = _value(source, tuple(shape), kind, seed)
    return state


def randomize(model: Any, seed: int = 0) -> None:
    """Fill a model of either framework with `random_state`; its dtypes and its ties stay as they are.

    Integers other than `num_batches_tracked` are left alone: they are positions and indices.

    >>> import torch
    >>> model = torch.nn.Linear(3, 2)
    >>> randomize(model)
    >>> bool((model.bias.abs() >= 0.1).all())
    True
    """
    from einops_arch.layouts.arrays import dtype_kind
    from einops_arch.port.transfer import model_state, tied_names, transfer

    state = model_state(model)
    shapes = {
        name: (value.shape, dtype_kind(value.dtype))
        for name, value in state.items()
        if dtype_kind(value.dtype) == "floating-point" or _last(name) == "num_batches_tracked"
    }
    filled = random_state(shapes, seed, tied_names(model))
    transfer(state | {name: value.astype(state[name].dtype) for name, value in filled.items()}, model)


def random_numbers(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray[Any, Any]:
    """Bell-shaped numbers of mean 0 and variance 1, in float64, within 3.5: the sum of four uniform ones."""
    raw = _raw(f"{seed}:{name}", 2 * math.prod(shape)).reshape(-1, 2)
    halves = (raw >> np.uint64(32)) + (raw & np.uint64(0xFFFFFFFF))
    total = halves.sum(axis=1).astype(np.float64) * 2.0**-32 - 2
    return (total * math.sqrt(3)).reshape(tuple(shape))


def _uniform(name: str, shape: Sequence[int], seed: int) -> np.ndarray[Any, Any]:
    raw = _raw(f"{seed}:{name}", math.prod(shape))
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(tuple(shape))


def _raw(key: str, count: int) -> np.ndarray[Any, Any]:
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)


def _value(name: str, shape: tuple[int, ...], kind: str, seed: int) -> np.ndarray[Any, Any]:
    last = _last(name)
    if kind == "integer":
        if last != "num_batches_tracked":
            raise PortError(f"{name}: expected floating-point numbers or num_batches_tracked, received integers")
        return np.asarray(np.floor(3 + 20 * _uniform(name, shape, seed)).astype(np.int64))
    if last == "running_var":
        value = 0.5 + 1.5 * _uniform(name, shape, seed)
    elif last == "running_mean" or last.startswith("bias") or last.endswith("bias"):
        turned = 2 * _uniform(name, shape, seed) - 1
        value = np.where(turned < 0, -1.0, 1.0) * (0.1 + 0.4 * np.abs(turned))
    elif len(shape) < 2:
        value = 0.5 + _uniform(name, shape, seed)
    else:
        value = random_numbers(name, shape, seed) / math.sqrt(max(1, math.prod(shape[1:])))
    return np.asarray(value.astype(np.float32))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _free_sizes(inputs: Sequence[Axes], stated: Mapping[str, int]) -> dict[str, int]:
    sizes = {name: size for axes in inputs for name, size in axes.example.items()} | dict(stated)
    for axes in inputs:
        sizes |= axes.sizes
    for axes in inputs:
        for name in axes.axes.split():
            if name not in sizes:
                size, step = max(3, axes.least.get(name, 1)), axes.multiple.get(name, 1)
                while size in sizes.values() or size % step:
                    size += 1
                sizes[name] = size
    return sizes


def _example(axes: Axes, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    if axes.dtype.startswith("int"):
        high = axes.high or 2
        return np.asarray(np.floor(high * _uniform(axes.name, shape, seed)).astype(axes.dtype))
    return np.asarray(random_numbers(axes.name, shape, seed).astype(axes.dtype))
