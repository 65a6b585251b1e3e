"""The arguments and options of `einops-arch mutate`; what it does stands in `commands/mutate.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Preset

__all__ = ["mutate"]


def mutate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An architecture, see `list`.")],
    preset: Preset = None,
    config: ConfigFile = None,
    *,
    every: Annotated[bool, typer.Option("--every", help="Each fault in each module that it applies to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mutation-test the parity check: fault the Flax twin, one fault at a time; exit code 1 if one is missed."""
    from einops_arch.cli.commands.mutate import mutate_twin

    if not mutate_twin(name, preset, config, every=every, as_json=as_json):
        raise typer.Exit(1)
