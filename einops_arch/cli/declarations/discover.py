"""The arguments and options of `einops-arch discover`; what it does stands in `commands/discover.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson

__all__ = ["discover"]


def discover(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="A function of arrays, a model or its class, or `make()`.")
    ],
    inputs: Annotated[
        list[str],
        typer.Option("--input", "-i", metavar="AXES=SHAPE", help="Such as 'b c h w=2,12,5,7' or 'b n=2,7@int64'."),
    ],
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="Whose arrays it takes: numpy, torch or jax.")
    ] = None,
    *,
    show_diff: Annotated[bool, typer.Option("--diff", help="Print a diff with rearrange calls.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the einops pattern of old reshape code, or of every chain of a model; exit code 1 if there is none."""
    from einops_arch.cli.commands.discover import discover_target

    if not discover_target(target, inputs, backend, as_json=as_json, show_diff=show_diff):
        raise typer.Exit(1)
