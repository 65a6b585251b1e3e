"""Read and write the state of an optax transformation, bare or inside an `nnx.Optimizer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.layouts.plan import ConstantStep, Leaf, State, Step, SumStep
from einops_arch.port.optimizer.state import Moments, OptimizerState

__all__ = ["expected_by_flax", "map_leaves", "map_state", "read_flax", "trained_steps", "write_flax"]

_Path: TypeAlias = tuple[str, ...]
_Slot: TypeAlias = Callable[[str, _Path, Any], Any]
"""Given the kind of a number (a moment, `"steps"`, `"schedule"`), the path of its parameter, and the leaf."""

# The fields of optax's states, by kind of number. What is not here and holds arrays is refused.
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "TraceState": {"trace": "momentum"},
    "ScaleByAdamState": {"count": "steps", "mu": "mean", "nu": "square"},
    "ScaleByRmsState": {"nu": "square"},
    "ScaleByRStdDevState": {"mu": "mean", "nu": "square"},
    "ScaleByScheduleState": {"count": "schedule"},
    "InjectHyperparamsState": {"count": "schedule"},
    "InjectStatefulHyperparamsState": {"count": "schedule"},
    "WrappedScheduleState": {"count": "schedule"},
}
# Their learning rates are settings, not a memory of the past.
_SETTINGS = ("hyperparams",)


def read_flax(model: Any, optimizer: Any) -> OptimizerState:
    """The state of an optimiser in PyTorch's names and layout.

    Args:
        model: the model whose parameters it changes.
        optimizer: an `nnx.Optimizer`, or the state of an optax transformation.
    """
    return _read(model, optimizer, to_numpy)


def expected_by_flax(model: Any, optimizer: Any) -> OptimizerState:
    """The same without values: what the optimiser can take."""
    return _read(model, optimizer, lambda value: np.broadcast_to(np.zeros((), value.dtype), value.shape))


def write_flax(model: Any, optimizer: Any, state: OptimizerState) -> Any:
    """Put a state, already checked, into an `nnx.Optimizer`, or make a new optax state with it."""
    values: dict[str, dict[_Path, np.ndarray[Any, Any]]] = {}
    for kind, arrays in state.moments.items():
        values[kind] = {
            path: value
            for step, paths in trained_steps(model)
            if all(name in arrays for name in step.expected)
            for path, value in zip(paths, step.to_flax(arrays), strict=True)
        }
    position = state.schedule if state.schedule is not None else state.steps

    def fill(kind: str, path: _Path, leaf: Any) -> Any:
        if kind in values:
            return _put(leaf, values[kind][path])
        number = state.steps if kind == "steps" else position
        return leaf if number is None else _put(leaf, np.asarray(number))

    tree = _tree(optimizer)
    filled = map_state(tree, fill)
    if tree is optimizer:
        return filled
    if state.steps is not None:
        _put(optimizer.step, np.asarray(state.steps))
    return optimizer


def _read(model: Any, optimizer: Any, take: Callable[[Any], np.ndarray[Any, Any]]) -> OptimizerState:
    arrays: dict[str, dict[_Path, np.ndarray[Any, Any]]] = {}
    counts: dict[str, set[int]] = {"steps": set(), "schedule": set()}
    problems: list[str] = []

    def note(kind: str, path: _Path, leaf: Any) -> Any:
        if kind in counts:
            counts[kind].add(int(_value(leaf)))
        else:
            arrays.setdefault(kind, {})[path] = take(_value(leaf))
        return leaf

    map_state(_tree(optimizer), note, problems)
    for kind, values in counts.items():
        if len(values) > 1:
            problems.append(f"{kind}: expected one count, received {sorted(values)}")
    family = "Adam" if counts["steps"] else "RMSprop" if "square" in arrays else "SGD"
    steps = max(counts["steps"], default=None)
    if steps is None and _tree(optimizer) is not optimizer:
        steps = int(optimizer.step[...])
    moments, names = _moments(model, arrays, problems)
    if not arrays:
        # It keeps nothing of any parameter, and so cannot say which ones it changes.
        names = [name for step, paths in trained_steps(model) if paths for name in step.expected]
    return OptimizerState(family, moments, names, steps, max(counts["schedule"], default=None), problems)


def _moments(
    model: Any, received: Mapping[str, Mapping[_Path, np.ndarray[Any, Any]]], problems: list[str]
) -> tuple[Moments, list[str]]:
    """By PyTorch's names; then all names that have any moment."""
    moments: Moments = {kind: {} for kind in received}
    names: dict[str, None] = {}
    used: set[_Path] = set()
    for kind, arrays in received.items():
        for step, paths in trained_steps(model):
            present = [path for path in paths if path in arrays]
            used.update(present)
            if not present:
                continue
            if isinstance(step, SumStep):
                problems.append(
                    f"{', '.join(step.names)}: PyTorch trains two biases where Flax trains their sum, so no state of "
                    "one is a state of the other; likely fix: einops_arch.flax.LSTM, GRU or RNN, which have both"
                )
            elif len(present) < len(paths):
                missing = ", ".join(".".join(path) for path in paths if path not in arrays)
                problems.append(f"{', '.join(step.expected)}: expected moments of every part, missing for {missing}")
            else:
                moments[kind] |= _moved(step, [arrays[path] for path in paths])
                names |= dict.fromkeys(step.expected)
    extra = sorted({path for arrays in received.values() for path in arrays} - used)
    problems += [f"{'.'.join(path)}: not a parameter of the model" for path in extra]
    return moments, list(names)


def _moved(step: Step, arrays: list[np.ndarray[Any, Any]]) -> State:
    """The arrays in the place of the step's own leaves, moved to PyTorch's layout."""
    changed: Any = step
    leaves = tuple(
        Leaf(leaf.path, array.shape, array.dtype, partial(_same, array))
        for leaf, array in zip(step.leaves, arrays, strict=True)
    )
    moved: State = dataclasses.replace(changed, leaves=leaves).to_torch()
    return moved


def _same(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array


def trained_steps(model: Any) -> Iterator[tuple[Step, list[_Path]]]:
    """The layout steps of the trained variables, with their paths in the model's state."""
    from flax import nnx

    from einops_arch.flax.state import port_steps

    # A variable that is there under several paths stands in the state under the first.
    paths: dict[int, _Path] = {}
    for path, node in nnx.iter_graph(model):
        if isinstance(node, nnx.Param):
            paths.setdefault(id(node), tuple(map(str, path)))
    for step, variables in port_steps(model):
        if not isinstance(step, ConstantStep) and all(id(variable) in paths for variable in variables):
            yield step, [paths[id(variable)] for variable in variables]


def _tree(optimizer: Any) -> Any:
    return optimizer.opt_state if hasattr(optimizer, "opt_state") else optimizer


def map_state(node: Any, slot: _Slot, problems: list[str] | None = None, where: str = "") -> Any:
    """The tree of an optax state with every number given to `slot`; variables are changed in place."""
    problems = [] if problems is None else problems
    kind_of_node: Any = type(node)
    name = kind_of_node.__name__
    if hasattr(node, "_fields"):
        if name not in _FIELDS and name not in _TRANSPARENT and _arrays(node):
            problems.append(f"{name}: expected a state of SGD, Adam, AdamW or RMSprop, received one of another kind")
            return node
        changed = {}
        for field, value in zip(node._fields, node, strict=True):
            kind = _FIELDS.get(name, {}).get(field)
            if field == "count" and not getattr(node, "hyperparams_states", True):
                changed[field] = value  # the hyperparameters are numbers, and nothing depends on the count
            elif kind is not None:
                changed[field] = map_leaves(value, partial(slot, kind))
            elif field not in _SETTINGS:
                changed[field] = map_state(value, slot, problems, field)
        return node._replace(**changed)
    if isinstance(node, tuple | list):
        _check_chain(node, problems)
        return kind_of_node(map_state(child, slot, problems) for child in node)
    if isinstance(node, Mapping):
        return kind_of_node({key: map_state(child, slot, problems) for key, child in node.items()})
    if hasattr(node, "shape"):
        problems.append(f"{where or 'state'}: an array that no known state of optax holds")
    return node


_TRANSPARENT = ("EmptyState", "MaskedState", "PartitionState", "MultiTransformState", "MaskedNode")


def _check_chain(chain: Any, problems: list[str]) -> None:
    names = [type(part).__name__ for part in chain]
    rms = [names.index(name) for name in ("ScaleByRmsState", "ScaleByRStdDevState") if name in names]
    if rms and "TraceState" in names and names.index("TraceState") > rms[0] + 1:
        problems.append(
            "momentum: optax.rmsprop scales by the learning rate before the momentum, PyTorch after it; likely "
            "fix: einops_arch.port.optimizer.specs.RMSprop, which does as PyTorch"
        )


def map_leaves(tree: Any, change: Callable[[_Path, Any], Any]) -> Any:
    """The same tree with each array or variable given to `change`, with its path."""
    import jax
    from flax import nnx

    def visit(path: Any, leaf: Any) -> Any:
        keys = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
        # A masked parameter has an empty tuple in the place of its moment.
        return change(tuple(keys), leaf) if hasattr(_value(leaf), "dtype") else leaf

    return jax.tree_util.tree_map_with_path(visit, tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def _arrays(node: Any) -> bool:
    import jax

    return any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(node))


def _value(leaf: Any) -> Any:
    return leaf.get_value() if hasattr(leaf, "get_value") else leaf


def _put(leaf: Any, value: np.ndarray[Any, Any]) -> Any:
    import jax

    old = _value(leaf)
    sharding = old.sharding if isinstance(old, jax.Array) else None
    # A copy: on the CPU jax would share the memory of PyTorch's optimiser, which trains on.
    array = jax.device_put(np.array(value, dtype=old.dtype, order="C", copy=True), sharding)
    if hasattr(leaf, "set_value"):
        leaf.set_value(array)
        return leaf
    return array
