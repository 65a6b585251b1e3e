"""What an architecture's config can do: check itself, name its presets, go to JSON and back, state its axes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from einops_arch._settings import (
    check_choice,
    check_flag,
    check_fraction,
    check_whole,
    is_plain,
    is_plain_number,
    wrong,
)
from einops_arch._text import brief
from einops_arch.architectures._tokens import check_values
from einops_arch.architectures.axes import Axes
from einops_arch.architectures.images import ImagePreprocessing
from einops_arch.errors import ConfigError, suggestion

__all__ = ["Axes", "Config"]


class Config:
    """Base of the configs: frozen dataclasses of hashable values.

    A subclass lists its named constructors in `PRESETS`, checks its fields in `__post_init__`, says in `SUMMARY` what
    the network is, names the twins' class in `MODEL` and its source in `SOURCE`, and states its inputs and outputs.
    `IMAGES` is what public weights expect of an image, where the network classifies one. `PUBLISHED` has, by preset,
    what is published beside weights: the number of parameters, and the multiply-adds for an image of 224x224 in
    thousands of millions.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ()
    SUMMARY: ClassVar[str] = ""
    MODEL: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    IMAGES: ClassVar[ImagePreprocessing | None] = None
    PUBLISHED: ClassVar[Mapping[str, tuple[int, float]]] = {}

    @classmethod
    def preset(cls, name: str) -> Self:
        """The config of a published size, by the name of its constructor.

        Raises:
            ConfigError: no preset of that name.
        """
        if name not in cls.PRESETS:
            raise ConfigError(f"{cls.__name__} has no preset {name!r}: {suggestion(name, cls.PRESETS)}")
        config: Self = getattr(cls, name)()
        return config

    def inputs(self) -> tuple[Axes, ...]:
        """The inputs that a call needs, in order."""
        raise ConfigError(f"{type(self).__name__} does not state its inputs; likely fix: define inputs(self)")

    def outputs(self) -> tuple[Axes, ...]:
        """The outputs of a call, in order, nested tuples flattened."""
        raise ConfigError(f"{type(self).__name__} does not state its outputs; likely fix: define outputs(self)")

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; lists, as JSON has them, become tuples.

        Raises:
            ConfigError: a field that the config does not have, or a value that it refuses.
        """
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in fields:
            if name not in known:
                raise ConfigError(f"{cls.__name__} has no field {name!r}: {suggestion(name, sorted(known))}")
        values = {name: _tuples(value) for name, value in fields.items()}
        try:
            return cls(**values)
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            if isinstance(error, ConfigError):
                raise
            # A value of another type than the checks of the config are made for, such as a list for a number.
            raise ConfigError(f"{cls.__name__}: {_unlike(cls, values)} ({error!s:.200})") from None

    def to_json(self) -> str:
        """The fields as one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Raises:
            ConfigError: the text is not a JSON object, or its fields do not fit.
        """
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{cls.__name__}: expected a JSON object, received {text[:80]!r} ({error})") from None
        if not isinstance(fields, dict):
            raise ConfigError(f"{cls.__name__}: expected a JSON object, received {text[:80]!r}")
        return cls.from_dict(fields)

    def check_inputs(self, *arrays: Any, channels_last: bool = False, values: bool = False) -> None:
        """Raise one clear error if the arrays are not what the network takes; see `Axes.check`.

        Args:
            *arrays: what the network is called with.
            channels_last: the arrays have Flax's axes.
            values: whether to look at the values of indices as well; a traced array has none, and an accelerator would
                have to wait for them.

        Raises:
            ShapeError: a rank or a size is wrong.
            DtypeError: indices are no integers.
            IndexRangeError: an index is out of range.
        """
        for axes, array in zip(self.inputs(), arrays, strict=True):
            axes.check(array, channels_last=channels_last)
            if values:
                check_values(axes, array)

    # Checks for `__post_init__`. Each names the config, the field, what was expected and what was received.

    def _require(self, holds: bool, field: str, expected: str) -> None:
        if not holds:
            name = type(self).__name__
            raise ConfigError(f"{name}: expected {field} to be {expected}, received {getattr(self, field)!r}")

    def _require_positive(self, *fields: str) -> None:
        name = type(self).__name__
        for field in fields:
            value = getattr(self, field)
            if isinstance(value, tuple) and not value:
                raise wrong(name, field, "whole numbers of at least 1", value)
            for number in value if isinstance(value, tuple) else (value,):
                # Python's own numbers only: JSON holds no others.
                check_whole(name, field, number, accepts=is_plain)

    def _require_probability(self, *fields: str) -> None:
        name = type(self).__name__
        for field in fields:
            check_fraction(name, field, getattr(self, field), "[0, 1)", accepts=is_plain_number)

    def _require_choice(self, field: str, choices: Sequence[str]) -> None:
        check_choice(type(self).__name__, field, getattr(self, field), choices)

    def _require_bool(self, *fields: str) -> None:
        name = type(self).__name__
        for field in fields:
            check_flag(name, field, getattr(self, field))


def _unlike(cls: type, values: Mapping[str, Any]) -> str:
    """The fields whose values are of another type than those of the defaults."""
    usual = {field.name: type(field.default) for field in dataclasses.fields(cls)}
    wrong = [f"{name} as {brief(value)}" for name, value in values.items() if type(value) is not usual[name]]
    return f"expected fields of the types that its defaults have, received {', '.join(wrong) or 'others inside them'}"


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
