"""Handed on from `einops_arch.port.models`, which builds on this package and on both frameworks: models and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from einops_arch.checkpoints.reader import Reader
from einops_arch.errors import CheckpointError

__all__ = ["Pretrained", "load", "push_to_hub", "save_pretrained"]

_SHARD = 5_000_000_000


def load(
    source: str | Path | Reader,
    model: Any,
    *,
    mesh: Any = None,
    shardings: Mapping[str, str] | None = None,
    rename: Sequence[tuple[str, str]] = (),
    dtype: str | None = None,
) -> None:
    """Load a checkpoint of either framework into a model of either; each process reads its own shards and no more.

    A shard is a slice of an axis, and an axis has the name that the layout rules give it: with `{"o": "model"}` the
    outputs of every weight are split along the mesh's axis `model`, which is the first axis of PyTorch's `o i kh kw`
    and the last of Flax's `kh kw i o`. Weights without such an axis are whole on every device.

    Without a mesh, values go where those lie that they replace: on the mesh of a model that is on one already, by
    `fully_shard`, by `distribute_tensor`, or by `jax.device_put`. Nothing is changed until everything has been read,
    so a model whose values are in memory takes them twice for a moment; one without values, made under
    `torch.device("meta")` or by `einops_arch.flax.without_values`, does not. Values keep the checkpoint's dtype.

    Args:
        source: a checkpoint, or an open reader of one, which is closed.
        model: a PyTorch or Flax model, changed in place; every process of a PyTorch mesh calls this.
        mesh: a `jax.sharding.Mesh`, or a PyTorch `DeviceMesh` whose axes have names.
        shardings: the mesh's axis by the name of the axis that it splits.
        rename: pairs of a regular expression and its replacement, for foreign names.
        dtype: round floating-point tensors to this dtype.

    Raises:
        PortError: names, shapes, dtypes or sizes do not fit; all problems are in the message.
        ConfigError: a name in `shardings` is none of the mesh, or none of the model's axes.
        CheckpointError: the source is not whole, or nothing says how its arrays lie.

    >>> import tempfile, torch
    >>> from einops_arch.torch import ConvNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(ConvNet().state_dict(), f"{folder}/weights.pt")
    ...     with torch.device("meta"):
    ...         model = ConvNet()
    ...     load(f"{folder}/weights.pt", model)
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    from einops_arch.port.models import load as port

    port.load(source, model, mesh=mesh, shardings=shardings, rename=rename, dtype=dtype)


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
    from einops_arch.port.models import hub

    hub.save_pretrained(model, folder, max_shard_size=max_shard_size, force=force)


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
    from einops_arch.port.models import hub

    return hub.push_to_hub(
        model,
        repository,
        max_shard_size=max_shard_size,
        private=private,
        revision=revision,
        token=token,
        message=message,
    )


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
            received = type(model).__name__
            raise CheckpointError(
                f"{folder}: expected a {cls.__name__}, received a {received}; likely fix: {received}.from_pretrained"
            )
        return model
