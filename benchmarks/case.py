"""What is compared with what: one case is one row of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BEST", "Bar", "Case", "Work"]

BEST = "the best peer"


@dataclass(frozen=True)
class Bar:
    """The largest ratio, ours to theirs, that this project allows itself.

    Args:
        limit: the ratio of the times.
        against: the name of a peer, or of several of which the quickest counts; all peers if empty.
    """

    limit: float
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """Functions without arguments that all do the same.

    Args:
        ours: the side of this package.
        peers: what users would pick instead, by name.
        same: says in words what differs between our result and a peer's, or None.
        floor: a copy of the result's bytes into memory already allocated, where that is a bound.
        check: says in words what is wrong with our result besides, such as a lost memory format, or None.
        program: the text of what one side has a library do: a compiled program, or the operations of an eager call;
            sides of equal texts need no clock.
    """

    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    same: Callable[[Any, Any], str | None]
    floor: Callable[[], Any] | None = None
    check: Callable[[Any], str | None] = lambda result: None
    program: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Case:
    """One row: it builds its tensors only when its turn comes.

    Args:
        name: the core, layer or network, as in `einops-arch list` where it is there.
        side: `"torch"`, `"jax"`, `"numpy"`, or `"torch and jax"`: the process that runs it.
        size: the shape, for people.
        setting: what else there is to know: memory format, eager or compiled, direction, dtype.
        build: makes the functions.
        bar: the ratio that we hold ourselves to, where there is one.
        quick: whether `--quick` runs it.
    """

    name: str
    side: str
    size: str
    setting: str
    build: Callable[[], Work] = field(repr=False)
    bar: Bar | None = None
    quick: bool = False

    @property
    def places(self) -> int:
        """How often it is built, at other places in memory: of a large move, the place makes up to 10 %."""
        return 3 if "large" in self.setting and "compiled" not in self.setting else 1

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same row in another run."""
        return (self.name, self.side, self.size, self.setting)
