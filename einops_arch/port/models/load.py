"""Load a checkpoint of any format into a model, whole on one device or in shards on a mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.wrappers import Cast, Renamed
from einops_arch.errors import ConfigError

__all__ = ["load"]


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
    from einops_arch.port.transfer import framework_of

    framework = framework_of(model)
    if mesh is None and shardings:
        raise ConfigError("load: shardings need a mesh; likely fix: mesh=")

    def opened() -> Reader:
        reader = source if isinstance(source, Reader) else open_checkpoint(source)
        try:
            renamed = Renamed(reader, rename) if rename else reader
            return Cast(renamed, dtype) if dtype is not None else renamed
        except BaseException:
            reader.close()
            raise

    if framework == "torch":
        from einops_arch.port.models.load_torch import load_onto
    else:
        from einops_arch.port.models.load_flax import load_onto
    load_onto(opened, model, mesh, dict(shardings or {}))
