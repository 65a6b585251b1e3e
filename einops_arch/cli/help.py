"""How `--help` reads: what a command does, examples to copy, arguments and options; flags take no value.

Written here and not by typer, whose tables show `<bool>` beside flags and differ from version to version.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from rich.text import Text
from typer import BadParameter
from typer.core import TyperCommand

from einops_arch.cli.declarations.examples import EXAMPLES
from einops_arch.cli.output import console

__all__ = ["ExplainedCommand", "describe", "label", "print_help"]

_WIDEST = 100
"""Columns of a help page at most: lines that are longer are hard to read."""
_NARROW = 80
"""Below so many columns, what an option does stands under it and not beside it."""


class ExplainedCommand(TyperCommand):
    """A command whose help has examples, and that takes each option once; of two values, one would be lost unseen."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, received = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in dict.fromkeys(received):
            flag = getattr(parameter, "is_flag", False) or parameter.param_type_name == "argument"
            if not flag and not parameter.multiple and received.count(parameter) > 1:
                raise BadParameter(f"{parameter.opts[0]} takes one value, received several", ctx=ctx)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        del formatter  # of click, which knows no styles
        print_help(self, ctx)


def print_help(command: Any, ctx: Any) -> None:
    """Print the help of a command, or of the whole program, as wide as the screen."""
    page = console()
    width = min(page.width, _WIDEST)
    for line in _lines(command, ctx, width):
        page.print(line, soft_wrap=True)


def label(parameter: Any) -> str:
    """How a parameter is typed: `SOURCE`, `--to torch|flax`, `--fold`, `--gradients, --no-gradients`."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    long = [name for name in parameter.opts if name.startswith("--")]
    short = [name for name in parameter.opts if not name.startswith("--")]
    names = ", ".join([*short, *long, *parameter.secondary_opts])
    return names if getattr(parameter, "is_flag", False) else f"{names} {parameter.metavar}"


def describe(parameter: Any) -> str:
    """What a parameter is for, whether it is needed, and what it is if left out."""
    text = str(parameter.help or "")
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    if parameter.required:
        text += " Required."
    elif isinstance(default, str | int | float) and not isinstance(default, bool):
        text += f" Default: {default}."
    return text


def _lines(command: Any, ctx: Any, width: int) -> Iterator[Text]:
    parameters = [p for p in command.get_params(ctx) if not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    commands = [command.get_command(ctx, name) for name in getattr(command, "commands", ())]
    usage = " ".join([ctx.command_path, *map(label, arguments), *(label(o) for o in options if o.required)])
    usage += " COMMAND ..." if commands else " [OPTIONS]"
    yield from _wrapped(f"Usage: {usage}", width, "       ", "bold")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield Text("")
        yield from _wrapped(paragraph.replace("\n", " "), width)
    if examples := EXAMPLES.get(command.name or "", ()):
        yield from _section("Examples")
        for example in examples:
            # Unwrapped: a line that is copied has to stay whole.
            yield Text(f"  $ {example}")
    rows = [(c.name, inspect.cleandoc(c.help or "").partition("\n\n")[0].replace("\n", " ")) for c in commands]
    yield from _table("Commands", rows, width)
    yield from _table("Arguments", [(label(p), describe(p)) for p in arguments], width)
    yield from _table("Options", [(label(p), describe(p)) for p in options], width)
    if command.epilog:
        yield Text("")
        yield from _wrapped(command.epilog, width)


def _section(title: str) -> Iterator[Text]:
    yield Text("")
    yield Text(title, "bold")


def _table(title: str, rows: Sequence[tuple[str, str]], width: int) -> Iterator[Text]:
    """Names, and what each is beside it; under it on a narrow screen and where the name is long."""
    if not rows:
        return
    yield from _section(title)
    beside = 4 + min(max(len(name) for name, _ in rows), 26)
    for name, text in rows:
        indent = beside if width >= _NARROW else 6
        first = f"  {name}".ljust(indent)
        apart = len(name) + 4 > indent or width < _NARROW
        pieces = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
        if apart:
            yield Text.assemble(("  " + name, "cyan"))
        elif pieces:
            yield Text.assemble((first, "cyan"), pieces.pop(0))
        yield from (Text(" " * indent + piece) for piece in pieces)


def _wrapped(text: str, width: int, indent: str = "", style: str = "") -> Iterator[Text]:
    pieces = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return (Text(piece, style) for piece in pieces)
