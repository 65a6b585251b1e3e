"""Remarks that are alike become one line: twenty counters that change their dtype are one thing to know."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["summed_up"]

_FEW = 2
"""So many lines that are alike are still printed one by one."""
_CHANGE = re.compile(r"changed by at most ([\d.e+-]+)")
_PACKED = re.compile(r"packed from .+?: (?=\S.* -> )")
_DTYPE = re.compile(r"(\w+ became \w+), (.*)")


def summed_up(remarks: Iterable[str]) -> list[str]:
    """The remarks of a port, those that say the same of many tensors as one line with their number.

    Args:
        remarks: lines such as `"bn1.num_batches_tracked: int64 became int32, with the same value"`.

    >>> alike = [f"layer{n}.bn.num_batches_tracked: int64 became int32, with the same value" for n in range(20)]
    >>> summed_up(alike)
    ['20 counters int64 became int32, with the same value: layer0.bn.num_batches_tracked and 19 more']
    >>> summed_up([f"{name}: rounded, changed by at most {change}" for name, change in zip("abc", (0.1, 0.3, 0.2))])
    ['3 tensors: rounded, changed by at most 0.3: b and 2 more']
    >>> pattern = "*.q -> *.x: i -> i"
    >>> summed_up(f"{n}.x: packed from {n}.q: {pattern}" for n in range(3))
    ['3 tensors: packed by *.q -> *.x: i -> i: 0.x and 2 more']
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    lines = list(remarks)
    for line in lines:
        name, _, text = line.partition(": ")
        alike = _PACKED.sub("packed by ", _CHANGE.sub("changed by at most", text))
        groups.setdefault(alike, []).append((name, text))
    shown: list[str] = []
    for group in groups.values():
        if len(group) <= _FEW:
            shown += [f"{name}: {text}" if text else name for name, text in group]
            continue
        # The largest change stands for all.
        name, text = max(group, key=lambda entry: _change(entry[1]))
        counters = all(other.endswith("num_batches_tracked") for other, _ in group)
        noun = "counters" if counters else "tensors"
        text = _PACKED.sub("packed by ", text)
        colon = "" if _DTYPE.fullmatch(text) else ":"
        shown.append(f"{len(group)} {noun}{colon} {text}: {name} and {len(group) - 1} more")
    return shown


def _change(text: str) -> float:
    match = _CHANGE.search(text)
    return float(match[1]) if match else 0.0
