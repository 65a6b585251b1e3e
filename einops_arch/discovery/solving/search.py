"""From samples at several shapes to one proven pattern with its sizes and its traps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch.discovery.result import Trap
from einops_arch.discovery.solving.naming import name_axes, write_side
from einops_arch.discovery.solving.sampling import MOST, Probe, Sample, Sizes, explore, sample
from einops_arch.discovery.solving.sizes import Rule, find_rules
from einops_arch.discovery.solving.structure import COMPUTES, NoPatternError, Structure
from einops_arch.discovery.solving.values import shapes_of

__all__ = ["Solution", "Prove", "search"]

_TRIED = 400_000
"""How many elements there may be in all the shapes that are tried to tell one trap from another."""

Prove = Callable[["Solution", Sizes], bool]
"""Whether a pattern gives what the function gives at these sizes, on fresh random values."""


@dataclass(frozen=True)
class Solution:
    """A structure with names and rules."""

    structure: Structure
    rules: Mapping[int, Rule]
    names: Mapping[int, str]
    inputs: tuple[tuple[str, ...], ...]
    traps: tuple[Trap, ...] = ()
    proven: tuple[tuple[tuple[int, ...], ...], ...] = ()
    tried: tuple[Sizes, ...] = ()

    @property
    def pattern(self) -> str:
        """For einops; several inputs are separated by commas."""
        return f"{', '.join(self.lefts)} -> {self.right}"

    @property
    def lefts(self) -> list[str]:
        """The left side of each input."""
        return [write_side(groups, dict(self.names)) for groups in self.structure.left]

    @property
    def right(self) -> str:
        """The right side."""
        return write_side(self.structure.right, dict(self.names))

    def stated(self, sizes: Sizes) -> dict[str, int]:
        """What a call has to say at these sizes."""
        return {self.names[number]: rule.at(sizes) for number, rule in self.rules.items() if rule.is_stated}

    @property
    def inverse(self) -> str | None:
        """The pattern of the way back, None if an axis is repeated or reduced."""
        if self.structure.new or self.structure.gone:
            return None
        return " -> ".join((self.right, *self.lefts))

    def inverse_sizes(self, sizes: Sizes) -> dict[str, int]:
        """What a call of the inverse has to say at these sizes."""
        groups = [group for group in self.structure.right if len(group) > 1] if self.inverse else []
        return {self.names[number]: self.rules[number].at(sizes) for group in groups for number in group[:-1]}

    def accidents(self, sizes: Sizes) -> int:
        """How many signs there are of a reshape that fits by accident, such as `view(-1, 320)`.

        A size that follows no rule is one. Another is a part of an axis that is not there at the sizes asked about, and
        elsewhere goes into one axis with another axis of the input.
        """
        owner = {n: (i, a) for i, groups in enumerate(self.structure.left) for a, g in enumerate(groups) for n in g}
        mixed = {n for group in self.structure.right if len({owner.get(n) for n in group}) > 1 for n in group}
        whole = {group[0] for groups in self.structure.left for group in groups if len(group) == 1}
        return sum(
            rule.kind == "unknown" or (number in mixed - whole and rule.at(sizes) == 1)
            for number, rule in self.rules.items()
        )

    @property
    def equals(self) -> dict[str, str]:
        """The size of each axis that is no whole axis of an input."""
        return {self.names[number]: rule.text for number, rule in sorted(self.rules.items()) if rule.kind != "whole"}


def search(
    probe: Probe,
    prove: Prove,
    base: Sizes,
    inputs: tuple[tuple[str, ...], ...],
    start: Sizes | None = None,
    unproven: str = COMPUTES,
) -> Solution:
    """The pattern that explains the most shapes, the one at the given sizes if two explain as many.

    Args:
        probe: the structure at some sizes.
        prove: compares the pattern with the function.
        base: the sizes that were asked about.
        inputs: the names of the axes of each input.
        start: smaller sizes to look at first.
        unproven: what to say of a function that a structure was found for, but no pattern gives its values.

    Raises:
        NoPatternError: there is no pattern at the given sizes.
    """
    if start is not None and start != base:
        try:
            return _search(probe, prove, base, inputs, start, unproven)
        except NoPatternError:
            pass  # what is said about it is said of the shape that was asked about
    return _search(probe, prove, base, inputs, base, unproven)


def _search(
    probe: Probe, prove: Prove, base: Sizes, inputs: tuple[tuple[str, ...], ...], start: Sizes, unproven: str
) -> Solution:
    samples = explore(probe, start)
    best, explained = None, list[Sample]()
    for solution in _candidates(samples, inputs):
        if not prove(solution, base):
            continue
        good = [drawn for drawn in samples if _proves(prove, solution, drawn.sizes)]
        if best is None or (-solution.accidents(base), len(good)) > (-best.accidents(base), len(explained)):
            best, explained = solution, good
    if best is None:
        raise NoPatternError("computes", unproven)
    tried = [base]
    for sizes in _fresh_sizes(best, samples, base):
        proven = _proves(prove, best, sizes)
        if proven:
            tried.append(sizes)
        elif proven is False and (drawn := sample(probe, sizes)) is not None:
            samples.append(drawn)
    tried += [drawn.sizes for drawn in explained]
    unequal = {(a, b) for sizes in tried for a in sizes for b in sizes if sizes[a] != sizes[b]}

    left = _TRIED

    def holds(sizes: Sizes) -> bool | None:
        nonlocal left
        left -= math.prod(sizes.values())
        return _proves(prove, best, sizes) if left > 0 else None

    traps = [_trap(drawn, best, inputs, holds, unequal) for drawn in samples if drawn not in explained]
    shapes = dict.fromkeys(shapes_of(inputs, sizes) for sizes in tried)
    return Solution(best.structure, best.rules, best.names, inputs, _first_of_each(traps), tuple(shapes), tuple(tried))


def _candidates(samples: Sequence[Sample], inputs: tuple[tuple[str, ...], ...]) -> list[Solution]:
    groups: dict[Any, list[tuple[Sizes, Structure]]] = {}
    for drawn in samples:
        if drawn.structure is not None:
            groups.setdefault(drawn.structure.signature, []).append((drawn.sizes, drawn.structure))
    return [
        Solution(structure, find_rules(structure, group, inputs), name_axes(structure, inputs), inputs)
        for group in groups.values()
        for _, structure in group[:1]
    ]


def _proves(prove: Prove, solution: Solution, sizes: Sizes) -> bool | None:
    """None where the function does not run."""
    try:
        return prove(solution, sizes)
    except Exception:  # noqa: BLE001 the function is anybody's
        return None


def _fresh_sizes(solution: Solution, samples: Sequence[Sample], base: Sizes) -> list[dict[str, int]]:
    """Sizes that have not been tried: primes, powers of two, each times what the code fixes of the axis."""
    changed = {name for drawn in samples for name in base if drawn.sizes[name] != base[name]}
    fixed: dict[str, int] = {}
    for groups, names in zip(solution.structure.left, solution.inputs, strict=True):
        for group, name in zip(groups, names, strict=True):
            for number in group:
                if solution.rules[number].kind == "fixed":
                    fixed[name] = fixed.get(name, 1) * solution.rules[number].at(base)
    fresh = []
    for factors in ((2, 3, 5, 7, 11, 13), (4, 2, 8, 2, 4, 2)):
        sizes = {
            name: fixed.get(name, 1) * factors[place % 6] if name in changed else size
            for place, (name, size) in enumerate(base.items())
        }
        total = 1
        for size in sizes.values():
            total *= size
        if total <= MOST and sizes != dict(base):
            fresh.append(sizes)
    return fresh


def _trap(
    drawn: Sample,
    best: Solution,
    inputs: tuple[tuple[str, ...], ...],
    holds: Callable[[Sizes], bool | None],
    unequal: set[tuple[str, str]],
) -> Trap:
    shape = " and ".join(map(str, shapes_of(inputs, drawn.sizes)))
    if drawn.structure is not None:
        names = name_axes(drawn.structure, inputs)
        lefts = ", ".join(write_side(groups, names) for groups in drawn.structure.left)
        other = f"{lefts} -> {write_side(drawn.structure.right, names)}"
        does = f"it is {other!r}" if other != best.pattern else "the sizes of its axes are others"
    else:
        does = f"it is no pattern: {drawn.failure}"
    names_of_sizes = list(drawn.sizes)
    for n, first in enumerate(names_of_sizes):
        for second in names_of_sizes[n + 1 :]:
            # It is the equality that matters if the code is right again as soon as both are of one size.
            if (
                drawn.sizes[first] != drawn.sizes[second]
                and any(
                    holds({**drawn.sizes, first: size, second: size})
                    for size in (drawn.sizes[first], drawn.sizes[second])
                )
                and (first, second) not in unequal
            ):
                text = f"the code is {best.pattern!r} only while {first} = {second}; at shape {shape} {does}"
                return Trap("equal sizes", text)
    left_out = best.structure.gone or (drawn.failure is not None and drawn.failure.kind in {"slice", "padding"})
    kind = "remainder" if left_out else "-1"
    return Trap(kind, f"the code is {best.pattern!r} at some sizes only; at shape {shape} {does}")


def _first_of_each(traps: Sequence[Trap]) -> tuple[Trap, ...]:
    # The worst first: what is no pattern at all.
    ordered = sorted(traps, key=lambda trap: "no pattern" not in trap.text)
    return tuple({trap.kind: trap for trap in reversed(ordered)}.values())
