"""What the layers of both frameworks share: the checks made when one is built, and how it prints.

A layer that is given a wrong argument fails when the model is built, not at its first call. What is right is
what the core takes, so the checks and their words are the cores' own, with the name of the class. No
framework is imported.
"""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import einops
from einops import EinopsError
from einops.layers import ReduceMixin

from einops_arch import _settings
from einops_arch.errors import ConfigError, DtypeError, PatternError, ShapeError
from einops_arch.functional import _checks

REDUCTIONS = ("min", "max", "sum", "mean", "prod", "any", "all")
AxesLengths = tuple[tuple[str, int], ...]

# Printed even with their default value: what frameworks disagree on is named, never implied.
_ALWAYS_SHOWN = frozenset({"order", "normalize"})


def whole(owner: str, name: str, value: Any, least: int = 1) -> int:
    """Check a whole number, such as `groups`; NumPy's becomes a plain one.

    >>> whole("ChannelShuffle", "groups", 3)
    3
    """
    _checks.check_whole(owner, name, value, least)
    return operator.index(value)


def sizes(owner: str, name: str, value: Any, fewest: int) -> tuple[int, ...]:
    """Check one size per spatial axis, such as `spatial` or `grid`; a list becomes a tuple.

    >>> sizes("UnflattenFeatures", "spatial", [4, 5], fewest=0)
    (4, 5)
    """
    return tuple(operator.index(size) for size in _checks.named_sizes(owner, name, value, fewest).values())


def factors(owner: str, name: str, value: Any) -> int | tuple[int, ...]:
    """Check one number for all spatial axes, or a number for each, such as `factor` or `patch`.

    >>> factors("DepthToSpace", "factor", 3), factors("DepthToSpace", "factor", [3, 2])
    (3, (3, 2))
    """
    if not isinstance(value, tuple | list):
        return whole(owner, name, value)
    if not 1 <= len(value) <= 3:
        needs = "one whole number, or one for each of 1 to 3 spatial axes"
        raise ConfigError(f"{owner}: {name} needs {needs}, received {value!r}")
    return tuple(whole(owner, name, number) for number in value)


def one_per_axis(owner: str, name: str, value: int | tuple[int, ...], grid: tuple[int, ...]) -> None:
    """Check that a patch speaks of as many axes as its grid."""
    _checks.per_axis(owner, name, value, _settings.SPATIAL_AXES[len(grid)])


def choice(owner: str, name: str, value: str, known: Sequence[str]) -> str:
    """Check a name out of a few, such as `order`.

    >>> choice("DepthToSpace", "order", "CRD", ("CRD", "DCR"))
    'CRD'
    """
    _settings.check_choice(owner, name, value, known)
    return value


def data_format(owner: str, value: str) -> str:
    """Check where the channels are said to be."""
    _checks.check_data_format(owner, value)
    return value


def flag(owner: str, name: str, value: bool) -> bool:
    """Check a yes or no."""
    _settings.check_flag(owner, name, value)
    return value


def sequence_lengths(owner: str, t: Any, b: Any) -> tuple[int | None, int | None]:
    """Check the lengths of which one is enough."""
    lengths = {name: whole(owner, name, size, 0) for name, size in (("t", t), ("b", b)) if size is not None}
    if not lengths:
        raise ConfigError(f"{owner}: needs t or b, received neither; likely fix: t=...")
    if list(lengths.values()) == [0]:
        only = next(iter(lengths))
        raise ConfigError(f"{owner}: needs t and b where one is 0, received only {only}=0; likely fix: give both")
    return lengths.get("t"), lengths.get("b")


def feature_sizes(
    owner: str,
    shape: Sequence[Any],
    channels: int | None,
    spatial: tuple[int, ...] | None,
    data_format: str,
) -> None:
    """Check a shape against the channels and spatial sizes that a layer was built for, as far as given."""
    if not isinstance(shape, tuple) or len(shape) < 2:
        return  # a symbol of a tracer has no shape; where axes are missing, the core says so

    def misfits(*, last: bool) -> dict[str, tuple[Any, Any]]:
        received = (shape[-1], tuple(shape[1:-1])) if last else (shape[1], tuple(shape[2:]))
        pairs = zip(("channels", "spatial"), (channels, spatial), received, strict=True)
        return {name: (want, got) for name, want, got in pairs if want is not None and want != got}

    last = data_format == "channels_last"
    if wrong := misfits(last=last):
        pattern = "b ... c -> b (c ...)" if last else "b c ... -> b (c ...)"
        needs = " and ".join(f"{name}={want}" for name, (want, _) in wrong.items())
        received = " and ".join(f"{name}={got}" for name, (_, got) in wrong.items())
        fix = "" if misfits(last=not last) else f"data_format={_checks.DATA_FORMATS[not last]!r}"
        raise _checks.shape_error(owner, pattern, needs, received, shape, fix=fix)


def printed(layer: object) -> str:
    """A layer's arguments as they were written: what has no default, differs from it, or names an order."""
    shown = []
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        if hasattr(layer, name):  # not `self`, nor an argument that a subclass does not keep
            value = getattr(layer, name)
            if parameter.default is parameter.empty or name in _ALWAYS_SHOWN or value != parameter.default:
                shown.append(f"{name}={value!r}")
    return ", ".join(shown)


def printed_pattern(strings: Iterable[object], lengths: Iterable[tuple[str, int]]) -> str:
    """A pattern layer's arguments as einops prints them.

    >>> printed_pattern(["b (c r) -> b c r"], [("r", 2)])
    "'b (c r) -> b c r', r=2"
    """
    return ", ".join([*map(repr, strings), *(f"{axis}={length}" for axis, length in lengths)])


def axes_lengths(owner: str, lengths: Mapping[str, Any]) -> AxesLengths:
    """Check the sizes of named axes; hashable, so that a layer holding them can be static in a program."""
    return tuple((axis, whole(owner, axis, length)) for axis, length in lengths.items())


def two_sides(owner: str, pattern: object) -> str:
    """Check that a pattern is a string with one arrow, which einops takes for granted."""
    if not isinstance(pattern, str) or pattern.count("->") != 1:
        raise PatternError(f"{owner}: needs a pattern with two sides, such as 'b c -> c b', received {pattern!r}")
    return pattern


def axis_names(owner: str, name: str, value: object) -> str:
    """Check that the shape of a weight is a string, which einops takes for granted."""
    if not isinstance(value, str):
        raise PatternError(f"{owner}: {name} needs the names of axes, such as 'c o', received {value!r}")
    return value


def parsed(owner: str, what: str, parse: Callable[[], Any]) -> Any:
    """Let einops parse, and say its refusal as our error: the pattern and the reason."""
    try:
        return parse()
    except EinopsError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = ": ".join(line for line in lines if line and not line.startswith("Error while preparing"))
        # einops prints sets of axes, whose order changes from run to run.
        reason = re.sub(r"{(.*?)}", lambda axes: f"{{{', '.join(sorted(axes[1].split(', ')))}}}", reason)
        raise PatternError(f"{owner}: {what} is wrong: {reason}") from None


def check_pattern(owner: str, pattern: object, operation: Any, lengths: Mapping[str, Any]) -> tuple[str, AxesLengths]:
    """Check a pattern for `"rearrange"`, `"repeat"` or a reduction, with the sizes of its axes.

    >>> check_pattern("Rearrange", "b (c r) -> b c r", "rearrange", {"r": 2})
    ('b (c r) -> b c r', (('r', 2),))
    """
    text, checked = two_sides(owner, pattern), axes_lengths(owner, lengths)
    parsed(owner, f"pattern {text!r}", lambda: ReduceMixin(text, operation, **dict(checked)))
    return text, checked


def reduction(owner: str, value: Any) -> Any:
    """Check what to reduce with: a name, or a function of the array and the axes' positions."""
    return value if callable(value) else choice(owner, "reduction", value, REDUCTIONS)


def apply_pattern(
    owner: str, x: Any, pattern: str, operation: Any, lengths: AxesLengths, *, shown: str | None = None
) -> Any:
    """Run a checked pattern on an array; `"rearrange"` and `"repeat"` stand where a reduction's name does.

    `shown` is the pattern to name in an error, where the user wrote another one.
    """
    try:
        return einops.reduce(x, pattern, operation, **dict(lengths))
    except EinopsError as error:
        bound = f" with {', '.join(f'{axis}={length}' for axis, length in lengths)}" if lengths else ""
        reason = str(error).splitlines()[-1].strip()
        raise ShapeError(
            f"{owner}: pattern {(shown or pattern)!r}{bound} does not fit shape {tuple(x.shape)}: {reason}"
        ) from None
    except NotImplementedError:  # einops' word for the mean of integers
        raise DtypeError(
            f"{owner}: pattern {pattern!r} with {operation!r} needs floating-point numbers, received {x.dtype}; "
            "likely fix: convert them first"
        ) from None
