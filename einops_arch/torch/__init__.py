"""PyTorch layers and architectures."""
