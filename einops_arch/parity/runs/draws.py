"""Random numbers that both models draw: in a call that is compared they get the same ones.

A number is a function of how many arrays of this form were drawn before it and of where it stands, in whatever order
the axes are: PyTorch draws `b c h w` where Flax draws `b h w c`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_tensor

__all__ = ["TORCH_DRAWS", "counting_draws", "draw_torch", "flax_draws", "restart"]

TORCH_DRAWS = frozenset(
    ("randn", "randn_like", "rand", "rand_like", "normal", "normal_", "uniform_", "randint", "randint_like")
)
"""PyTorch's functions that draw, by name; dropout and what is drawn for it is stopped instead."""
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

_DRAWN: ContextVar[Counter[tuple[str, tuple[int, ...]]]] = ContextVar("drawn")


@contextlib.contextmanager
def counting_draws() -> Iterator[None]:
    """A context in which draws are counted, from the first numbers on."""
    token = _DRAWN.set(Counter())
    try:
        yield
    finally:
        _DRAWN.reset(token)


def restart(*hook_arguments: Any) -> None:
    """Begin with the first numbers again, as each call of a whole model does."""
    del hook_arguments
    if (drawn := _DRAWN.get(None)) is not None:
        drawn.clear()


def draw_torch(func: Callable[..., Any], name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a function of PyTorch gives that draws, with the numbers that both models get.

    Args:
        func: the function.
        name: of it, one of `TORCH_DRAWS`.
        args: its arguments by position.
        kwargs: the same by name.
    """
    import torch

    with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001 no other is at hand
        result = func(*args, **kwargs)
        kind = "normal" if name.startswith(("randn", "normal")) else "uniform"
        numbers = to_tensor(_numbers(kind, tuple(result.shape)), result.device)
        if name.startswith("randint"):
            low, high = _bounds(args[name.endswith("_like") :], kwargs)
            numbers = torch.floor(numbers * (high - low)) + low
        elif name == "normal":
            mean, std = (*args, *(kwargs[key] for key in ("mean", "std") if key in kwargs), 1.0)[:2]
            numbers = numbers * std + mean
        elif name in ("normal_", "uniform_"):
            first, second = _two(name, args[1:], kwargs)
            numbers = numbers * second + first if name == "normal_" else numbers * (second - first) + first
        return result.copy_(numbers)


def _two(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    names = ("mean", "std") if name == "normal_" else ("from", "to")
    values = dict(zip(names, (0.0, 1.0), strict=True)) | dict(zip(names, args, strict=False)) | kwargs
    return values[names[0]], values[names[1]]


def _bounds(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int, int]:
    numbers = [value for value in args if isinstance(value, int)]
    numbers += [kwargs[name] for name in ("low", "high") if name in kwargs]
    return (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


@contextlib.contextmanager
def flax_draws() -> Iterator[None]:
    """A context in which jax gives the numbers that both models get, from the first on."""
    import jax
    import jax.numpy as jnp

    def shape_of(shape: Any) -> tuple[int, ...]:
        return (shape,) if isinstance(shape, int) else tuple(shape)

    def normal(key: Any, shape: Any = (), dtype: Any = float, **options: Any) -> Any:
        del key, options
        return jnp.asarray(_numbers("normal", shape_of(shape)), dtype)

    def uniform(
        key: Any, shape: Any = (), dtype: Any = float, minval: Any = 0.0, maxval: Any = 1.0, **options: Any
    ) -> Any:
        del key, options
        return jnp.asarray(_numbers("uniform", shape_of(shape)), dtype) * (maxval - minval) + minval

    def randint(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = int, **options: Any) -> Any:
        del key, options
        numbers = jnp.asarray(_numbers("uniform", shape_of(shape)))
        return (jnp.floor(numbers * (maxval - minval)) + minval).astype(dtype)

    before = {name: getattr(jax.random, name) for name in ("normal", "uniform", "randint")}
    with counting_draws():
        for function in (normal, uniform, randint):
            setattr(jax.random, function.__name__, function)
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(jax.random, name, function)


def _numbers(kind: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The next ones: bell-shaped, or even between 0 and 1; float32 holds them."""
    drawn = _DRAWN.get()
    form = kind, tuple(sorted(shape))
    drawn[form] += 1
    seed = int.from_bytes(hashlib.sha256(f"{form} {drawn[form]}".encode()).digest()[:8], "little")
    count = int(np.prod(shape, dtype=int))
    places = np.sort(np.indices(shape, np.uint64).reshape(len(shape), count), axis=0)
    parts = np.stack([_scattered(places, np.uint64((seed + n) % 2**64)) for n in range(4 if kind == "normal" else 1)])
    even = (parts >> np.uint64(40)) * 2.0**-24 + 2.0**-25
    # The sum of four, with variance 1.
    numbers = (even.sum(axis=0) - 2) * 3**0.5 if kind == "normal" else even[0]
    return numbers.astype(np.float32).astype(np.float64).reshape(shape)


def _scattered(places: np.ndarray[Any, Any], seed: np.uint64) -> np.ndarray[Any, Any]:
    """An integer of 64 bits for each column; unlike ones for unlike columns."""
    mixed = np.full(places.shape[1:], seed)
    for row in [*places, np.zeros_like(mixed)]:
        mixed = mixed ^ (row + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for multiplier, shift in zip(_MULTIPLIERS, (30, 27), strict=True):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(multiplier)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed
