"""Folders of the Hugging Face hub: save a network as one, push it, and fetch one."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

from einops_arch import architectures
from einops_arch._frameworks import require
from einops_arch.checkpoints.checkpoint import Description
from einops_arch.checkpoints.files import write_tensors
from einops_arch.checkpoints.reader import MemoryReader, Reader
from einops_arch.errors import CheckpointError, PortError

__all__ = ["Pretrained", "fetch", "push_to_hub", "save_pretrained"]

_SHARD = 5_000_000_000
_ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
"""`pathlib` makes one slash of two."""
_SAFE = ["config.json", "*.safetensors", "*.safetensors.index.json", "einops_arch.json"]
_PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


def save_pretrained(model: Any, folder: str | Path, *, max_shard_size: int = _SHARD, force: bool = False) -> None:
    """Save a network as a folder with `config.json` and safetensors, which `from_pretrained` of both frameworks reads.

    The weights are in PyTorch's names and layout, whatever framework the network is of. Tied weights are written once.

    Args:
        model: the PyTorch or Flax network of a registered architecture.
        folder: must not exist, or be a checkpoint that `force` replaces.
        max_shard_size: bytes of tensors in one file; more makes shards and an index.
        force: replace what is there.

    Raises:
        PortError: the network is not of a registered architecture.
        DestinationError: the folder exists, or cannot be written.
    """
    write_tensors(folder, _reader(model), kind="hub", max_shard_size=max_shard_size, force=force)


def push_to_hub(
    model: Any,
    repository: str,
    *,
    max_shard_size: int = _SHARD,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload weights",
) -> str:
    """Save a network and upload it to the Hugging Face hub.

    Args:
        model: the PyTorch or Flax network of a registered architecture.
        repository: such as `someone/convnet`; it is made if it is not there.
        max_shard_size: bytes of tensors in one file.
        private: whether a new repository is private; the account's setting if left out.
        revision: the branch; the main one if left out.
        token: who you are; what `huggingface_hub` knows if left out.
        message: what the commit says.

    Returns:
        The address of the commit.

    Raises:
        PortError: the network is not of a registered architecture.
        MissingFrameworkError: `huggingface_hub` is not installed.
    """
    require("huggingface_hub", extra="hub", by="push_to_hub")
    import huggingface_hub

    reader = _reader(model)
    api = huggingface_hub.HfApi(token=token)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "upload"
        write_tensors(folder, reader, kind="hub", max_shard_size=max_shard_size)
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message, revision=revision)
    return str(commit)


class Pretrained:
    """The methods `save_pretrained`, `from_pretrained` and `push_to_hub` of a network; they keep nothing in it.

    A framework's own class says in `_read` how it reads a folder.
    """

    _read: ClassVar[Any]

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Save the network: `einops_arch.checkpoints.save_pretrained`, which has the options."""
        save_pretrained(self, folder, **options)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Save the network and upload it: `einops_arch.checkpoints.push_to_hub`, which has the options."""
        return push_to_hub(self, repository, **options)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The network that a folder holds, in evaluation mode: `from_pretrained` of the framework's package.

        Args:
            folder: a folder of the hub, on this machine or as `hf://someone/name`.

        Raises:
            CheckpointError: the folder is not whole, or holds another network.
        """
        model = cls._read(folder)
        if not isinstance(model, cls):
            found = type(model).__name__
            raise CheckpointError(
                f"{folder}: expected a {cls.__name__}, received a {found}; likely fix: {found}.from_pretrained"
            )
        return model


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
        for patterns in (_SAFE, _PICKLED):
            found = huggingface_hub.snapshot_download(
                match["name"], revision=match["revision"], allow_patterns=patterns
            )
            if any(entry.suffix in {".safetensors", ".bin"} for entry in Path(found).iterdir()):
                return Path(found)
    # The library's own errors and those of the network beneath it have no base class but this.
    except Exception as error:
        raise CheckpointError(f"{text}: the hub does not give it: {type(error).__name__}: {error}") from error
    raise CheckpointError(f"{text}: the hub has no weights there")


def _reader(model: Any) -> Reader:
    from einops_arch.port.transfer import framework_of

    framework = framework_of(model)
    config = getattr(model, "config", None)
    if not isinstance(config, architectures.Config):
        raise PortError(f"expected a network of a registered architecture, received {type(model).__name__}")
    facts = Description("torch", architectures.of_config(config).name, config).facts()
    if framework == "torch":
        return MemoryReader(_torch_arrays(model), facts)
    from einops_arch.flax.state import port_steps
    from einops_arch.port.stream import Ported

    leaves = {leaf.path: leaf for step, _ in port_steps(model) for leaf in step.leaves}
    inner = MemoryReader({path: leaf.read() for path, leaf in leaves.items()}, {"framework": "flax"})
    ported = Ported(inner, model, "flax", "torch")
    ported.facts = facts
    return ported


def _torch_arrays(model: Any) -> dict[str, Any]:
    """The state, on the CPU; parameters that are one are one array, though each is copied from a device."""
    from einops_arch.layouts.arrays import to_numpy

    arrays: dict[Any, Any] = {}
    found = {}
    for name, tensor in model.state_dict().items():
        same = (
            (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else name
        )
        if same not in arrays:
            arrays[same] = to_numpy(tensor)
        found[name] = arrays[same]
    return found
