"""Download a folder of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from einops_arch._frameworks import require
from einops_arch.errors import CheckpointError

__all__ = ["fetch"]

_ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
"""`pathlib` makes one slash of two."""
_SAFE = ["config.json", "*.safetensors", "*.safetensors.index.json", "einops_arch.json"]
_FLAX = ["config.json", "flax_model.msgpack"]
_PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


def fetch(path: str | Path) -> Path:
    """A folder on this machine: the path itself, or what the hub has at `hf://someone/name@revision`.

    Files are fetched by `huggingface_hub`, into its cache: the config and the weights, pickled ones only where there
    are no others.

    Raises:
        CheckpointError: the hub has nothing there, or cannot be reached.
        MissingFrameworkError: `huggingface_hub` is not installed.
    """
    text = str(path)
    if not text.startswith("hf:/"):
        return Path(path)
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise CheckpointError(
            f"expected an address such as hf://someone/name or hf://someone/name@main, received {text!r}"
        )
    require("huggingface_hub", extra="hub", by="reading from the hub")
    import huggingface_hub

    try:
        for patterns in (_SAFE, _FLAX, _PICKLED):
            folder = huggingface_hub.snapshot_download(
                match["name"], revision=match["revision"], allow_patterns=patterns
            )
            if any(entry.suffix in {".safetensors", ".bin", ".msgpack"} for entry in Path(folder).iterdir()):
                return Path(folder)
    # The library's own errors and those of the network beneath it have no base class but this.
    except Exception as error:
        raise CheckpointError(f"{text}: the hub does not give it: {type(error).__name__}: {error}") from error
    raise CheckpointError(f"{text}: the hub has no weights there")
