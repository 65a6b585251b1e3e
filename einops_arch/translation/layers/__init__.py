"""Layers of PyTorch that have a counterpart in `einops_arch.flax`: the class, its arguments, and how axes lie."""

from einops_arch.translation.layers import basic, images, pointwise, public, sequences, weights
from einops_arch.translation.layers.table import NOTHING, Layer, is_sequence, layer_of

__all__ = [
    "NOTHING",
    "Layer",
    "basic",
    "images",
    "is_sequence",
    "layer_of",
    "pointwise",
    "public",
    "sequences",
    "weights",
]
