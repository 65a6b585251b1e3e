"""What every network can do with folders of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from einops_arch.checkpoints import hub
from einops_arch.errors import CheckpointError
from einops_arch.torch._pretrained import from_pretrained

__all__ = ["Pretrained"]


class Pretrained:
    """The methods `save_pretrained`, `from_pretrained` and `push_to_hub` of a network; they keep nothing in it."""

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Save the network: `einops_arch.checkpoints.save_pretrained`, which has the options."""
        hub.save_pretrained(self, folder, **options)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Save the network and upload it: `einops_arch.checkpoints.push_to_hub`, which has the options."""
        return hub.push_to_hub(self, repository, **options)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The network that a folder holds, in evaluation mode: `einops_arch.torch.from_pretrained`.

        Args:
            folder: a folder of the hub, on this machine or as `hf://someone/name`.

        Raises:
            CheckpointError: the folder is not whole, or holds another network.
        """
        model = from_pretrained(folder)
        if not isinstance(model, cls):
            found = type(model).__name__
            raise CheckpointError(
                f"{folder}: expected a {cls.__name__}, received a {found}; likely fix: {found}.from_pretrained"
            )
        return model
