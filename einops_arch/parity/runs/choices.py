"""Values that a PyTorch model computes by selection, and the sides of selections that no value of a run took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Choices"]

_SHOWN = 3
"""Modules that a sentence names."""


class Choices:
    """Watches clamps, `where`, `masked_fill`, `maximum` and `minimum`: what is never taken hides a difference in it."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], bool] = {}

    def watch(self, path: str, operation: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """See which sides one operation takes.

        Args:
            path: of the module in which it stands.
            operation: PyTorch's name, such as `aten.clamp.default`.
            args: by position.
            kwargs: by name.
        """
        name = operation.removeprefix("aten.").partition(".")[0].rstrip("_")
        if name not in _SIDES:
            return
        for words, taken in _SIDES[name](name, args, kwargs):
            # Of an operation in a loop, one call may take what another does not.
            self._taken[path, words] = self._taken.get((path, words), False) or taken

    def untaken(self) -> tuple[str, ...]:
        """A sentence for each kind of side that no value took, with the modules in which it stands."""
        places: dict[str, list[str]] = {}
        for (path, words), taken in self._taken.items():
            if not taken:
                places.setdefault(words, []).append(path or "the network")
        return tuple(
            f"{words} in {', '.join(paths[:_SHOWN])}"
            + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
            for words, paths in places.items()
        )


def _bounds(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    value, rest = args[0], args[1:]
    low, high = kwargs.get("min"), kwargs.get("max")
    if name in ("clamp_min", "clamp_max"):
        low, high = (rest[0] if rest else low, None) if name == "clamp_min" else (None, rest[0] if rest else high)
    elif name == "hardtanh":
        low, high = (*rest, *(-1.0, 1.0)[len(rest) :])[:2]
    else:
        low, high = rest[0] if rest else low, rest[1] if len(rest) > 1 else high
    for bound, is_out, side in ((low, value.lt, "below"), (high, value.gt, "above")):
        if isinstance(bound, int | float):
            yield f"what is {side} {bound:g}, of which there is none, at a bound ({name})", bool(is_out(bound).any())


def _where(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    del kwargs
    if len(args) == 3:
        for truth, taken in (("true", args[0].any()), ("false", (~args[0].bool()).any())):
            yield f"the case of a condition that is never {truth} ({name})", bool(taken)


def _masked(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    del kwargs
    yield f"what is masked: the mask masks nothing ({name})", bool(args[1].any())


def _larger(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    del kwargs
    for side, taken in (("first", args[0].gt(args[1]).any()), ("second", args[0].lt(args[1]).any())):
        yield (
            f"the {side if name == 'maximum' else _OTHER[side]} of two values, which is never taken ({name})",
            bool(taken),
        )


_OTHER = {"first": "second", "second": "first"}
_SIDES = {
    "clamp": _bounds,
    "clamp_min": _bounds,
    "clamp_max": _bounds,
    "hardtanh": _bounds,
    "where": _where,
    "masked_fill": _masked,
    "maximum": _larger,
    "minimum": _larger,
}
