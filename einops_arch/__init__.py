"""Deep-learning architectures written with einops, the same in PyTorch and Flax."""

__version__ = "0.1.0"
