"""The fields of another library's config, none of which is overlooked: used, known to change nothing, or refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from einops_arch._text import brief
from einops_arch.errors import CheckpointError

__all__ = ["ANY", "Fields"]

ANY: tuple[Any, ...] = ()
"""In a table of harmless values: the network computes the same whatever the value is."""

_MISSING = object()
_CONFIG = "config.json"


class Fields:
    """A foreign config that is read field by field; what nobody asked for is refused at the end, by name.

    Args:
        values: the config.
        who: whose config the values do not fit, in messages.
        where: where the fields stand, in messages.
        file: the name of the config, in messages.

    >>> fields = Fields({"n_embd": 8, "dilation": 2}, "GPT2Config")
    >>> fields.whole("n_embd", "hidden_size", default=768)
    8
    >>> fields.finish({"dilation": (1,)})
    Traceback (most recent call last):
    einops_arch.errors.CheckpointError: config.json: expected dilation to be 1, which our network computes, received 2
    """

    def __init__(self, values: Mapping[str, Any], who: str, where: str = "", file: str = _CONFIG) -> None:
        self._left = dict(values)
        self._who, self._where, self._file = who, where, file

    def take(self, *names: str, default: Any = None) -> Any:
        """The value of a field, which has one or several names.

        Raises:
            CheckpointError: two of its names have different values.
        """
        received = {name: self._left.pop(name) for name in names if name in self._left}
        values = list(received.values())
        if any(type(value) is not type(values[0]) or value != values[0] for value in values[1:]):
            raise CheckpointError(
                f"{self._file}: expected one value of {' and '.join(received)}, which are one field{self._where}, "
                f"received {' and '.join(map(brief, values))}"
            )
        return values[0] if values else default

    def whole(self, *names: str, default: int) -> int:
        """The value of a field that is a whole number."""
        value = self.take(*names, default=default)
        if type(value) is not int:
            raise self._unlike(names[0], "a whole number", value)
        return value

    def number(self, *names: str, default: float) -> float:
        """The value of a field that is a number."""
        value = self.take(*names, default=default)
        if type(value) not in {int, float}:
            raise self._unlike(names[0], "a number", value)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._unlike(names[0], "a finite number", value)
        return value

    def flag(self, *names: str, default: bool) -> bool:
        """The value of a field that is true or false."""
        value = self.take(*names, default=default)
        if type(value) is not bool:
            raise self._unlike(names[0], "true or false", value)
        return value

    def choice(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """What a word stands for here."""
        value = self.take(name, default=default)
        if not isinstance(value, str) or value not in choices:
            raise self._unlike(name, f"{' or '.join(map(repr, choices))}, which our network computes", value)
        return choices[value]

    def pair(self, name: str, default: tuple[int, int]) -> tuple[int, int]:
        """The value of a field that is a height and a width, or one number for both."""
        value = self.take(name, default=default)
        if isinstance(value, list | tuple) and len(value) == 2 and all(type(size) is int for size in value):
            return value[0], value[1]
        if type(value) is int:
            return value, value
        raise self._unlike(name, "one number or two", value)

    def wholes(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The value of a field that is a list of whole numbers."""
        value = self.take(name, default=default)
        if not isinstance(value, list | tuple) or not all(type(size) is int for size in value):
            raise self._unlike(name, "a list of whole numbers", value)
        return tuple(value)

    def square(self, name: str, default: int) -> int:
        """The value of a field that is the side of a square."""
        height, width = self.pair(name, (default, default))
        if height != width:
            raise CheckpointError(f"{self._file}: expected {name} to be square, received {height} by {width}")
        return height

    def finish(self, harmless: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse what is left and not known to be harmless.

        Args:
            harmless: by field, the values with which the network is ours, or `ANY`.

        Raises:
            CheckpointError: a field has no place in our config, or another value.
        """
        for name, value in self._left.items():
            accepted = harmless.get(name, (_MISSING,))
            if accepted == ANY or _is_among(value, accepted):
                continue
            if name not in harmless or self._where or self._file != _CONFIG:
                raise CheckpointError(
                    f"{self._file}: {self._who} has no field for {name:.80}={brief(value)}{self._where}"
                )
            shown = " or ".join(brief(choice) for choice in accepted)
            raise self._unlike(name, f"{shown}, which our network computes", value)

    def _unlike(self, name: str, expected: str, value: Any) -> CheckpointError:
        return CheckpointError(f"{self._file}: expected {name} to be {expected}, received {brief(value)}")


def _is_among(value: Any, accepted: Iterable[Any]) -> bool:
    """1 is no True here, and 0.0 is 0."""
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in accepted)
