"""Causes in the weights: another order of gates, a kernel turned round, one of two biases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.causes.channels import matching, pattern_of
from einops_arch.parity.report.verdicts import Array, rms

__all__ = ["loaded_weights", "weight_hypotheses"]

# PyTorch's gates in its order: of the LSTM, and of the GRU.
_GATES = {4: "i f g o", 3: "r z n"}


def loaded_weights(case: Case) -> Iterator[Hypothesis]:
    """PyTorch's weights in the place of Flax's, where the layout rules know them and they are not the same."""
    from einops_arch.flax.state import load_state_dict, state_dict

    # Flax counts no batches, so there is nothing to be the same.
    names = [name for name in case.torch_module.state_dict() if not name.endswith("num_batches_tracked")]
    state = {name: to_numpy(case.torch_module.state_dict()[name]) for name in names}
    state = {name: one.astype(np.float64) if one.dtype.kind not in "biu" else one for name, one in state.items()}
    own = state_dict(case.flax_module)
    differ = [name for name, one in state.items() if name in own and not _same(one, own[name])]
    differ = [name for name in differ if not _same_sum(name, state, own)]
    if not differ:
        return

    def load() -> Sequence[Any]:
        module = case.clone()
        load_state_dict(module, {name: state.get(name, one) for name, one in own.items()}, strict=False)
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
                    theirs = " ".join(letters[n] for n in order)
                    yield f"gates in the order {names}, the Flax module takes them as {theirs}", new


def _blocks(value: Array, order: Sequence[int], axis: int) -> Array:
    parts = np.split(value, len(order), axis)
    return np.concatenate([parts[n] for n in order], axis)


def _turned(values: Mapping[Any, Array]) -> Iterator[tuple[str, dict[Any, Array]]]:
    for path, value in values.items():
        name = ".".join(map(str, path))
        if value.ndim > 2:
            space = tuple(range(value.ndim - 2))
            yield f"{name} flipped along its spatial axes", {path: np.flip(value, space)}
        for one, two in itertools.combinations(range(value.ndim), 2):
            if value.shape[one] == value.shape[two] > 1:
                yield f"{name} with axes {one} and {two} exchanged", {path: np.swapaxes(value, one, two)}


def _biases(case: Case, values: Mapping[Any, Array]) -> Iterator[tuple[str, dict[Any, Array]]]:
    """PyTorch adds two biases where Flax may have one."""
    ours = {name: to_numpy(one).astype(np.float64) for name, one in case.torch_module.named_parameters()}
    for path, value in values.items():
        for name, other in ours.items():
            if value.ndim == 1 and other.shape == value.shape:
                here = ".".join(map(str, path))
                yield f"{here} + {name}, the Flax module lacks the second", {path: value + other}
                yield f"{here} - {name}, the Flax module adds it once more", {path: value - other}


def _relation(name: str, state: Mapping[str, Array], own: Mapping[str, Array]) -> str:
    """What Flax has in the place of PyTorch's array."""
    ours, theirs = state[name], own[name].astype(np.float64)
    if ours.shape != theirs.shape:
        return f"{name} has shape {theirs.shape} in Flax, {ours.shape} in PyTorch"
    if not np.any(theirs):
        return f"{name} is zero in Flax"
    other = name.replace("bias_hh", "bias_ih") if "bias_hh" in name else name.replace("bias_ih", "bias_hh")
    if other != name and other in state and _same(state[other], theirs):
        return f"Flax has {other} in the place of the sum with {name}"
    space = tuple(range(2, ours.ndim))
    if space and _same(np.flip(ours, space), theirs):
        return f"{name} is flipped along its spatial axes in Flax"
    for one, two in itertools.combinations(range(ours.ndim), 2):
        if ours.shape[one] == ours.shape[two] and _same(np.swapaxes(ours, one, two), theirs):
            return f"{name} has its axes {one} and {two} exchanged in Flax"
    for axis in range(ours.ndim):
        if (order := matching(ours, theirs, axis)) is not None and _same(np.take(theirs, order, axis), ours):
            if (said := _gate_order(order)) is not None:
                return f"{name} has its gates in the order {said} in Flax"
            return f"{name} has its axis {axis} in another order in Flax: {pattern_of(order)}"
    return f"{name} has other values in Flax, {rms(theirs - ours) / (rms(ours) or 1.0):.1e} off"


def _gate_order(order: Sequence[int]) -> str | None:
    """A change of order that moves whole blocks, as gates."""
    for count, names in _GATES.items():
        size = len(order) // count
        firsts = list(order[::size]) if size > 1 and len(order) % count == 0 else []
        if firsts and list(order) == [first + n for first in firsts for n in range(size)]:
            letters = names.split()
            theirs = " ".join(letters[firsts.index(n * size)] for n in range(count))
            return f"{theirs}, not {names}"
    return None


def _same(one: Array, other: Array) -> bool:
    """Equal up to the rounding of a sum."""
    return one.shape == other.shape and rms(other.astype(np.float64) - one) <= 1e-12 * rms(one)


def _same_sum(name: str, state: Mapping[str, Array], own: Mapping[str, Array]) -> bool:
    """A Flax leaf that holds the sum of two biases gives (sum, 0)."""
    pair = [name.replace(one, two) for one in ("bias_ih", "bias_hh") for two in ("bias_ih", "bias_hh") if one in name]
    if len(pair) != 2 or any(one not in state or one not in own for one in pair):
        return False
    return not np.any(own[pair[1]]) and _same(state[pair[0]] + state[pair[1]], own[pair[0]])


def _is_float(value: Any) -> bool:
    import jax

    return bool(jax.dtypes.issubdtype(value.dtype, np.floating))
