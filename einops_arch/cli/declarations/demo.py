"""The arguments and options of `einops-arch demo`; what it does stands in `commands/demo.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson

__all__ = ["demo"]


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder for the results.")
    ] = Path("demo-output"),
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train very little: a look at the moves, not the results.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train in PyTorch on real images, port to Flax, get the same answers."""
    from einops_arch.cli.commands.demo import run_demo

    if not run_demo(output, quick=quick, as_json=as_json):
        raise typer.Exit(1)
