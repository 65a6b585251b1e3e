"""What a run of either framework leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.casts import Cast

__all__ = ["Call", "Failure", "Run", "Wanted"]

# Paths, or None for all of them.
Wanted: TypeAlias = "frozenset[str] | None"


@dataclass(frozen=True)
class Call:
    """One call of a module: its path, which call of that path it was, the arrays that it gave, and their places."""

    path: str
    index: int
    arrays: tuple[Array, ...]
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end: the innermost module that was running, and what it raised."""

    path: str
    error: Exception

    def __str__(self) -> str:
        lines = str(self.error).strip().splitlines() or [""]
        return f"{type(self.error).__name__} in {self.path or 'the network'}: {lines[0]}"


@dataclass
class Run:
    """What a run left behind.

    Args:
        calls: in the order in which they returned.
        outputs: by place.
        statistics: buffers by name, after the last step.
        inputs: what went into the calls that were asked for, arguments by position and by name.
        casts: the operations that narrowed float64.
        failure: why the run did not come to its end, if so; the calls before that are there.
        last: the outputs of the last of several steps, by place.
        between: the outputs of the steps between the first and the last, by place.
        changed: the names of the buffers, and of the weights, that the steps changed.
        varies: of a capture, whether each output changes with the inputs.
        order: which output of Flax's belongs to each of PyTorch's.
        dropped: of PyTorch, where a function dropped values at which rate, or would have in training.
        drawn_from: for each call of such a function its rate; what tells the numbers that it was given from others in
            whatever order, None where they are not known; and its kind, as `kind_of` gives it of modules.
        untaken: of PyTorch, the sides of selections that no value took, in words.
        remembers: a second call with the same inputs gives something else.
        sequence: the places of the outputs in the order in which the model gives them; empty where it is not known.
        words: what of the outputs is no number: words, settings of objects and nothing, by place.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: list[tuple[str, Array]] = field(default_factory=list)
    statistics: dict[str, Array] = field(default_factory=dict)
    inputs: dict[tuple[str, int], Any] = field(default_factory=dict)
    casts: list[Cast] = field(default_factory=list)
    failure: Failure | None = None
    last: list[tuple[str, Array]] = field(default_factory=list)
    changed: frozenset[str] = frozenset()
    varies: tuple[bool, ...] = ()
    order: tuple[int, ...] = ()
    dropped: list[tuple[str, float]] = field(default_factory=list)
    drawn_from: list[tuple[float, tuple[float, ...] | None, tuple[bool, bool] | None]] = field(default_factory=list)
    untaken: tuple[str, ...] = ()
    remembers: bool = False
    between: list[list[tuple[str, Array]]] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    sequence: list[str] = field(default_factory=list)
