"""The inputs of a comparison: as PyTorch takes them, as Flax takes them, and how their axes lie in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from einops_arch.architectures.config import Config
from einops_arch.errors import ShapeError
from einops_arch.layouts.arrays import dtype_kind, to_numpy
from einops_arch.parity.runs.axes import Layout, from_axes, plain
from einops_arch.parity.runs.values import flatten, rebuild

__all__ = ["Arguments", "Inputs", "prepare"]

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """Arguments by position and by name for both frameworks, of numpy arrays in the models' own dtypes.

    Args:
        torch: PyTorch's.
        flax: Flax's.
        layouts: of the inputs whose axes are known, by place.
        names: PyTorch's axes of the inputs for which they were said, by place.
    """

    torch: Arguments
    flax: Arguments
    layouts: Mapping[str, Layout]
    names: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def widened(arguments: Arguments) -> Arguments:
        """The same numbers in float64."""
        return _cast(arguments, np.dtype(np.float64))

    def exchanged(self, chosen: Mapping[str, Any]) -> Inputs | None:
        """The inputs with other arrays at some places of PyTorch's; None where Flax's inputs are of another form.

        Args:
            chosen: the arrays, in PyTorch's layout.
        """
        torch, flax = dict(_leaves(self.torch)), dict(_leaves(self.flax))
        for place in chosen:
            layout = self.layouts.get(place, plain(torch[place].ndim))
            if place not in flax or flax[place].shape != tuple(torch[place].shape[axis] for axis in layout):
                return None

        def changed(place: str, array: Any) -> Any:
            return chosen.get(place, array)

        def changed_in_flax(place: str, array: Any) -> Any:
            if place not in chosen:
                return array
            return chosen[place].transpose(self.layouts.get(place, plain(array.ndim))).astype(array.dtype)

        return Inputs(_map(self.torch, changed), _map(self.flax, changed_in_flax), self.layouts, self.names)

    def moved(self, generator: np.random.Generator, size: float) -> Inputs | None:
        """In float64, with every number off by so much of itself; None where no number can be moved on both sides.

        Args:
            generator: of the moves.
            size: of the moves, relative.
        """
        wide = Inputs(self.widened(self.torch), self.widened(self.flax), self.layouts, self.names)
        chosen = {
            place: array * (1 + size * generator.normal(size=array.shape))
            for place, array in _leaves(wide.torch)
            if array.dtype == np.float64
        }
        return wide.exchanged(chosen) if any(array.size for array in chosen.values()) else None


def prepare(
    inputs: Any,
    flax_inputs: Any,
    axes: str | Sequence[str | None] | Mapping[str, str] | None,
    config: Config | None,
    dtypes: tuple[np.dtype[Any], np.dtype[Any]],
) -> Inputs:
    """Take the inputs apart, move their axes for Flax, and cast them.

    Args:
        inputs: an array, a tuple of arguments, or a dict of arguments by name.
        flax_inputs: the same for Flax, ready-made; None to make them.
        axes: PyTorch's axes, such as `"b c h w"`: one for each array, in order or by place.
        config: of our own twins, which says the axes.
        dtypes: of the floating-point inputs of both.

    Raises:
        ShapeError: the axes are not said, or do not fit.
    """
    own = _arguments(inputs)
    leaves = _leaves(own)
    named = _named(leaves, axes, config)
    layouts: dict[str, Layout] = {}
    for place, array in leaves:
        text = named.get(place)
        if text is not None:
            _check_names(place, text)
            layout = from_axes(text)
            if len(layout) != array.ndim:
                raise ShapeError(
                    f"compare: expected input {place!r} to have axes '{text}', received shape {array.shape}"
                )
            layouts[place] = layout
        elif array.ndim < 3 or dtype_kind(array.dtype) != "floating-point":
            layouts[place] = plain(array.ndim)
        elif flax_inputs is None:
            raise ShapeError(
                f"compare: expected to be told PyTorch's axes of input {place!r} of shape {array.shape}, "
                "received nothing; likely fix: "
                'axes=("b c h w",), where the axis named c is last in Flax, or flax_inputs='
            )
    # The same numbers for both: those that the coarser of the two dtypes has.
    coarse = max(dtypes, key=_coarseness)
    torch = _cast(_cast(own, coarse), dtypes[0])
    if flax_inputs is None:
        flax = _map(own, lambda place, array: np.asarray(array.transpose(layouts[place]), order="C"))
    else:
        flax = _arguments(flax_inputs)
    return Inputs(torch, _cast(_cast(flax, coarse), dtypes[1]), layouts, named)


def _check_names(place: str, axes: str) -> None:
    names = axes.split()
    if len(set(names)) < len(names) or ("C" in names and "c" not in names):
        why = "each name once" if len(set(names)) < len(names) else "the channels to be 'c', which is last in Flax"
        raise ShapeError(f"compare: axes of input {place!r}: expected {why}, received '{axes}'")


def _coarseness(dtype: np.dtype[Any]) -> float:
    from einops_arch.parity.report.verdicts import unit_roundoff

    return unit_roundoff(dtype)


def _arguments(inputs: Any) -> Arguments:
    if isinstance(inputs, Mapping):
        args: Any = ((), dict(inputs))
    else:
        args = (inputs if isinstance(inputs, tuple) else (inputs,), {})
    return rebuild(args[0], _to_numpy, _is_array), rebuild(args[1], _to_numpy, _is_array)


def _named(
    leaves: Sequence[tuple[str, Any]],
    axes: str | Sequence[str | None] | Mapping[str, str] | None,
    config: Config | None,
) -> dict[str, str]:
    if isinstance(axes, Mapping):
        return dict(axes)
    if axes is not None:
        texts = [axes] if isinstance(axes, str) else list(axes)
        if len(texts) != len(leaves):
            places = ", ".join(place for place, _ in leaves)
            raise ShapeError(f"compare: expected axes of {len(leaves)} inputs ({places}), received {len(texts)}")
        return {place: text for (place, _), text in zip(leaves, texts, strict=True) if text is not None}
    if config is None:
        return {}
    stated = config.inputs()
    return {str(n): item.axes for n, item in enumerate(stated)} | {item.name: item.axes for item in stated}


def _leaves(arguments: Arguments) -> list[tuple[str, Any]]:
    """By position first; then by name, in the caller's order."""
    leaves = flatten(arguments[0], _is_array)
    for name, value in arguments[1].items():
        leaves += flatten({name: value}, _is_array)
    return leaves


def _map(arguments: Arguments, change: Any) -> Arguments:
    return rebuild(arguments[0], change, _is_array), rebuild(arguments[1], change, _is_array)


def _cast(arguments: Arguments, dtype: np.dtype[Any]) -> Arguments:
    def change(place: str, array: Any) -> Any:
        del place
        kind = dtype_kind(array.dtype)
        if kind == "complex":
            return array.astype(np.complex128 if dtype == np.float64 else np.complex64)
        return array.astype(dtype) if kind == "floating-point" else array

    return _map(arguments, change)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _to_numpy(place: str, value: Any) -> Any:
    del place
    return to_numpy(value)
