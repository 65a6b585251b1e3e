"""The modules of a network as a tree, on a screen of any width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch.cli.summary.module import Module

__all__ = ["named", "print_tree", "shape_text", "short"]

# Columns from which on shapes fit beside the tree.
_WIDE = 110


@dataclass(frozen=True)
class _Line:
    """One module, or several that are alike and stand side by side, or a parameter of a module that holds others.

    Args:
        branch: what of the tree stands before the label.
        below: what of the tree stands before a second line.
        label: name and class.
        shapes: what goes in and comes out, once if that is the same.
        parameters: how many.
        multiply_adds: how many.
    """

    branch: str
    below: str
    label: str
    shapes: str
    parameters: int
    multiply_adds: int


def print_tree(page: Any, title: str, modules: Sequence[Module], depth: int | None) -> None:
    """Print a line for each module, two on a narrow screen.

    Args:
        page: the console.
        title: of the modules.
        modules: in the order of definition; the first is the network.
        depth: how deep the tree goes; all of it if None.
    """
    from rich.table import Table
    from rich.text import Text

    wide = page.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(title, no_wrap=True)
    table.add_column("input -> output")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("multiply-adds", justify="right", no_wrap=True)
    if not wide:
        page.print(Text(f"{title}, input -> output".ljust(page.width - 25) + "   parameters   mult-adds", style="bold"))
    for line in _lines(modules, depth):
        label, cost = line.branch + line.label, short(line.multiply_adds)
        count = f"{line.parameters:,}" if line.parameters else "-"
        if wide:
            table.add_row(*map(Text, (label, line.shapes, count, cost)))
            continue
        page.print(Text(f"{label.ljust(page.width - 25)} {count:>12} {cost:>11}"), soft_wrap=True)
        page.print(Text(line.below + line.shapes, style="dim"), soft_wrap=True)
    if wide:
        page.print(table)


def _lines(modules: Sequence[Module], depth: int | None) -> Iterator[_Line]:
    children: dict[str, list[Module]] = {module.path: [] for module in modules}
    for module in modules[1:]:
        around = module.path.rpartition(".")[0]
        while around not in children:  # a list that holds modules and is none
            around = around.rpartition(".")[0]
        children[around].append(module)

    def signature(module: Module) -> Any:
        entries = (module.kind, module.calls, module.parameters, module.multiply_adds, _shapes(module))
        return entries, tuple(signature(child) for child in children[module.path])

    def walk(parent: Module, indent: str, level: int) -> Iterator[_Line]:
        inside = children[parent.path]
        if not inside or (depth is not None and level > depth):
            return
        groups: list[list[Module]] = []
        for child in inside:
            if groups and signature(groups[-1][0]) == signature(child):
                groups[-1].append(child)
            else:
                groups.append([child])
        left = len(parent.own) + len(groups)
        for name, shape in parent.own.items():
            left -= 1
            branch, below = ("├─ ", "│    ") if left else ("└─ ", "     ")
            yield _Line(indent + branch, indent + below, name, shape_text(shape), math.prod(shape), 0)
        for first, *more in groups:
            left -= 1
            branch, below = ("├─ ", "│  ") if left else ("└─ ", "   ")
            deeper = bool(children[first.path]) and (depth is None or level < depth)
            label = _label(parent, first, more)
            under = indent + below + ("│ " if deeper else "  ")
            yield _Line(indent + branch, under, label, _shapes(first), first.parameters, first.multiply_adds)
            yield from walk(first, indent + below, level + 1)

    network = modules[0]
    yield _Line("", "  ", network.kind, _shapes(network), network.parameters, network.multiply_adds)
    yield from walk(network, "", 1)


def _label(parent: Module, first: Module, more: Sequence[Module]) -> str:
    name = first.path.removeprefix(f"{parent.path}." if parent.path else "")
    if not more:
        return f"{name}  {first.kind}"
    return f"{name}..{more[-1].path.rpartition('.')[2]}  {first.kind} (each of {1 + len(more)})"


def _shapes(module: Module) -> str:
    taken, made = (_together(arrays) for arrays in (module.inputs, module.outputs))
    return taken if taken == made else f"{taken} -> {made}"


def _together(arrays: Sequence[Sequence[tuple[str | None, int]]]) -> str:
    counts: dict[str, int] = {}
    for array in arrays:
        counts[named(array)] = counts.get(named(array), 0) + 1
    return ", ".join(text if count == 1 else f"{count} of {text}" for text, count in counts.items())


def named(array: Sequence[tuple[str | None, int]]) -> str:
    """Names and sizes; a batch of one is no news.

    >>> named([("b", 1), ("(h w)", 196), (None, 768)])
    'b (h w)=196 768'
    """
    return " ".join(
        "b" if (name, size) == ("b", 1) else f"{name}={size}" if name else str(size) for name, size in array
    )


def short(number: int) -> str:
    """A large number with three digits.

    >>> short(4_089_184_256), short(480_500), short(999_700), short(0)
    ('4.09 G', '480 k', '1.00 M', '-')
    """
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * scale:
            value = number / scale
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return str(number) if number else "-"


def shape_text(shape: Sequence[int]) -> str:
    """Sizes without names."""
    return " ".join(map(str, shape)) or "scalar"
