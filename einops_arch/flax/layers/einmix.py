"""`EinMix` for NNX: a linear layer written as a pattern."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops.layers._einmix import _EinmixMixin
from flax import nnx
from jax import Array

from einops_arch import _layer_checks as checks


class _Plan(_EinmixMixin):
    """What einops makes of the arguments: it parses and checks them, and this keeps what it asks for."""

    before: tuple[str, checks.AxesLengths]
    after: str | None

    def _create_rearrange_layers(
        self, before: str | None, before_lengths: dict[str, int] | None, after: str | None, _: object
    ) -> None:
        self.after = after
        if before is not None and before_lengths is not None:
            self.before = before, tuple(before_lengths.items())
        else:
            # Nothing to take apart: the pattern from the left side to itself checks rank and sizes.
            left = self.pattern.split("->")[0].strip()
            named = {name: length for name, length in self.axes_lengths.items() if name in left.split()}
            self.before = f"{left} -> {left}", tuple(named.items())

    def _create_parameters(
        self,
        weight_shape: list[int],
        weight_bound: float,
        bias_shape: list[int] | None,
        bias_bound: float,
    ) -> None:
        self.weight_sizes, self.weight_bound = tuple(weight_shape), weight_bound
        self.bias_sizes = None if bias_shape is None else tuple(bias_shape)
        self.bias_bound = bias_bound


class EinMix(nnx.Module):
    """`b h w c, c o -> b h w o`: sums of products with a weight, plus a bias, with rearranging around it.

    The same layer as `einops.layers.torch.EinMix`: `weight` and `bias` of the same shapes, drawn from the
    same distribution. (einops' layer for Linen draws from 0 to the bound instead of from minus the bound.)

    Args:
        pattern: axes of the input and of the output, such as `"b h w c -> b h w o"`.
        weight_shape: axes of the weight, such as `"c o"`.
        bias_shape: axes of the bias, such as `"o"`; None for no bias.
        rngs: random streams; `params` draws the weights.
        **axes_lengths: the size of each axis of the weight and of the bias; each a whole number of at
            least 1.

    Attributes:
        weight: the weight, in the order of `weight_shape`.
        bias: the bias, with an axis of size 1 for each axis of the output that it does not have, or None.

    Raises:
        PatternError: the pattern or a shape does not parse, or they do not fit together.
        ConfigError: a size is out of range.
        ShapeError: when called with an array that does not fit the pattern.

    Source:
        https://einops.rocks/3-einmix-layer

    Example:
        >>> import jax.numpy as jnp
        >>> to_heads = EinMix("b n c -> b heads n k", "c heads k", c=12, heads=3, k=5, rngs=nnx.Rngs(0))
        >>> to_heads.weight.shape
        (12, 3, 5)
        >>> to_heads(jnp.zeros((2, 7, 12))).shape
        (2, 3, 7, 5)
    """

    def __init__(
        self,
        pattern: str,
        weight_shape: str,
        bias_shape: str | None = None,
        *,
        rngs: nnx.Rngs,
        **axes_lengths: int,
    ) -> None:
        name = type(self).__name__
        self.pattern = checks.two_sides(name, pattern)
        self.weight_shape = checks.axis_names(name, "weight_shape", weight_shape)
        self.bias_shape = None if bias_shape is None else checks.axis_names(name, "bias_shape", bias_shape)
        self._lengths = checks.axes_lengths(name, axes_lengths)
        plan = checks.parsed(
            name,
            f"pattern {pattern!r} with weight_shape={weight_shape!r}, bias_shape={bias_shape!r}",
            lambda: _Plan(pattern, weight_shape, bias_shape, **dict(self._lengths)),
        )
        self._before, self._after, self._einsum = plan.before, plan.after, plan.einsum_pattern
        self.weight = nnx.Param(_uniform(rngs.params(), plan.weight_sizes, plan.weight_bound))
        if plan.bias_sizes is None:
            self.bias = nnx.data(None)
        else:
            self.bias = nnx.Param(_uniform(rngs.params(), plan.bias_sizes, plan.bias_bound))

    @property
    def axes_lengths(self) -> dict[str, int]:
        """The sizes of the named axes, as they were given."""
        return dict(self._lengths)

    def __call__(self, x: Array) -> Array:
        name, (before, lengths) = type(self).__name__, self._before
        x = checks.apply_pattern(name, x, before, "rearrange", lengths, shown=self.pattern)
        x = jnp.einsum(self._einsum, x, self.weight[...])
        if self.bias is not None:
            x = x + self.bias[...]
        if self._after is not None:
            x = checks.apply_pattern(name, x, self._after, "rearrange", (), shown=self.pattern)
        return x


def _uniform(key: Array, sizes: tuple[int, ...], bound: float) -> Array:
    return jax.random.uniform(key, sizes, jnp.float32, -bound, bound)
