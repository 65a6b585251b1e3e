"""The size of each elementary axis, as a rule that holds at every shape tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from einops_arch.discovery.solving.sampling import Sizes
from einops_arch.discovery.solving.structure import Structure

__all__ = ["Rule", "find_rules"]


@dataclass(frozen=True)
class Rule:
    """What the size of an elementary axis equals.

    Args:
        kind: `"whole"` an axis of the input, `"derived"` from the other parts of its axis, `"fixed"`, `"computed"`,
            or `"unknown"` where it changes by no rule that is known.
        text: for the reader: `"3"`, `"c / 3"`, `"h"`.
        at: its value at given sizes.
    """

    kind: str
    text: str
    at: Callable[[Sizes], int]

    @property
    def is_stated(self) -> bool:
        """Whether the call has to say it."""
        return self.kind in {"fixed", "computed", "unknown"}


_Samples: TypeAlias = Sequence[tuple[Sizes, Structure]]


def find_rules(structure: Structure, samples: _Samples, inputs: Sequence[Sequence[str]]) -> dict[int, Rule]:
    """A rule for each elementary axis.

    Args:
        structure: at the first of the sizes.
        samples: sizes, and the structure there; all have one signature.
        inputs: the names of the axes of each input.
    """
    rules: dict[int, Rule] = {}
    for groups, names in zip(structure.left, inputs, strict=True):
        for group, name in zip(groups, names, strict=True):
            if len(group) == 1:
                rules.setdefault(group[0], _scaled("whole", name, name, 1, 1))
            elif group:
                _split_axis(group, name, samples, rules)
    for number in structure.new:
        rules[number] = _computed(number, samples)
    return rules


def _split_axis(group: tuple[int, ...], name: str, samples: _Samples, rules: dict[int, Rule]) -> None:
    todo = [number for number in group if number not in rules]
    if not todo:
        return  # all of them are those of another input
    constant = [number for number in todo if len(_values(number, samples)) == 1]
    free = [number for number in todo if number not in constant]
    if not free:
        # Nothing changes, as the axis cannot: the largest part is the one to leave out.
        first = samples[0][1].sizes
        free = [max(todo, key=lambda number: (first[number], -number))]
    # One of the parts that change follows from the others: the one that nothing else tells.
    derived = min(free, key=lambda number: len(_candidates(number, samples)))
    for number in todo:
        if number != derived:
            rules[number] = _computed(number, samples)
    others = [rules[number] for number in group if number != derived]

    def at(sizes: Sizes) -> int:
        return sizes[name] // math.prod(rule.at(sizes) for rule in others)

    rules[derived] = Rule("derived", " / ".join([name, *(rule.text for rule in others)]), at)


def _values(number: int, samples: _Samples) -> set[int]:
    return {structure.sizes[number] for _, structure in samples}


def _computed(number: int, samples: _Samples) -> Rule:
    """A constant, or the plainest rule that holds in all samples; if none does, the value at the first of them."""
    first = samples[0][1].sizes[number]
    if len(_values(number, samples)) == 1:
        return Rule("fixed", str(first), lambda _: first)
    candidates = _candidates(number, samples)
    return candidates[0] if candidates else Rule("unknown", f"{first} at this shape", lambda _: first)


def _candidates(number: int, samples: _Samples) -> list[Rule]:
    """The rules that hold in all samples, the plainest first."""
    rules = []
    for name, size in samples[0][0].items():
        part = samples[0][1].sizes[number]
        rules += [_scaled("computed", name, name, 1, 1), _root(name)]
        if size % part == 0:
            rules.append(_scaled("computed", f"{name} / {size // part}", name, 1, size // part))
        if part % size == 0:
            rules.append(_scaled("computed", f"{part // size} {name}", name, part // size, 1))
    return [rule for rule in rules if all(rule.at(sizes) == sample.sizes[number] for sizes, sample in samples)]


def _scaled(kind: str, text: str, name: str, times: int, divided: int) -> Rule:
    return Rule(kind, text, lambda sizes: sizes[name] * times // divided)


def _root(name: str) -> Rule:
    return Rule("computed", f"sqrt({name})", lambda sizes: math.isqrt(sizes[name]))
