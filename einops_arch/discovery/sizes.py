"""The size of each elementary axis, as a rule that holds at every shape tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from einops_arch.discovery.sampling import Sample, Sizes
from einops_arch.discovery.structure import Structure

__all__ = ["Rule", "find_rules"]


@dataclass(frozen=True)
class Rule:
    """What the size of an elementary axis equals.

    Args:
        kind: `"whole"` an axis of the input, `"derived"` from the other parts of its axis, `"fixed"`, or `"computed"`.
        text: for the reader: `"3"`, `"c / 3"`, `"h"`.
        at: its value at given sizes.
    """

    kind: str
    text: str
    at: Callable[[Sizes], int]

    @property
    def given(self) -> bool:
        """Whether the call has to say it."""
        return self.kind in {"fixed", "computed"}


def find_rules(
    structure: Structure, samples: Sequence[Sample], inputs: Sequence[Sequence[str]]
) -> dict[int, Rule]:
    """A rule for each elementary axis.

    Args:
        structure: at the sizes that were asked for, or as many axes as at most sizes.
        samples: all with the same signature as `structure`.
        inputs: the names of the axes of each input.
    """
    rules: dict[int, Rule] = {}
    for groups, names in zip(structure.left, inputs, strict=True):
        for group, name in zip(groups, names, strict=True):
            if len(group) == 1:
                rules.setdefault(group[0], Rule("whole", name, lambda sizes, name=name: sizes[name]))  # type: ignore[misc]
            elif group:
                _split_axis(group, name, samples, rules)
    for number in structure.new:
        rules[number] = _computed(number, samples) or Rule("fixed", "?", lambda _: structure.sizes[number])
    return rules


def _split_axis(group: tuple[int, ...], name: str, samples: Sequence[Sample], rules: dict[int, Rule]) -> None:
    todo = [number for number in group if number not in rules]
    if not todo:
        return  # all of them are those of another input
    constant = {number for number in todo if len({_size(one, number) for one in samples}) == 1}
    free = [number for number in todo if number not in constant] or [
        # Nothing changes, as the axis cannot: the largest part is the one to leave out.
        max(todo, key=lambda number: (_size(samples[0], number), -number))
    ]
    for number in todo:
        if number in constant and number not in free:
            rules[number] = _fixed(_size(samples[0], number))
    # All but one of the parts that change have to be computed from something.
    for number in sorted(free, key=lambda number: len(_texts(number, samples)), reverse=True)[:-1]:
        rules[number] = _computed(number, samples) or _looked_up(number, samples)
    for number in free:
        if number not in rules:
            others = [rules[other] for other in group if other != number]
            text = " / ".join([name, *(rule.text for rule in others)])

            def derived(sizes: Sizes, name: str = name, others: Sequence[Rule] = tuple(others)) -> int:
                return sizes[name] // math.prod(rule.at(sizes) for rule in others)

            rules[number] = Rule("derived", text, derived)


def _size(one: Sample, number: int) -> int:
    assert one.structure is not None
    return one.structure.sizes[number]


def _fixed(size: int) -> Rule:
    return Rule("fixed", str(size), lambda _: size)


def _looked_up(number: int, samples: Sequence[Sample]) -> Rule:
    """The last resort: no rule is seen, only the value at the first shape."""
    return Rule("fixed", f"{_size(samples[0], number)} at this shape", lambda _: _size(samples[0], number))


def _computed(number: int, samples: Sequence[Sample]) -> Rule | None:
    if len({_size(one, number) for one in samples}) == 1:
        return _fixed(_size(samples[0], number))
    return next(iter(_texts(number, samples)), None)


def _texts(number: int, samples: Sequence[Sample]) -> list[Rule]:
    """The rules that hold in all samples, the plainest first."""
    first = _size(samples[0], number)
    candidates = []
    for name, size in samples[0].sizes.items():
        candidates.append(Rule("computed", name, lambda sizes, name=name: sizes[name]))  # type: ignore[misc]
        candidates.append(Rule("computed", f"sqrt({name})", lambda sizes, name=name: math.isqrt(sizes[name])))  # type: ignore[misc]
        if first and size % first == 0:
            candidates.append(
                Rule("computed", f"{name} / {size // first}", lambda sizes, name=name, n=size // first: sizes[name] // n)  # type: ignore[misc]
            )
        if size and first % size == 0:
            candidates.append(
                Rule("computed", f"{first // size} {name}", lambda sizes, name=name, n=first // size: sizes[name] * n)  # type: ignore[misc]
            )
    return [rule for rule in candidates if all(rule.at(one.sizes) == _size(one, number) for one in samples)]
