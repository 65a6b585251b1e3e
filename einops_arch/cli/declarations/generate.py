"""The arguments and options of `einops-arch generate`; what it does stands in `commands/generate.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, Framework

__all__ = ["generate"]


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
