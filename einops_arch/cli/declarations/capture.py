"""The arguments and options of `einops-arch capture`; what it does stands in `commands/capture.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, Inputs, Mode

__all__ = ["capture"]


def capture(
    target: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="A model, its class, or `make()`.")],
    output: Annotated[Path, typer.Argument(metavar="PATH", help="PATH.safetensors and PATH.json are written.")],
    inputs: Inputs = None,
    like: Annotated[
        Path | None, typer.Option("--like", metavar="CAPTURE", help="Take the inputs of another capture.")
    ] = None,
    mode: Annotated[Mode, typer.Option("--mode", metavar="eval|train", help="Of the model.")] = Mode.EVAL,
    *,
    gradients: Annotated[bool, typer.Option("--gradients", help="Keep the gradients of every parameter.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write down the run of one model, with its framework alone, for `verify` on another machine."""
    from einops_arch.cli.commands.capture import CaptureOptions, capture_target

    options = CaptureOptions(inputs or (), like, str(mode), gradients, force, as_json)
    capture_target(target, output, options)
