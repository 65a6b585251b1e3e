"""What every network can do with folders of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from einops_arch.checkpoints import _models

__all__ = ["Pretrained", "from_pretrained"]


def from_pretrained(folder: str | Path) -> Any:
    """The network that a folder of transformers, of timm or of this package holds, in evaluation mode.

    The folder is as the Hugging Face hub has it: `config.json`, and the weights in `model.safetensors` or in shards
    with an index. No code of the folder is run. Weights keep their dtype, and are in memory once.

    Args:
        folder: where the files are, on this machine or as `hf://someone/name`, which is downloaded.

    Raises:
        CheckpointError: the folder is not whole, is no network of ours, or one that computes something else.
        PortError: names or shapes do not fit what its config says.
    """
    from einops_arch.port.models.folder_torch import from_pretrained as read  # noqa: PLC0415 - it builds on this package

    return read(folder)


class Pretrained(_models.Pretrained):
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, by way of `einops_arch.torch.from_pretrained`."""

    _read = staticmethod(from_pretrained)
