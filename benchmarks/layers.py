"""Which layers of `torch.nn` public models are made of, and which of them have a counterpart in Flax.

Every leaf of every model of `models.jsonl` and of torchvision's detection, video and optical-flow models is read: its
type and its settings. Models are built without values where that is possible, and never run. A counterpart is none
before both layers were built, the state went from one to the other, and their outputs agreed in float64.

    python -m benchmarks.layers                                  # print the table
    python -m benchmarks.layers --json docs/coverage/layers.json # and store it, which the page of the docs shows
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.layer_settings import Setting, is_container, of_torch_nn, setting_of

__all__ = ["coverage", "main", "models", "settings_in"]

ROOT = Path(__file__).resolve().parent.parent
SAME = 1e-12
_MORE = ("detection", "video", "optical_flow")


@dataclass
class Coverage:
    """What was counted."""

    whole: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[Setting, list[str]] = field(default_factory=dict)
    other: Counter[str] = field(default_factory=Counter)
    not_built: dict[str, str] = field(default_factory=dict)


def models() -> Iterator[tuple[str, Any]]:
    """Names, and functions that build: those of `models.jsonl`, then torchvision's others."""
    import torchvision

    for line in (ROOT / "benchmarks" / "models.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield f"{row['set']}/{row['model']}", _maker(row)
    for kind in _MORE:
        for name in torchvision.models.list_models(module=getattr(torchvision.models, kind)):
            weights = {"weights_backbone": None} if kind == "detection" else {}
            yield f"torchvision-{kind}/{name}", _torchvision(name, weights)


def _torchvision(name: str, weights: dict[str, Any]) -> Any:
    import torchvision

    return lambda: torchvision.models.get_model(name, weights=None, **weights)


def _maker(row: dict[str, Any]) -> Any:
    import timm
    import torchvision
    import transformers

    names = {"torchvision": torchvision, "timm": timm, "transformers": transformers, "config": row.get("config")}
    return lambda: eval(row["make"], names)  # noqa: S307 a text of this repository


def built(make: Any) -> Any:
    """A model without values, or with them where its constructor needs them."""
    import torch

    try:
        with torch.device("meta"):
            return make()
    except Exception:  # noqa: BLE001 - what it needs values for is its own
        return make()


def settings_in(model: Any) -> tuple[set[Setting], set[str]]:
    """The settings of all layers of `torch.nn` in a model, and its other classes that are leaves."""
    settings, other = set(), set()

    def visit(module: Any) -> None:
        if of_torch_nn(module):
            setting = setting_of(module)
            settings.add(setting)
            if setting.flax:
                return  # what is inside belongs to it
        elif not is_container(module) and not any(True for _ in module.children()):
            other.add(type(module).__name__)
        for child in module.children():
            visit(child)

    visit(model)
    return settings, other


def coverage(words: tuple[str, ...] = ()) -> Coverage:
    """Read all models, or those whose name has one of the words."""
    result = Coverage()
    for name, make in models():
        if words and not any(word in name for word in words):
            continue
        start = time.perf_counter()
        try:
            settings, other = settings_in(built(make))
        except Exception as error:  # noqa: BLE001 - one that cannot be built is listed as such
            result.not_built[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
            continue
        for setting in settings:
            result.settings.setdefault(setting, []).append(name)
        result.other.update(other)
        result.whole[name] = []
        sys.stderr.write(f"{name}: {len(settings)} settings, {time.perf_counter() - start:.1f} s\n")
    return result


def judged(result: Coverage) -> list[dict[str, Any]]:
    """A row for each setting, the most used first, with the difference of both layers or with why there is none."""
    from benchmarks.layer_proof import difference

    rows = []
    for setting, names in sorted(result.settings.items(), key=lambda pair: (-len(pair[1]), pair[0].torch)):
        row: dict[str, Any] = {"models": len(names), "torch": setting.torch, "flax": setting.flax}
        row |= {"inputs": list(setting.inputs), "plain": setting.plain, "example": names[0]}
        try:
            if not setting.flax:
                raise ValueError("no counterpart")
            measured = difference(setting.torch, setting.flax, setting.inputs, plain=setting.plain)
            row["difference"] = float(f"{measured:.1e}")
            if not measured <= SAME:
                row["missing"] = f"differs by {measured:.1e}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no counterpart
            row["missing"] = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        if "missing" in row:
            for name in names:
                result.whole[name].append(setting.torch)
        rows.append(row)
    return rows


def report(result: Coverage) -> dict[str, Any]:
    """What is stored."""
    rows = judged(result)
    packages = ("torch", "torchvision", "timm", "transformers", "jax", "flax")
    return {
        "versions": {name: version(name) for name in packages},
        "models": len(result.whole),
        "whole": sum(not missing for missing in result.whole.values()),
        "incomplete": {name: missing for name, missing in result.whole.items() if missing},
        "not built": result.not_built,
        "other classes": dict(result.other.most_common()),
        "types": _types(result),
        "rows": rows,
    }


def _types(result: Coverage) -> dict[str, int]:
    """How many models have a type."""
    names: dict[str, set[str]] = {}
    for setting, users in result.settings.items():
        names.setdefault(type_of(setting.torch), set()).update(users)
    return {name: len(users) for name, users in sorted(names.items(), key=lambda pair: (-len(pair[1]), pair[0]))}


def type_of(torch_text: str) -> str:
    """The type of a layer, or the name of its reparametrization."""
    return torch_text.partition("(")[0].rpartition(".")[2].partition(" ")[0]


def text_of(stored: dict[str, Any]) -> str:
    """JSON with a setting on each line, for diffs that can be read."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in stored["rows"])
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in stored.items() if key != "rows")
    return f'{{\n{head},\n "rows": [\n{rows}\n ]\n}}\n'


def by_type(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry for each type: its settings, those without a counterpart, and the largest difference of the others."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in stored["rows"]:
        rows.setdefault(type_of(row["torch"]), []).append(row)
    return [
        {
            "type": name,
            "models": count,
            "flax": next((type_of(row["flax"]) for row in rows[name] if row["flax"]), ""),
            "settings": len(rows[name]),
            "missing": [row["torch"] for row in rows[name] if "missing" in row],
            "difference": max((row["difference"] for row in rows[name] if "missing" not in row), default=None),
        }
        for name, count in stored["types"].items()
    ]


def main() -> None:
    """Print the table, and store it where asked."""
    import torch

    parser = argparse.ArgumentParser(description="Count the layers of public models that have a counterpart in Flax.")
    parser.add_argument("words", nargs="*", help="only models whose name has one of these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store it")
    options = parser.parse_args()
    if not hasattr(torch.ops.torchvision, "nms"):  # a PyTorch without CUDA knows no such operation, and none is called
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    stored = report(coverage(tuple(options.words)))
    for entry in by_type(stored):
        counterpart = entry["flax"] or "none"
        missing = f", {len(entry['missing'])} without: {entry['missing'][0]}" if entry["missing"] else ""
        print(f"{entry['models']:4} {entry['type']:24} {entry['settings']:3} settings, {counterpart}{missing}")
    for name, missing in stored["incomplete"].items():
        print(f"{name}: {', '.join(missing)}")
    for name, reason in stored["not built"].items():
        print(f"{name}: not built: {reason}")
    print(f"{stored['whole']} of {stored['models']} models are made of layers that all have a counterpart")
    if options.json:
        options.json.parent.mkdir(exist_ok=True)
        options.json.write_text(text_of(stored), encoding="utf-8")


if __name__ == "__main__":
    main()
