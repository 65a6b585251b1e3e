"""What becomes of each leaf: one step for each row of the rules, with shapes known before anything is moved.

Steps work on numpy arrays and know nothing of a framework; `einops_arch/flax/state.py` makes them from a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from einops_arch.errors import PortError
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.layouts.patterns import LayoutPattern, Sizes

__all__ = ["ConstantStep", "Leaf", "Move", "State", "Step", "SumStep"]

State: TypeAlias = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Leaf:
    """A leaf of the Flax model: its path, shape and dtype, and how to read it."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray[Any, Any]]


class Step(Protocol):
    """How some PyTorch leaves and some Flax leaves hold the same numbers."""

    @property
    def expected(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """PyTorch's names, with the shape and the kind of number that each must have."""

    @property
    def leaves(self) -> Sequence[Leaf]:
        """The Flax leaves."""

    @property
    def layout(self) -> str:
        """The pattern, in words that a person reads."""

    def to_torch(self) -> dict[str, np.ndarray[Any, Any]]:
        """PyTorch's leaves, made of the Flax ones."""

    def to_flax(self, state: State) -> list[np.ndarray[Any, Any]]:
        """The values of the Flax leaves, made of PyTorch's."""


@dataclass(frozen=True)
class Move:
    """One PyTorch leaf in one Flax leaf, or stacked from several; nothing is computed."""

    name: str
    leaves: tuple[Leaf, ...]
    pattern: LayoutPattern
    sizes: Sizes
    stacked: bool = False
    flip: int | None = None
    """The number of trailing axes of PyTorch's leaf that turn round."""
    dtype: str = ""

    @property
    def expected(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        shape = self.leaves[0].shape
        if self.stacked:
            shape = (len(self.leaves), *shape)
        return {self.name: (self.pattern.inverse().shape(shape, self.sizes), dtype_kind(self.leaves[0].dtype))}

    @property
    def layout(self) -> str:
        if self.pattern.is_identity:
            return "... -> ..."
        return str(self.pattern).replace("*axes", "...") + (", flipped" if self.flip else "")

    def to_torch(self) -> dict[str, np.ndarray[Any, Any]]:
        values = [leaf.read() for leaf in self.leaves]
        value = self.pattern.inverse().apply(np.stack(values) if self.stacked else values[0], self.sizes)
        return {self.name: value[self._flipped] if self.flip else _widen(value, self.dtype)}

    def to_flax(self, state: State) -> list[np.ndarray[Any, Any]]:
        value = state[self.name]
        value = self.pattern.apply(value[self._flipped] if self.flip else value, self.sizes)
        if self.dtype:
            return [_narrow(self.name, value, self.leaves[0].dtype)]
        return list(value) if self.stacked else [value]

    @property
    def _flipped(self) -> tuple[Any, ...]:
        return (..., *[slice(None, None, -1)] * (self.flip or 0))


@dataclass(frozen=True)
class SumStep:
    """Two PyTorch leaves and the Flax leaf that holds their sum; loses information."""

    names: tuple[str, str]
    leaves: tuple[Leaf, ...]
    zero_gate: tuple[int, int] | None = None

    @property
    def expected(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        (size,) = self.leaves[0].shape
        counter = ((size * len(self.leaves),), dtype_kind(self.leaves[0].dtype))
        return dict.fromkeys(self.names, counter)

    @property
    def layout(self) -> str:
        return "sum of both"

    def to_torch(self) -> dict[str, np.ndarray[Any, Any]]:
        total = np.concatenate([leaf.read() for leaf in self.leaves])
        first, second = self.names
        return {first: total, second: np.zeros_like(total)}

    def to_flax(self, state: State) -> list[np.ndarray[Any, Any]]:
        first, second = (state[name] for name in self.names)
        if self.zero_gate:
            gate, gates = self.zero_gate
            if np.any(np.split(second, gates)[gate]):
                raise PortError(
                    f"{self.names[1]}: expected gate {gate} of {gates} to be zero, because the Flax cell has no bias "
                    f"inside the reset gate, received other values; likely fix: einops_arch.flax.GRU, which has one"
                )
        return np.split(first + second, len(self.leaves))


@dataclass(frozen=True)
class ConstantStep:
    """A PyTorch leaf that Flax does not have."""

    name: str
    value: int
    dtype: str

    leaves: tuple[Leaf, ...] = ()

    @property
    def expected(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        return {self.name: ((), dtype_kind(np.dtype(self.dtype)))}

    @property
    def layout(self) -> str:
        return f"not in Flax; written as {self.value}"

    def to_torch(self) -> dict[str, np.ndarray[Any, Any]]:
        return {self.name: np.asarray(self.value, self.dtype)}

    def to_flax(self, state: State) -> list[np.ndarray[Any, Any]]:
        return []


def _widen(value: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    return value.astype(dtype) if dtype else value


def _narrow(name: str, value: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    narrow = value.astype(dtype)
    if not np.array_equal(narrow, value):
        raise PortError(f"{name}: expected integers that fit {dtype}, received {value}")
    return narrow
