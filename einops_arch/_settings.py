"""The checks of settings that everything shares: whole numbers, fractions, choices and flags, each with one wording.

A wrong setting is a `ConfigError` that names who was given it, its name, what it needs and what was received. Only
types and sizes are looked at, so symbolic sizes of a tracer pass where a core takes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from einops_arch.errors import ConfigError, nearest

__all__ = [
    "SPATIAL_AXES",
    "check_choice",
    "check_flag",
    "check_fraction",
    "check_multiple",
    "check_number",
    "check_whole",
    "is_number",
    "is_plain",
    "is_plain_number",
    "is_size",
    "is_whole",
    "per_axis",
    "wrong",
]

SPATIAL_AXES = {1: ("w",), 2: ("h", "w"), 3: ("d", "h", "w")}


def wrong(owner: str, name: str, needs: str, received: object, fix: str = "") -> ConfigError:
    """The error for a wrong setting.

    >>> print(wrong("DepthToSpace", "factor", "a whole number of at least 1", 0))
    DepthToSpace: factor needs a whole number of at least 1, received 0
    """
    return ConfigError(f"{owner}: {name} needs {needs}, received {received!r}{f'; likely fix: {fix}' if fix else ''}")


def is_plain(value: object) -> bool:
    """Whether a value is an integer of Python's own, as JSON holds them; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether a value is an integer of Python or NumPy.

    >>> is_whole(3), is_whole(True), is_whole(3.0)
    (True, False, False)
    """
    return is_plain(value) or (isinstance(value, Integral) and not isinstance(value, bool))


def is_size(value: Any) -> bool:
    """Whether a value is an integer or the symbol of one."""
    if isinstance(value, int):  # a size that torch.compile traces counts as one
        return not isinstance(value, bool)
    # The booleans of numpy 2.0 have an `__index__`, which only raises.
    if str(getattr(value, "dtype", "")) == "bool":
        return False
    # numpy's integers say so; a symbolic size of jax can only be told by what it has and a float has not.
    return hasattr(value, "__index__") or (hasattr(value, "__int__") and not hasattr(value, "__float__"))


def is_number(value: object) -> bool:
    """Whether a value is a real number of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_plain_number(value: object) -> bool:
    """Whether a value is a number of Python's own, as JSON holds them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_whole(
    owner: str,
    name: str,
    value: Any,
    least: int = 1,
    most: int | None = None,
    *,
    accepts: Callable[[Any], bool] = is_whole,
) -> None:
    """Refuse all but whole numbers in a range: no bool, no float, no -1 to be guessed.

    >>> check_whole("generate", "top_k", 18, most=17)
    Traceback (most recent call last):
    einops_arch.errors.ConfigError: generate: top_k needs a whole number from 1 to 17, received 18
    """
    if not accepts(value) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise wrong(owner, name, f"a whole number {bounds}", value)


def check_number(owner: str, name: str, value: Any, least: float = 0) -> None:
    """Refuse all but finite numbers of at least `least`."""
    if not is_number(value) or not least <= value < math.inf:
        raise wrong(owner, name, f"a number of at least {least}", value)


def check_fraction(
    owner: str,
    name: str,
    value: Any,
    interval: str = "[0, 1]",
    *,
    accepts: Callable[[Any], bool] = is_number,
) -> None:
    """Refuse all but numbers between 0 and 1; the brackets say whether the ends belong to them.

    >>> check_fraction("Config", "dropout", 1.0, "[0, 1)")
    Traceback (most recent call last):
    einops_arch.errors.ConfigError: Config: dropout needs a number in [0, 1), received 1.0
    """
    inside = accepts(value) and 0 <= value <= 1
    if not inside or (value == 0 and interval[0] == "(") or (value == 1 and interval[-1] == ")"):
        raise wrong(owner, name, f"a number in {interval}", value)


def check_choice(
    owner: str, name: str, value: object, known: Sequence[str], aliases: Mapping[str, str] | None = None
) -> None:
    """Refuse an option that is none of the known words, and offer the nearest.

    `aliases` are words of other libraries, each with the known word that it stands for.
    """
    if value in known:
        return
    expected = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}" if len(known) > 1 else repr(known[0])
    spellings = {word.casefold(): word for word in known}
    spellings.update({alias: word for alias, word in (aliases or {}).items() if word in known})
    near = nearest(str(value).casefold(), spellings)
    raise wrong(owner, name, expected, value, f"{name}={spellings[near[0]]!r}" if near else "")


def check_flag(owner: str, name: str, value: object) -> None:
    """Refuse all but True and False; a 0 or 1 is more often a number in the wrong place."""
    if not isinstance(value, bool):
        raise wrong(owner, name, "True or False", value)


def check_multiple(owner: str, name: str, value: int, divisor_name: str, divisor: int, fix: str = "") -> None:
    """Refuse a number that a divisor does not divide.

    >>> check_multiple("Conv", "out_features", 4, "feature_group_count", 3)
    Traceback (most recent call last):
    einops_arch.errors.ConfigError: Conv: out_features needs a multiple of feature_group_count=3, received 4
    """
    if value % divisor:
        raise wrong(owner, name, f"a multiple of {divisor_name}={divisor}", value, fix)


def per_axis(
    owner: str,
    name: str,
    value: Any,
    axes: Sequence[str],
    least: int = 1,
    *,
    accepts: Callable[[Any], bool] = is_whole,
) -> tuple[Any, ...]:
    """One number per axis, from one number for all of them or a tuple.

    >>> per_axis("depth_to_space", "factor", 2, ("h", "w"))
    (2, 2)
    >>> per_axis("Conv", "strides", (1, 2, 1), ("h", "w"))
    Traceback (most recent call last):
    einops_arch.errors.ConfigError: Conv: strides needs one whole number, or one for each of the spatial axes
    h w, received (1, 2, 1)
    """
    if not isinstance(value, tuple | list):
        check_whole(owner, name, value, least, accepts=accepts)
        return (value,) * len(axes)
    if len(value) != len(axes):
        raise wrong(
            owner, name, f"one whole number, or one for each of the spatial axes {' '.join(axes)}", tuple(value)
        )
    for number in value:
        check_whole(owner, name, number, least, accepts=accepts)
    return tuple(value)
