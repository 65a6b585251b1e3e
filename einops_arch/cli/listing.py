"""The command `list`."""

from __future__ import annotations

from typing import Any

from einops_arch import architectures
from einops_arch.architectures import Architecture, Axes
from einops_arch.cli.models import count_parameters
from einops_arch.cli.output import console, print_json, progress

__all__ = ["print_list"]


def print_list(*, as_json: bool) -> None:
    """Print all architectures."""
    with progress("Counting parameters"):
        found = [_described(architectures.get(name)) for name in architectures.names()]
    if as_json:
        print_json(found)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for column in ("name", "summary", "parameters", "presets", "inputs -> outputs", "source"):
        table.add_column(column, justify="right" if column == "parameters" else "left", overflow="fold")
    for one in found:
        count = "-" if one["parameters"] is None else f"{one['parameters']:,}"
        axes = " -> ".join(", ".join(f"{axes['name']} '{axes['axes']}'" for axes in one[side]) for side in _SIDES)
        cells = (one["name"], one["summary"], count, ", ".join(one["presets"]), axes, one["source"])
        table.add_row(*map(Text, cells))
    page = console()
    page.print(table)
    page.print("Axes are PyTorch's; in Flax, c is the last. Parameters are those of the first preset.", soft_wrap=True)


_SIDES = ("inputs", "outputs")


def _described(architecture: Architecture) -> dict[str, Any]:
    first = architecture.config.PRESETS[0]
    config = architecture.config.preset(first)
    return {
        "name": architecture.name,
        "summary": architecture.summary,
        "parameters": count_parameters(architecture, config),
        "preset": first,
        "presets": list(architecture.config.PRESETS),
        "inputs": [_axes(axes) for axes in config.inputs()],
        "outputs": [_axes(axes) for axes in config.outputs()],
        "source": architecture.source,
    }


def _axes(axes: Axes) -> dict[str, Any]:
    return {
        "name": axes.name,
        "axes": axes.axes,
        "flax_axes": axes.flax_axes,
        "sizes": dict(axes.sizes),
        "dtype": axes.dtype,
    }
