"""Load a checkpoint into a Flax model, each shard from its slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from einops_arch._log import LOG
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import numpy_dtype
from einops_arch.flax.state import aligned_copy, narrowing, port_steps
from einops_arch.layouts.axes import flax_axes, specs_of
from einops_arch.layouts.boxes import Box
from einops_arch.layouts.state import problems_error
from einops_arch.port.expected import expected_shapes
from einops_arch.port.stream import Ported
from einops_arch.port.ties import once_tied
from einops_arch.port.unwrap import Unwrapped, unwrapped

__all__ = ["load_onto"]


def load_onto(opened: Callable[[], Reader], model: nnx.Module, mesh: Any, shardings: Mapping[str, str]) -> None:
    """Load a checkpoint into a Flax model; see `einops_arch.checkpoints.load`."""
    with opened() as reader:
        framework = describe(reader.metadata).framework
        named = unwrapped(reader, *expected_shapes(model, framework))
        if isinstance(named, Unwrapped):
            LOG.warning("%s", named.remark)
        leaves = Ported(once_tied(named, expected_shapes(model, framework)[0]), model, framework, "flax")
        steps = port_steps(model)
        variables = {
            leaf.path: variable for step, row in steps for leaf, variable in zip(step.leaves, row, strict=True)
        }
        problems = [line for name, info in leaves.tensors.items() for line in narrowing(name, numpy_dtype(info.dtype))]
        problems += _unfilled(model, {id(variable) for variable in variables.values()})
        places, more = _places(leaves, variables, steps, mesh, shardings)
        problems += more
        if problems:
            raise problems_error(f"load into {type(model).__name__}", problems)
        # The largest first, while there is the most room.
        order = sorted(leaves.tensors, key=lambda name: -leaves.tensors[name].nbytes)
        values = {name: _array(leaves, name, places[name]) for name in order}
    for name, value in values.items():
        variables[name].set_value(value)


def _places(
    leaves: Reader, variables: Mapping[str, nnx.Variable[Any]], steps: Any, mesh: Any, shardings: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Where each leaf goes, and the problems."""
    if mesh is None:
        return {name: _place(variables[name].get_value()) for name in leaves.tensors}, []
    axes = flax_axes(steps)
    same: dict[int, list[str]] = {}
    for path, variable in variables.items():
        same.setdefault(id(variable), []).append(path)
    tensors = {
        name: (info.shape, [axes[path] for path in same[id(variables[name])]]) for name, info in leaves.tensors.items()
    }
    specs, problems = specs_of(tensors, shardings, dict(mesh.shape))
    if problems:
        return {}, problems
    return {name: NamedSharding(mesh, PartitionSpec(*spec)) for name, spec in specs.items()}, []


def _place(value: Any) -> Any:
    """The sharding of a value, or of what stands for one."""
    return getattr(value, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _array(leaves: Reader, name: str, place: Any) -> jax.Array:
    info = leaves.tensors[name]
    dtype = numpy_dtype(info.dtype)
    read: dict[Box, np.ndarray[Any, Any]] = {}

    def shard(index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """What is on several devices is read once."""
        box = tuple(piece.indices(size)[:2] for piece, size in zip(index, info.shape, strict=True))
        if box not in read:
            read[box] = aligned_copy(leaves.part(name, box).view(dtype))
        return read[box]

    return jax.make_array_from_callback(info.shape, place, shard, dtype=dtype)


def _unfilled(model: nnx.Module, filled: set[int]) -> list[str]:
    """Where there are shapes in the place of values, and the checkpoint has none."""
    return [
        f"{'.'.join(map(str, path))}: it has no value, and no checkpoint has one; likely fix: a model of "
        "einops_arch.flax.without_values, whose random streams are there"
        for path, node in nnx.iter_graph(model)
        if isinstance(node, nnx.Variable)
        and id(node) not in filled
        and isinstance(node.get_value(), jax.ShapeDtypeStruct)
    ]
