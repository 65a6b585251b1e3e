"""Constants that depend on the dtype, kept in the float64 run as they are in the run that users have.

`RMSNorm(eps=None)` takes float32's eps in a float32 model, and would take float64's in the run that judges: another
function. So there `finfo` answers for the model's own dtype; and a literal that jax has rounded to float32, where a
model casts, is taken for the decimal that was written down. So is a number of float64 that float32 has rounded before,
such as `np.float32(np.sqrt(2))`, and two numbers of both models of which either is the other's rounding are one number:
in float32 they are the same. For models of float64 they are not, and stay as they are.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["keeps_rounding", "noted", "own_constants", "shared", "written", "written_wide"]

_PATCHING = threading.RLock()
_DIGITS = 7
"""A number with fewer significant digits is one that a person wrote down."""
_LARGEST = 4096


@dataclass
class _Judged:
    """What is known of the models that are compared.

    Args:
        is_wide: both are of float64.
        of_torch: by what float32 makes of them, the numbers in the operations of PyTorch's lifted run.
    """

    is_wide: bool = False
    of_torch: dict[float, set[float]] = field(default_factory=dict)


_OUTSIDE = _Judged()
"""Where nothing is compared."""
_JUDGED = contextvars.ContextVar("judged", default=_OUTSIDE)


@contextlib.contextmanager
def own_constants(torch_dtype: np.dtype[Any], flax_dtype: np.dtype[Any]) -> Iterator[None]:
    """A context in which `finfo` of float64 answers for the dtypes of the two models.

    Args:
        torch_dtype: PyTorch's own.
        flax_dtype: Flax's own.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_PATCHING)
        if torch_dtype != np.float64:
            stack.enter_context(_torch_finfo(str(torch_dtype)))
        if flax_dtype != np.float64:
            stack.enter_context(_flax_finfo(flax_dtype))
        before = _JUDGED.set(_Judged(torch_dtype == flax_dtype == np.float64))
        try:
            yield
        finally:
            _JUDGED.reset(before)


@contextlib.contextmanager
def _torch_finfo(name: str) -> Iterator[None]:
    torch: Any = sys.modules.get("torch")
    if torch is None:  # what is not loaded, no model uses: a capture of one framework does not load the other
        yield
        return
    original, own = torch.finfo, getattr(torch, name)

    def finfo(dtype: Any = None) -> Any:
        asked = torch.get_default_dtype() if dtype is None else dtype
        return original(own if asked is torch.float64 else asked)

    torch.finfo = finfo
    try:
        yield
    finally:
        torch.finfo = original


@contextlib.contextmanager
def _flax_finfo(own: np.dtype[Any]) -> Iterator[None]:
    jnp: Any = sys.modules.get("jax.numpy")
    if jnp is None:
        yield
        return
    original = jnp.finfo

    def finfo(dtype: Any) -> Any:
        try:
            is_wide = np.dtype(getattr(dtype, "dtype", dtype)) == np.float64
        except TypeError:
            is_wide = False
        return original(own if is_wide else dtype)

    jnp.finfo = finfo
    try:
        yield
    finally:
        jnp.finfo = original


def written(value: Any) -> float:
    """The number that somebody wrote down, of which a narrow literal is what is left.

    It is the shortest decimal that rounds to the literal, or else a fraction or a root that does; of others nothing is
    known, and they stay as they are.

    Args:
        value: a number of a narrow dtype, without axes.

    >>> written(np.float32(1e-6)), written(np.float32(1 / 3)), written(np.float32(64**-0.5))
    (1e-06, 0.3333333333333333, 0.125)
    >>> written(np.float32(math.sqrt(2 / math.pi))) == math.sqrt(2 / math.pi)
    True
    """
    kind = np.asarray(value).dtype.type
    exact = float(value)
    if not math.isfinite(exact) or exact == int(exact):
        return exact
    for candidate in _candidates(exact):
        if kind(candidate) == value:
            return candidate
    return exact


def keeps_rounding() -> bool:
    """Whether a number that float32 has rounded is another one for the users of both models, which are of float64."""
    return _JUDGED.get().is_wide


def written_wide(value: float) -> float:
    """The same of a number of float64, if it is one that float32 has rounded; any other as it is.

    >>> written_wide(float(np.float32(0.1))), written_wide(0.3)
    (0.1, 0.3)
    """
    return value if keeps_rounding() or not _is_rounded(value) else written(np.float32(value))


def noted(value: float) -> float:
    """The same of a number in an operation of PyTorch's, which is kept in mind for Flax's."""
    judged, number = _JUDGED.get(), written_wide(value)
    if judged is not _OUTSIDE and math.isfinite(number) and abs(number) <= _GREATEST:
        judged.of_torch.setdefault(float(np.float32(number)), set()).add(number)
    return number


def shared(value: float) -> float:
    """The same of a number of Flax's; where it is one of PyTorch's but for float32's rounding of either, that one."""
    number = written_wide(value)
    if keeps_rounding() or not math.isfinite(number) or abs(number) > _GREATEST:
        return number
    same = _JUDGED.get().of_torch.get(float(np.float32(number)), set())
    if number in same or not same:
        return number
    other = min(same)
    return other if len(same) == 1 and (_is_rounded(number) or _is_rounded(other)) else number


_GREATEST = float(np.finfo(np.float32).max)


def _is_rounded(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= _GREATEST and float(np.float32(value)) == value


def _candidates(exact: float) -> Iterator[float]:
    for digits in range(_DIGITS - 1):
        yield float(f"{exact:.{digits}e}")
    sign, size = math.copysign(1.0, exact), abs(exact)
    for power in (1.0, 0.5):
        for inverse in (size, 1 / size):
            count = round(inverse ** (1 / power))
            if 0 < count <= _LARGEST:
                root = count**power
                yield sign * (root if inverse == size else 1 / root)
    for unit in (math.pi, math.e, math.log(2), math.sqrt(2 / math.pi), math.sqrt(math.pi)):
        for factor in (0.25, 0.5, 1.0, 2.0):
            yield sign * unit * factor
            yield sign * factor / unit
