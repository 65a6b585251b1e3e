"""The command line: `einops-arch`, or `python -m einops_arch`.

Importing it imports neither a framework nor typer; a command imports what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from einops_arch._frameworks import require
from einops_arch.errors import EinopsArchError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the name of the program; those of the process if left out.

    Returns:
        The exit code: 0 right, 1 not equal, 2 wrong usage or a bad file.
    """
    try:
        require("typer", "rich", extra="cli", by="the command line")
    except EinopsArchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    from einops_arch.cli.app import run

    return run(arguments)
