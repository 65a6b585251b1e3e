"""The names that other libraries have for a network's parameters, as data that is read in both directions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from einops import rearrange

__all__ = ["AS_THEY_ARE", "Naming", "Rename"]


@dataclass(frozen=True)
class Rename:
    """A name in another library, and the canonical name of the same numbers.

    In both, `{}` is a number, `*` one part of a name (`weight` or `bias`), and `**` one or more parts.

    Args:
        source: the other library's name; or several names, whose arrays are one here, one after the other along the
            first axis: `qkv o ... -> (qkv o) ...`.
        target: the canonical name.
    """

    source: str | tuple[str, ...]
    target: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The other library's names, one or several."""
        return (self.source,) if isinstance(self.source, str) else self.source


@dataclass(frozen=True)
class Naming:
    """All names of a network in another library; what no row names is called the same in both.

    Args:
        rows: the names that differ.
        ignored: the other library's names of what is no part of the network, each with the reason.
        ties: the canonical name of a tied parameter that its files leave out, and the name that it is under.
    """

    rows: tuple[Rename, ...] = ()
    ignored: Mapping[str, str] | tuple[str, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()

    def to_canonical(self, foreign: Mapping[str, Any]) -> dict[str, Any]:
        """A state by canonical names; arrays of any framework, which are packed where a row says so, and else the same.

        >>> naming = Naming((Rename("layers.{}.fc.*", "blocks.{}.linear.*"),))
        >>> naming.to_canonical({"layers.3.fc.bias": 0.5, "head.bias": 1.0})
        {'blocks.3.linear.bias': 0.5, 'head.bias': 1.0}
        """
        state: dict[str, Any] = {}
        for name, sources in self.sources(foreign).items():
            packed = len(sources) > 1
            parts = [foreign[source] for source in sources]
            state[name] = rearrange(parts, "qkv o ... -> (qkv o) ...") if packed else parts[0]
        return state

    def sources(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Each canonical name, and the other library's names of the arrays that it is made of.

        >>> Naming((Rename(("q.*", "k.*", "v.*"), "qkv.*"),)).sources(["q.bias", "k.bias", "v.bias"])
        {'qkv.bias': ('q.bias', 'k.bias', 'v.bias')}
        """
        sources: dict[str, tuple[str, ...]] = {}
        for name in names:
            if any(_fill(pattern, pattern, name) is not None for pattern in self.ignored):
                continue
            row_sources, target = self._row_of(name)
            if not all(source in names for source in row_sources):
                # Under its own name, so that whoever loads it says what is missing.
                sources[name] = (name,)
            elif name == row_sources[0]:
                sources[target] = row_sources
        for name, source in self.ties:
            if name not in sources and source in sources:
                sources[name] = sources[source]
        return sources

    def left_out(self, names: Iterable[str]) -> dict[str, str]:
        """The names of what is no part of the network, each with the reason.

        >>> Naming(ignored={"**.mask": "it is computed"}).left_out(["h.0.mask", "h.0.weight"])
        {'h.0.mask': 'it is computed'}
        """
        reasons = self.ignored if isinstance(self.ignored, Mapping) else dict.fromkeys(self.ignored, "no part of it")
        matches = {name: [r for p, r in reasons.items() if _fill(p, p, name) is not None] for name in names}
        return {name: reason[0] for name, reason in matches.items() if reason}

    def from_canonical(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `to_canonical`, without what is ignored and with each tied parameter under both names.

        >>> naming = Naming((Rename(("q.*", "k.*", "v.*"), "qkv.*"),))
        >>> import numpy as np
        >>> {name: value.tolist() for name, value in naming.from_canonical({"qkv.bias": np.arange(6)}).items()}
        {'q.bias': [0, 1], 'k.bias': [2, 3], 'v.bias': [4, 5]}
        """
        foreign: dict[str, Any] = {}
        for name, value in state.items():
            for row in self.rows:
                sources = [_fill(row.target, source, name) for source in row.sources]
                if None not in sources:
                    parts = [value] if len(sources) == 1 else _unpacked(value, len(sources))
                    foreign |= dict(zip(map(str, sources), parts, strict=True))
                    break
            else:
                foreign[name] = value
        return foreign

    def _row_of(self, name: str) -> tuple[tuple[str, ...], str]:
        """All names of the row that holds the other library's name, and the canonical one."""
        for row in self.rows:
            for source in row.sources:
                target = _fill(source, row.target, name)
                if target is not None:
                    return tuple(str(_fill(source, other, name)) for other in row.sources), target
        return (name,), name


AS_THEY_ARE = Naming()
"""For weights with canonical names."""


def _unpacked(value: Any, parts: int) -> Iterator[Any]:
    return iter(rearrange(value, "(qkv o) ... -> qkv o ...", qkv=parts))


_WILDCARDS = {"{}": r"(\d+)", "**": r"(.+)", "*": r"([^.]+)"}
_WILDCARD = re.compile(r"\{\}|\*\*|\*")


def _fill(pattern: str, target: str, name: str) -> str | None:
    """The name that `target` stands for where `pattern` stands for `name`; None where it does not."""
    literals = _WILDCARD.split(pattern)
    wildcards = _WILDCARD.findall(pattern)
    expression = "".join(
        re.escape(text) + _WILDCARDS.get(wildcard, "")
        for text, wildcard in zip(literals, [*wildcards, ""], strict=True)
    )
    match = re.fullmatch(expression, name)
    if match is None:
        return None
    values = iter(match.groups())
    return _WILDCARD.sub(lambda _: next(values), target)
