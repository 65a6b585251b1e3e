"""The cores that only regroup axes as `nnx.Module`s: features, sequences, heads and directions."""

from __future__ import annotations

from jax import Array

from einops_arch import _layer_checks as checks
from einops_arch.flax.layers.wrappers import Wrapper
from einops_arch.functional import (
    flatten_features,
    flatten_sequence,
    merge_directions,
    merge_heads,
    split_directions,
    split_heads,
    unflatten_features,
    unflatten_sequence,
)


class FlattenFeatures(Wrapper):
    """`b ... c -> b (c ...)`: all features of a sample in one row, as a Linear takes them.

    The sizes may be left out, but the Linear that follows knows them: given here, an image of another size
    is an error that names them, and never a row of nonsense.

    Args:
        channels: c to be expected.
        spatial: spatial sizes to be expected, (h, w).
        data_format: where the channels are; the order of the features is PyTorch's in both.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: when called with other sizes.

    Example:
        >>> import jax.numpy as jnp
        >>> FlattenFeatures(20, (4, 4))
        FlattenFeatures(channels=20, spatial=(4, 4))
        >>> FlattenFeatures()(jnp.zeros((2, 4, 4, 20))).shape
        (2, 320)
    """

    def __init__(
        self,
        channels: int | None = None,
        spatial: tuple[int, ...] | None = None,
        *,
        data_format: str = "channels_last",
    ) -> None:
        name = type(self).__name__
        self.channels = None if channels is None else checks.whole(name, "channels", channels)
        self.spatial = None if spatial is None else checks.sizes(name, "spatial", spatial, fewest=0)
        self.data_format = checks.data_format(name, data_format)

    def __call__(self, x: Array) -> Array:
        name = type(self).__name__
        checks.feature_sizes(name, x.shape, self.channels, self.spatial, self.data_format)
        return flatten_features(x, data_format=self.data_format)


class UnflattenFeatures(Wrapper):
    """`b (c ...) -> b ... c`: the inverse of `FlattenFeatures`.

    Args:
        channels: c.
        spatial: spatial sizes, (h, w).
        data_format: where the channels are to be.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: when called with another number of features than c*h*w.

    Example:
        >>> import jax.numpy as jnp
        >>> UnflattenFeatures(20, (4, 5))
        UnflattenFeatures(channels=20, spatial=(4, 5))
        >>> UnflattenFeatures(20, (4, 5))(jnp.zeros((2, 400))).shape
        (2, 4, 5, 20)
    """

    def __init__(self, channels: int, spatial: tuple[int, ...], *, data_format: str = "channels_last") -> None:
        name = type(self).__name__
        self.channels = checks.whole(name, "channels", channels)
        self.spatial = checks.sizes(name, "spatial", spatial, fewest=0)
        self.data_format = checks.data_format(name, data_format)

    def __call__(self, x: Array) -> Array:
        return unflatten_features(x, self.channels, self.spatial, data_format=self.data_format)


class FlattenSequence(Wrapper):
    """`t b ... -> (t b) ...`: all steps of all samples as one batch; batch-first: `b t ... -> (b t) ...`.

    Args:
        batch_first: whether the batch comes before time.

    Raises:
        ConfigError: `batch_first` is neither True nor False.

    Example:
        >>> import jax.numpy as jnp
        >>> FlattenSequence()
        FlattenSequence()
        >>> FlattenSequence()(jnp.zeros((7, 2, 5))).shape
        (14, 5)
    """

    def __init__(self, *, batch_first: bool = False) -> None:
        self.batch_first = checks.flag(type(self).__name__, "batch_first", batch_first)

    def __call__(self, x: Array) -> Array:
        return flatten_sequence(x, batch_first=self.batch_first)


class UnflattenSequence(Wrapper):
    """`(t b) ... -> t b ...`: the inverse of `FlattenSequence`; batch-first: `(b t) ... -> b t ...`.

    Args:
        t: number of steps.
        b: number of samples; one of the two is enough, both are checked.
        batch_first: whether the batch comes before time.

    Raises:
        ConfigError: an argument is out of range, or neither `t` nor `b` is given.
        ShapeError: when called with rows that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> UnflattenSequence(t=7)
        UnflattenSequence(t=7)
        >>> UnflattenSequence(t=7)(jnp.zeros((14, 5))).shape
        (7, 2, 5)
    """

    def __init__(self, t: int | None = None, b: int | None = None, *, batch_first: bool = False) -> None:
        name = type(self).__name__
        self.t, self.b = checks.sequence_lengths(name, t, b)
        self.batch_first = checks.flag(name, "batch_first", batch_first)

    def __call__(self, x: Array) -> Array:
        return unflatten_sequence(x, t=self.t, b=self.b, batch_first=self.batch_first)


class SplitHeads(Wrapper):
    """`b n (heads k) -> b heads n k`: give each head its own axis.

    Args:
        heads: number of heads; divides the features.

    Raises:
        ConfigError: `heads` is no positive int.
        ShapeError: when called with features that `heads` does not divide.

    Example:
        >>> import jax.numpy as jnp
        >>> SplitHeads(4)
        SplitHeads(heads=4)
        >>> SplitHeads(4)(jnp.zeros((2, 7, 12))).shape
        (2, 4, 7, 3)
    """

    def __init__(self, heads: int) -> None:
        self.heads = checks.whole(type(self).__name__, "heads", heads)

    def __call__(self, x: Array) -> Array:
        return split_heads(x, self.heads)


class MergeHeads(Wrapper):
    """`b heads n k -> b n (heads k)`: the inverse of `SplitHeads`.

    Example:
        >>> import jax.numpy as jnp
        >>> MergeHeads()(jnp.zeros((2, 4, 7, 3))).shape
        (2, 7, 12)
    """

    def __call__(self, x: Array) -> Array:
        return merge_heads(x)


class SplitDirections(Wrapper):
    """`(layer direction) b h -> layer direction b h`: a recurrent state by layer and direction.

    Args:
        directions: 2 for a bidirectional layer, 1 for another.

    Raises:
        ConfigError: `directions` is no positive int.
        ShapeError: when called with a first axis that `directions` does not divide.

    Example:
        >>> import jax.numpy as jnp
        >>> SplitDirections()
        SplitDirections()
        >>> SplitDirections()(jnp.zeros((6, 2, 5))).shape
        (3, 2, 2, 5)
    """

    def __init__(self, directions: int = 2) -> None:
        self.directions = checks.whole(type(self).__name__, "directions", directions)

    def __call__(self, x: Array) -> Array:
        return split_directions(x, self.directions)


class MergeDirections(Wrapper):
    """`layer direction b h -> (layer direction) b h`: the inverse of `SplitDirections`.

    Example:
        >>> import jax.numpy as jnp
        >>> MergeDirections()(jnp.zeros((3, 2, 2, 5))).shape
        (6, 2, 5)
    """

    def __call__(self, x: Array) -> Array:
        return merge_directions(x)
