"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "ConfigFile", "Drop", "Framework", "Inputs", "Key", "Kind", "Mode", "Only", "Preset"]


class Framework(StrEnum):
    """Where a port goes."""

    TORCH = "torch"
    FLAX = "flax"


class Mode(StrEnum):
    """The modes of a network."""

    EVAL = "eval"
    TRAIN = "train"


class Kind(StrEnum):
    """The formats of a checkpoint."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    ORBAX = "orbax"
    DCP = "dcp"
    HUB = "hub"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="A named size, see `list`.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A JSON file with the fields of the config.")
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="AXES=SHAPE", help="Such as 'b c h w=2,3,32,32' or 'b c h w=images.npy'."),
]
Key = Annotated[str | None, typer.Option("--key", metavar="NAME", help="The entry that holds the weights.")]
Only = Annotated[
    str | None, typer.Option("--only", metavar="PREFIX", help="Leave out names that do not begin with this.")
]
Drop = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="REGEX", help="Leave out names in which this matches; repeatable."),
]
