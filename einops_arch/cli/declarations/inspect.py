"""The arguments and options of `einops-arch inspect`; what it does stands in `commands/inspect.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, Drop, Key, Only

__all__ = ["inspect"]


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint of any format.")],
    key: Key = None,
    only: Only = None,
    drop: Drop = None,
    *,
    values: Annotated[
        bool, typer.Option("--values/--no-values", help="Read the numbers, and count NaN and inf.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Show what is in a checkpoint: names, shapes, dtypes, aliases, NaN and inf, and which architecture it fits."""
    from einops_arch.cli.commands.inspect import inspect_file

    inspect_file(path, key=key, only=only, drop=tuple(drop or ()), values=values, as_json=as_json)
