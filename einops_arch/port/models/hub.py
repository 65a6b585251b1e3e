"""Save a network of either framework as a folder of the Hugging Face hub, and upload it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch._frameworks import require
from einops_arch.checkpoints.checkpoint import Description
from einops_arch.checkpoints.files import write_tensors
from einops_arch.checkpoints.reader import MemoryReader, Reader
from einops_arch.errors import PortError

__all__ = ["push_to_hub", "save_pretrained"]


def save_pretrained(model: Any, folder: str | Path, *, max_shard_size: int, force: bool) -> None:
    """Save a network as a folder of the hub; see `einops_arch.checkpoints.save_pretrained`."""
    write_tensors(folder, _reader(model), kind="hub", max_shard_size=max_shard_size, force=force)


def push_to_hub(
    model: Any,
    repository: str,
    *,
    max_shard_size: int,
    private: bool | None,
    revision: str | None,
    token: str | None,
    message: str,
) -> str:
    """Save a network and upload it; see `einops_arch.checkpoints.push_to_hub`."""
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


def _reader(model: Any) -> Reader:
    from einops_arch.port.transfer import framework_of

    framework = framework_of(model)
    config = getattr(model, "config", None)
    if not isinstance(config, architectures.Config):
        raise PortError(f"expected a network of a registered architecture, received {type(model).__name__}")
    metadata = Description("torch", architectures.of_config(config).name, config).metadata()
    if framework == "torch":
        return MemoryReader(_torch_arrays(model), metadata)
    from einops_arch.flax.state import port_steps
    from einops_arch.port.stream import Ported

    leaves = {leaf.path: leaf for step, _ in port_steps(model) for leaf in step.leaves}
    inner = MemoryReader({path: leaf.read() for path, leaf in leaves.items()}, {"framework": "flax"})
    ported = Ported(inner, model, "flax", "torch")
    ported.metadata = metadata
    return ported


def _torch_arrays(model: Any) -> dict[str, Any]:
    """The state, on the CPU; parameters that are one are one array, though each is copied from a device."""
    from einops_arch.layouts.arrays import to_numpy

    arrays: dict[Any, Any] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        same = (
            (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else name
        )
        if same not in arrays:
            arrays[same] = to_numpy(tensor)
        state[name] = arrays[same]
    return state
