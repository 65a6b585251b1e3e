"""What would fit instead, where a checkpoint does not fit the network that was named."""

from __future__ import annotations

from collections.abc import Mapping

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.errors import PortError
from einops_arch.layouts.state import computed_causes

__all__ = ["suggestions", "told_what_fits"]

_MOST = 4096
"""Tensors of a file for which networks are looked for."""
_PREFIXES = 8
"""Beginnings of names under which they are looked for."""


def told_what_fits(
    error: PortError, shapes: Mapping[str, tuple[int, ...]], framework: str, config: Config | None
) -> PortError:
    """The error, in one line where another published size of the network has all the names and shapes.

    Args:
        error: what does not fit.
        shapes: the shape of each tensor by its name.
        framework: whose names they are.
        config: that of the network which does not fit; None for a model that is not registered.
    """
    if config is None or not 0 < len(shapes) <= _MOST:
        return error
    from einops_arch.port.models.fit import find_fits

    own = architectures.of_config(config).name
    fits = [fit for fit in find_fits(shapes, framework, only=own) if fit.config != config]
    if not fits:
        return error
    head, *lines = str(error).split("\n  ")
    line = f"the names and shapes are those of {' and '.join(map(str, fits))}; likely fix: "
    if fits[0].fields:
        fields = ", ".join(f"{name}={value}" for name, value in fits[0].fields.items())
        return PortError(
            head, *lines, f"{line}a config with {fields}; the command finds it by itself, without --preset"
        )
    return PortError(head, f"{line}--arch {fits[0]}")


def suggestions(shapes: Mapping[str, tuple[int, ...]], framework: str, only: str | None = None) -> list[str]:
    """What to do with a file that fits no network as it is: an adapter, computed weights, or one part among several.

    Args:
        shapes: the shape of each tensor by its name.
        framework: whose names they are.
        only: the architecture, if it is known.
    """
    if causes := computed_causes(list(shapes)):
        return causes[0]
    heads: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        head, dot, rest = name.partition(".")
        if dot:
            heads.setdefault(f"{head}.", {})[rest] = shape
    if len(shapes) > _MOST or not 1 < len(heads) <= _PREFIXES:
        return []
    from einops_arch.port.models.fit import find_fits

    return [
        f"the names that begin with {head!r} are those of {fits[0]}; likely fix: --only {head}"
        for head, inside in heads.items()
        if (fits := find_fits(inside, framework, only=only))
    ]
