"""Names for elementary axes, and the pattern that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence

from einops_arch.discovery.solving.structure import Groups, Structure
from einops_arch.errors import PatternError

__all__ = ["name_axes", "parse_inputs", "same_pattern", "write_side"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?<!_)")


def parse_inputs(axes: str) -> tuple[tuple[str, ...], ...]:
    """The axes of each input: `"b i k, b k j"` are two.

    Raises:
        PatternError: a word is no axis name, or is there twice in one input.

    >>> parse_inputs("b i k, b k j")
    (('b', 'i', 'k'), ('b', 'k', 'j'))
    """
    inputs = tuple(tuple(part.split()) for part in axes.split(","))
    for names in inputs:
        for name in names:
            if not _NAME.fullmatch(name):
                raise PatternError(
                    f"discover: expected axes as names, such as 'b c h w', received {name!r} in {axes!r}"
                )
            if names.count(name) > 1:
                raise PatternError(f"discover: axis {name!r} is there twice in {axes!r}; likely fix: 'i j' for 'i i'")
    return inputs


def name_axes(structure: Structure, inputs: Sequence[Sequence[str]]) -> dict[int, str]:
    """A readable name for each elementary axis: `c` for a whole axis, `c1` and `c2` for its parts, `r` for a repeat."""
    names: dict[int, str] = {}
    reserved = {name for axes in inputs for name in axes}

    def free(wanted: str, *, own: bool) -> str:
        taken = set(names.values()) | (set() if own else reserved)
        if wanted not in taken:
            return wanted
        # A name that ends in a digit, such as c1, has parts c1_1 and c1_2.
        separator = "_" if wanted[-1].isdigit() else ""
        return next(name for n in range(2, 999) if (name := f"{wanted}{separator}{n}") not in taken | reserved)

    for groups, axes in zip(structure.left, inputs, strict=True):
        for group, axis in zip(groups, axes, strict=True):
            separator = "_" if axis[-1].isdigit() else ""
            for place, number in enumerate(group, start=1):
                if number not in names:
                    whole = len(group) == 1
                    names[number] = free(axis if whole else f"{axis}{separator}{place}", own=whole)
    for place, number in enumerate(structure.new, start=1):
        names[number] = free("r" if len(structure.new) == 1 else f"r{place}", own=False)
    return names


def write_side(groups: Groups, names: dict[int, str]) -> str:
    """One side of a pattern.

    >>> write_side(((0,), (2, 1), ()), {0: "b", 1: "c1", 2: "c2"})
    'b (c2 c1) 1'
    """
    words = [" ".join(names[number] for number in group) for group in groups]
    return " ".join(f"({word})" if len(group) > 1 else word or "1" for group, word in zip(groups, words, strict=True))


def same_pattern(pattern: str, other: str) -> bool:
    """Whether two patterns are the same up to names: axes are numbered as they appear.

    >>> same_pattern("b (g k) h w -> b (k g) h w", "b (c1 c2) h w -> b (c2 c1) h w")
    True
    >>> same_pattern("b (g k) h w -> b (g k) h w", "b (c1 c2) h w -> b (c2 c1) h w")
    False
    """
    return _numbered(pattern) == _numbered(other)


def _numbered(pattern: str) -> str:
    seen: dict[str, str] = {}
    plain = re.sub(r"\(\s*([A-Za-z]\w*)\s*\)", r"\1", pattern.replace("()", "1"))
    text = re.sub(r"[A-Za-z]\w*", lambda word: seen.setdefault(word[0], f"axis{len(seen)}"), plain)
    return " ".join(re.findall(r"\w+|->|[(),*]", text))
