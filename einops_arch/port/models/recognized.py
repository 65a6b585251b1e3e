"""What a folder of public weights was recognized as."""

from __future__ import annotations

from dataclasses import dataclass

from einops_arch.architectures.config import Config
from einops_arch.errors import CheckpointError
from einops_arch.port.models.renames import Naming

__all__ = ["Recognized", "UnknownNetworkError"]


@dataclass(frozen=True)
class Recognized:
    """What a folder of public weights holds.

    Args:
        architecture: the name of the architecture.
        config: its config.
        naming: the names in the folder's files.
        why: what it was recognised by.
    """

    architecture: str
    config: Config
    naming: Naming
    why: str


class UnknownNetworkError(CheckpointError):
    """A config that is of no network of this package."""
