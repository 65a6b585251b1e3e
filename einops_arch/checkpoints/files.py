"""One function that reads any checkpoint and one that writes any."""

from __future__ import annotations

from pathlib import Path

from einops_arch.checkpoints import destination, orbax_folder, safetensors_file, torch_file
from einops_arch.checkpoints.checkpoint import Checkpoint
from einops_arch.errors import CheckpointError

__all__ = ["FORMATS", "check_destination", "format_of", "read_checkpoint", "write_checkpoint"]

FORMATS = {
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    "": "orbax",
    ".orbax": "orbax",
}
"""The format by the ending of the name; an Orbax checkpoint is a folder and usually has none."""


def format_of(path: str | Path) -> str:
    """The format that a name stands for: `"safetensors"`, `"torch"` or `"orbax"`.

    Raises:
        CheckpointError: no format has such a name.

    >>> format_of("weights/convnet.safetensors")
    'safetensors'
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        names = ", ".join(ending for ending in FORMATS if ending)
        raise CheckpointError(
            f"{path}: expected a name that ends with {names}, or a folder for Orbax, received {ending!r}"
        )
    return FORMATS[ending]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; no code in it is ever run.

    Args:
        path: a `.safetensors` or `.pt` file, or an Orbax folder.

    Raises:
        CheckpointError: the file is not there, is damaged, or holds more than plain weights.
        MissingFrameworkError: the format needs a framework that is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if path.is_dir():
        return orbax_folder.read(path)
    kind = format_of(path)
    if kind == "orbax":
        raise CheckpointError(f"{path}: expected a folder for Orbax, or a file that ends with .safetensors or .pt")
    return safetensors_file.read(path) if kind == "safetensors" else torch_file.read(path)


def check_destination(path: str | Path, framework: str, *, force: bool = False) -> None:
    """Raise what `write_checkpoint` would raise, before the work that leads to it.

    Args:
        path: where to.
        framework: `"torch"` or `"flax"`: whose names and layout the arrays will have.
        force: replace what is there.

    Raises:
        DestinationError: the destination exists already, or its folder is not there.
        CheckpointError: no format has such a name, or the format does not hold the state of that framework.
    """
    kind = format_of(path)
    if kind == "torch" and framework != "torch":
        raise CheckpointError(
            f"{path}: a .pt file holds PyTorch's state; write .safetensors or an Orbax folder for Flax"
        )
    if kind == "orbax" and framework != "flax":
        raise CheckpointError(
            f"{path}: an Orbax folder holds the state of a Flax model; write .safetensors or .pt for PyTorch"
        )
    destination.check(Path(path), force=force)


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, *, force: bool = False) -> None:
    """Write a checkpoint: whole, or not at all.

    The bytes go to a temporary name beside the destination, which is then renamed.

    Args:
        path: where to; its ending is the format, see `FORMATS`.
        checkpoint: what to write.
        force: replace what is there.

    Raises:
        DestinationError: the destination exists already, or cannot be written; nothing is left behind then.
        CheckpointError: no format has such a name, or the format does not hold the state of that framework.
    """
    path = Path(path)
    check_destination(path, checkpoint.framework, force=force)
    write = {"safetensors": safetensors_file.write, "torch": torch_file.write, "orbax": orbax_folder.write}[
        format_of(path)
    ]
    with destination.replacing(path, force=force) as temporary:
        write(temporary, checkpoint)
