"""What a network computes in, and what its weights are kept in."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from einops_arch.errors import ConfigError
from einops_arch.flax.state import named_modules

__all__ = ["Dtype", "set_dtypes"]

Dtype: TypeAlias = Any


def set_dtypes(model: nnx.Module, dtype: Dtype | None, param_dtype: Dtype) -> None:
    """Let every layer of a network compute in a dtype, and cast its parameters.

    Args:
        model: the network, just built.
        dtype: inputs and weights are cast to it by each layer that has weights; None: the widest of both decides, as
            in layers of NNX. Sums, means and the softmax of half precision are float32 inside of a layer all the same.
        param_dtype: of the parameters. Running statistics stay float32.

    Raises:
        ConfigError: one of them is no floating-point dtype.
    """
    for name, value in (("dtype", dtype), ("param_dtype", param_dtype)):
        if not (value is None and name == "dtype") and not _is_floating(value):
            raise ConfigError(f"{type(model).__name__}: expected {name} as a floating-point dtype, received {value!r}")
    for _, module in named_modules(model):
        if dtype is not None and "dtype" in vars(module):
            module.dtype = dtype
        if "param_dtype" in vars(module):
            module.param_dtype = param_dtype
    for variable in jax.tree.leaves(nnx.state(model, nnx.Param), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)):
        if jnp.issubdtype(variable.dtype, jnp.floating) and variable.dtype != param_dtype:
            variable.set_value(variable[...].astype(param_dtype))


def _is_floating(dtype: Any) -> bool:
    try:
        return jnp.issubdtype(dtype, jnp.floating)
    except TypeError:
        return False
