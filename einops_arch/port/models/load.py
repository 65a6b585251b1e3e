"""Load a checkpoint of any format into a model, whole on one device or in shards on a mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Cast, Renamed
from einops_arch.errors import ConfigError

__all__ = ["load"]


def load(
    source: str | Path | Reader,
    model: Any,
    *,
    mesh: Any,
    shardings: Mapping[str, str] | None,
    rename: Sequence[tuple[str, str]],
    dtype: str | None,
) -> None:
    """Load a checkpoint into a model; see `einops_arch.checkpoints.load`."""
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
