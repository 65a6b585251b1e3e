"""The arguments and options of `einops-arch translate`; what it does stands in `commands/translate.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, Key

__all__ = ["translate"]


def translate(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:MAKE()", help="A function that makes the model, or a model.")
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            metavar="AXES=SHAPE",
            help="Letters are free: 'b c h w=2,3,64,64', 'b t=2,7 int<50', or by name 'input_ids: b t=2,7 int<50'.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="A checkpoint of any format to load first.")
    ] = None,
    key: Key = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Write the weights as safetensors.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", metavar="FILE", help="Write a test that builds the twin.")
    ] = None,
    leaf: Annotated[
        list[str] | None, typer.Option("--leaf", metavar="A=B", help="Your Flax layer for your PyTorch layer.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--also", metavar="SIZES", help="Compare at 'h=96,w=128' as well.")
    ] = None,
    *,
    partial: Annotated[bool, typer.Option("--partial", help="Write what can be written.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the Flax twin of a PyTorch model as source, and prove it; exit code 1 without the same function."""
    from einops_arch.cli.commands.translate import TranslateOptions, translate_target

    options = TranslateOptions(inputs, state, key, weights, test, leaf or (), also or (), partial, force, as_json)
    if not translate_target(target, output, options):
        raise typer.Exit(1)
