"""Read and write checkpoints: `.safetensors`, `.pt` (weights only), and Orbax folders.

A checkpoint is flat: arrays by name. Its framework says in whose names and layout they are, its architecture and
config which network they belong to.
"""

from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.checkpoints.files import FORMATS, format_of, read_checkpoint, write_checkpoint

__all__ = ["FORMATS", "Checkpoint", "format_of", "read_checkpoint", "write_checkpoint"]
