"""What every network can do with folders of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from einops_arch.port.models import hub

__all__ = ["Pretrained", "from_pretrained"]


def from_pretrained(folder: str | Path) -> Any:
    """The network that a folder of transformers, of timm or of this package holds, in evaluation mode.

    The folder is as the Hugging Face hub has it: `config.json`, and the weights in `model.safetensors` or in shards
    with an index. Nothing is downloaded, and no code of the folder is run. Weights keep their dtype.

    Args:
        folder: where the files are.

    Raises:
        CheckpointError: the folder is not whole, is no network of ours, or one that computes something else.
        PortError: names or shapes do not fit what its config says, or the dtype is one that jax does not have.
    """
    from einops_arch.port.models.folder_flax import from_pretrained as read  # noqa: PLC0415 - it builds on this package

    return read(folder)


class Pretrained(hub.Pretrained):
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, by way of `einops_arch.flax.from_pretrained`."""

    _read = staticmethod(from_pretrained)
