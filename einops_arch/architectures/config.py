"""What an architecture's config can do: check itself, name its presets, go to JSON and back, state its axes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Self

from einops_arch.architectures.images import ImagePreprocessing
from einops_arch.errors import ConfigError, DtypeError, ShapeError, suggestion

__all__ = ["Axes", "Config"]


@dataclasses.dataclass(frozen=True)
class Axes:
    """One input or output of an architecture, with its axes in PyTorch's order.

    Args:
        name: the name of the argument or of the result.
        axes: the axes as PyTorch has them, such as `"b c h w"`.
        sizes: the sizes that the config fixes; the other axes may have any size.
        dtype: `"float32"`, or `"int64"` for indices.
        high: one more than the largest index, for indices.
        least: the smallest sizes of axes that may have any other.
        multiple: what the sizes of axes that may have any other are multiples of.
        example: sizes that show what the network does, where the smallest allowed say little: a batch norm in
            training, say, needs more than a few values.

    >>> image = Axes("image", "b c h w", {"c": 3})
    >>> image.flax_axes
    'b h w c'
    """

    name: str
    axes: str
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dtype: str = "float32"
    high: int | None = None
    least: Mapping[str, int] = dataclasses.field(default_factory=dict)
    multiple: Mapping[str, int] = dataclasses.field(default_factory=dict)
    example: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def flax_axes(self) -> str:
        """The axes as Flax has them: the channels `c` last, the others as they are."""
        names = self.axes.split()
        return " ".join([name for name in names if name != "c"] + ["c"] * ("c" in names))

    _indices: ClassVar[bool]
    _rules: ClassVar[tuple[int, tuple[tuple[int, int, str, int], ...]]]

    def __post_init__(self) -> None:
        # Asked at every call of a network, so worked out once; not `cached_property`, which torch.compile cannot enter.
        object.__setattr__(self, "_indices", self.dtype.startswith("int"))
        object.__setattr__(self, "_rules", self._bounds())

    def _bounds(self) -> tuple[int, tuple[tuple[int, int, str, int], ...]]:
        """The rank, and for each bound the place of its axis in both orders, its kind and its size."""
        first, last = self.axes.split(), self.flax_axes.split()
        bounds = {"is": self.sizes, "least": self.least, "multiple": self.multiple}
        return len(first), tuple(
            (first.index(name), last.index(name), kind, size)
            for kind, sizes in bounds.items()
            for name, size in sizes.items()
            if name in first
        )

    def check(self, array: Any, *, channels_last: bool = False) -> None:
        """Raise one clear error if an array does not fit.

        Args:
            array: anything with `.shape` and `.dtype`.
            channels_last: the array has Flax's axes.

        Raises:
            ShapeError: the rank differs, an axis has not the size that the config fixes, is too small, or is no
                multiple of what it should be.
            DtypeError: indices are expected and the array does not hold integers.
        """
        shape = array.shape
        if not self._fits(shape, channels_last):
            axes, other = (self.flax_axes, self.axes) if channels_last else (self.axes, self.flax_axes)
            raise self._shape_error(axes, other, tuple(shape))
        if self._indices and "int" not in str(array.dtype):
            axes = self.flax_axes if channels_last else self.axes
            raise DtypeError(f"{self.name}: expected integer indices of axes '{axes}', received dtype {array.dtype}")

    def _fits(self, shape: Sequence[int], channels_last: bool) -> bool:
        rank, rules = self._rules
        if len(shape) != rank:
            return False
        for first, last, kind, size in rules:
            received = shape[last if channels_last else first]
            if received == size:
                continue
            if kind == "is" or (received < size if kind == "least" else received % size):
                return False
        return True

    def _shape_error(self, axes: str, other: str, shape: tuple[int, ...]) -> ShapeError:
        """The message is made here and not in `check`, which runs at every call of a network."""
        limits = [f"{name}={size}" for name, size in self.sizes.items()]
        limits += [f"{name}>={size}" for name, size in self.least.items()]
        fixed = ", ".join(limits + [f"{name} a multiple of {size}" for name, size in self.multiple.items()])
        expected = f"{self.name}: expected axes '{axes}'" + (f" with {fixed}" if fixed else "")
        names = axes.split()
        if len(shape) != len(names):
            return ShapeError(f"{expected}, received {len(shape)} axes in shape {shape}")
        bound = dict(zip(names, shape, strict=True))
        wrong = ", ".join(f"{name}={bound[name]}" for name in self._misfits(names, shape))
        swapped = other != axes and not self._misfits(other.split(), shape)
        fix = f"; likely fix: move the axes with rearrange(x, '{other} -> {axes}')" if swapped else ""
        return ShapeError(f"{expected}, received {wrong} in shape {shape}{fix}")

    def _misfits(self, names: Sequence[str], shape: Sequence[int]) -> list[str]:
        bound = dict(zip(names, shape, strict=True))
        wrong = [name for name, size in self.sizes.items() if bound.get(name, size) != size]
        wrong += [name for name, size in self.least.items() if bound.get(name, size) < size]
        return wrong + [name for name, size in self.multiple.items() if bound.get(name, size) % size]


class Config:
    """Base of the configs: frozen dataclasses of hashable values.

    A subclass lists its named constructors in `PRESETS`, checks its fields in `__post_init__`, names the twins'
    class in `MODEL` and its source in `SOURCE`, and states its inputs and outputs. `IMAGES` is what public weights
    expect of an image, where the network classifies one. `PUBLISHED` has, by preset, what is published beside weights:
    the number of parameters, and the multiply-adds for an image of 224x224 in thousands of millions.
    """

    PRESETS: ClassVar[tuple[str, ...]] = ()
    MODEL: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    IMAGES: ClassVar[ImagePreprocessing | None] = None
    PUBLISHED: ClassVar[Mapping[str, tuple[int, float]]] = {}

    _inputs: ClassVar[tuple[Axes, ...]]  # of each config, set when it is built: asked at every call of a network

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check: Callable[[Any], None] = getattr(cls, "__post_init__", lambda _: None)

        def check_and_keep_inputs(self: Config) -> None:
            check(self)
            if cls.inputs is not Config.inputs:
                object.__setattr__(self, "_inputs", self.inputs())

        cls.__post_init__ = check_and_keep_inputs  # type: ignore[attr-defined]

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
        return cls(**{name: _tuples(value) for name, value in fields.items()})

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

    def check_inputs(self, *arrays: Any, channels_last: bool = False) -> None:
        """Raise one clear error if the arrays are not what the network takes; see `Axes.check`."""
        for axes, array in zip(self._inputs, arrays, strict=True):
            axes.check(array, channels_last=channels_last)

    # Checks for `__post_init__`. Each names the config, the field, what was expected and what was received.

    def _require(self, holds: bool, field: str, expected: str) -> None:
        if not holds:
            name = type(self).__name__
            raise ConfigError(f"{name}: expected {field} to be {expected}, received {getattr(self, field)!r}")

    def _require_positive(self, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            values = value if isinstance(value, tuple) else (value,)
            holds = bool(values) and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
            kind = "a tuple of positive integers" if isinstance(value, tuple) else "a positive integer"
            self._require(holds, field, kind)

    def _require_probability(self, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            self._require(number and 0 <= value < 1, field, "a number in [0, 1)")

    def _require_choice(self, field: str, choices: Collection[Any]) -> None:
        self._require(getattr(self, field) in choices, field, f"one of {', '.join(map(repr, choices))}")

    def _require_bool(self, *fields: str) -> None:
        for field in fields:
            self._require(isinstance(getattr(self, field), bool), field, "True or False")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
