"""Which architecture and which config are meant, and models of them that take no memory."""

from __future__ import annotations

import importlib
import math
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from einops_arch import architectures
from einops_arch.architectures import Architecture, Config
from einops_arch.checkpoints import Checkpoint, read_checkpoint
from einops_arch.checkpoints.checkpoint import Description
from einops_arch.errors import CheckpointError, ConfigError

__all__ = [
    "abstract_torch_model",
    "check_names",
    "chosen_config",
    "count_parameters",
    "framework_module",
    "identify",
    "installed",
    "read",
]

_PREFIXES = {
    "module.": "DataParallel writes them; likely fix: save model.module.state_dict()",
    "_orig_mod.": "torch.compile writes them; likely fix: save model._orig_mod.state_dict()",
}


def installed(framework: str) -> bool:
    """Whether `"torch"` or `"flax"` is there; it is not imported."""
    return all(find_spec(name) is not None for name in ({"flax": ("jax", "flax")}.get(framework, (framework,))))


def framework_module(framework: str) -> ModuleType:
    """`einops_arch.torch` or `einops_arch.flax`."""
    return importlib.import_module("einops_arch.torch" if framework == "torch" else "einops_arch.flax")


def chosen_config(architecture: Architecture, preset: str | None, file: Path | None) -> Config | None:
    """The config that the options name, None if they name none.

    Raises:
        ConfigError: both options, an unknown preset, or a file that cannot be read or does not fit.
    """
    if preset is not None and file is not None:
        raise ConfigError(f"expected --preset or --config, received both: {preset} and {file}")
    if preset is not None:
        return architecture.config.preset(preset)
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{file}: cannot be read as a config: {reason}") from error
    try:
        return architecture.config.from_json(text)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{file}: {error}") from error


def abstract_torch_model(config: Config) -> Any:
    """The PyTorch twin on the meta device: shapes without values."""
    from einops_arch.torch._build import without_values

    return without_values(config)


def count_parameters(architecture: Architecture, config: Config) -> int | None:
    """How many numbers training changes, None if no framework is installed; nothing is allocated.

    Tied parameters count once.
    """
    if installed("torch"):
        return sum(parameter.numel() for parameter in abstract_torch_model(config).parameters())
    if installed("flax"):
        import jax
        from flax import nnx

        from einops_arch.flax._build import abstract_model

        leaves = jax.tree.leaves(nnx.state(abstract_model(config), nnx.Param))
        return sum(math.prod(leaf.shape) for leaf in leaves)
    return None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, and refuse names that a wrapper of PyTorch has changed.

    Raises:
        CheckpointError: the file is damaged or holds more than weights, or its names have a wrapper's prefix.
    """
    checkpoint = read_checkpoint(path)
    check_names(path, list(checkpoint.tensors))
    return checkpoint


def check_names(path: Path, names: list[str]) -> None:
    """Refuse names that a wrapper of PyTorch has changed.

    Raises:
        CheckpointError: all names have a wrapper's prefix.
    """
    for prefix, reason in _PREFIXES.items():
        if names and all(name.startswith(prefix) for name in names):
            short = names[0].removeprefix(prefix)
            raise CheckpointError(
                f"{path}: expected names such as {short!r}, received {names[0]!r}: all {len(names)} names start with "
                f"{prefix!r}, as {reason}, or take the prefix off each name"
            )


def identify(
    path: Path, checkpoint: Checkpoint | Description, arch: str | None, preset: str | None, file: Path | None
) -> tuple[Architecture, Config]:
    """The architecture and config of a checkpoint: what its metadata says and what the options say, which must agree.

    Raises:
        CheckpointError: the options contradict the metadata, or neither of them says it.
        UnknownArchitectureError: no architecture of that name.
        ConfigError: the options name a config that does not exist or does not fit.
    """
    stated = checkpoint.architecture
    if arch is not None:
        known, size = architectures.resolve(arch)
        arch, preset = known.name, preset if size is None or file is not None else preset or size
    if stated is not None and arch is not None and stated != arch:
        raise CheckpointError(
            f"{path}: its metadata says {stated}, received --arch {arch}; likely fix: leave --arch out"
        )
    name = arch or stated
    if name is None:
        raise CheckpointError(
            f"{path}: the file does not say of which architecture it is; likely fix: --arch with one of "
            f"{', '.join(architectures.names())}"
        )
    architecture = architectures.get(name)
    chosen = chosen_config(architecture, preset, file)
    if checkpoint.config is not None and chosen is not None and checkpoint.config != chosen:
        stated_fields, chosen_fields = checkpoint.config.to_dict(), chosen.to_dict()
        differ = [
            f"{field}={stated_fields[field]!r}, received {chosen_fields[field]!r}"
            for field in stated_fields
            if stated_fields[field] != chosen_fields[field]
        ]
        option = "--preset" if preset is not None else "--config"
        raise CheckpointError(f"{path}: its metadata says {'; '.join(differ)}; likely fix: leave {option} out")
    config = chosen or checkpoint.config
    if config is None:
        raise CheckpointError(
            f"{path}: the file does not say its config; likely fix: --preset with one of "
            f"{', '.join(architecture.config.PRESETS)}, or --config FILE"
        )
    return architecture, config
