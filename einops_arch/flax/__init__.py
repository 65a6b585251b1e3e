"""Flax NNX layers and architectures."""

from einops_arch._frameworks import require

require("jax", "flax", extra="flax", by="einops_arch.flax")
