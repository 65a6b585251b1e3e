"""Read and write checkpoints of any size: safetensors, `.pt` (weights only), Orbax, DCP and Hugging Face folders.

A checkpoint is flat: arrays by name. Its framework says in whose names and layout they are, its architecture and
config which network they belong to. `open_checkpoint` gives a reader, which knows what is there and reads a tensor when
it is asked for; `write_tensors` writes what any reader reads. `read_checkpoint` and `write_checkpoint` do the same with
everything in memory.
"""

from einops_arch.checkpoints._models import load, push_to_hub, save_pretrained
from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.checkpoints.files import (
    FORMATS,
    format_of,
    open_checkpoint,
    read_checkpoint,
    write_checkpoint,
    write_tensors,
)
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import TensorInfo

__all__ = [
    "FORMATS",
    "Checkpoint",
    "Reader",
    "TensorInfo",
    "format_of",
    "load",
    "open_checkpoint",
    "push_to_hub",
    "read_checkpoint",
    "save_pretrained",
    "write_checkpoint",
    "write_tensors",
]
