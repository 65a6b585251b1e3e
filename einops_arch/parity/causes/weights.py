"""Causes in the weights: another order of gates, a kernel turned round, one of two biases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.channels import matching, pattern_of
from einops_arch.parity.report.verdicts import Array, rms, wide

__all__ = ["loaded_weights", "weight_hypotheses"]

# PyTorch's gates in its order: of the LSTM, and of the GRU.
_GATES = {4: "i f g o", 3: "r z n"}


def loaded_weights(case: Case) -> Iterator[Hypothesis]:
    """PyTorch's weights in the place of Flax's, where the layout rules know them and they are not the same."""
    from einops_arch.flax.state import load_state_dict, state_dict

    # Flax counts no batches, so there is nothing to be the same.
    names = [name for name in case.torch_module.state_dict() if not name.endswith("num_batches_tracked")]
    state = {name: to_numpy(case.torch_module.state_dict()[name]) for name in names}
    state = {name: array if array.dtype.kind in "biu" else wide(array) for name, array in state.items()}
    own = state_dict(case.flax_module)
    differ = [name for name, array in state.items() if name in own and not _same(array, own[name])]
    differ = [name for name in differ if not _same_sum(name, state, own)]
    if not differ:
        return

    def load() -> Sequence[Any]:
        module = case.clone()
        load_state_dict(module, {name: state.get(name, array) for name, array in own.items()}, strict=False)
        return case.run(module)

    yield "PyTorch's weights: " + "; ".join(_relation(name, state, own) for name in differ[:4]), load


def weight_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Changes of the Flax module's weights; one program is compiled for all of them."""
    import jax
    from flax import nnx

    graph, state = nnx.split(case.flax_module)
    flat = {path: leaf for path, leaf in nnx.to_flat_state(state) if hasattr(leaf.get_value(), "ndim")}
    values = {path: to_numpy(leaf.get_value()) for path, leaf in flat.items() if _is_float(leaf.get_value())}

    def run_with(state: Any, inputs: Sequence[Any]) -> Any:
        return case.run(nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state)), inputs)

    compiled = jax.jit(run_with)

    def with_values(new: Mapping[Any, Array]) -> Callable[[], Sequence[Any]]:
        def run() -> Sequence[Any]:
            changed = [
                (path, leaf.replace(jax.numpy.asarray(new[path])) if path in new else leaf)
                for path, leaf in nnx.to_flat_state(state)
            ]
            return compiled(nnx.from_flat_state(changed), case.inputs)

        return run

    for words, new in itertools.chain(_gates(values), _turned(values), _biases(case, values)):
        yield words, with_values(new)


def _gates(values: Mapping[Any, Array]) -> Iterator[tuple[str, dict[Any, Array]]]:
    """The blocks of gates in another order, in all weights that have them on their last axis, or on their first."""
    for count, names in _GATES.items():
        letters = names.split()
        for axis in (-1, 0):
            sizes = {
                value.shape[axis] for value in values.values() if value.ndim > 1 and value.shape[axis] % count == 0
            }
            for size in sorted(sizes, reverse=True):
                for order in list(itertools.permutations(range(count)))[1:]:
                    new = {
                        path: _blocks(value, order, axis if value.ndim > 1 else 0)
                        for path, value in values.items()
                        if value.shape and value.shape[axis if value.ndim > 1 else 0] == size
                    }
                    flax_order = " ".join(letters[n] for n in order)
                    yield f"gates in the order {names}, the Flax module takes them as {flax_order}", new


def _blocks(value: Array, order: Sequence[int], axis: int) -> Array:
    parts = np.split(value, len(order), axis)
    return np.concatenate([parts[n] for n in order], axis)


def _turned(values: Mapping[Any, Array]) -> Iterator[tuple[str, dict[Any, Array]]]:
    for path, value in values.items():
        name = ".".join(map(str, path))
        if value.ndim > 2:
            space = tuple(range(value.ndim - 2))
            yield f"{name} flipped along its spatial axes", {path: np.flip(value, space)}
        for first, second in itertools.combinations(range(value.ndim), 2):
            if value.shape[first] == value.shape[second] > 1:
                yield f"{name} with axes {first} and {second} exchanged", {path: np.swapaxes(value, first, second)}


def _biases(case: Case, values: Mapping[Any, Array]) -> Iterator[tuple[str, dict[Any, Array]]]:
    """PyTorch adds two biases where Flax may have one."""
    parameters = {name: wide(to_numpy(parameter)) for name, parameter in case.torch_module.named_parameters()}
    for path, value in values.items():
        for name, other in parameters.items():
            if value.ndim == 1 and other.shape == value.shape:
                here = ".".join(map(str, path))
                yield f"{here} + {name}, the Flax module lacks the second", {path: value + other}
                yield f"{here} - {name}, the Flax module adds it once more", {path: value - other}


def _relation(name: str, state: Mapping[str, Array], own: Mapping[str, Array]) -> str:
    """What Flax has in the place of PyTorch's array."""
    expected, actual = state[name], wide(own[name])
    if expected.shape != actual.shape:
        return f"{name} has shape {actual.shape} in Flax, {expected.shape} in PyTorch"
    if not np.any(actual):
        return f"{name} is zero in Flax"
    other = name.replace("bias_hh", "bias_ih") if "bias_hh" in name else name.replace("bias_ih", "bias_hh")
    if other != name and other in state and _same(state[other], actual):
        return f"Flax has {other} in the place of the sum with {name}"
    space = tuple(range(2, expected.ndim))
    if space and _same(np.flip(expected, space), actual):
        return f"{name} is flipped along its spatial axes in Flax"
    for first, second in itertools.combinations(range(expected.ndim), 2):
        if expected.shape[first] == expected.shape[second] and _same(np.swapaxes(expected, first, second), actual):
            return f"{name} has its axes {first} and {second} exchanged in Flax"
    for axis in range(expected.ndim):
        if (order := matching(expected, actual, axis)) is not None and _same(np.take(actual, order, axis), expected):
            if (gates := _gate_order(order)) is not None:
                return f"{name} has its gates in the order {gates} in Flax"
            return f"{name} has its axis {axis} in another order in Flax: {pattern_of(order)}"
    return f"{name} has other values in Flax, {rms(actual - expected) / (rms(expected) or 1.0):.1e} off"


def _gate_order(order: Sequence[int]) -> str | None:
    """A change of order that moves whole blocks, as gates."""
    for count, names in _GATES.items():
        size = len(order) // count
        firsts = list(order[::size]) if size > 1 and len(order) % count == 0 else []
        if firsts and list(order) == [first + n for first in firsts for n in range(size)]:
            letters = names.split()
            flax_order = " ".join(letters[firsts.index(n * size)] for n in range(count))
            return f"{flax_order}, not {names}"
    return None


def _same(left: Array, right: Array) -> bool:
    """Equal up to the rounding of a sum."""
    return left.shape == right.shape and rms(wide(right) - left) <= 1e-12 * rms(left)


def _same_sum(name: str, state: Mapping[str, Array], own: Mapping[str, Array]) -> bool:
    """A Flax leaf that holds the sum of two biases gives (sum, 0)."""
    pair = [
        name.replace(here, there) for here in ("bias_ih", "bias_hh") for there in ("bias_ih", "bias_hh") if here in name
    ]
    if len(pair) != 2 or any(key not in state or key not in own for key in pair):
        return False
    return not np.any(own[pair[1]]) and _same(state[pair[0]] + state[pair[1]], own[pair[0]])


def _is_float(value: Any) -> bool:
    import jax

    return bool(jax.dtypes.issubdtype(value.dtype, np.floating))
