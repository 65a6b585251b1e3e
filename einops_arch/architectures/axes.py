"""The axes of a network's inputs and outputs: their names, their sizes, and the check of an array against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from einops_arch.errors import DtypeError, ShapeError

__all__ = ["Axes"]


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

    def check(self, array: Any, *, channels_last: bool = False) -> None:
        """Raise one clear error if an array does not fit.

        What a tracer has not decided yet fits: all of a symbol of `torch.fx`, whose shape is a symbol too, and a single
        size that is no number.

        Args:
            array: anything with `.shape` and `.dtype`.
            channels_last: the array has Flax's axes.

        Raises:
            ShapeError: the rank differs, an axis has not the size that the config fixes, is too small, or is no
                multiple of what it should be.
            DtypeError: indices are expected and the array does not hold integers.
        """
        shape = array.shape
        if not isinstance(shape, tuple):
            return
        axes = self.flax_axes if channels_last else self.axes
        names = axes.split()
        if len(shape) != len(names) or self._misfits(names, shape):
            raise self._shape_error(axes, self.axes if channels_last else self.flax_axes, tuple(shape))
        if self.dtype.startswith("int") and "int" not in str(array.dtype):
            raise DtypeError(f"{self.name}: expected integer indices of axes '{axes}', received dtype {array.dtype}")

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

    def _misfits(self, names: Sequence[str], shape: Sequence[Any]) -> list[str]:
        sizes = {name: size for name, size in zip(names, shape, strict=True) if isinstance(size, int)}
        wrong = [name for name, size in self.sizes.items() if sizes.get(name, size) != size]
        wrong += [name for name, size in self.least.items() if sizes.get(name, size) < size]
        return wrong + [name for name, size in self.multiple.items() if sizes.get(name, size) % size]
