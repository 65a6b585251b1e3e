"""The errors of the package: one base class, and children named by the mistake that was made.

Every message says what was expected, what was received, where, and the likely fix.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from einops_arch._text import PAGE, cut, printable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DestinationError",
    "DestinationExistsError",
    "DiscoveryError",
    "DtypeError",
    "EinopsArchError",
    "IndexRangeError",
    "MissingFrameworkError",
    "ParityError",
    "PatternError",
    "PortError",
    "ShapeError",
    "UnknownArchitectureError",
]


_LONGEST_NAME = 200


class EinopsArchError(Exception):
    r"""Base class of every error that the package raises on purpose.

    Names in a message may come from a file that somebody else made, so control and bidirectional characters are
    written as escapes: a message never moves the cursor of the terminal that shows it. Each argument is a line, so
    that a line break in a name is written as an escape too, and makes no line of its own. Values in it may be as long
    as that file, so the errors that show some are cut in the middle where they would be longer than a page.

    >>> print(EinopsArchError("load: 2 problems", "fc.weight: missing", "fc.\nbias: not in the model"))
    load: 2 problems
      fc.weight: missing
      fc.\nbias: not in the model
    """

    _longest: ClassVar[int | None] = None
    """Characters of a message."""
    _longest_line: ClassVar[int | None] = None
    """Characters of each line of it."""
    _breaks: ClassVar[str] = ""
    """Characters that stay as they are inside of a line."""

    def within(self, place: object) -> tuple[str, ...]:
        """The lines of the message, the first of which begins with a place: the arguments of another error."""
        first, *others = map(str, self.args or ("",))
        return (f"{place}: {first}", *others)

    def __str__(self) -> str:
        text = "\n  ".join(cut(printable(str(line), self._breaks), self._longest_line) for line in self.args)
        return cut(text, self._longest)


class ShapeError(EinopsArchError, ValueError):
    """An array has the wrong rank or sizes: `channel_shuffle(x, 3)` on ten channels."""


class DtypeError(EinopsArchError, TypeError):
    """An array has the wrong dtype: floating-point numbers where token indices are expected."""


class IndexRangeError(EinopsArchError, IndexError):
    """An index lies outside of what it indexes: a token that the vocabulary does not have, a negative token."""


class PatternError(EinopsArchError, ValueError):
    """A pattern does not parse, or its two sides do not hold the same axes: `"b (c h -> b c h"`."""


class ConfigError(EinopsArchError, ValueError):
    """A config or an argument holds a value that is out of range or does not fit the others."""

    _longest = PAGE


class UnknownArchitectureError(EinopsArchError, LookupError):
    """No architecture of that name is in the registry."""

    _longest = PAGE


class MissingFrameworkError(EinopsArchError, ImportError):
    """A framework that this part of the package needs is not installed."""


class PortError(EinopsArchError, ValueError):
    """Names, shapes or dtypes of a state do not fit the model; the message lists every problem by path."""

    _longest_line = PAGE


class CheckpointError(EinopsArchError, ValueError):
    """A checkpoint file cannot be read: truncated, not plain weights, or of an unknown format."""

    _longest = PAGE


class DestinationError(EinopsArchError, OSError):
    """The place to write to exists already or cannot be written."""


class DestinationExistsError(DestinationError, FileExistsError):
    """The place to write to exists already, and nothing says that it may be replaced."""


class DiscoveryError(EinopsArchError, ValueError):
    """Code does something that no pattern says: it cuts, turns round, computes, or mixes what should stay apart.

    Args:
        message: what is wrong, with a small example.
        kind: one word for it, such as `"crosses"`, `"slice"`, `"flip"` or `"random"`.
    """

    def __init__(self, message: str, *, kind: str = "no pattern") -> None:
        super().__init__(message)
        self.kind = kind


class ParityError(EinopsArchError, AssertionError):
    """Two models do not compute the same function; a report may follow, which has lines of its own."""

    _breaks = "\n"


def suggestion(received: str, known: Iterable[str]) -> str:
    """The end of an error message that offers the nearest known name, or lists all of them.

    >>> suggestion("convnt", ["convnet", "shufflenet"])
    "did you mean 'convnet'?"
    >>> suggestion("zzz", ["convnet", "shufflenet"])
    'expected one of convnet, shufflenet'
    """
    known = list(known)
    near = nearest(received, known)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"


def nearest(received: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names that are most like the one received, and none for a text that is too long to be a name.

    Args:
        received: a name, perhaps from a file, where a text may be as long as the file.
        known: the names that there are.
        n: how many at most.
        cutoff: how alike they must be, from 0 to 1.

    >>> nearest("convnt", ["convnet", "shufflenet"]), nearest("convnt" * 1000, ["convnet"])
    (['convnet'], [])
    """
    if len(received) >= _LONGEST_NAME:
        return []
    import difflib  # noqa: PLC0415 - only when there is an error: `import einops_arch` stays as light as einops

    return difflib.get_close_matches(received, known, n=n, cutoff=cutoff)
