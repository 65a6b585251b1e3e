"""Build a network from a folder of public weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from einops_arch.checkpoints.pretrained import read_pretrained
from einops_arch.torch._build import from_state

__all__ = ["from_pretrained"]


def from_pretrained(folder: str | Path) -> Any:
    """The network that a folder of transformers, of timm or of this package holds, in evaluation mode.

    The folder is as the Hugging Face hub has it: `config.json`, and the weights in `model.safetensors` or in shards
    with an index. Nothing is downloaded, and no code of the folder is run. Weights keep their dtype.

    Args:
        folder: where the files are.

    Raises:
        CheckpointError: the folder is not whole, is no network of ours, or one that computes something else.
        PortError: names or shapes do not fit what its config says.
    """
    config, state = read_pretrained(folder)
    model = from_state(config, state)
    model.eval()
    return model
