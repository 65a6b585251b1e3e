"""The pattern layers of einops for NNX: einops itself has them for Linen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flax import nnx
from flax.nnx import reprlib
from jax import Array

from einops_arch import _layer_checks as checks

Reduction = str | Callable[[Array, tuple[int, ...]], Array]


class _PatternLayer(nnx.Module):
    """A pattern with the sizes of its axes, checked when built; all of it is static in a program."""

    def __init__(self, pattern: str, operation: Reduction, lengths: dict[str, int]) -> None:
        name = type(self).__name__
        self.pattern, self._lengths = checks.check_pattern(name, pattern, operation, lengths)
        self._operation = operation

    @property
    def axes_lengths(self) -> dict[str, int]:
        """The sizes of the named axes, as they were given."""
        return dict(self._lengths)

    def __call__(self, x: Array) -> Array:
        return checks.apply_pattern(type(self).__name__, x, self.pattern, self._operation, self._lengths)

    def _strings(self) -> list[Any]:
        return [self.pattern]

    def __nnx_repr__(self) -> Iterator[reprlib.Object]:
        arguments = checks.printed_pattern(self._strings(), self._lengths)
        yield reprlib.Object(type=type(self), empty_repr=arguments)


class Rearrange(_PatternLayer):
    """`einops.rearrange(x, pattern, **axes_lengths)` as a layer, checked when it is built.

    Args:
        pattern: both sides, such as `"b h w c -> b (c h w)"`.
        **axes_lengths: sizes of axes that the input does not tell; each a whole number of at least 1.

    Raises:
        PatternError: the pattern does not parse, or its sides do not hold the same axes.
        ConfigError: a size is out of range.
        ShapeError: when called with an array that does not fit the left side.

    Source:
        https://einops.rocks/api/rearrange; in PyTorch `einops.layers.torch.Rearrange`.

    Example:
        >>> import jax.numpy as jnp
        >>> shuffle = Rearrange("b h w (g k) -> b h w (k g)", g=3)
        >>> shuffle
        Rearrange('b h w (g k) -> b h w (k g)', g=3)
        >>> shuffle(jnp.zeros((2, 5, 7, 6))).shape
        (2, 5, 7, 6)
    """

    def __init__(self, pattern: str, **axes_lengths: int) -> None:
        super().__init__(pattern, "rearrange", axes_lengths)


class Repeat(_PatternLayer):
    """`einops.repeat(x, pattern, **axes_lengths)` as a layer, checked when it is built.

    Args:
        pattern: both sides, such as `"b h w c -> b (h r1) (w r2) c"`.
        **axes_lengths: the size of each new axis; each a whole number of at least 1.

    Raises:
        PatternError: the pattern does not parse, or a new axis has no size.
        ConfigError: a size is out of range.
        ShapeError: when called with an array that does not fit the left side.

    Source:
        https://einops.rocks/api/repeat; in PyTorch `einops_arch.torch.Repeat`.

    Example:
        >>> import jax.numpy as jnp
        >>> grey_to_rgb = Repeat("b h w -> b h w c", c=3)
        >>> grey_to_rgb(jnp.zeros((2, 5, 7))).shape
        (2, 5, 7, 3)
    """

    def __init__(self, pattern: str, **axes_lengths: int) -> None:
        super().__init__(pattern, "repeat", axes_lengths)


class Reduce(_PatternLayer):
    """`einops.reduce(x, pattern, reduction, **axes_lengths)` as a layer, checked when it is built.

    Args:
        pattern: both sides, such as `"b h w c -> b c"`; axes of the left side only are reduced.
        reduction: `"mean"`, `"sum"`, `"max"`, `"min"`, `"prod"`, `"any"`, `"all"`, or a function of the array
            and the positions of the axes to reduce.
        **axes_lengths: sizes of axes that the input does not tell; each a whole number of at least 1.

    Raises:
        PatternError: the pattern does not parse, or the right side has an axis that the left has not.
        ConfigError: the reduction is unknown, or a size is out of range.
        ShapeError: when called with an array that does not fit the left side.
        DtypeError: when called with integers to take the mean of.

    Source:
        https://einops.rocks/api/reduce; in PyTorch `einops.layers.torch.Reduce`.

    Example:
        >>> import jax.numpy as jnp
        >>> pool = Reduce("b (h r1) (w r2) c -> b h w c", "max", r1=2, r2=2)
        >>> pool
        Reduce('b (h r1) (w r2) c -> b h w c', 'max', r1=2, r2=2)
        >>> pool(jnp.zeros((2, 4, 6, 3))).shape
        (2, 2, 3, 3)
    """

    def __init__(self, pattern: str, reduction: Reduction, **axes_lengths: int) -> None:
        self.reduction = checks.reduction(type(self).__name__, reduction)
        super().__init__(pattern, reduction, axes_lengths)

    def _strings(self) -> list[Any]:
        return [self.pattern, self.reduction]
