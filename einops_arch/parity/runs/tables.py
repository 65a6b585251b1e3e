"""Tables: arrays that a model makes of no input and no weight, such as the frequencies of a rotation.

One model may hold a table that was rounded once where the other computes it, and either may be any of the two. In the
run that users have both are rounded, so a table of Flax's that is PyTorch's up to that rounding is taken to be
PyTorch's. How far rounding goes is measured: each operation that makes the table is done again with noise of one unit
roundoff on all that it gives. The unit is that of float32 at most, in which narrow models compute their tables too: a
table that is stored in less may differ by its one rounding to that, and by no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_tensor
from einops_arch.parity.report.verdicts import Array, unit_roundoff, wide
from einops_arch.parity.runs.jaxprs import LIFT, bodies

__all__ = ["Table", "TableRecorder", "Tables", "exactly"]

_DRAWS = 4
"""So many times noise is drawn; that all of them leave an entry as it was by chance is rare."""
_MARGIN = 16
"""What rounding does to an entry, in the size of what the noise did to it at most."""
_MOST = 1 << 21
"""Larger arrays are no tables that anybody stores."""
_UNIT = 2.0**-24
"""The unit roundoff of float32."""


@dataclass
class Table:
    """An array that does not depend on inputs or weights.

    Args:
        values: in float64.
        spread: by entry, how far noise of one unit roundoff on each step moved it.
        stored: the dtype that the model holds it in, where that is narrower than float32.
        is_weight: it is a parameter, though of the frozen ones; only what Flax computes of constants may be the same.
    """

    values: Array
    spread: Array
    stored: np.dtype[Any] | None = None
    is_weight: bool = False


@dataclass
class Tables:
    """The rule by which nothing is narrower than float64, and each table that PyTorch's model has too is PyTorch's.

    Args:
        tables: PyTorch's.
        unit: the unit roundoff of the models' own dtype; that of float32 is taken where it is larger.
        stored: by the numbers of arrays of Flax's state in float64, the dtype narrower than float32 that they have.
        known: by the identity of a traced argument, the array that it is in every call, such as a buffer.
        used: how many arrays of Flax's were replaced by PyTorch's, from which rounding alone tells them.
        lifts: literals are as wide as they were written down.
    """

    tables: Sequence[Table]
    unit: float
    stored: Mapping[tuple[tuple[int, ...], bytes], np.dtype[Any]] = field(default_factory=dict)
    known: dict[int, Any] = field(default_factory=dict)
    used: int = 0
    lifts: bool = True

    def __post_init__(self) -> None:
        self.unit = min(self.unit, _UNIT)
        self._draws: dict[int, tuple[Any, list[Any]]] = {}
        # What is held, or made of what is held: arrays that another training might have made others.
        self._of_state: dict[int, Any] = {}
        self._generator = np.random.default_rng(0)
        self._by_shape: dict[tuple[int, ...], list[Table]] = {}
        for table in self.tables:
            self._by_shape.setdefault(_lengths(table.values), []).append(table)

    def hold(self, arguments: Mapping[int, Any]) -> None:
        """Say which traced arguments are the same arrays in every call.

        Args:
            arguments: by the identity of what is traced.
        """
        self.known = {}
        for key, array in arguments.items():
            stored = self.stored.get(exactly(array)) if self.stored else None
            self.known[key] = taken = self._taken(array, [array] * _DRAWS, stored, of_state=True)
            self._of_state[id(taken)] = taken

    def __call__(self, operation: Any, values: Sequence[Any]) -> Sequence[Any] | None:
        """The values that come out of an operation."""
        import jax

        if bodies(operation):
            return None
        values = [self.known.get(id(value), value) for value in values]
        if any(isinstance(value, jax.core.Tracer) for value in values):
            return _done(operation, values)
        with jax.ensure_compile_time_eval():
            results = _done(operation, values)
            of_state = any(id(value) in self._of_state for value in values)
            self._drawn(operation, values, results)
            results = [self._taken(result, self._draws[id(result)][1], of_state=of_state) for result in results]
            if of_state:
                self._of_state |= {id(result): result for result in results}
            return results

    def _drawn(self, operation: Any, values: Sequence[Any], results: Sequence[Any]) -> Sequence[Any]:
        """Do the operation again with noise; the results as they are."""
        every: list[list[Any]] = [[] for _ in results]
        for n in range(_DRAWS):
            noisy = [self._draws[id(value)][1][n] if id(value) in self._draws else value for value in values]
            for result, outcome in zip(every, _done(operation, noisy), strict=True):
                result.append(self._disturbed(outcome))
        for result, outcomes in zip(results, every, strict=True):
            self._draws[id(result)] = result, outcomes
        return results

    def _disturbed(self, array: Any) -> Any:
        if not _is_inexact(array):
            return array
        return array * (1 + self.unit * self._generator.choice([-1.0, 1.0], np.shape(array)))

    def _taken(self, array: Any, draws: Sequence[Any], stored: np.dtype[Any] | None = None, *, of_state: bool) -> Any:
        """PyTorch's table where it is this one up to rounding."""
        import jax

        if not _is_inexact(array) or np.size(array) < 2 or np.size(array) > _MOST:
            return array
        values = np.asarray(array)
        spread = np.max([_gap(np.asarray(draw), values) for draw in draws], 0) + self.unit * np.abs(values)
        for table in self._by_shape.get(_lengths(values), []):
            if table.is_weight and of_state:
                continue
            other = table.values.reshape(values.shape)
            gap = _gap(values, other)
            if not gap.any():
                return array
            limit = _MARGIN * np.maximum(spread, table.spread.reshape(values.shape))
            # Two that are stored in less are two arrays; what either was before its rounding nothing tells.
            if table.stored is not None and stored is None:
                limit = limit + _half_step(values, table.stored)
            elif stored is not None and table.stored is None:
                limit = limit + _half_step(other, stored)
            if np.all(gap <= limit):
                self.used += 1
                taken = jax.numpy.asarray(other)
                self._draws[id(taken)] = taken, [taken] * _DRAWS
                return taken
        return array


def _done(operation: Any, values: Sequence[Any]) -> Sequence[Any]:
    results = LIFT(operation, values)
    if results is not None:
        return results
    results = operation.primitive.bind(*values, **operation.params)
    return results if operation.primitive.multiple_results else [results]


def exactly(array: Any) -> tuple[tuple[int, ...], bytes]:
    """What tells an array from every other, whatever dtype its numbers are in."""
    return np.shape(array), wide(np.asarray(array)).tobytes()


def _half_step(values: Array, dtype: np.dtype[Any]) -> Array:
    """The largest error of one rounding to a dtype."""
    import ml_dtypes

    least = float(ml_dtypes.finfo(dtype).smallest_normal)
    powers = np.frexp(np.maximum(np.abs(values), least))[1]
    return np.asarray(unit_roundoff(dtype) * np.ldexp(1.0, powers - 1))


def _gap(array: Array, other: Array) -> Array:
    """How far numbers are apart; infinities of one sign are not."""
    with np.errstate(invalid="ignore"):
        return np.where(array == other, 0.0, np.abs(array - other))


def _lengths(array: Array) -> tuple[int, ...]:
    """The shape without axes of one entry."""
    return tuple(length for length in np.shape(array) if length > 1)


def _is_inexact(value: Any) -> bool:
    import jax

    return hasattr(value, "dtype") and bool(jax.dtypes.issubdtype(value.dtype, np.inexact))


def _cloned(value: Any) -> Any:
    import torch

    return value.clone() if isinstance(value, torch.Tensor) else value


def _share(tensor: Any, other: Any) -> bool:
    """Whether two tensors are numbers of the same memory."""
    try:
        return bool(tensor.untyped_storage()._cdata == other.untyped_storage()._cdata)  # noqa: SLF001 its address
    except (NotImplementedError, RuntimeError):
        return True


class TableRecorder:
    """Watches a run of a PyTorch model for what it makes of no input and no weight.

    Args:
        held: the tensors that the model holds and does not train.
        unit: the unit roundoff of the model's own dtype; that of float32 is taken where it is larger.
        stored: for each of these, the dtype that the model has it in.
        weights: for each of these, whether it is a parameter.
    """

    def __init__(
        self, held: Sequence[Any], unit: float, stored: Sequence[np.dtype[Any]], weights: Sequence[bool]
    ) -> None:
        self._held, self._unit = list(held), min(unit, _UNIT)
        self._stored, self._weights = list(stored), list(weights)
        self._versions = [tensor._version for tensor in held]  # noqa: SLF001 it alone tells of changes in place
        self._steps: list[tuple[Any, Any, Any, list[Any]]] = []
        self._constants: dict[int, Any] = {id(tensor): tensor for tensor in held}
        # Constants that were written to through a view of them: what they are then is not followed.
        self._overwritten: set[int] = set()

    def watch(self) -> Any:
        """A context in which operations are written down."""
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_leaves

        recorder = self

        class Watch(TorchDispatchMode):  # type: ignore[misc,unused-ignore]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                del types
                kwargs = kwargs or {}
                result = func(*args, **kwargs)
                tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
                results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
                recorder._seen(func, (args, kwargs), tensors, results)
                return result

        return Watch()

    def _seen(self, func: Any, arguments: Any, tensors: Sequence[Any], results: list[Any]) -> None:
        import torch
        from torch.utils._pytree import tree_map

        name = str(func).removeprefix("aten.").split(".")[0]
        fresh = name in ("lift_fresh", "lift_fresh_copy")
        steady = torch.Tag.nondeterministic_seeded not in func.tags
        written = tensors[:1] if func._schema.is_mutable else []  # noqa: SLF001 it alone tells what is in place
        for tensor in written:
            self._overwritten |= {
                key
                for key, other in self._constants.items()
                if other is not tensor and other._is_view() | tensor._is_view() and _share(other, tensor)  # noqa: SLF001
            }
        if steady and (fresh or all(id(tensor) in self._constants for tensor in tensors)):
            if fresh:
                # What the code has written down; the model may change what it is given of it.
                arguments = tree_map(_cloned, arguments)
            self._steps.append((func, *arguments, results))
            self._constants |= {id(tensor): tensor for tensor in results}
        else:
            for tensor in results:
                # An operation in place makes something else of a constant.
                self._constants.pop(id(tensor), None)

    def tables(self, array_of: Callable[[Any], Array]) -> list[Table]:
        """What was made, each as often as it differs.

        Args:
            array_of: makes a numpy array of a tensor.
        """
        import torch
        from torch.utils._pytree import tree_leaves, tree_map

        generator = np.random.default_rng(0)
        changed = self._overwritten | {
            id(tensor)
            for tensor, version in zip(self._held, self._versions, strict=True)
            if tensor._version != version  # noqa: SLF001 it alone tells of changes in place
        }
        steps = list(self._without(changed))
        held = [n for n, tensor in enumerate(self._held) if id(tensor) not in changed]
        self._kept = [(self._stored[n], self._weights[n]) for n in held]
        runs: list[list[Any]] = []
        for draw in range(_DRAWS + 1):
            copies = {id(tensor): tensor.clone() for tensor in self._held}

            def copied(value: Any, copies: dict[int, Any] = copies) -> Any:
                return copies[id(value)] if id(value) in copies else _cloned(value)

            made: list[Any] = [copies[id(self._held[n])] for n in held]
            for func, args, kwargs, results in steps:
                again = func(*tree_map(copied, args), **tree_map(copied, kwargs))
                again = [leaf for leaf in tree_leaves(again) if isinstance(leaf, torch.Tensor)]
                noisy = [self._disturbed(tensor, generator) if draw else tensor for tensor in again]
                copies |= {id(tensor): new for tensor, new in zip(results, noisy, strict=False)}
                made += noisy
            runs.append([array_of(tensor) for tensor in made])
        return list(self._distinct(runs))

    def _without(self, changed: set[int]) -> Iterator[tuple[Any, Any, Any, list[Any]]]:
        """The steps that nothing goes into that a call changes; `changed` grows by what the others give."""
        import torch
        from torch.utils._pytree import tree_leaves

        for step in self._steps:
            _, args, kwargs, results = step
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            if any(id(tensor) in changed for tensor in (*tensors, *results)):
                changed |= {id(tensor) for tensor in results}
            else:
                yield step

    def _disturbed(self, tensor: Any, generator: Any) -> Any:

        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        # Not by PyTorch, whose draws may be those of the model.
        signs = to_tensor(generator.choice(np.array([-1.0, 1.0]), tuple(tensor.shape)), tensor.device)
        return tensor * (1 + self._unit * signs)

    def _distinct(self, runs: Sequence[Sequence[Array]]) -> Any:
        seen: set[tuple[Any, bytes]] = set()
        for n, (exact, *noisy) in enumerate(zip(*runs, strict=True)):
            if exact.dtype.kind not in "fc" or not 1 < exact.size <= _MOST:
                continue
            key = exact.shape, exact.tobytes()
            if key in seen:
                continue
            seen.add(key)
            values = wide(exact)
            spread = np.max([_gap(wide(draw), values) for draw in noisy], 0) + self._unit * np.abs(values)
            dtype, is_weight = self._kept[n] if n < len(self._kept) else (np.dtype(np.float32), False)
            is_narrow = values.dtype.kind == "f" and unit_roundoff(dtype) > _UNIT
            yield Table(values, spread, dtype if is_narrow else None, is_weight)
            if values.dtype.kind == "c":
                yield Table(values.real, spread)
                yield Table(values.imag, spread)
