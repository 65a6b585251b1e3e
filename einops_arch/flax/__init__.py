"""Flax NNX layers and architectures."""
