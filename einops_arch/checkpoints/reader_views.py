"""Readers around a reader that change names or dtypes on the way, or leave things out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.checkpoints.reader import Reader, Span, Traced, Wrapper
from einops_arch.checkpoints.tensors import FLOATS, Bits, carrier, numpy_dtype
from einops_arch.errors import CheckpointError, DtypeError, PortError
from einops_arch.layouts.boxes import Box

__all__ = [
    "CAST_TO",
    "Cast",
    "Relabeled",
    "Renamed",
    "Selected",
    "Untied",
    "Without",
    "checked_patterns",
    "renamed",
    "rule_of",
    "texts",
]

CAST_TO = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
"""The dtypes that floating-point tensors can be rounded to."""


class Relabeled(Wrapper):
    """The tensors of a reader under other names.

    Args:
        inner: the reader.
        new: the new name by the old one; what has none is left out.

    Raises:
        PortError: two names become one.
    """

    def __init__(self, inner: Reader, new: Mapping[str, str]) -> None:
        super().__init__(inner)
        olds: dict[str, list[str]] = {}
        for name, now in new.items():
            olds.setdefault(now, []).append(name)
        # Two names of one tensor may become one.
        clashes = [
            f"{now}: the new name of {' and of '.join(group)}"
            for now, group in olds.items()
            if len({inner.aliases.get(name, name) for name in group}) > 1
        ]
        if clashes:
            count = counted(len(clashes), "name")
            raise PortError(f"rename: {count} would be taken twice", *clashes)
        self._old = {new[name]: name for name in inner.tensors if name in new}
        self.tensors = {now: inner.tensors[name] for now, name in self._old.items()}
        targets = {name: target for name, target in inner.aliases.items() if name in new and new[name] != new[target]}
        self.aliases = {new[name]: new[target] for name, target in targets.items()}

    def bits(self, name: str) -> Bits:
        return self.inner.bits(self._old[name])

    def blocks(self, name: str) -> Iterator[Bits]:
        return self.inner.blocks(self._old[name])

    def part(self, name: str, box: Box) -> Bits:
        return self.inner.part(self._old[name], box)

    def span(self, name: str) -> Span | None:
        return self.inner.span(self._old[name])

    def traced(self, name: str) -> Traced:
        return self.inner.traced(self._old.get(name, name))


class Renamed(Relabeled):
    r"""Other names for the same tensors.

    Args:
        inner: the reader.
        rules: pairs of a regular expression and its replacement (`\1` stands for its first group), which are
            applied to each name one after the other, wherever they match.

    Attributes:
        renamed: the new name by the old one, of every name that changed.

    Raises:
        PortError: two names become one, or a rule matches nothing or is no regular expression.
    """

    def __init__(self, inner: Reader, rules: Sequence[tuple[str, str]]) -> None:
        new = renamed(inner.names(), rules)
        super().__init__(inner, new)
        self.renamed = {name: now for name, now in new.items() if name != now}


def renamed(names: Iterable[str], rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    r"""The new name of each by pairs of a regular expression and its replacement.

    Raises:
        PortError: a rule matches nothing, or is no pair of a regular expression and its replacement.

    >>> renamed(["module.fc.weight"], [(r"^module\.", "")])
    {'module.fc.weight': 'fc.weight'}
    """
    new = {name: name for name in names}
    pairs: Sequence[Any] = rules
    for rule in pairs:
        if isinstance(rule, str) or len(rule) != 2:
            raise PortError(
                f"rename: expected pairs of a regular expression and its replacement, received {rule!r}; likely fix: "
                "rename=[('^module\\\\.', '')]"
            )
        pattern, replacement = rule
        try:
            replaced = {name: re.subn(pattern, replacement, now) for name, now in new.items()}
        except (re.error, IndexError) as error:
            raise PortError(f"rename {pattern}={replacement}: not a regular expression: {error}") from error
        if not any(count for _, count in replaced.values()):
            raise PortError(f"rename {pattern}={replacement}: matches none of the {counted(len(new), 'name')}")
        new = {name: text for name, (text, _) in replaced.items()}
    return new


class Cast(Wrapper):
    """Floating-point tensors in another dtype, rounded to the nearest as torch and jax round: by way of float32.

    Args:
        inner: the reader.
        dtype: one of `CAST_TO`.
        allow_overflow: let finite numbers become infinite, or NaN where the dtype has no infinity.

    Attributes:
        changes: for each tensor read so far, the largest difference between a number and what became of it.

    Raises:
        DtypeError: no such dtype; or while reading, a number that is finite becomes infinite.
    """

    def __init__(self, inner: Reader, dtype: str, *, allow_overflow: bool = False) -> None:
        super().__init__(inner)
        if dtype not in CAST_TO:
            raise DtypeError(f"expected a dtype of {', '.join(CAST_TO)}, received {dtype}")
        numpy_dtype(dtype)
        self.dtype, self.allow_overflow = dtype, allow_overflow
        self.tensors = {
            name: replace(info, dtype=dtype) if info.dtype in FLOATS else info for name, info in inner.tensors.items()
        }
        self.changes: dict[str, float] = {}
        self.overflows: dict[str, int] = {}

    def bits(self, name: str) -> Bits:
        bits = self.inner.bits(name)
        return self._cast(name, bits) if self._changes(name) else bits

    def part(self, name: str, box: Box) -> Bits:
        bits = self.inner.part(name, box)
        return self._cast(name, bits) if self._changes(name) else bits

    def blocks(self, name: str) -> Iterator[Bits]:
        if not self._changes(name):
            yield from self.inner.blocks(name)
            return
        for block in self.inner.blocks(name):
            yield self._cast(name, block.view(carrier(self.inner.tensors[name].dtype))).view(np.uint8)

    def span(self, name: str) -> Span | None:
        return None if self._changes(name) else self.inner.span(name)

    def _changes(self, name: str) -> bool:
        return self.tensors[name].dtype != self.inner.tensors[name].dtype

    def _cast(self, name: str, bits: Bits) -> Bits:
        old = bits.view(numpy_dtype(self.inner.tensors[name].dtype))
        with np.errstate(all="ignore"):
            new = old if self.dtype == "float64" else old.astype("float32")
            new = new.astype(numpy_dtype(self.dtype))
            self._account(name, old, new)
        return new.view(carrier(self.dtype))

    def _account(self, name: str, old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> None:
        finite = np.isfinite(old)
        lost = int(np.count_nonzero(finite & ~np.isfinite(new)))
        if lost and not self.allow_overflow:
            largest = float(np.abs(old[finite].astype("float64")).max())
            raise DtypeError(
                f"{name}: {lost} finite numbers do not fit {self.dtype}, the largest is {largest:g}; "
                "likely fix: bfloat16, which has float32's range, or --allow-overflow (allow_overflow=True)"
            )
        self.overflows[name] = self.overflows.get(name, 0) + lost
        finite &= np.isfinite(new)
        change = np.abs(new[finite].astype("float64") - old[finite].astype("float64"))
        self.changes[name] = max(self.changes.get(name, 0.0), float(change.max(initial=0.0)))


class Untied(Wrapper):
    """Tied tensors once under each of their names, for readers that know of no aliases.

    Args:
        inner: the reader.
        names: untie these names only, each from the others with which it is tied; all if left out.

    Attributes:
        untied: the names that were untied, each with the one under which the tensor was.
    """

    def __init__(self, inner: Reader, names: Collection[str] | None = None) -> None:
        super().__init__(inner)
        self.untied = {
            name: target for name, target in inner.aliases.items() if names is None or name in names or target in names
        }
        self._targets: Mapping[str, str] = self.untied
        self.tensors = {**inner.tensors, **{name: inner.tensors[target] for name, target in self.untied.items()}}
        self.aliases = {name: target for name, target in inner.aliases.items() if name not in self.untied}

    def bits(self, name: str) -> Bits:
        return self.inner.bits(self._targets.get(name, name))

    def blocks(self, name: str) -> Iterator[Bits]:
        return self.inner.blocks(self._targets.get(name, name))

    def part(self, name: str, box: Box) -> Bits:
        return self.inner.part(self._targets.get(name, name), box)

    def span(self, name: str) -> Span | None:
        return self.inner.span(self._targets.get(name, name))


class Without(Wrapper):
    """The tensors of a reader without some names.

    Args:
        inner: the reader.
        left_out: the names, each with the reason.
    """

    def __init__(self, inner: Reader, left_out: Mapping[str, str]) -> None:
        super().__init__(inner)
        # Of a tied tensor whose own name is left out, the next one takes its place.
        self._source: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        first: dict[str, str] = {}
        for name in inner.names():
            if name in left_out:
                continue
            target = inner.aliases.get(name, name)
            if first.setdefault(target, name) == name:
                self._source[name] = target
            else:
                self.aliases[name] = first[target]
        self.tensors = {name: inner.tensors[target] for name, target in self._source.items()}
        self.left_out: Mapping[str, str] = {**inner.left_out, **left_out}

    def bits(self, name: str) -> Bits:
        return self.inner.bits(self._source[name])

    def blocks(self, name: str) -> Iterator[Bits]:
        return self.inner.blocks(self._source[name])

    def part(self, name: str, box: Box) -> Bits:
        return self.inner.part(self._source[name], box)

    def span(self, name: str) -> Span | None:
        return self.inner.span(self._source[name])


class Selected(Without):
    """The tensors of a reader with some names only.

    Args:
        inner: the reader.
        only: what the names must begin with, if anything.
        drop: regular expressions; a name in which one of them matches is left out.

    Raises:
        PortError: nothing begins so, nothing is left, or an expression matches nothing.
    """

    def __init__(self, inner: Reader, only: str | None = None, drop: Sequence[str] = ()) -> None:
        left_out: dict[str, str] = {}
        # What is no array has been dropped by the reader itself.
        matched = {pattern for pattern in drop for name in inner.left_out if re.search(pattern, name)}
        for name in inner.names():
            patterns = [pattern for pattern in drop if re.search(pattern, name)]
            matched.update(patterns)
            if patterns:
                left_out[name] = f"its name matches --drop {patterns[0]}"
            elif only is not None and not name.startswith(only):
                left_out[name] = f"its name does not begin with {only}"
        count = len(inner.names())
        unused = [pattern for pattern in drop if pattern not in matched]
        if unused:
            raise PortError(f"--drop {unused[0]}: matches none of the {counted(count, 'name')}")
        if len(left_out) == count:
            raise PortError(
                f"nothing is left of {counted(count, 'tensor')}; likely fix: {_options(only, drop)} of fewer names"
            )
        super().__init__(inner, left_out)


def texts(value: str | Sequence[str]) -> tuple[str, ...]:
    """Texts as they are; a text by itself is one, and not a sequence of its characters.

    >>> texts("step"), texts(["step"])
    (('step',), ('step',))
    """
    return (value,) if isinstance(value, str) else tuple(value)


def checked_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Regular expressions as they are.

    Raises:
        PortError: one is none.
    """
    patterns = texts(patterns)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise PortError(f"--drop {pattern}: not a regular expression: {error}") from error
    return patterns


def _options(only: str | None, drop: Sequence[str]) -> str:
    return " and ".join([*(["--only"] if only is not None else []), *(["--drop"] if drop else [])])


def rule_of(text: str) -> tuple[str, str]:
    r"""The two sides of `regex=replacement`; an `=` in the expression is written `\x3d`.

    Raises:
        CheckpointError: there is no `=`.

    >>> rule_of("^module.=")
    ('^module.', '')
    """
    pattern, sign, replacement = text.partition("=")
    if not sign or not pattern:
        raise CheckpointError(f"expected --rename 'regex=replacement', received {text!r}")
    return pattern, replacement
