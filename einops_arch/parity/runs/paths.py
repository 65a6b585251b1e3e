"""Which module of Flax belongs to which of PyTorch, where the paths are not the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from einops_arch.errors import ConfigError, suggestion

__all__ = ["Paths", "rename", "torch_paths_of"]

Paths: TypeAlias = "Mapping[str, str | None] | Callable[[str], str | None]"


def torch_paths_of(paths: Paths | None, torch_paths: Iterable[str], flax_paths: Iterable[str]) -> dict[str, str]:
    """PyTorch's path of each Flax path that is not the same.

    Args:
        paths: from PyTorch's paths to Flax's; a path speaks for all below it, and the longest counts. Or a function
            of PyTorch's path. None in the place of Flax's path is a module without a counterpart.
        torch_paths: all of PyTorch.
        flax_paths: all of Flax.

    Raises:
        ConfigError: a path that no module has, or two modules with the same counterpart.

    >>> torch_paths_of({"encoder": "enc"}, ["", "encoder", "encoder.0"], ["", "enc", "enc.0"])
    {'enc': 'encoder', 'enc.0': 'encoder.0'}
    >>> torch_paths_of({"head": None}, ["", "head"], ["", "head"])
    {'head': 'head (Flax)'}
    """
    if paths is None:
        return {}
    torch_names, flax_names = list(torch_paths), set(flax_paths)
    if isinstance(paths, Mapping):
        for side, stated, known in (("PyTorch", paths.keys(), set(torch_names)), ("Flax", paths.values(), flax_names)):
            if unknown := next((path for path in stated if path is not None and path not in known), None):
                raise ConfigError(
                    f"paths: no module of {side} at {unknown!r}; {suggestion(unknown, sorted(filter(None, known)))}"
                )
    torch_path: dict[str, str] = {}
    left_out: set[str] = set()
    for path in torch_names:
        other = _longest(paths, path) if isinstance(paths, Mapping) else paths(path)
        if other is None:
            left_out.add(path)
        if other is None or other not in flax_names:
            continue
        if other in torch_path and torch_path[other] != path:
            raise ConfigError(f"paths: {torch_path[other]!r} and {path!r} of PyTorch both go to {other!r} of Flax")
        torch_path[other] = path
    taken = set(torch_path.values())
    # A module of another meaning that happens to have the name keeps out of the way.
    torch_path |= {path: f"{path} (Flax)" for path in flax_names - set(torch_path) if path in taken | left_out}
    return {other: path for other, path in torch_path.items() if other != path}


def rename(name: str, paths: Mapping[str, str]) -> str:
    """The name of a module, or of something inside of one, by the longest path that it begins with.

    >>> rename("enc.0.weight", {"enc": "encoder", "enc.0": "encoder.first"})
    'encoder.first.weight'
    """
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        if (path := paths.get(".".join(parts[:count]))) is not None:
            return ".".join([path, *parts[count:]])
    return name


def _longest(paths: Mapping[str, str | None], path: str) -> str | None:
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        start = ".".join(parts[:count])
        if start in paths:
            other = paths[start]
            return None if other is None else ".".join([other, *parts[count:]])
    return path
