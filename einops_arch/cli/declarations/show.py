"""The arguments and options of `einops-arch show`; what it does stands in `commands/show.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Framework, Preset

__all__ = ["show"]


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
