"""The names of a packing: what their wildcards stand for, and which of them numbers the layers that are stacked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from einops_arch.errors import PatternError

__all__ = ["LAYER", "NamePattern", "bind"]

LAYER = "layer"
"""The key of the wildcard that numbers layers."""
_WILDCARD = re.compile(r"\{\}|\*\*|\*")
_STANDS_FOR = {"{}": r"(\d+)", "**": r"(.+)", "*": r"([^.]+)"}


@dataclass(frozen=True)
class NamePattern:
    """A name with wildcards, each of which has a key that names of the other side have too.

    Args:
        text: as it was written.
        keys: of each wildcard, in order.
    """

    text: str
    keys: tuple[str, ...]

    def values(self, name: str) -> dict[str, str] | None:
        """What each wildcard stands for in a name; None where the name does not match."""
        match = self._expression.fullmatch(name)
        return dict(zip(self.keys, match.groups(), strict=True)) if match else None

    def filled(self, values: Mapping[str, str]) -> str:
        """The name in which the wildcards stand for these values."""
        keys = iter(self.keys)
        return _WILDCARD.sub(lambda _: values[next(keys)], self.text)

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        literals, wildcards = _WILDCARD.split(self.text), [*_WILDCARD.findall(self.text), ""]
        pairs = zip(literals, wildcards, strict=True)
        return re.compile("".join(re.escape(text) + _STANDS_FOR.get(wildcard, "") for text, wildcard in pairs))


def bind(sources: Sequence[str], targets: Sequence[str], text: str) -> tuple[list[NamePattern], list[NamePattern], int]:
    """Both sides with keys: the first `{}` of a name is the first `{}` of every other name, and so are `*` and `**`.

    A side with one wildcard more is that of single layers. Which one numbers them must be plain: it is the only one
    of its kind, or the name without it is one of the other side.

    Returns:
        The left side, the right side, and by how many wildcards the left side has more.

    Raises:
        PatternError: the wildcards of two names do not belong together.

    >>> (source,), (target,), more = bind(["layers.{}.*.w"], ["*.{}.w"], "")
    >>> target.filled(source.values("layers.3.attn.w")), more
    ('attn.3.w', 0)
    """
    kinds = []
    for side in (sources, targets):
        counts = [Counter(_WILDCARD.findall(name)) for name in side]
        if any(other != counts[0] for other in counts):
            raise PatternError(f"packing {text!r}: expected the same wildcards in all names of a side")
        kinds.append(counts[0])
    more = kinds[0].total() - kinds[1].total()
    if more not in {-1, 0, 1}:
        raise PatternError(f"packing {text!r}: expected one wildcard more on one side at most")
    single, stacked = (sources, targets) if more == 1 else (targets, sources)
    many, few = (kinds[0], kinds[1]) if more == 1 else (kinds[1], kinds[0])
    extra = many - few
    if few - many or extra.total() != abs(more):
        shown = [" ".join(kind.elements()) or "none" for kind in kinds]
        raise PatternError(
            f"packing {text!r}: expected the same wildcards on both sides, where {{}} stands for {{}} and * for *, "
            f"received {shown[0]} and {shown[1]}"
        )
    place = _layer_place(single, stacked, next(iter(extra)), text) if more else None
    left, right = (
        [NamePattern(name, _keys(name, place if side is single else None)) for name in side]
        for side in (sources, targets)
    )
    return left, right, more


def _layer_place(single: Sequence[str], stacked: Sequence[str], kind: str, text: str) -> tuple[str, int]:
    """Which wildcard of a kind numbers the layers."""
    count = _WILDCARD.findall(single[0]).count(kind)
    places = [
        place for place in range(count) if count == 1 or all(_without(name, kind, place) in stacked for name in single)
    ]
    if len(places) != 1:
        raise PatternError(
            f"packing {text!r}: several of the wildcards of {single[0]} could number the layers; likely fix: {{}} for "
            "that one and * for the others"
        )
    return kind, places[0]


def _keys(name: str, layer: tuple[str, int] | None) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    keys = []
    seen: Counter[str] = Counter()
    for kind in _WILDCARD.findall(name):
        if (kind, seen[kind]) == layer:
            keys.append(LAYER)
        else:
            keys.append(f"{kind}{counts[kind]}")
            counts[kind] += 1
        seen[kind] += 1
    return tuple(keys)


def _without(name: str, kind: str, place: int) -> str:
    """A name without one of its wildcards and the dot that is then too many."""
    match = [match for match in _WILDCARD.finditer(name) if match[0] == kind][place]
    before, after = name[: match.start()], name[match.end() :]
    if before.endswith(".") or not before:
        return before + after.removeprefix(".") if after else before.removesuffix(".")
    return before + after
