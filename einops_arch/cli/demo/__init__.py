"""The main job on real input: train in PyTorch, port to Flax, get the same answers, show them."""

from einops_arch.cli.demo.run import Settings, run

__all__ = ["Settings", "run"]
