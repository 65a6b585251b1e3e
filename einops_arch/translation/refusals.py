"""Refusals: what cannot be written, all at once, each with its place, the reason and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from einops_arch._text import printable
from einops_arch.discovery.tracing.program import Note, Source
from einops_arch.errors import EinopsArchError

__all__ = ["Refusal", "TranslationError", "refusals_of"]


@dataclass(frozen=True)
class Refusal:
    """One thing that cannot be written.

    Args:
        module: PyTorch's path.
        place: file and line.
        operation: the torch function or statement.
        reason: why.
        fix: what to do.
    """

    module: str
    place: str
    operation: str
    reason: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f"; likely fix: {self.fix}" if self.fix else ""
        return printable(f"{self.module or 'the model'} ({self.place}), {self.operation}: {self.reason}{fix}", "")


class TranslationError(EinopsArchError, ValueError):
    """A model cannot be translated as a whole; the message lists every reason by module path, file and line.

    Args:
        refusals: the reasons.
    """

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(
            f"translate: {len(self.refusals)} {'reason' if len(self.refusals) == 1 else 'reasons'} against it; "
            "with partial=True the rest is written",
            *map(str, self.refusals),
        )


class UnknownOperationError(Exception):
    """Raised by a row of the table of operations: this use of the operation has no translation.

    Args:
        reason: why.
        fix: what to do.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def refusals_of(notes: Iterable[Note]) -> list[Refusal]:
    """Notes of the recorder in the form that users read, each reason once per place."""
    known: dict[tuple[str, str, str], Refusal] = {}
    for note in notes:
        refusal = Refusal(note.module, str(note.source), note.operation, note.reason, note.fix)
        known.setdefault((str(note.source), note.operation, note.reason), refusal)
    return list(known.values())


def place_of(source: Source) -> str:
    """File and line of a statement."""
    return str(source)
