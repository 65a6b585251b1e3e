"""PyTorch layers and architectures."""

from einops_arch._frameworks import require

require("torch", extra="torch", by="einops_arch.torch")
