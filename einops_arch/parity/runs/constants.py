"""Constants that depend on the dtype, kept in the float64 run as they are in the run that users have.

`RMSNorm(eps=None)` takes float32's eps in a float32 model, and would take float64's in the run that judges: another
function. So there `finfo` answers for the model's own dtype; and a literal that jax has rounded to float32, where a
model casts, is taken for the decimal that was written down.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["own_constants", "written"]

_PATCHING = threading.RLock()
_DIGITS = 7
"""A number with fewer significant digits is one that a person wrote down."""
_LARGEST = 4096


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
        yield


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
