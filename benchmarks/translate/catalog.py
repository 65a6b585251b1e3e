"""The models of the sweep: `benchmarks/models.jsonl`, and people's own kind of code from `tests/own_models.py`."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

__all__ = ["ROOT", "SETS", "catalog", "example", "make_model", "name_of"]

ROOT = Path(__file__).resolve().parents[2]
SETS = ("torchvision", "torchvision-segmentation", "timm", "transformers", "own")
_OWN = (
    *("unet", "text_cnn", "transformer_encoder", "conv_gru", "llama_block", "vae", "diffusion_unet", "generator"),
    *("point_net", "graph_sage", "dueling_dqn", "seq2seq"),
)


def catalog(sets: Sequence[str] = (), names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The models that are asked for, those with few parameters first; all of them if nothing is said.

    Args:
        sets: names of sets.
        names: names of models, with or without their set, such as `timm/resnet18`.

    Raises:
        ValueError: no model has one of the names.
    """
    lines = (ROOT / "benchmarks" / "models.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    entries += [{"set": "own", "model": name} for name in _OWN]
    unknown = [name for name in names if not any(name in (item["model"], name_of(item)) for item in entries)]
    if unknown or not set(sets) <= set(SETS):
        raise ValueError(f"translate: no model or set is called {', '.join([*unknown, *(set(sets) - set(SETS))])}")
    chosen = [
        item
        for item in entries
        if (not sets or item["set"] in sets) and (not names or item["model"] in names or name_of(item) in names)
    ]
    return sorted(chosen, key=lambda item: item.get("parameters", 0))


def name_of(entry: dict[str, Any]) -> str:
    """Set and model.

    >>> name_of({"set": "timm", "model": "resnet18"})
    'timm/resnet18'
    """
    return f"{entry['set']}/{entry['model']}"


def make_model(entry: dict[str, Any]) -> Any:
    """Build the model of an entry, with weights drawn from one seed."""
    import torch

    torch.manual_seed(0)
    if entry["set"] == "own":
        return _own(entry["model"]).make()
    package = entry["set"].partition("-")[0]
    if package in ("torchvision", "timm", "transformers"):
        _prepare_torchvision()
    names = {package: importlib.import_module(package), "config": entry.get("config")}
    return eval(entry["make"], names)  # noqa: S307 an expression of our own file


def example(entry: dict[str, Any]) -> tuple[Any, Any]:
    """The inputs of an entry and their axes, as `translate` takes them."""
    if entry["set"] == "own":
        own = _own(entry["model"])
        return own.inputs(), own.axes
    from einops_arch.cli.commands.translate import random_inputs

    texts = [f"{name}: {text}" for name, text in entry["inputs"].items()] if "inputs" in entry else [entry["input"]]
    return random_inputs(_with_letters_apart(texts))


def _with_letters_apart(texts: Sequence[str]) -> list[str]:
    """A letter that stands for two sizes is another letter where it stands for the second.

    >>> _with_letters_apart(["ids: b t=2,7 int<50", "decoder_ids: b t=2,5 int<50"])
    ['ids: b t=2,7 int<50', 'decoder_ids: b u=2,5 int<50']
    """
    used: dict[str, str] = {}
    result = []
    for text in texts:
        name, colon, pattern = text.rpartition(":")
        axes, _, rest = pattern.partition("=")
        sizes = rest.split()[0].split(",")
        letters = axes.split()
        for n, (letter, size) in enumerate(zip(letters, sizes, strict=True)):
            if not letter.isdigit() and used.setdefault(letter, size) != size:
                letters[n] = next(other for other in ascii_lowercase[20:] if used.setdefault(other, size) == size)
        result.append(f"{name}{colon} {' '.join(letters)}={rest}" if colon else f"{' '.join(letters)}={rest}")
    return result


def _own(name: str) -> Any:
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    return importlib.import_module("own_models").OWN_MODELS[name]


def _prepare_torchvision() -> None:
    """Its wheel looks for two operations of object detection, which are not there beside a torch without CUDA."""
    import torch

    if "torchvision" in sys.modules:
        return
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
