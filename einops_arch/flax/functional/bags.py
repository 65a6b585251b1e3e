"""Rows of a table by their index, summed up by bag."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from einops_arch._settings import check_choice
from einops_arch.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from einops_arch.flax._concrete import is_concrete

__all__ = ["MODES", "check_bags", "embedding_bag", "pool_rows"]

MODES = ("sum", "mean", "max")


def embedding_bag(
    inputs: jax.Array,
    table: jax.Array,
    offsets: jax.Array | None = None,
    *,
    mode: str = "mean",
    padding_idx: int | None = None,
    include_last_offset: bool = False,
    per_sample_weights: jax.Array | None = None,
) -> jax.Array:
    """`b n -> b e`, or `n -> b e` with offsets: rows of a table by bag: `torch.nn.functional.embedding_bag`.

    An empty bag gives zeros. Inside of `jax.jit`, where values are not known, an index outside of the table gives NaN.

    Args:
        inputs: indices, `b n` with a bag in each row, or `n` with offsets.
        table: `n e`; PyTorch's `weight`.
        offsets: where each bag begins in `n`, ascending.
        mode: `"mean"`, `"sum"` or `"max"`.
        padding_idx: an index that counts for nothing; a negative one counts from the end.
        include_last_offset: the last offset is the end of the last bag and begins none.
        per_sample_weights: of each index, in the shape of the inputs; with `"sum"` only.

    Raises:
        ConfigError: the mode is none of these, or weights go with another than `"sum"`.
        DtypeError: the indices are no integers.
        IndexRangeError: known indices outside of the table.
        ShapeError: other axes, or offsets beside `b n`.

    >>> table = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> embedding_bag(jnp.asarray([0, 2, 1]), table, jnp.asarray([0, 2]), mode="sum").tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    """
    check_bags("embedding_bag", inputs, offsets, mode, per_sample_weights)
    if not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise DtypeError(f"embedding_bag: expected indices of an integer dtype, received {inputs.dtype}")
    rows = table.shape[0]
    if is_concrete(inputs) and inputs.size:
        known = np.asarray(inputs)
        if known.min() < 0 or known.max() >= rows:
            raise IndexRangeError(
                f"embedding_bag: expected indices from 0 to {rows - 1}, received {known.min()} to {known.max()} in "
                f"shape {inputs.shape}"
            )
    indices = jnp.where(inputs < 0, rows, inputs)  # `take` would count them from the end
    values = jnp.take(table, indices.ravel(), axis=0, mode="fill")
    counted = None if padding_idx is None else indices.ravel() != padding_idx % rows
    return pool_rows(
        values,
        inputs.shape,
        offsets,
        mode=mode,
        counted=counted,
        include_last_offset=include_last_offset,
        per_sample_weights=per_sample_weights,
    )


def pool_rows(
    rows: jax.Array,
    shape: tuple[int, ...],
    offsets: jax.Array | None,
    *,
    mode: str,
    counted: jax.Array | None,
    include_last_offset: bool,
    per_sample_weights: jax.Array | None,
) -> jax.Array:
    """`b e` of the rows `n e` that were looked up for indices of a shape."""
    if offsets is None:
        number = shape[0]
        bags = jnp.broadcast_to(jnp.arange(number)[:, None], shape).ravel()
    else:
        starts = offsets[:-1] if include_last_offset else offsets
        number = starts.shape[0]
        bags = jnp.searchsorted(starts, jnp.arange(shape[0]), side="right") - 1
    counted = jnp.ones(rows.shape[:1], bool) if counted is None else counted
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.ravel()[:, None]
    sizes = jax.ops.segment_sum(counted.astype(rows.dtype), bags, number)[:, None]
    if mode == "max":
        rows = jnp.where(counted[:, None], rows, -jnp.inf)
        return jnp.where(sizes > 0, jax.ops.segment_max(rows, bags, number), 0)
    total = jax.ops.segment_sum(jnp.where(counted[:, None], rows, 0), bags, number)
    return total / jnp.maximum(sizes, 1) if mode == "mean" else total


def check_bags(layer: str, inputs: jax.Array, offsets: jax.Array | None, mode: str, weights: jax.Array | None) -> None:
    """What a call may be given."""
    check_choice(layer, "mode", mode, MODES)
    if not (inputs.ndim == 2 and offsets is None) and not (inputs.ndim == 1 and offsets is not None):
        raise ShapeError(
            f"{layer}: expected 'b n' without offsets or 'n' with offsets, received {inputs.ndim} axes in "
            f"shape {inputs.shape} {'without' if offsets is None else 'with'} offsets"
        )
    if weights is not None and mode != "sum":
        raise ConfigError(f"{layer}: expected per_sample_weights with mode='sum' only, received {mode!r}")
    if weights is not None and weights.shape != inputs.shape:
        raise ShapeError(f"{layer}: expected per_sample_weights of shape {inputs.shape}, received {weights.shape}")
