"""The command `list`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch import architectures
from einops_arch.architectures import Architecture, Axes
from einops_arch.cli.models import count_parameters
from einops_arch.cli.output import Page, console, print_json, progress
from einops_arch.cli.reports import print_lines

__all__ = ["print_list"]


def print_list(*, as_json: bool) -> None:
    """Print all architectures."""
    with progress("Counting parameters"):
        entries = [_described(architectures.get(name)) for name in architectures.names()]
    if as_json:
        print_json(entries)
        return
    page = console()
    if page.width < _NARROW:
        _print_blocks(page, entries)
    else:
        _print_table(page, entries)
    print_lines(page, ["Axes are PyTorch's; in Flax, c is the last. `show NAME` or `show SIZE` tells more."])


_NARROW = 100
"""Below so many columns a table would cut names into pieces."""


def _print_blocks(page: Page, entries: Sequence[dict[str, Any]]) -> None:
    for entry in entries:
        print_lines(page, [entry["name"]], style="bold")
        print_lines(page, [f"  {entry['summary']}", f"  {_flow(entry)}"])
        width = max(map(len, entry["sizes"]))
        rows = [f"  {size.ljust(width)} {_number(count):>13}" for size, count in entry["sizes"].items()]
        print_lines(page, [*rows, ""])


def _flow(entry: dict[str, Any]) -> str:
    return " -> ".join(", ".join(f"{axes['name']} '{axes['axes']}'" for axes in entry[side]) for side in _SIDES)


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _print_table(page: Page, entries: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for column in ("architecture", "sizes", "parameters"):
        numbers = column == "parameters"
        table.add_column(column, justify="right" if numbers else "left", no_wrap=column != "architecture")
    for entry in entries:
        counts = [_number(count) for count in entry["sizes"].values()]
        what = Text.assemble((entry["name"], "bold"), "\n", entry["summary"], "\n", (_flow(entry), "dim"))
        table.add_row(what, *map(Text, ("\n".join(entry["sizes"]), "\n".join(counts))))
    page.print(table)


_SIDES = ("inputs", "outputs")


def _described(architecture: Architecture) -> dict[str, Any]:
    presets = {preset: architecture.config.preset(preset) for preset in architecture.config.PRESETS}
    first, config = next(iter(presets.items()))
    sizes = {preset: count_parameters(architecture, config) for preset, config in presets.items()}
    return {
        "name": architecture.name,
        "summary": architecture.summary,
        "parameters": sizes[first],
        "preset": first,
        "presets": list(presets),
        "sizes": sizes,
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
