"""The checks that come before every einops call, and the one place that words their errors.

They look at sizes and options only, never at values, so tracers and symbolic sizes pass through them.
A wrong argument is a `ConfigError`, an array that does not fit is a `ShapeError`; both are a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einops_arch import _settings
from einops_arch._settings import SPATIAL_AXES, check_choice
from einops_arch.errors import ConfigError, DtypeError, ShapeError

DATA_FORMATS = ("channels_first", "channels_last")
_ALIASES = {"nchw": "channels_first", "nhwc": "channels_last"}


def shape_error(
    core: str,
    pattern: str,
    needs: str,
    received: object,
    shape: Sequence[Any],
    sizes: Mapping[str, Any] | None = None,
    fix: str = "",
) -> ShapeError:
    """The error for an array that does not fit, in the one wording that all cores share."""
    bound = f" with {', '.join(f'{name}={size}' for name, size in sizes.items())}" if sizes else ""
    hint = f"; likely fix: {fix}" if fix else ""
    return ShapeError(
        f"{core}: pattern '{pattern}'{bound} needs {needs}, received {received} in shape {tuple(shape)}{hint}"
    )


def check_data_format(core: str, data_format: str) -> None:
    """Refuse all but the two data formats."""
    check_choice(core, "data_format", data_format, DATA_FORMATS, _ALIASES)


def check_whole(core: str, name: str, value: Any, least: int = 1) -> None:
    """Refuse all but whole numbers of at least `least`, and the symbols of a tracer for such."""
    _settings.check_whole(core, name, value, least, accepts=_settings.is_size)


def per_axis(core: str, name: str, value: Any, axes: Sequence[str]) -> tuple[Any, ...]:
    """One number per axis, from one number for all of them or a tuple."""
    return _settings.per_axis(core, name, value, axes, accepts=_settings.is_size)


def named_sizes(core: str, name: str, sizes: Any, fewest: int) -> dict[str, Any]:
    """Up to three spatial sizes, each under the name of its axis."""
    if not isinstance(sizes, tuple | list) or not fewest <= len(sizes) <= 3:
        raise ConfigError(f"{core}: {name} needs a tuple of {fewest} to 3 sizes, received {sizes!r}")
    for size in sizes:
        check_whole(core, name, size, least=0)
    return dict(zip(SPATIAL_AXES.get(len(sizes), ()), sizes, strict=True))


def check_rank(core: str, pattern: str, shape: Sequence[Any], least: int, most: int | None = None) -> None:
    """Refuse an array of fewer than `least` or more than `most` axes."""
    rank = len(shape)
    if rank >= least and (most is None or rank <= most):
        return
    if most is None:
        needs = f"at least {least} {'axis' if least == 1 else 'axes'}"
    else:
        needs = f"{least} axes" if least == most else f"{least} to {most} axes"
    fix = "add the batch axis b" if rank == least - 1 and pattern.startswith("b ") else ""
    raise shape_error(core, pattern, needs, rank, shape, fix=fix)


def spatial_axes(core: str, pattern: str, shape: Sequence[Any]) -> tuple[str, ...]:
    """The names of the one to three spatial axes beside batch and channels.

    `pattern` stands in the error of an array that has none or too many.
    """
    check_rank(core, pattern, shape, 3, 5)
    return SPATIAL_AXES[len(shape) - 2]


def check_channels(
    core: str, pattern: str, shape: Sequence[Any], data_format: str, divisor: Any, sizes: Mapping[str, Any]
) -> None:
    """Refuse channels that do not divide; where the axis that the other format means does, say so."""
    first = data_format == "channels_first"
    channels = shape[1] if first else shape[-1]
    if channels % divisor != 0:
        fix = f"data_format={DATA_FORMATS[first]!r}" if _other_format_fits(shape, first, divisor) else ""
        raise shape_error(core, pattern, f"channels divisible by {divisor}", channels, shape, sizes=sizes, fix=fix)


def _other_format_fits(shape: Sequence[Any], first: bool, divisor: Any) -> bool:
    """Whether the axis at the other end looks like the channels: it divides, and is no side of a square."""
    ends = shape[1:] if first else shape[:0:-1]
    return len(ends) > 1 and ends[-1] % divisor == 0 and ends[-1] != ends[-2]


def check_spatial(
    core: str,
    pattern: str,
    shape: Sequence[Any],
    data_format: str,
    axes: Sequence[str],
    sizes: Mapping[str, Any],
) -> None:
    """Refuse spatial axes that do not divide by their factors, which `sizes` holds in the same order."""
    space = shape[2:] if data_format == "channels_first" else shape[1:-1]
    for axis, size, (name, factor) in zip(axes, space, sizes.items(), strict=True):
        if size % factor != 0:
            needs = f"axis ({axis} {name}) divisible by {factor}"
            fix = f"pad it to {size + factor - size % factor}"
            raise shape_error(core, pattern, needs, size, shape, sizes=sizes, fix=fix)


def check_size(
    core: str,
    pattern: str,
    shape: Sequence[Any],
    position: int,
    expected: Any,
    what: str,
    sizes: Mapping[str, Any],
) -> None:
    """Refuse an axis that does not have the expected size."""
    if shape[position] != expected:
        raise shape_error(core, pattern, f"{expected} {what}", shape[position], shape, sizes=sizes)


def check_divisible(
    core: str,
    pattern: str,
    shape: Sequence[Any],
    position: int,
    divisor: Any,
    what: str,
    sizes: Mapping[str, Any],
) -> None:
    """Refuse an axis whose size does not divide."""
    if shape[position] % divisor != 0:
        raise shape_error(core, pattern, f"{what} divisible by {divisor}", shape[position], shape, sizes=sizes)


def real_numbers(core: str, x: Any) -> Any:
    """The array itself, or floating-point numbers in the place of integers, whose sums would wrap around.

    Raises:
        DtypeError: complex numbers, of which a square is no size.
    """
    dtype = str(x.dtype)
    if "complex" in dtype:
        raise DtypeError(
            f"{core}: needs real numbers, received {dtype}; likely fix: the real and the imaginary part apart"
        )
    # `/` makes floating-point numbers of what is none, in every framework; jax divides booleans by booleans only.
    if "bool" in dtype:
        return x / True
    return x / 1 if "int" in dtype else x


def product(sizes: Sequence[Any]) -> Any:
    """The product, also of symbolic sizes, for which `math.prod` is not traceable."""
    result: Any = 1
    for size in sizes:
        result = result * size
    return result
