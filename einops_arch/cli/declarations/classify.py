"""The arguments and options of `einops-arch classify`; what it does stands in `commands/classify.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Framework, Preset

__all__ = ["classify"]


def classify(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph in any format that pillow reads.")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", metavar="PATH", help="A folder as the Hugging Face hub has them, or a file.")
    ],
    framework: Annotated[
        Framework | None, typer.Option("--framework", metavar="torch|flax", help="What it runs in.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="NAME", help="The network or its size, if no file says it.")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="The name of one class on each line.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many classes to print.")] = 5,
    *,
    as_json: AsJson = False,
) -> None:
    """Classify an image, in either framework the same."""
    from einops_arch.cli.commands.classify import ClassifyOptions, classify_image

    chosen = str(framework) if framework else None
    classify_image(image, checkpoint, ClassifyOptions(arch, preset, config, chosen, labels, top, as_json))
