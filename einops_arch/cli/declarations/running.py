"""Commands that run a network: text, images, the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Framework, Preset

__all__ = ["classify", "demo", "generate"]


def generate(
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint",
            metavar="FOLDER",
            help="Weights of GPT-2 as the hub has them, or what save_pretrained wrote.",
        ),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="The beginning; needs the folder's tokenizer.")
    ] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option("--prompt-tokens", metavar="TOKENS", help="The beginning in tokens: '5 17 3'.")
    ] = None,
    framework: Annotated[
        Framework | None, typer.Option("--framework", metavar="torch|flax", help="What it runs in.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="How many tokens to add.")] = 20,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="0 takes the likeliest token.")
    ] = 0.0,
    top_k: Annotated[int | None, typer.Option("--top-k", metavar="N", help="Draw from this many tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", metavar="P", help="Draw from tokens of this probability.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of what is drawn, in both frameworks alike.")
    ] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Continue a text, in either framework the same."""
    from einops_arch.cli.commands.generate import GenerateOptions, generate_text

    chosen = str(framework) if framework else None
    options = GenerateOptions(prompt, prompt_tokens, chosen, steps, temperature, top_k, top_p, seed, as_json)
    generate_text(checkpoint, options)


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
