"""Windows as rows and back, and windows of transformers, channels last."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

from einops_arch.errors import ConfigError, ShapeError
from einops_arch.flax._checks import check_rank, check_space, per_axis
from einops_arch.flax.functional._windows import PerAxis, spatial_axes

__all__ = ["fold", "roll", "unfold", "window_partition", "window_reverse"]


def unfold(
    x: jax.Array, window: PerAxis, strides: PerAxis = 1, padding: PerAxis = 0, dilation: PerAxis = 1
) -> jax.Array:
    """`b *s c -> b n (c *k)`: each window as a row: `torch.nn.functional.unfold`.

    Columns have PyTorch's order, so that a Linear after it has the same weights; rows and columns have changed places.
    PyTorch has it for 2 spatial axes only.

    Args:
        x: channels last; the batch axis may be left out where a setting has one number per axis.
        window: PyTorch's `kernel_size`: one size for each spatial axis, or one integer for all of them.
        strides: likewise, as the next two.
        padding: zeros on both sides.
        dilation: the distance between two values of a window.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: another rank, or an image smaller than the window.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Unfold.html

    >>> unfold(jnp.arange(12.0).reshape(1, 2, 3, 2), (2, 2))[0].tolist()
    [[0.0, 2.0, 6.0, 8.0, 1.0, 3.0, 7.0, 9.0], [2.0, 4.0, 8.0, 10.0, 3.0, 5.0, 9.0, 11.0]]
    """
    axes = spatial_axes("unfold", x.shape, _axes("unfold", window, strides, padding, dilation))
    w, s, p, d = _settings("unfold", axes, window, strides, padding, dilation)
    check_space("unfold", x.shape, axes)
    counts = _counts("unfold", x.shape[-axes - 1 : -1], w, s, p, d)
    batch = x if x.ndim == axes + 2 else x[None]
    batch = lax.pad(batch, jnp.zeros((), x.dtype), [(0, 0, 0), *((n, n, 0) for n in p), (0, 0, 0)])
    pieces = []
    for place in itertools.product(*map(range, w)):
        start = [a * b for a, b in zip(place, d, strict=True)]
        stop = [a + (n - 1) * b + 1 for a, n, b in zip(start, counts, s, strict=True)]
        piece = lax.slice(batch, (0, *start, 0), (batch.shape[0], *stop, batch.shape[-1]), (1, *s, 1))
        pieces.append(piece.reshape(batch.shape[0], math.prod(counts), batch.shape[-1]))
    rows: jax.Array = rearrange(jnp.stack(pieces, -1), "b n c k -> b n (c k)")
    return rows if x.ndim == axes + 2 else rows[0]


def fold(
    x: jax.Array,
    output_size: Sequence[int],
    window: PerAxis,
    strides: PerAxis = 1,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
) -> jax.Array:
    """`b n (c *k) -> b *s c`: the sum of windows where they overlap, the transpose of `unfold`.

    Args:
        x: the rows; the batch axis may be left out.
        output_size: the size of each spatial axis of the result.
        window: as for `unfold`, like all that follow.
        strides: see `unfold`.
        padding: see `unfold`.
        dilation: see `unfold`.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: the rows are not as many, or not as long, as the windows.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Fold.html

    >>> fold(unfold(jnp.ones((1, 2, 3, 1)), (1, 2)), (2, 3), (1, 2))[0, ..., 0].tolist()
    [[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]
    """
    if not isinstance(output_size, (tuple, list)):
        raise ConfigError(f"fold: expected output_size with one size for each spatial axis, received {output_size!r}")
    axes = len(output_size)
    sizes = per_axis("fold", "output_size", output_size, axes, 1)
    w, s, p, d = _settings("fold", axes, window, strides, padding, dilation)
    counts = _counts("fold", sizes, w, s, p, d)
    if x.ndim not in (2, 3):
        raise ShapeError(
            f"fold: expected axes 'b n (c k)' (the batch may be left out), received {x.ndim} axes in shape {x.shape}"
        )
    if x.shape[-2] != math.prod(counts) or x.shape[-1] % math.prod(w):
        raise ShapeError(
            f"fold: expected {math.prod(counts)} rows of a length divisible by {math.prod(w)}, received shape {x.shape}"
        )
    shape = (x.shape[0] if x.ndim == 3 else 1, *sizes, x.shape[-1] // math.prod(w))
    transposed = jax.linear_transpose(lambda image: unfold(image, w, s, p, d), jax.ShapeDtypeStruct(shape, x.dtype))
    (image,) = transposed(x if x.ndim == 3 else x[None])
    return image if x.ndim == 3 else image[0]


def window_partition(x: jax.Array, window: Sequence[int]) -> jax.Array:
    """`b (nh h) (nw w) c -> (b nh nw) h w c`: windows side by side, as Swin's attention takes them; 1 to 3 axes.

    Args:
        x: channels last, with a batch axis.
        window: the size of a window along each spatial axis.

    Raises:
        ConfigError: window has another form.
        ShapeError: another rank, or a size that the window does not divide.

    Source: arXiv:2103.14030

    >>> window_partition(jnp.ones((2, 6, 10, 3)), (3, 5)).shape
    (8, 3, 5, 3)
    """
    sizes = _window_sizes("window_partition", window)
    axes = len(sizes)
    if x.ndim != axes + 2 or any(n % w for n, w in zip(x.shape[1:-1], sizes, strict=True)):
        raise ShapeError(f"window_partition: expected spatial sizes divisible by {sizes}, received shape {x.shape}")
    whole, numbers, inside, named = _window_names(sizes)
    windows: jax.Array = rearrange(x, f"b {whole} c -> (b {numbers}) {inside} c", **named)
    return windows


def window_reverse(windows: jax.Array, window: Sequence[int], output_size: Sequence[int]) -> jax.Array:
    """`(b nh nw) h w c -> b (nh h) (nw w) c`: the inverse of `window_partition`.

    Args:
        windows: what `window_partition` gave.
        window: the size of a window along each spatial axis.
        output_size: the size of the image along each.

    Raises:
        ConfigError: a setting has another form.
        ShapeError: the windows do not fill images of that size.

    >>> window_reverse(jnp.ones((8, 3, 5, 3)), (3, 5), (6, 10)).shape
    (2, 6, 10, 3)
    """
    sizes = _window_sizes("window_reverse", window)
    outputs = per_axis("window_reverse", "output_size", output_size, len(sizes), 1)
    counts = [n // w for n, w in zip(outputs, sizes, strict=True)]
    fits = windows.ndim == len(sizes) + 2 and windows.shape[1:-1] == sizes
    if not fits or any(n % w for n, w in zip(outputs, sizes, strict=True)) or windows.shape[0] % math.prod(counts):
        raise ShapeError(
            f"window_reverse: expected windows of {sizes} that fill images of {outputs}, received {windows.shape}"
        )
    whole, numbers, inside, named = _window_names(sizes)
    named |= {f"n{n}": count for n, count in enumerate(counts)}
    image: jax.Array = rearrange(windows, f"(b {numbers}) {inside} c -> b {whole} c", **named)
    return image


def roll(x: jax.Array, shifts: Sequence[int]) -> jax.Array:
    """`b *s c -> b *s c`: every spatial axis turned by some positions, as Swin shifts its windows: `torch.roll`.

    Args:
        x: channels last; the batch axis may be left out.
        shifts: for each spatial axis how far its values move towards its end.

    Raises:
        ShapeError: another rank.

    >>> roll(jnp.arange(4.0).reshape(1, 4, 1), (-1,)).ravel().tolist()
    [1.0, 2.0, 3.0, 0.0]
    """
    axes = len(shifts)
    check_rank("roll", x.shape, axes)
    return jnp.roll(x, tuple(shifts), tuple(range(x.ndim - axes - 1, x.ndim - 1)))


def _axes(name: str, *settings: PerAxis) -> int | None:
    lengths = {len(value) for value in settings if isinstance(value, (tuple, list))}
    if len(lengths) > 1:
        raise ConfigError(f"{name}: expected settings for as many spatial axes, received {settings}")
    return next(iter(lengths), None)


def _settings(
    name: str, axes: int, window: PerAxis, strides: PerAxis, padding: PerAxis, dilation: PerAxis
) -> tuple[tuple[int, ...], ...]:
    return (
        per_axis(name, "window", window, axes, 1),
        per_axis(name, "strides", strides, axes, 1),
        per_axis(name, "padding", padding, axes, 0),
        per_axis(name, "dilation", dilation, axes, 1),
    )


def _counts(
    name: str, sizes: Sequence[int], w: Sequence[int], s: Sequence[int], p: Sequence[int], d: Sequence[int]
) -> tuple[int, ...]:
    counts = tuple(
        (size + 2 * q - b * (k - 1) - 1) // a + 1 for size, k, a, q, b in zip(sizes, w, s, p, d, strict=True)
    )
    if min(counts) < 1:
        reach = tuple(b * (k - 1) + 1 for k, b in zip(w, d, strict=True))
        raise ShapeError(
            f"{name}: expected spatial sizes of at least {reach} (the window's reach) with padding {tuple(p)}, "
            f"received {tuple(sizes)}"
        )
    return counts


def _window_sizes(name: str, window: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(window, (tuple, list)) or not 1 <= len(window) <= 3:
        raise ConfigError(f"{name}: expected window with one size for each of 1 to 3 spatial axes, received {window!r}")
    return per_axis(name, "window", window, len(window), 1)


def _window_names(sizes: tuple[int, ...]) -> tuple[str, str, str, dict[str, int]]:
    names = range(len(sizes))
    whole, numbers, inside = (" ".join(text.format(n) for n in names) for text in ("(n{0} k{0})", "n{0}", "k{0}"))
    return whole, numbers, inside, {f"k{n}": size for n, size in enumerate(sizes)}
