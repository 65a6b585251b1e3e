"""The command `generate`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from einops_arch import architectures
from einops_arch.architectures._generation import continues_texts
from einops_arch.cli.models import framework_module, installed
from einops_arch.cli.output import echo, print_json, progress
from einops_arch.errors import ConfigError
from einops_arch.port.models.folder import open_pretrained

__all__ = ["GenerateOptions", "generate_text"]


@dataclass(frozen=True)
class GenerateOptions:
    """What the command line said.

    Args:
        prompt: a text, for which the folder needs a tokenizer.
        prompt_tokens: or its tokens, as numbers with commas or spaces between them.
        framework: `"torch"` or `"flax"`; PyTorch where both are installed, if left out.
        steps: number of tokens to add.
        temperature: 0 for the likeliest token.
        top_k: draw from this many tokens.
        top_p: draw from tokens of this probability.
        seed: of the numbers that are drawn, which are the same for both frameworks.
        as_json: print JSON.
    """

    prompt: str | None = None
    prompt_tokens: str | None = None
    framework: str | None = None
    steps: int = 20
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    as_json: bool = False


def generate_text(folder: Path, options: GenerateOptions) -> None:
    """Continue a text with the weights of a folder and print it.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the options or the folder.
    """
    tokenizer = _tokenizer(folder)
    prompt = _prompt(folder, tokenizer, options)
    framework = options.framework or ("torch" if installed("torch") else "flax")
    with open_pretrained(folder) as reader:
        architecture = reader.metadata["architecture"]
    if not continues_texts(architectures.get(architecture).config):
        known = ", ".join(name for name in architectures.names() if continues_texts(architectures.get(name).config))
        raise ConfigError(f"{folder}: expected a network that continues texts ({known}), received {architecture}")
    with progress(f"Reading {folder}"):
        model = framework_module(framework).from_pretrained(folder)
    with progress(f"Writing {options.steps} tokens"):
        tokens = _continued(model, prompt, framework, options)
    text = tokenizer.decode(tokens) if tokenizer is not None else None
    if options.as_json:
        described = {"architecture": architecture, "framework": framework, "config": model.config.to_dict()}
        print_json({**described, "prompt_tokens": prompt, "tokens": tokens, "text": text})
    else:
        echo(text if text is not None else " ".join(map(str, tokens)))


def _continued(model: Any, prompt: list[int], framework: str, options: GenerateOptions) -> list[int]:
    array = (
        importlib.import_module("torch").from_numpy
        if framework == "torch"
        else importlib.import_module("jax.numpy").asarray
    )
    uniform = np.random.default_rng(options.seed).random((1, max(options.steps, 1)), np.float32)
    axes = model.config.inputs()[0].axes
    chosen = framework_module(framework).generate(
        model,
        array(rearrange(np.array([prompt]), f"b t -> {axes}")),
        options.steps,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        uniform=array(rearrange(uniform, f"b t -> {axes}")),
    )
    tokens: list[int] = rearrange(np.asarray(chosen), f"{axes} -> b t")[0].tolist()
    return tokens


def _prompt(folder: Path, tokenizer: Any, options: GenerateOptions) -> list[int]:
    if (options.prompt is None) == (options.prompt_tokens is None):
        raise ConfigError("generate: expected --prompt or --prompt-tokens, one of them")
    if options.prompt_tokens is not None:
        try:
            tokens = [int(word) for word in options.prompt_tokens.replace(",", " ").split()]
        except ValueError:
            tokens = []
        if not tokens:
            raise ConfigError(
                f"generate: expected --prompt-tokens such as '5 17 3', received {options.prompt_tokens!r}"
            )
        return tokens
    if tokenizer is None:
        raise ConfigError(
            f"{folder}: --prompt needs its tokenizer.json and the package tokenizers (pip install tokenizers); "
            "likely fix: --prompt-tokens"
        )
    encoded: list[int] = tokenizer.encode(options.prompt).ids
    if not encoded:
        raise ConfigError("generate: expected a --prompt of one token at least, received none")
    return encoded


def _tokenizer(folder: Path) -> Any:
    """The folder's own; None if there is none, or nothing that reads it."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    if find_spec("tokenizers") is None:
        return None
    return importlib.import_module("tokenizers").Tokenizer.from_file(str(path))
