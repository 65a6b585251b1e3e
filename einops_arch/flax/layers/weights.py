"""Layers whose weight is computed from other numbers: weight norm, spectral norm, standardized convolutions."""

from __future__ import annotations

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch._settings import check_whole
from einops_arch.errors import ConfigError
from einops_arch.flax.layers.conv import Conv
from einops_arch.layouts.patterns import LayoutPattern
from einops_arch.layouts.rules import Row, find_rule

__all__ = ["ScaledStdConv", "SpectralNorm", "StdConv", "WeightNorm"]


class _Reparametrized(nnx.Module):
    """A layer without its kernel, which a subclass computes from its own leaves at each call."""

    def __init__(self, layer: Any, dim: int | None, *, legacy: bool) -> None:
        name = type(self).__name__
        row: Any = _weight_row(layer)
        if row is None:
            raise ConfigError(
                f"{name}: expected a layer with one leaf that is PyTorch's weight, such as Linear or Conv, "
                f"received {type(layer).__name__}"
            )
        kernel = getattr(layer, row.flax)[...]
        pattern = LayoutPattern.parse(row.pattern).written_out(kernel.ndim)
        if dim is not None and not -kernel.ndim <= dim < kernel.ndim:
            raise ConfigError(f"{name}: expected dim as an axis of the weight's {kernel.ndim}, or None, received {dim}")
        self.dim, self.legacy, self.leaf = dim, legacy, row.flax
        # Which axis of the kernel is PyTorch's `dim`.
        self.axis = None if dim is None else pattern.right.index(pattern.left[dim])
        setattr(layer, row.flax, nnx.data(None))
        self.layer = layer

    def _with(self, kernel: jax.Array) -> Any:
        """The layer with a kernel; a plain copy, so that nothing of the model is written to."""
        whole: Any = object.__new__(type(self.layer))
        whole.__dict__.update(vars(self.layer))
        whole.__dict__[self.leaf] = nnx.Param(kernel)
        return whole

    def folded(self) -> Any:
        """The plain layer with the weight as it is now: the same function, and faster."""
        return self._with(self.weight())

    @abc.abstractmethod
    def weight(self) -> jax.Array:
        """The kernel of the layer, in the layer's own layout."""


class WeightNorm(_Reparametrized):
    """`... -> ...`: a layer whose weight is a direction v times a length g: PyTorch's `weight_norm`.

    Differs from `nnx.WeightNorm`: g and v are parameters and start as the layer's own weight, a call writes to
    neither, and `legacy` gives PyTorch's older names. Leaves: `g`, which has one number along `dim` and 1 elsewhere,
    `v` in the layout of the layer's kernel, and what else the layer has, as `layer.bias`.

    Args:
        layer: Linear, Conv, ConvTranspose, or another layer with one weight; it gives its kernel away.
        dim: the axis of PyTorch's weight that keeps its own lengths, None for one length in all.
        legacy: whether the state has `weight_g` and `weight_v`, the names of `torch.nn.utils.weight_norm`.

    Raises:
        ConfigError: the layer has no such weight, or the weight no such axis.

    Source: https://arxiv.org/abs/1602.07868

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from einops_arch.flax.layers.basic import Linear
    >>> layer = WeightNorm(Linear(3, 5, rngs=nnx.Rngs(0)))
    >>> layer(jnp.ones((2, 3))).shape, layer.g.shape, layer.v.shape
    ((2, 5), (1, 5), (3, 5))
    """

    def __init__(self, layer: Any, *, dim: int | None = 0, legacy: bool = False) -> None:
        kernel = _kernel_of(layer)
        super().__init__(layer, dim, legacy=legacy)
        self.v = nnx.Param(kernel)
        self.g = nnx.Param(_length(kernel, self.axis))

    def weight(self) -> jax.Array:
        """The kernel: v divided by its length, times g."""
        v = self.v[...]
        return v * (self.g[...] / _length(v, self.axis))

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the layer gives with this weight."""
        return self._with(self.weight())(*inputs, **options)


class SpectralNorm(_Reparametrized):
    """`... -> ...`: a layer whose weight is divided by its largest singular value, as `spectral_norm` of PyTorch does.

    Each call in training takes n_power_iterations steps of the power method, none in evaluation; `model.train()` and
    `model.eval()` switch it. Differs from `nnx.SpectralNorm`, which overwrites the layer's kernel. Leaves:
    `weight_orig` in the layout of the layer's kernel, `u` and `v` (`nnx.BatchStat`), and what else the layer has.

    Args:
        layer: Linear, Conv, ConvTranspose, or another layer with one weight; it gives its kernel away.
        n_power_iterations: steps in each call.
        epsilon: the least length that a vector is divided by.
        dim: the axis of PyTorch's weight that makes the rows of its matrix; PyTorch's default is 1 for a transposed
            convolution, and 0 for all else.
        legacy: whether it is `torch.nn.utils.spectral_norm`, with its names `weight_orig`, `weight_u` and `weight_v`
            and its order of the two half steps, and not that of `torch.nn.utils.parametrizations`.
        rngs: takes two keys of the stream `params`.

    Raises:
        ConfigError: the layer has no such weight, the weight no such axis, or a setting is out of range.

    Source: https://arxiv.org/abs/1802.05957

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from einops_arch.flax.layers.basic import Linear
    >>> layer = SpectralNorm(Linear(3, 5, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    >>> round(float(jnp.linalg.norm(layer.weight(), 2)), 3)
    1.0
    """

    def __init__(
        self,
        layer: Any,
        *,
        n_power_iterations: int = 1,
        epsilon: float = 1e-12,
        dim: int | None = None,
        legacy: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_whole("SpectralNorm", "n_power_iterations", n_power_iterations)
        kernel = _kernel_of(layer)
        if dim is None:
            dim = 1 if type(layer).__name__ == "ConvTranspose" else 0
        super().__init__(layer, dim, legacy=legacy)
        self.n_power_iterations, self.epsilon = n_power_iterations, epsilon
        self.use_running_average = False
        self.weight_orig = nnx.Param(kernel)
        rows = _rows(kernel, self.axis)
        self.u = nnx.BatchStat(self._unit(jax.random.normal(rngs.params(), rows.shape[:1])))
        self.v = nnx.BatchStat(self._unit(jax.random.normal(rngs.params(), rows.shape[1:])))
        if not legacy:  # PyTorch's newer form begins with 15 steps
            self._iterate(rows, 15)

    def weight(self) -> jax.Array:
        """The kernel: the original one divided by its largest singular value as known now."""
        kernel = self.weight_orig[...]
        rows = _rows(kernel, self.axis)
        u, v = (jax.lax.stop_gradient(leaf[...]).astype(rows.dtype) for leaf in (self.u, self.v))
        return kernel / jnp.dot(u, rows @ v, precision="highest")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the layer gives with this weight, after a step of the power method in training."""
        if not self.use_running_average:
            self._iterate(_rows(self.weight_orig[...], self.axis), self.n_power_iterations)
        return self._with(self.weight())(*inputs, **options)

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Switches the power method for `nnx.view`, as `nnx.BatchNorm` does its statistics.

        Args:
            use_running_average: whether u and v stay as they are.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def _iterate(self, rows: jax.Array, steps: int) -> None:
        rows = jax.lax.stop_gradient(rows)
        u, v = self.u[...].astype(rows.dtype), self.v[...].astype(rows.dtype)
        for _ in range(steps):
            if self.legacy:
                v = self._unit(rows.T @ u)
                u = self._unit(rows @ v)
            else:
                u = self._unit(rows @ v)
                v = self._unit(rows.T @ u)
        self.u.set_value(u)
        self.v.set_value(v)

    def _unit(self, vector: jax.Array) -> jax.Array:
        return vector / jnp.maximum(jnp.sqrt(jnp.square(vector).sum()), self.epsilon)


class StdConv(Conv):
    """`b *s i -> b *s o`: a convolution whose kernel has mean 0 and variance 1 for each output: timm's `StdConv2d`.

    All arguments but one are those of `Conv`.

    Args:
        arguments: those of `Conv`.
        epsilon: added to the variance.
        options: those of `Conv`.

    Raises:
        ConfigError: as `Conv`.
        ShapeError: as `Conv`.

    Source: https://arxiv.org/abs/1903.10520

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> StdConv(3, 8, (3, 3), padding="same", rngs=nnx.Rngs(0))(jnp.ones((2, 9, 12, 3))).shape
    (2, 9, 12, 8)
    """

    def __init__(self, *arguments: Any, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.epsilon = epsilon

    def _kernel(self) -> jax.Array:
        return _standardized(self.kernel[...], self.epsilon)


class ScaledStdConv(StdConv):
    """`b *s i -> b *s o`: a standardized convolution with learned gains, of networks without norms: timm's.

    The kernel is standardized, then scaled by gain * gamma / sqrt(fan_in). One more leaf than `Conv`: `gain` (o).

    Args:
        arguments: those of `Conv`.
        gamma: the factor that belongs to the activation.
        gain_init: where the gains start.
        epsilon: added to the variance.
        options: those of `Conv`.

    Raises:
        ConfigError: as `Conv`.
        ShapeError: as `Conv`.

    Source: https://arxiv.org/abs/2101.08692

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> ScaledStdConv(3, 8, (3, 3), padding=1, rngs=nnx.Rngs(0))(jnp.ones((2, 9, 12, 3))).shape
    (2, 9, 12, 8)
    """

    def __init__(
        self, *arguments: Any, gamma: float = 1.0, gain_init: float = 1.0, epsilon: float = 1e-6, **options: Any
    ) -> None:
        super().__init__(*arguments, epsilon=epsilon, **options)
        self.gain = nnx.Param(jnp.full((self.out_features,), gain_init, jnp.float32))
        self.scale = gamma * math.prod(self.kernel.shape[:-1]) ** -0.5

    def _kernel(self) -> jax.Array:
        return super()._kernel() * (self.gain[...] * self.scale)


def _standardized(kernel: jax.Array, epsilon: float) -> jax.Array:
    """`*k i o -> *k i o`: mean 0 and variance 1 over all but the last axis."""
    axes = tuple(range(kernel.ndim - 1))
    centered = kernel - kernel.mean(axes, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.square(centered).mean(axes, keepdims=True) + epsilon)


def _weight_row(layer: Any) -> Any:
    """The row of the layout rule that speaks of PyTorch's `weight`."""
    rule = find_rule(type(layer))
    rows = rule.rows_of(layer) if rule is not None and not rule.refuse else ()
    fits: list[Any] = [
        row for row in rows if isinstance(row, Row) and row.torch == "weight" and isinstance(row.flax, str)
    ]
    return fits[0] if fits and isinstance(getattr(layer, fits[0].flax, None), nnx.Param) else None


def _kernel_of(layer: Any) -> jax.Array:
    row: Any = _weight_row(layer)
    return jnp.zeros(()) if row is None else getattr(layer, row.flax)[...]  # the base class refuses it by name


def _length(v: jax.Array, axis: int | None) -> jax.Array:
    """The length of a kernel for each entry along an axis, or of the whole one."""
    if axis is None:
        return jnp.sqrt(jnp.square(v).sum())
    return jnp.sqrt(jnp.square(v).sum(tuple(n for n in range(v.ndim) if n != axis), keepdims=True))


def _rows(kernel: jax.Array, axis: int | None) -> jax.Array:
    """A kernel as a matrix with one row for each entry along an axis; its columns keep the kernel's order."""
    front = jnp.moveaxis(kernel, axis or 0, 0)
    return front.reshape(front.shape[0], -1)
