"""Commands that look: architectures, networks, checkpoints, old code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Drop, Framework, Key, Only, Preset

__all__ = ["discover", "doctor", "inspect", "list_architectures", "show"]


def list_architectures(*, as_json: AsJson = False) -> None:
    """List the architectures: parameters, presets, inputs and outputs, source."""
    from einops_arch.cli.commands.list import print_list

    print_list(as_json=as_json)


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="An architecture or a size of one: vgg, vgg16_bn, shufflenet_v2_x1_0; see `list`."
        ),
    ],
    preset: Preset = None,
    config: ConfigFile = None,
    framework: Annotated[
        Framework | None,
        typer.Option("--framework", metavar="torch|flax", help="Whose modules and axes; PyTorch's if it is installed."),
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option("--size", metavar="AXIS=N", help="Such as h=96, of an input; repeatable.")
    ] = None,
    depth: Annotated[int | None, typer.Option("--depth", metavar="N", min=0, help="How deep the tree goes.")] = None,
    *,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Print the pattern of each parameter between the frameworks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a network as a tree: what each module takes and gives by the names of its axes, and what it costs.

    Nothing is computed and no weight is in memory.
    """
    from einops_arch.cli.commands.show import ShowOptions, print_architecture

    chosen = str(framework) if framework else None
    options = ShowOptions(preset, config, chosen, tuple(size or ()), depth, parameters, as_json)
    print_architecture(name, options)


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


def doctor(*, as_json: AsJson = False) -> None:
    """Say what is installed, which devices are seen, and which extra is missing; exit code 1 if something is broken.

    It works with neither framework installed. Put what it prints into a report of a bug.
    """
    from einops_arch.cli.commands.doctor import print_examination

    if not print_examination(as_json=as_json):
        raise typer.Exit(1)
