"""Dropout and its kin: stopped in copies without another path being taken, and their rates read on both sides."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.parity.runs.draws import TORCH_DRAWS, counting_draws, draw_torch, flax_draws

__all__ = [
    "dropped_axes",
    "dropped_together",
    "drops",
    "keeps_variance",
    "kind_of",
    "moments",
    "rate_of",
    "stop_flax",
    "stop_torch",
    "sure_draws",
    "without_dropout",
]

_TINY = 1e-300
"""A rate that is not zero, so that the same code runs, and drops nothing: 1 - 1e-300 is 1."""
_CLASSES = re.compile(r"drop|stochastic_?depth|shake", re.IGNORECASE)
_NAMES = re.compile(r"drop|stochastic_?depth", re.IGNORECASE)
_OF_CLASS = ("p", "rate", "prob", "drop_prob", "drop_rate", "dropout_p", "dropout_rate", "survival_prob")
_LAYERS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
_RANKS = ("1d", "2d", "3d")
_IMAGE = 4
_RMS_NORM = 4
"""The arguments of PyTorch's rms_norm, of which the last is eps."""
_FUNCTIONS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


def rate_of(module: Any) -> float | None:
    """The rate at which a module drops values; None where none can be read.

    >>> import torch
    >>> rate_of(torch.nn.Dropout(0.25)), rate_of(torch.nn.Linear(2, 3))
    (0.25, None)
    """
    rates = [value for name, value in _rates(module) if "survival" not in name]
    return max(rates, default=None)


def dropped_together(module: Any) -> bool | None:
    """Whether a layer of dropout drops several values together, such as whole channels; None where it is none.

    >>> import torch
    >>> dropped_together(torch.nn.Dropout(0.25)), dropped_together(torch.nn.Dropout2d(0.25))
    (False, True)
    """
    name = next((base.__name__ for base in type(module).__mro__ if base.__name__ in _LAYERS), None)
    if name is None:
        return None
    # A layer of its own for channels may be made of one that has such a setting and does not use it.
    return bool(getattr(module, "broadcast_dims", ())) or name.startswith("Feature") or name[-2:] in _RANKS


def dropped_axes(module: Any, rank: int) -> tuple[int, ...] | None:
    """The axes of its input along which a layer of dropout drops all values or none; None where that is not known.

    >>> import torch
    >>> dropped_axes(torch.nn.Dropout2d(0.25), 4), dropped_axes(torch.nn.Dropout(0.25), 4)
    ((2, 3), ())
    """
    together = dropped_together(module)
    axes = getattr(module, "broadcast_dims", None)
    if together is None:
        return None
    if axes:
        return tuple(sorted(axis % rank for axis in axes if -rank <= axis < rank))
    # An input without a batch has its channels first; of Dropout2d three axes are a batch, channels and one more.
    alone = any(base.__name__ == f"Dropout{rank - 1}d" for base in type(module).__mro__) and rank != _IMAGE - 1
    return tuple(range(1 if alone else 2, rank)) if together else ()


def keeps_variance(module: Any) -> bool:
    """Whether it is the dropout of self-normalising networks, which gives what it drops another value than zero."""
    return any("Alpha" in base.__name__ and base.__name__ in _LAYERS for base in type(module).__mro__)


def moments(array: Any) -> tuple[float, ...] | None:
    """What tells numbers from others in whatever order they stand; None where they are not finite.

    >>> moments(np.array([1.0, 2.0])) == moments(np.array([[2.0], [1.0]]))
    True
    """
    if array.dtype.kind not in "fc" or not array.size or not np.isfinite(array).all():
        return None
    sizes = np.abs(array).ravel()
    return float(array.size), float(np.sum(array).real), float(np.sum(sizes**2)), float(np.sum(sizes**3))


def _kind_of_function(name: str) -> tuple[bool, bool]:
    return name.startswith("feature") or name[-2:] in _RANKS, "alpha" in name


def kind_of(module: Any) -> tuple[bool, bool] | None:
    """Whether a layer drops several values together, and whether it keeps the variance; None where it is no such layer.

    >>> import torch
    >>> kind_of(torch.nn.Dropout2d(0.25)), kind_of(torch.nn.AlphaDropout(0.25)), kind_of(torch.nn.ReLU())
    ((True, False), (False, True), None)
    """
    together = dropped_together(module)
    return None if together is None else (together, keeps_variance(module))


def drops(module: Any) -> bool:
    """Whether dropping values is what a module is for.

    >>> import torch
    >>> drops(torch.nn.Dropout(0.25)), drops(torch.nn.MultiheadAttention(4, 2, dropout=0.1))
    (True, False)
    """
    return any(_CLASSES.search(base.__name__) for base in type(module).__mro__)


def stop_torch(module: Any) -> None:
    """Set the rates of a copy of a PyTorch module to zero."""
    for name, _ in _rates(module):
        setattr(module, name, 1.0 if "survival" in name else 0.0)


def stop_flax(module: Any) -> None:
    """Set the rates of a copy of a Flax module to next to nothing, so that the same code runs as in training."""
    for name, value in _rates(module):
        if value > 0:
            setattr(module, name, 1.0 if "survival" in name else _TINY)


@contextlib.contextmanager
def sure_draws() -> Iterator[None]:
    """A context in which jax draws no bits for what is certain, and elsewhere what PyTorch's model draws.

    Certain is that an entry is kept at next to no rate. The generator of bits is most of what is compiled of a small
    model in training mode.
    """
    import jax
    import jax.numpy as jnp

    drawn = jax.random.bernoulli

    def bernoulli(key: Any, p: Any = 0.5, shape: Any = None, **options: Any) -> Any:
        # Uniform numbers are below 1.
        if isinstance(p, float | int) and p >= 1 and shape is not None:
            return jnp.ones(shape, bool)
        return drawn(key, p, shape, **options)

    jax.random.bernoulli = bernoulli
    try:
        with flax_draws():
            yield
    finally:
        jax.random.bernoulli = drawn


@contextlib.contextmanager
def without_dropout(
    dtype: Any,
    dropped: Callable[[float, bool, Any, tuple[bool, bool]], None] = lambda rate, active, value, kind: None,
    drawn: Callable[[str], None] = lambda name: None,
) -> Iterator[None]:
    """A context in which PyTorch's functions for dropout give what they are given, and others draw what Flax's do.

    Where an eps is left to the dtype, it is that of the model's own dtype, in float64 too.

    Args:
        dtype: the model's own.
        dropped: told the rate of each call, whether it would have dropped anything, of what, None if that is not known,
            and whether several values together, and such that the variance is kept.
        drawn: told the name of each function that draws.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    names = {*_FUNCTIONS, *(f"{name}_" for name in _FUNCTIONS)}

    class Stop(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            kwargs = dict(kwargs or {})
            name = getattr(func, "__name__", "")
            if name in names and (args or "input" in kwargs):
                values = dict(zip(("p", "training"), args[1:], strict=False)) | kwargs
                active = bool(values.get("training", "alpha" not in name))
                value = args[0] if args else kwargs["input"]
                dropped(float(values.get("p", 0.5)), active, value, _kind_of_function(name.rstrip("_")))
                return value
            # What a generator of its own gives is the same in each call, and no draw.
            if name in TORCH_DRAWS and kwargs.get("generator") is None:
                drawn(name)
                return draw_torch(func, name, args, kwargs)
            if name == "scaled_dot_product_attention":
                rate = float(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
                dropped(rate, rate > 0, None, (False, False))
                args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
                kwargs |= {"dropout_p": 0.0} if "dropout_p" in kwargs else {}
            if name == "rms_norm" and (len(args) < _RMS_NORM or args[3] is None) and kwargs.get("eps") is None:
                value = args[0] if args else kwargs["input"]
                own = dtype if value.dtype is torch.float64 else value.dtype
                args, kwargs = args[:3], kwargs | {"eps": torch.finfo(own).eps}
            return func(*args, **kwargs)

    with counting_draws(), Stop():
        yield


def _rates(module: Any) -> list[tuple[str, float]]:
    """The attributes of one module that are rates, with their values."""
    of_class = any(_CLASSES.search(base.__name__) for base in type(module).__mro__)
    attributes: Mapping[str, Any] = getattr(module, "__dict__", {})
    return [
        (name, float(value))
        for name, value in attributes.items()
        if not isinstance(value, bool)
        and (
            (isinstance(value, float | int) and of_class and name in _OF_CLASS)
            or (isinstance(value, float) and _NAMES.search(name) and not name.startswith("_"))
        )
        and 0 <= value <= 1
    ]
