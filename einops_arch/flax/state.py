"""The canonical state of a Flax model: PyTorch's names and layout, in numpy arrays. Needs no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import nnx

from einops_arch.errors import PatternError, PortError, ShapeError
from einops_arch.layouts.arrays import dtype_kind, to_numpy
from einops_arch.layouts.patterns import LayoutPattern
from einops_arch.layouts.plan import ConstantStep, Leaf, Move, Step, SumStep
from einops_arch.layouts.rules import Constant, Row, Sum, find_rule
from einops_arch.layouts.state import Held, hold_state, problems_error, state_arrays

__all__ = [
    "IncompatibleKeys",
    "aligned_copy",
    "from_leaves",
    "linen_variables",
    "load_state_dict",
    "named_modules",
    "narrowing",
    "port_steps",
    "state_dict",
    "tied_names",
    "to_leaves",
]

Steps: TypeAlias = list[tuple[Step, tuple[nnx.Variable[Any], ...]]]

# What a call leaves behind or random streams hold: no part of a checkpoint.
_IGNORED = (nnx.RngState, nnx.Intermediate, nnx.Cache, nnx.Perturbation)


class IncompatibleKeys(NamedTuple):
    """What did not fit, in the form of PyTorch's `load_state_dict`."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def state_dict(model: nnx.Module) -> dict[str, np.ndarray[Any, Any]]:
    """The state of a Flax model in PyTorch's names and layout, ready for `load_state_dict` of the PyTorch twin.

    Arrays keep their dtype and their bits. Tied parameters are listed under each of their names, as PyTorch does.

    Args:
        model: any NNX module whose layers have layout rules.

    Raises:
        PortError: a layer of Flax has no layout rule.

    >>> from einops_arch.flax.convnet import ConvNet
    >>> state = state_dict(ConvNet(rngs=nnx.Rngs(0)))
    >>> state["conv1.weight"].shape
    (10, 1, 5, 5)
    """
    state: dict[str, np.ndarray[Any, Any]] = {}
    for step, _ in port_steps(model):
        state.update(step.to_torch())
    return state


def load_state_dict(model: nnx.Module, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
    """Put a state with PyTorch's names and layout into a Flax model.

    Names, shapes and kinds of numbers are checked before the first value is set, and every problem is reported in one
    error. Values keep their dtype: a bfloat16 state makes a bfloat16 model. They go to the device, and take the
    sharding, of the values that they replace.

    Args:
        model: the model, changed in place.
        state: numpy arrays, jax arrays or torch tensors by name.
        strict: missing and unexpected names are errors; otherwise they are returned.

    Raises:
        PortError: names, shapes or dtypes do not fit; nothing has been changed then.
    """
    steps = port_steps(model)
    arrays, odd = state_arrays(state)
    held = _held(steps, arrays)
    missing: list[str] = []
    if strict:
        arrays = held.complete(arrays)
    else:
        optional = _constants(steps)
        missing = [name for name in held.expected if name not in arrays and name not in optional]
        held = dataclasses.replace(held, missing=(), unexpected=())
    values, wrong = _values(steps, arrays) if not held.problems else ([], [])
    wrong += [problem for step, _ in steps for name in step.expected for problem in _too_wide(step, name, arrays)]
    held.check(f"load_state_dict into {type(model).__name__}", [*odd, *wrong])
    for variable, _, value in values:
        variable.set_value(_like(value, variable.get_value()))
    return IncompatibleKeys(missing, [name for name in arrays if name not in held.expected])


def to_leaves(model: nnx.Module, state: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A state, moved to the names and layout of a Flax model, by dotted path; the model may be abstract.

    Args:
        model: the model, or what `nnx.eval_shape` makes of it; it is only looked at.
        state: arrays with PyTorch's names and layout.

    Raises:
        PortError: names, shapes or dtypes do not fit.
    """
    steps = port_steps(model)
    arrays, odd = state_arrays(state)
    held = _held(steps, arrays)
    values, wrong = _values(steps, held.complete(arrays)) if not held.problems else ([], [])
    held.check(f"state of {type(model).__name__}", [*odd, *wrong])
    return {leaf.path: value for _, leaf, value in values}


def from_leaves(model: nnx.Module, leaves: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The inverse of `to_leaves`: arrays by Flax's dotted paths, moved to PyTorch's names and layout.

    Raises:
        PortError: names, shapes or dtypes do not fit.
    """
    steps = port_steps(model, leaves)
    expected = {leaf.path: (leaf.shape, dtype_kind(leaf.dtype)) for step, _ in steps for leaf in step.leaves}
    hold_state(expected, leaves).check(f"leaves of {type(model).__name__}")
    return {name: value for step, _ in steps for name, value in step.to_torch().items()}


def linen_variables(model: nnx.Module) -> dict[str, dict[str, Any]]:
    """The variables of a model as Linen has them: collections of nested dicts, for `nnx.bridge.to_linen(...).apply`.

    >>> from einops_arch.flax.convnet import ConvNet
    >>> variables = linen_variables(ConvNet(rngs=nnx.Rngs(0)))
    >>> variables["params"]["conv1"]["kernel"].shape
    (5, 5, 1, 10)
    """
    collections: dict[str, dict[str, Any]] = {}
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if not isinstance(variable, _IGNORED):
            node = collections.setdefault(nnx.variable_name_from_type(type(variable)), {})
            *folders, leaf = path
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = variable.get_value()
    return collections


def named_modules(model: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
    """Every module with its dotted path, in the order of definition, as PyTorch's `named_modules` gives them.

    Transforms such as `nnx.grad` put a model's attributes in the order of the alphabet; the paths stay the same.
    The `layers` of `nnx.Sequential` are left out of the path, because PyTorch's has no such name.
    A module that is there under several paths is given under each.
    """
    yield from _walk("", model, ())


def port_steps(model: nnx.Module, leaves: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Steps:
    """One step for each row of the layout rules, with the variables that it speaks for.

    Args:
        model: the model; it is only looked at.
        leaves: values by dotted path, in the place of the model's own.

    Raises:
        PortError: a layer has no rule, or a variable no row; every such problem is in the message.
    """
    steps: Steps = []
    problems: list[str] = []
    claimed: list[str] = []
    for path, module in _walk("", model, ()):
        if any(_is_inside(path, owner) for owner in claimed):
            continue
        rule = find_rule(type(module))
        if rule is None:
            own = _own_variables(module)
            if own and type(module).__module__.startswith("flax.nnx.nn."):
                problems.append(f"{_at(path, module)}: no layout rule; add one with einops_arch.port.register_layout")
                continue
            for name, variable in own.items():
                # Integers of PyTorch's are wider than jax without x64 has them: the variable says so.
                dtype = variable.get_metadata().get("torch_dtype", "")
                leaf = _leaf(_join(path, name), variable, leaves)
                move = Move(_join(path, name), (leaf,), _IDENTITY, {}, dtype=dtype)
                steps.append((move, (variable,)))
            continue
        claimed.append(path)
        variables = dict(_subtree(module))
        if rule.refuse:
            problems.append(f"{_at(path, module)}: cannot be ported: {rule.refuse}")
            continue
        used: set[str] = set()
        for row in rule.rows_of(module):
            try:
                for step, names in _steps_of_row(row, path, module, variables, leaves):
                    used.update(names)
                    _ = step.expected  # an error where the pattern does not fit the leaf
                    steps.append((step, tuple(variables[name] for name in names)))
            except (ShapeError, PatternError) as error:
                paths: Any = getattr(row, "flax", row.torch)
                used.update((paths,) if isinstance(paths, str) else paths)
                first = paths if isinstance(paths, str) else paths[0]
                kind = type(module).__name__
                problems.append(f"{_join(path, first)}: the layout rule of a {kind} does not fit it: {error}")
        problems += [
            f"{_join(path, name)}: the layout rule of {rule.flax_type} has no row for it"
            for name in variables
            if name not in used
        ]
    if problems:
        raise problems_error(f"layout of {type(model).__name__}", problems)
    return steps


_IDENTITY = LayoutPattern.parse("*axes -> *axes")


def _steps_of_row(
    row: Row | Sum | Constant,
    path: str,
    module: nnx.Module,
    variables: Mapping[str, nnx.Variable[Any]],
    arrays: Mapping[str, np.ndarray[Any, Any]] | None,
) -> Iterator[tuple[Step, tuple[str, ...]]]:
    """The steps of one row; none where the layer was built without the leaf (`use_bias=False`)."""
    if isinstance(row, Constant):
        yield ConstantStep(_join(path, row.torch), row.value, row.dtype), ()
        return
    names = (row.flax,) if isinstance(row.flax, str) else row.flax
    if any(name not in variables for name in names):
        return
    leaves = tuple(_leaf(_join(path, name), variables[name], arrays) for name in names)
    if isinstance(row, Sum):
        first, second = (_join(path, name) for name in row.torch)
        yield SumStep((first, second), leaves, row.zero_gate), names
        return
    sizes: dict[str, Any] = {
        axis: getattr(module, size) if isinstance(size, str) else size for axis, size in row.sizes.items()
    }
    # A starred axis has a size for each of its own.
    sizes = {
        axis: ((size,) if isinstance(size, int) else tuple(size)) if f"*{axis}" in row.pattern else size
        for axis, size in sizes.items()
    }
    pattern = LayoutPattern.parse(row.pattern)
    flip = len(leaves[0].shape) - 2 if row.flip else None
    stacked = not isinstance(row.flax, str)
    yield Move(_join(path, row.torch), leaves, pattern, sizes, stacked, flip, row.dtype), names


def _walk(path: str, module: nnx.Module, above: tuple[int, ...]) -> Iterator[tuple[str, nnx.Module]]:
    if id(module) in above:
        raise PortError(f"{_at(path, module)}: the module is inside itself, so its paths have no end")
    yield path, module
    for name, child in _children(module):
        yield from _walk(_join(path, name), child, (*above, id(module)))


def _children(module: Any) -> Iterator[tuple[str, nnx.Module]]:
    for name, value in _attributes(module):
        if isinstance(value, nnx.Module):
            if name == "layers" and isinstance(module, nnx.Sequential):
                yield from _children(value)
            else:
                yield name, value


def _own_variables(module: Any) -> dict[str, nnx.Variable[Any]]:
    return {
        name: value
        for name, value in _attributes(module)
        if isinstance(value, nnx.Variable) and not isinstance(value, _IGNORED)
    }


def _subtree(module: Any, prefix: str = "") -> Iterator[tuple[str, nnx.Variable[Any]]]:
    for name, value in _own_variables(module).items():
        yield _join(prefix, name), value
    for name, child in _children(module):
        yield from _subtree(child, _join(prefix, name))


def _attributes(module: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(module, nnx.List):
        yield from ((str(index), value) for index, value in enumerate(module))
    elif isinstance(module, nnx.Dict):
        yield from ((str(key), value) for key, value in module.items())
    else:
        yield from ((name, value) for name, value in vars(module).items() if not name.startswith("_pytree"))


def _leaf(path: str, variable: nnx.Variable[Any], arrays: Mapping[str, np.ndarray[Any, Any]] | None) -> Leaf:
    value = variable.get_value()
    read = (lambda: to_numpy(variable.get_value())) if arrays is None else (lambda: arrays[path])
    return Leaf(path, tuple(value.shape), np.dtype(value.dtype), read)


def _held(steps: Steps, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Held:
    expected = {name: spec for step, _ in steps for name, spec in step.expected.items()}
    return hold_state(expected, arrays, tied_names(steps), optional=_constants(steps))


def _constants(steps: Steps) -> set[str]:
    """What Flax does not have, and so cannot be missed."""
    return {step.name for step, _ in steps if isinstance(step, ConstantStep)}


def _values(
    steps: Steps, arrays: Mapping[str, np.ndarray[Any, Any]]
) -> tuple[list[tuple[nnx.Variable[Any], Leaf, np.ndarray[Any, Any]]], list[str]]:
    """The value of each leaf that the state has, and a problem for each that does not fit it."""
    values: list[tuple[nnx.Variable[Any], Leaf, np.ndarray[Any, Any]]] = []
    problems = []
    for step, variables in steps:
        if all(name in arrays for name in step.expected):
            try:
                values.extend(zip(variables, step.leaves, step.to_flax(arrays), strict=True))
            except PortError as error:
                problems.append(str(error))
    return values, problems


def _like(value: np.ndarray[Any, Any], old: Any) -> jax.Array:
    """On the device, and with the sharding, of the value that is replaced; an abstract model has neither yet."""
    sharding = getattr(old, "sharding", None) if isinstance(old, jax.Array) else None
    return jax.device_put(aligned_copy(value), sharding)


def aligned_copy(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy, as jax on the CPU would share the memory of the source, which may be a PyTorch model that trains on.

    It begins at a multiple of 64 bytes: such memory jax takes over, any other it would copy once more.
    """
    memory = np.empty(value.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copied = memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
    copied[...] = value
    return copied


def tied_names(steps: Steps) -> list[list[str]]:
    """Groups of PyTorch's names that are one variable in the model."""
    groups: dict[int, list[str]] = {}
    for step, variables in steps:
        if len(variables) == 1 and isinstance(step, Move):
            groups.setdefault(id(variables[0]), []).append(step.name)
    return [names for names in groups.values() if len(names) > 1]


def _too_wide(step: Step, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[str]:
    """A row with a dtype narrows an array with a check."""
    if name not in arrays or isinstance(step, ConstantStep) or (isinstance(step, Move) and step.dtype):
        return []
    return narrowing(name, arrays[name].dtype)


def narrowing(name: str, dtype: np.dtype[Any]) -> list[str]:
    """The problem with a dtype that jax without x64 would narrow in silence, if it would."""
    narrow = jax.dtypes.canonicalize_dtype(dtype)
    if narrow == dtype:
        return []
    fix = "jax.config.update('jax_enable_x64', True) before the first array"
    return [f"{name}: {dtype} would become {narrow} in silence; likely fix: {fix}"]


def _is_inside(path: str, owner: str) -> bool:
    return not owner or path == owner or path.startswith(f"{owner}.")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str, module: Any) -> str:
    return f"{path or 'the model'} ({type(module).__name__})"
