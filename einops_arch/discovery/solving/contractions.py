"""Products of arrays summed over shared axes: the `einsum` that `bmm` and `matmul` with moves around them are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from einops_arch.discovery.result import Discovery
from einops_arch.discovery.rewriting.code import known_values, scaled
from einops_arch.discovery.solving.reductions import reduced_structure
from einops_arch.discovery.solving.sampling import Sizes
from einops_arch.discovery.solving.search import Solution, search
from einops_arch.discovery.solving.structure import Groups, NoPatternError, Structure
from einops_arch.discovery.solving.values import close, integers, shapes_of
from einops_arch.discovery.tracing.arrays import Runner

__all__ = ["find_contraction", "find_square"]

_Inputs = tuple[tuple[str, ...], ...]


def find_contraction(runner: Runner, inputs: _Inputs, base: Sizes, start: Sizes) -> Discovery:
    """The `einsum` of several inputs.

    Args:
        runner: the function.
        inputs: the names of the axes of each input.
        base: the sizes that were asked about.
        start: smaller sizes to look at first.

    Raises:
        NoPatternError: the function is not linear in each of them, or no product of them summed over axes.
    """
    contractions = _Contractions(runner, inputs)
    return _discovery(runner, search(contractions, contractions.prove, base, inputs, start), base, contractions)


def find_square(runner: Runner, inputs: _Inputs, base: Sizes, start: Sizes) -> Discovery | None:
    """The `einsum` of an array with itself, such as a gram matrix; None if it is none.

    Every axis of the output has to be one axis of the input.
    """
    squares = _Squares(runner, inputs * 2)
    try:
        return _discovery(runner, search(squares, squares.prove, base, inputs * 2, start), base, squares)
    except NoPatternError:
        return None


@dataclass
class _Contractions:
    runner: Runner
    inputs: _Inputs
    known: dict[Any, float | None] = dataclasses.field(default_factory=dict)

    def __call__(self, sizes: Sizes) -> Structure:
        shapes = shapes_of(self.inputs, sizes)
        self._check_linear(shapes)
        ones = [np.ones(shape) for shape in shapes]

        def alone(place: int) -> Callable[[Any], Any]:
            """The function of one input, the others are ones: they only repeat and sum."""
            return lambda x: self.run(*ones[:place], x, *ones[place + 1 :])

        precise = self.runner.dtype == "float64"
        parts = [reduced_structure(alone(place), shape, precise=precise) for place, shape in enumerate(shapes)]
        return _united(parts, lambda a, b: self._paired(parts, shapes, a, b))

    def run(self, *values: Any) -> Any:
        return self.runner(*values)[0]

    def prove(self, solution: Solution, sizes: Sizes) -> bool:
        return self.scale(solution, sizes) is not None

    def scale(self, solution: Solution, sizes: Sizes) -> float | None:
        """What the function is times the `einsum`, None if it is no multiple of it; each is computed once."""
        key = (solution.structure, tuple(sizes.items()))
        if key not in self.known:
            self.known[key] = self._scale(solution, sizes)
        return self.known[key]

    def _scale(self, solution: Solution, sizes: Sizes) -> float | None:
        discovered = _call(solution, sizes)
        for seed in (8, 18, 28):  # a sum of a few products may well be 0 by chance
            values = self.values(sizes, seed)
            result, mine = self.run(*values), discovered(*values).astype(np.float64)
            if mine.any():
                break
        if mine.shape != result.shape or not mine.any():
            return None
        place = np.unravel_index(np.argmax(np.abs(mine)), mine.shape)
        factor = float(result[place] / mine[place])
        return factor if factor and close(result.astype(np.float64), factor * mine, self.runner.dtype) else None

    def values(self, sizes: Sizes, seed: int) -> list[Any]:
        return integers(shapes_of(self.inputs, sizes), seed)

    def _check_linear(self, shapes: Sequence[Sequence[int]]) -> None:
        first, other = integers(shapes, seed=6), integers(shapes, seed=7)
        for place in range(len(shapes)):
            around = first[:place], first[place + 1 :]
            both = self.run(*around[0], first[place] + other[place], *around[1])
            added = self.run(*first) + self.run(*around[0], other[place], *around[1])
            if not close(both, added, self.runner.dtype):
                raise NoPatternError("computes", "it is not linear in its inputs, as an einsum is")

    def _paired(
        self,
        parts: Sequence[Structure],
        shapes: Sequence[Sequence[int]],
        first: tuple[int, int],
        other: tuple[int, int],
    ) -> bool:
        """Whether two summed axes of two inputs are summed together: nothing is left of ones at different places."""
        same, different = (
            self.run(
                *(
                    _only(part, shape, *{first[0]: (first[1], 0), other[0]: (other[1], index)}.get(place, (None, 0)))
                    for place, (part, shape) in enumerate(zip(parts, shapes, strict=True))
                )
            )
            for index in (0, 1)
        )
        return bool(same.any() and not different.any())


def _only(structure: Structure, shape: Sequence[int], number: int | None, index: int) -> Any:
    """Ones at one index of an elementary axis, zeros at the others; ones everywhere for no axis."""
    order = [axis for group in structure.left[0] for axis in group]
    array = np.ones([structure.sizes[axis] for axis in order])
    if number is not None:
        place = order.index(number)
        array = array * (np.arange(structure.sizes[number]) == index).reshape([-1] + [1] * (len(order) - place - 1))
    return array.reshape(shape)


def _united(parts: Sequence[Structure], paired: Callable[[tuple[int, int], tuple[int, int]], bool]) -> Structure:
    """One structure of what each input does alone: axes that share a place in the output, or a sum, are one."""
    sizes: list[int] = []
    pieces: dict[tuple[int, int], list[int]] = {}
    right: list[tuple[int, ...]] = []
    for axis in range(len(parts[0].right)):
        ends = sorted({1, *(end for part in parts for end in _ends(part, axis))})
        atoms = []
        for low, high in pairwise(ends):
            if high % low:
                raise NoPatternError("crosses", "its inputs cut an axis of the output at places that do not fit")
            sizes.append(high // low)
            atoms.append((len(sizes) - 1, low))
        atoms.reverse()
        for place, part in enumerate(parts):
            low = math.prod(part.sizes[number] for number in part.right[axis])
            for number in part.right[axis]:
                high, low = low, low // part.sizes[number]
                if number in part.inputs:
                    pieces[place, number] = [atom for atom, start in atoms if low <= start < high]
        right.append(tuple(atom for atom, _ in atoms))
    gone = [(place, number) for place, part in enumerate(parts) for number in part.gone]
    for key in gone:
        sizes.append(parts[key[0]].sizes[key[1]])
        pieces[key] = [len(sizes) - 1]
    for first, other in combinations(gone, 2):
        if first[0] != other[0] and sizes[pieces[first][0]] == sizes[pieces[other][0]] > 1 and paired(first, other):
            pieces[other] = pieces[first]
    if missing := {atom for group in right for atom in group} - {atom for atoms in pieces.values() for atom in atoms}:
        raise NoPatternError("computes", f"an axis of its output, of size {sizes[missing.pop()]}, is of no input")
    left = tuple(
        tuple(tuple(atom for number in group for atom in pieces[place, number]) for group in part.left[0])
        for place, part in enumerate(parts)
    )
    return Structure(left, tuple(right), tuple(sizes))


def _ends(part: Structure, axis: int) -> list[int]:
    group = part.right[axis]
    return [math.prod(part.sizes[number] for number in group[place:]) for place in range(len(group))]


class _Squares(_Contractions):
    """A function of one array as an `einsum` of the array with itself."""

    def run(self, *values: Any) -> Any:
        return self.runner(values[0])[0]

    def values(self, sizes: Sizes, seed: int) -> list[Any]:
        return integers(shapes_of(self.inputs[:1], sizes), seed)

    def __call__(self, sizes: Sizes) -> Structure:
        shape = shapes_of(self.inputs, sizes)[0]
        (first,), (other,) = integers([shape], seed=6), integers([shape], seed=7)
        law = self.run(first + other) + self.run(first - other)
        if not close(law, 2 * (self.run(first) + self.run(other)), self.runner.dtype):
            raise NoPatternError("computes", "it is no product of its input with itself")
        ones = np.ones(shape)
        at_ones = self.run(ones)
        ties: list[list[int]] = []
        for axis, size in enumerate(shape):
            step = np.broadcast_to((np.arange(size) == size - 1).reshape([-1] + [1] * (len(shape) - axis - 1)), shape)
            mixed = self.run(ones + step) - at_ones - self.run(step * 1.0)
            ties.append([n for n in range(mixed.ndim) if not np.allclose(mixed, mixed.take([0], n))])
        numbers: dict[int, int] = {}
        left: list[list[tuple[int, ...]]] = [[], []]
        all_sizes: list[int] = []
        for axis, tied in enumerate(ties):
            if len(tied) > 2 or any(at_ones.shape[n] != shape[axis] or n in numbers for n in tied):
                raise NoPatternError("computes", "its axes are no axes of its input")
            for copy in range(2):
                if copy == 0 or len(tied) == 2:
                    all_sizes.append(shape[axis])
                left[copy].append((len(all_sizes) - 1,) if shape[axis] > 1 else ())
                if tied and copy < len(tied):
                    numbers[tied[copy]] = len(all_sizes) - 1
        if any(size > 1 and n not in numbers for n, size in enumerate(at_ones.shape)):
            raise NoPatternError("computes", "its axes are no axes of its input")
        right: Groups = tuple((numbers[n],) if n in numbers else () for n in range(at_ones.ndim))
        return Structure((tuple(left[0]), tuple(left[1])), right, tuple(all_sizes))


def _call(solution: Solution, sizes: Sizes, **more: Any) -> Discovery:
    """The `einsum` at these sizes, with a `rearrange` where an axis has to be split or merged."""
    names = solution.names
    before = []
    for groups, left in zip(solution.structure.left, solution.lefts, strict=True):
        flat = " ".join(names[number] for group in groups for number in group)
        bound = {
            names[number]: solution.rules[number].at(sizes)
            for group in groups
            if len(group) > 1
            for number in sorted(group, key=lambda number: solution.rules[number].kind == "derived")[:-1]
        }
        before.append(None if flat == left else (f"{left} -> {flat}", bound))
    lefts = [step[0].partition(" -> ")[2] if step else left for step, left in zip(before, solution.lefts, strict=True)]
    flat = " ".join(names[number] for group in solution.structure.right for number in group)
    after: tuple[str, dict[str, int]] | None = None if flat == solution.right else (f"{flat} -> {solution.right}", {})
    pattern = f"{', '.join(lefts)} -> {flat}"
    return Discovery(
        operation="einsum",
        pattern=pattern,
        sizes={},
        equals=solution.equals,
        shapes=shapes_of(solution.inputs, sizes),
        proven=solution.proven,
        code="",
        before=tuple(before),
        after=after,
        traps=solution.traps,
        **more,
    )


def _discovery(runner: Runner, solution: Solution, base: Sizes, contractions: _Contractions) -> Discovery:
    factor = contractions.scale(solution, base)
    if factor is None:
        raise NoPatternError("computes", "it is no product of its inputs")
    call = _call(solution, base, scale=factor if abs(factor - 1) > 1e-9 else 1.0, backend=str(runner.backend))
    arrays = ["x", "x" if isinstance(contractions, _Squares) else "y", "z", "u", "v"][: len(call.before)]
    words = [
        array if step is None else f'rearrange({array}, "{step[0]}"{_options(step[1], runner)})'
        for array, step in zip(arrays, call.before, strict=True)
    ]
    code = f'einsum({", ".join(words)}, "{call.pattern}")'
    if call.after is not None:
        code = f'rearrange({code}, "{call.after[0]}")'
    factors = []
    for sizes in solution.tried:
        named = {solution.names[number]: rule.at(sizes) for number, rule in solution.rules.items()}
        if (scale := contractions.scale(solution, sizes)) is not None:
            factors.append((scale, {**sizes, **named}))
    return dataclasses.replace(call, code=code + scaled(factors))


def _options(sizes: Sizes, runner: Runner) -> str:
    known = known_values(runner.function)
    return "".join(
        f", {name}={known[size][0] if len(known.get(size, ())) == 1 else size}" for name, size in sizes.items()
    )
