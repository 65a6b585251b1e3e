"""Bilinear, and lists and dicts of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ShapeError
from einops_arch.flax._checks import check_sizes
from einops_arch.flax.functional._dtypes import check_floating
from einops_arch.flax.layers.init import uniform_fan_in

__all__ = ["Bilinear", "ParameterDict", "ParameterList"]


class Bilinear(nnx.Module):
    """`... i, ... j -> ... o`: a linear map of all products of two inputs: `torch.nn.Bilinear`.

    Stock NNX has none. Leaves: `kernel` (i j o), `bias` (o).

    Args:
        in1_features: size of the last axis of the first input.
        in2_features: size of the last axis of the second input.
        out_features: size of the last axis of the output.
        use_bias: whether a bias is added.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a size is no positive integer.
        ShapeError: when the inputs have other sizes.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> Bilinear(3, 5, 7, rngs=nnx.Rngs(0))(jnp.ones((2, 3)), jnp.ones((2, 5))).shape
    (2, 7)
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs
    ) -> None:
        check_sizes("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        init = uniform_fan_in(in1_features)
        self.kernel = nnx.Param(init(rngs.params(), (in1_features, in2_features, out_features), jnp.float32))
        self.bias: Any = nnx.Param(init(rngs.params(), (out_features,), jnp.float32)) if use_bias else nnx.data(None)

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """`... i, ... j -> ... o`."""
        fits = x.shape[:-1] == y.shape[:-1] and (x.shape[-1:], y.shape[-1:]) == (
            (self.in1_features,),
            (self.in2_features,),
        )
        if not fits:
            raise ShapeError(
                f"Bilinear: expected '... i' and '... j' with i={self.in1_features} and j={self.in2_features}, "
                f"received shapes {x.shape} and {y.shape}"
            )
        check_floating("Bilinear", x)
        check_floating("Bilinear", y)
        bias = None if self.bias is None else self.bias[...]
        x, y, kernel, bias = nnx.nn.dtypes.promote_dtype((x, y, self.kernel[...], bias))
        z = jnp.einsum("...i,...j,ijo->...o", x, y, kernel)
        return z if bias is None else z + bias


class ParameterList(nnx.List):
    """Parameters by number: `torch.nn.ParameterList`, whose state has the same names and layout.

    Args:
        values: arrays, or `nnx.Param` to share; each array becomes a parameter.

    >>> import jax.numpy as jnp
    >>> [leaf.shape for leaf in ParameterList([jnp.ones(2), jnp.ones((3, 5))])]
    [(2,), (3, 5)]
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__([_parameter(value) for value in values])


class ParameterDict(nnx.Dict):
    """Parameters by name: `torch.nn.ParameterDict`, whose state has the same names and layout.

    Args:
        values: arrays, or `nnx.Param` to share, by name; each array becomes a parameter.

    >>> import jax.numpy as jnp
    >>> ParameterDict({"left": jnp.ones(2)})["left"].shape
    (2,)
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__({name: _parameter(value) for name, value in (values or {}).items()})


def _parameter(value: Any) -> nnx.Variable[Any]:
    return value if isinstance(value, nnx.Variable) else nnx.Param(jnp.asarray(value))
