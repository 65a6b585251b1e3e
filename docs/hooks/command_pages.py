"""The reference of the command line, written from the commands themselves: their help, examples and options."""

from __future__ import annotations

import inspect
from typing import Any

import typer

from einops_arch.cli.app import app
from einops_arch.cli.declarations.examples import EXAMPLES
from einops_arch.cli.help import describe, label

PAGE = "api/command-line.md"
MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the commands in their place."""
    return markdown.replace(MARK, commands()) if page.file.src_uri == PAGE else markdown


def commands() -> str:
    """A section for each command."""
    return "\n\n".join(_section(name, command) for name, command in typer.main.get_command(app).commands.items())


def _section(name: str, command: Any) -> str:
    summary, *paragraphs = inspect.cleandoc(command.help).split("\n\n")
    examples = "\n".join(f"$ {line}" for line in EXAMPLES[name])
    rows = [f"| `{_cell(label(p))}` | {_cell(describe(p))} |" for p in command.params if not p.hidden]
    # Not `console`: a test runs the blocks of the pages, and these lines have a test of their own.
    head = "| argument or option | what it is |\n|---|---|"
    parts = [f"## {name}", summary, *paragraphs, f"```text\n{examples}\n```", head, "\n".join(rows)]
    return "\n\n".join(parts[:-2]) + "\n\n" + "\n".join(parts[-2:])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
