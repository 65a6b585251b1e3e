"""What would fit instead, where a checkpoint does not fit the network that was named."""

from __future__ import annotations

from typing import Any

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.errors import PortError
from einops_arch.layouts.state import computed_causes
from einops_arch.port.expected import expected_shapes
from einops_arch.port.unwrap import Shapes, fits, without_wrapper

__all__ = ["same_network", "suggestions", "told_what_fits", "told_what_part_fits"]

_MOST = 4096
"""Tensors of a file for which networks are looked for."""
_PREFIXES = 8
"""Beginnings of names under which they are looked for."""


def told_what_fits(error: PortError, shapes: Shapes, framework: str, config: Config | None) -> PortError:
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
    others = [fit for fit in find_fits(shapes, framework, only=own) if fit.config != config]
    if not others:
        return error
    head, *lines = str(error).split("\n  ")
    line = f"the names and shapes are those of {' and '.join(map(str, others))}; likely fix: "
    if others[0].fields:
        fields = ", ".join(f"{name}={value}" for name, value in others[0].fields.items())
        return PortError(
            head, *lines, f"{line}a config with {fields}; the command finds it by itself, without --preset"
        )
    return PortError(head, f"{line}--arch {others[0]}")


def same_network(shapes: Shapes) -> str | None:
    """The config, as Python, of the one published size that has these names and shapes of PyTorch's, if there is one.

    Args:
        shapes: the shape of each tensor by its name.
    """
    if not 0 < len(shapes) <= _MOST:
        return None
    from einops_arch.port.models.fit import find_fits

    fits_of_it = [fit for fit in find_fits(shapes) if not fit.fields and not fit.wrapper]
    return f"{type(fits_of_it[0].config).__name__}.{fits_of_it[0].preset}()" if len(fits_of_it) == 1 else None


def suggestions(shapes: Shapes, framework: str, only: str | None = None) -> list[str]:
    """What to do with a file that fits no network as it is: an adapter, computed weights, or one part among several.

    Args:
        shapes: the shape of each tensor by its name.
        framework: whose names they are.
        only: the architecture, if it is known.
    """
    if causes := computed_causes(list(shapes)):
        return causes[0]
    from einops_arch.port.models.fit import find_fits

    return [
        _part(head, str(others[0]))
        for head, inside in _parts(shapes).items()
        if (others := find_fits(inside, framework, only=only))
    ]


def told_what_part_fits(
    error: PortError, shapes: Shapes, framework: str, config: Config | None, model: Any
) -> PortError:
    """The error, in a line for each beginning whose names are those of the model, or of another of its sizes.

    Args:
        error: what does not fit.
        shapes: the shape of each tensor by its name.
        framework: whose names they are.
        config: that of the network which does not fit; None for a model that is not registered.
        model: the Flax model.
    """
    parts = _parts(shapes)
    if not parts or computed_causes(list(shapes)):
        return error
    head = str(error).partition("\n  ")[0]
    expected, tied = expected_shapes(model, framework)
    fitting = [
        part
        for part, inside in parts.items()
        if fits(inside, expected, tied) or without_wrapper(inside, expected, tied)[1]
    ]
    if fitting:
        return PortError(head, *(_part(part, type(model).__name__) for part in fitting))
    if config is None:
        return error
    from einops_arch.port.models.fit import find_fits

    own = architectures.of_config(config).name
    for part, inside in parts.items():
        if others := find_fits(inside, framework, only=own):
            return PortError(head, f"{_part(part, str(others[0]))} --arch {others[0]}")
    return error


def _parts(shapes: Shapes) -> dict[str, dict[str, tuple[int, ...]]]:
    """The names with each beginning, without it; nothing where they are too many, or have one beginning alone."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        head, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(f"{head}.", {})[rest] = shape
    several = len(parts) > 1 or (parts and sum(map(len, parts.values())) < len(shapes))
    return parts if len(shapes) <= _MOST and several and len(parts) <= _PREFIXES else {}


def _part(head: str, what: str) -> str:
    return f"the names that begin with {head!r} are those of {what}; likely fix: --only {head}"
