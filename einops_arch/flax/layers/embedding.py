"""Rows of a table by their index: `torch.nn.Embedding` and `torch.nn.EmbeddingBag`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from einops_arch._settings import check_choice, check_whole
from einops_arch.errors import ConfigError, DtypeError, IndexRangeError
from einops_arch.flax._checks import check_sizes
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax.functional.bags import MODES, check_bags, pool_rows
from einops_arch.flax.layers.init import standard_normal

__all__ = ["Embed", "EmbeddingBag"]


class Embed(nnx.Embed):
    """`... -> ... e`: a row of a table for each index: `torch.nn.Embedding`.

    Differs from `nnx.Embed`: rows start from N(0, 1), not from N(0, 1 / features); `padding_idx`, `max_norm` and
    `scale_grad_by_freq`; the output has the table's dtype, also after the table was replaced by one of another dtype;
    and an index outside of the table is an error wherever its value is known. Inside of `jax.jit` values are not known:
    there such an index, a negative one included, gives a row of NaN, so that it cannot pass unseen. One leaf:
    `embedding` (n e).

    Args:
        num_embeddings: rows of the table.
        features: columns of the table.
        padding_idx: a row that starts as zeros and gets no gradient; a negative one counts from the end.
        max_norm: rows that are looked up and are longer are shortened to it in the table, in training and evaluation,
            with no gradient through it; under `nnx.jit` the change reaches the module.
        norm_type: which norm that is.
        scale_grad_by_freq: the gradient of a row is divided by how often the call looked it up.
        rngs: takes one key of the stream `params`.

    Raises:
        ConfigError: a size is no positive integer, or padding_idx is outside of the table.
        DtypeError: when called with indices that are no integers.
        IndexRangeError: when called with known indices outside of the table.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Embedding.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> embed = Embed(10, 4, padding_idx=0, rngs=nnx.Rngs(0))
    >>> embed(jnp.asarray([[1, 2, 0]])).shape, embed.embedding[0].tolist()
    ((1, 3, 4), [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        name = type(self).__name__
        check_sizes(name, num_embeddings=num_embeddings, features=features)
        if padding_idx is not None:
            check_whole(name, "padding_idx", padding_idx, -num_embeddings, num_embeddings - 1)
            padding_idx %= num_embeddings
        super().__init__(num_embeddings, features, embedding_init=standard_normal(), rngs=rngs)
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.dtype: Any = None  # NNX remembers the first table's dtype and would cast every later table to it
        if padding_idx is not None:
            self.embedding[...] = self.embedding[...].at[padding_idx].set(0.0)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Looks up.

        Args:
            inputs: integers of any shape, from 0 to num_embeddings - 1.

        Returns:
            `... e`.
        """
        return self._look_up(self._checked(inputs))

    def _checked(self, inputs: jax.Array) -> jax.Array:
        """Indices in a type that holds the table's, where one outside of the table is never inside by accident."""
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise DtypeError(
                f"{type(self).__name__}: expected indices of an integer dtype, received {inputs.dtype} in shape "
                f"{inputs.shape}"
            )
        if is_concrete(inputs):
            self._check_range(np.asarray(inputs))
        indices = jnp.asarray(inputs)
        if indices.dtype.itemsize < 4:  # bytes of text, where the vocabulary may be larger than a byte
            indices = indices.astype(jnp.int32)
        # `take` counts negative indices from the end, PyTorch does not: send them where they become NaN.
        return jnp.where(indices < 0, self.num_embeddings, indices)

    def _look_up(self, indices: jax.Array) -> jax.Array:
        if self.max_norm is not None:
            self._shorten(indices)
        (table,) = self.promote_dtype((self.embedding[...],), dtype=self.dtype, inexact=False)
        rows = jnp.take(table, indices, axis=0, mode="fill")
        if self.padding_idx is not None:
            rows = jnp.where((indices == self.padding_idx)[..., None], jax.lax.stop_gradient(rows), rows)
        if self.scale_grad_by_freq:
            counts = jnp.zeros(self.num_embeddings, rows.dtype).at[indices.ravel()].add(1, mode="drop")
            rows = _with_scaled_gradient(rows, (1 / jnp.take(counts, indices, mode="clip"))[..., None])
        return rows

    def _shorten(self, indices: jax.Array) -> None:
        """Shorten the rows that are looked up; a constant for the gradient, as PyTorch changes them in place."""
        table = self.embedding[...]
        looked_up = jnp.zeros(self.num_embeddings, bool).at[indices.ravel()].set(True, mode="drop")
        norms = jnp.linalg.norm(jax.lax.stop_gradient(table), ord=self.norm_type, axis=1)
        scale = jnp.where(looked_up & (norms > self.max_norm), self.max_norm / (norms + 1e-7), 1)
        shorter = jax.lax.stop_gradient(table * scale.astype(table.dtype)[:, None])
        self.embedding[...] = _with_value(table, shorter)

    def _check_range(self, indices: np.ndarray) -> None:
        if indices.size == 0:
            return
        smallest, largest = int(indices.min()), int(indices.max())
        if smallest < 0 or largest >= self.num_embeddings:
            extreme = f"{largest} as the largest" if largest >= self.num_embeddings else f"{smallest} as the smallest"
            raise IndexRangeError(
                f"{type(self).__name__}: expected indices from 0 to {self.num_embeddings - 1} "
                f"(num_embeddings={self.num_embeddings}), received {extreme} in shape {indices.shape}"
            )


class EmbeddingBag(Embed):
    """`b n -> b e`, or `n -> b e` with offsets: rows of a table, summed up by bag: `torch.nn.EmbeddingBag`.

    NNX has no such layer. One leaf: `embedding` (n e). An empty bag gives zeros.

    Args:
        num_embeddings: rows of the table.
        features: columns of the table.
        mode: `"mean"`, `"sum"` or `"max"`.
        padding_idx: indices that count for nothing.
        include_last_offset: the last offset is the end of the last bag and begins none.
        max_norm: as `Embed` has it.
        norm_type: which norm that is.
        scale_grad_by_freq: as `Embed` has it; not with `"max"`.
        rngs: takes one key of the stream `params`.

    Raises:
        ConfigError: a size or the mode is none of these.
        DtypeError: when called with indices that are no integers.
        IndexRangeError: when called with known indices outside of the table.
        ShapeError: when called with other axes, or offsets beside `b n`.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.EmbeddingBag.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> bag = EmbeddingBag(10, 4, mode="sum", rngs=nnx.Rngs(0))
    >>> bag(jnp.asarray([1, 2, 4, 5, 4]), jnp.asarray([0, 3])).shape
    (2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        mode: str = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_choice("EmbeddingBag", "mode", mode, MODES)
        if mode == "max" and scale_grad_by_freq:
            raise ConfigError("EmbeddingBag: expected scale_grad_by_freq=False with mode='max', received True")
        super().__init__(
            num_embeddings,
            features,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            rngs=rngs,
        )
        self.mode = mode
        self.include_last_offset = include_last_offset

    def __call__(
        self, inputs: jax.Array, offsets: jax.Array | None = None, per_sample_weights: jax.Array | None = None
    ) -> jax.Array:
        """`b e`.

        Args:
            inputs: indices, `b n` with a bag in each row, or `n` with offsets.
            offsets: where each bag begins in `n`, ascending.
            per_sample_weights: of each index, in the shape of the inputs; with `"sum"` only.
        """
        check_bags("EmbeddingBag", inputs, offsets, self.mode, per_sample_weights)
        indices = self._checked(inputs.ravel())
        return pool_rows(
            self._look_up(indices),
            inputs.shape,
            offsets,
            mode=self.mode,
            counted=None if self.padding_idx is None else indices != self.padding_idx,
            include_last_offset=self.include_last_offset,
            per_sample_weights=per_sample_weights,
        )


@jax.custom_jvp
def _with_scaled_gradient(x: jax.Array, scale: jax.Array) -> jax.Array:
    del scale
    return x


@_with_scaled_gradient.defjvp
def _(primals: Any, tangents: Any) -> Any:
    x, scale = primals
    return x, tangents[0] * scale


@jax.custom_jvp
def _with_value(x: jax.Array, value: jax.Array) -> jax.Array:
    """Another value with the gradient of x: what a change in place is for PyTorch."""
    del x
    return value


@_with_value.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return primals[1], tangents[0]
