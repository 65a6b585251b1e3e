"""Text of unknown origin, made safe for a terminal, a log and the message of an error."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

__all__ = ["PAGE", "brief", "counted", "cut", "printable", "without_addresses"]

PAGE = 2400
"""Characters that a person may be shown of what is as long as a file."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that are obeyed and not drawn: controls, bidirectional and other formats, surrogates, breaks."""
_LARGE = 1 << 64
_ADDRESS = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+")


def printable(text: str, keep: str = "\n\t") -> str:
    r"""The text with every control, bidirectional and format character written as its escape.

    Args:
        text: from a file, a model or a message.
        keep: characters that stay; `""` for a name in one line.

    >>> print(printable("a\x1b[2Jb\u202ec"))
    a\x1b[2Jb\u202ec
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape", "backslashreplace").decode("ascii")
        if character not in keep and unicodedata.category(character) in _HIDDEN
        else character
        for character in text
    )


def brief(value: Any, most: int = 60) -> str:
    """A value that was read from a file, in a few characters: what is neither text nor a number is named by its type.

    It takes the same time whatever the value is: a tuple of tuples can be small and endless to print.

    >>> brief("weight"), brief(3), brief(None), brief((1, 2)), brief({})
    ("'weight'", '3', 'None', 'a tuple of 2', 'a dict of 0')
    """
    if value is None or type(value) in {bool, float}:
        return repr(value)
    if type(value) is int:
        return str(value) if -_LARGE < value < _LARGE else f"an integer of {value.bit_length()} bits"
    if isinstance(value, str):
        return printable(repr(value[:most]), "") + ("..." if len(value) > most else "")
    if type(value) in {bytes, tuple, list, dict, set, frozenset}:
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def cut(text: str, longest: int | None = PAGE) -> str:
    """The text, without its middle where it is longer than that.

    >>> cut("abcdefghij", 4), cut("abcd", 4)
    ('ab ... 6 characters ... ij', 'abcd')
    """
    if longest is None or len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters ... {text[-half:]}"


def counted(count: int, noun: str) -> str:
    """A number of things, the noun in the plural where it should be.

    >>> counted(1, "name"), counted(2, "name")
    ('1 name', '2 names')
    """
    return f"{count} {noun}" + "s" * (count != 1)


def without_addresses(text: str) -> str:
    """The text of a `repr` without places in memory, which say nothing to a person and differ from run to run.

    >>> without_addresses("decay=<function matrices at 0x7f3b2c0a1d00>")
    'decay=<function matrices>'
    """
    return _ADDRESS.sub("", text)
