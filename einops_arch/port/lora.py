"""LoRA adapters, merged into the weights that they were trained for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Untied
from einops_arch.checkpoints.tensors import DTYPES, FLOATS, Bits
from einops_arch.errors import PortError
from einops_arch.port.folding import Array, Computed
from einops_arch.port.lora_config import config_path, scales
from einops_arch.port.unwrap import common_prefix

__all__ = ["Merged", "is_adapter"]

_PAIR = re.compile(
    r"(?P<name>.+)\.(?:(?P<embedding>lora_embedding_)|lora[_.])(?P<side>A|B|down|up)"
    r"(?:\.(?!weight$)(?P<adapter>\w+))?(?:\.weight)?"
)
_AROUND = ("base_model.model.", "base_model.", "transformer.", "model.", "unet.", "text_encoder.")
"""What stands before the names of the network in an adapter of PEFT or diffusers, or before those of the file."""
_WRAPPERS = 4
"""Wrappers around each other whose names are looked behind."""
_SCALED = re.compile(r"scale|^SCB$|absmax|quant", re.IGNORECASE)
"""What stands beside a weight of few bits that is to be multiplied."""


@dataclass(frozen=True)
class _Change:
    """A product that is added to a weight."""

    down: str
    up: str
    scale: float
    transposed: bool


class Merged(Computed):
    """A checkpoint with an adapter's products added to its weights.

    Args:
        inner: the checkpoint.
        adapter: the file of the adapter, or its folder; `adapter_config.json` beside it says how strong it is.

    Raises:
        PortError: the adapter holds something else, or does not belong to these weights.
        CheckpointError: the adapter or its config cannot be read.
    """

    def __init__(self, inner: Reader, adapter: Path) -> None:
        super().__init__(inner)
        self._adapter = open_checkpoint(adapter)
        try:
            self._changes, self._whole = self._read(adapter)
            self._check(adapter)
        except BaseException:
            self._adapter.close()
            raise
        # What several names share is no longer the same when one of them changes.
        untied = Untied(inner, {*self._changes, *self._whole})
        self.inner, self.untied, self.tensors, self.aliases = untied, untied.untied, untied.tensors, untied.aliases
        config = config_path(adapter)
        self.paths = [*inner.paths, *self._adapter.paths, *([config] if config.exists() else [])]
        others = self._adapter.left_out.items()
        self.left_out = {
            **inner.left_out,
            **{
                f"{name} of the adapter" if name in inner.left_out or inner.has(name) else name: f"{reason} (adapter)"
                for name, reason in others
            },
        }

    @cached_property
    def remarks(self) -> dict[str, str]:
        replaced = dict.fromkeys(self._whole, "replaced by the adapter's")
        return {
            **{
                name: f"the adapter's product merged, {c.scale:g} time" + "s" * (c.scale != 1)
                for name, c in self._changes.items()
            },
            **replaced,
        }

    def compute(self, name: str) -> tuple[Array, Array]:
        old = self.wide(name)
        return old + self._product(self._changes[name], old.shape), old

    def bits(self, name: str) -> Bits:
        if name not in self._whole:
            return super().bits(name)
        source = self._whole[name]
        if self.tensors[name].dtype in FLOATS:
            change = np.abs(self._adapter.read(source).astype("float64") - self.wide(name))
            self.changes[name] = float(change[np.isfinite(change)].max(initial=0.0))
        return self._adapter.bits(self._adapter.aliases.get(source, source))

    def close(self) -> None:
        self._adapter.close()
        super().close()

    def _product(self, change: _Change, shape: tuple[int, ...]) -> Array:
        down, up = (self._adapter.read(part).astype("float64") for part in (change.down, change.up))
        with np.errstate(all="ignore"):
            flat = up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)
            product: Array = change.scale * (flat.T if change.transposed else flat)
        return product.reshape(shape)

    def _read(self, adapter: Path) -> tuple[dict[str, _Change], dict[str, str]]:
        pairs: dict[tuple[str, bool], dict[str, str]] = {}
        whole: dict[str, str] = {}
        strengths: list[str] = []
        problems = []
        _check_single(adapter, self._adapter.names())
        for name in self._adapter.names():
            match = _PAIR.fullmatch(name)
            if match:
                side = {"A": "down", "B": "up"}.get(match["side"], match["side"])
                sides = pairs.setdefault((match["name"], bool(match["embedding"])), {})
                if side in sides:
                    problems.append(f"{name}: that half of the product is there as {sides[side]}, too")
                sides[side] = name
            elif name.endswith(".alpha"):
                strengths.append(name)
            else:
                target = self._target(re.sub(r"\.modules_to_save(\.default)?", "", name), suffix="")
                if target is None:
                    problems.append(f"{name}: neither a part of a LoRA product nor a weight of the file")
                elif target in whole:
                    problems.append(f"{name}: {target} is replaced by {whole[target]}, too")
                else:
                    whole[target] = name
        layers = {f"{layer}.alpha" for layer, _ in pairs}
        problems += [f"{name}: no product is there that is so strong" for name in strengths if name not in layers]
        scale_of = scales(adapter, self._adapter)
        changes: dict[str, _Change] = {}
        for (layer, embedding), sides in pairs.items():
            target = self._target(layer, suffix=".weight")
            if target is None or len(sides) != 2:
                missing = (
                    "the file has no such weight" if target is None else "the other half of its product is missing"
                )
                problems.append(f"{layer}: {missing}")
                continue
            other = changes[target].down if target in changes else whole.get(target)
            if other is not None:
                problems.append(f"{sides['down']}: {target} is changed by {other}, too")
                continue
            misfit = self._misfit(sides)
            if misfit:
                problems.append(misfit)
                continue
            scale, transposed = scale_of(layer, self._adapter.info(sides["down"]).shape[0])
            changes[target] = _Change(sides["down"], sides["up"], scale, transposed or embedding)
        if not changes and not problems:
            problems.append("it holds no product of LoRA")
        _raise(adapter, problems)
        return changes, whole

    def _misfit(self, sides: Mapping[str, str]) -> str:
        """What is wrong with the halves of a product, whatever they are added to."""
        for name in sides.values():
            info = self._adapter.info(name)
            if info.dtype not in FLOATS:
                return f"{name}: expected floating-point numbers, received {info.dtype}"
            if not info.shape or not info.size:
                return f"{name}: expected a rank and a size of at least 1, received shape {info.shape}"
        return ""

    def _target(self, layer: str, suffix: str) -> str | None:
        """The name in the file of a layer of the adapter, behind whatever wrappers all names of the file have.

        Raises:
            PortError: without what stands before it, it is that of several.
        """
        forms = [layer, *(layer.removeprefix(prefix) for prefix in _AROUND if layer.startswith(prefix))]
        forms += [form.removeprefix(prefix) for form in forms for prefix in _AROUND if form.startswith(prefix)]
        for names in self._bare:
            if known := next((names[f"{form}{suffix}"] for form in forms if f"{form}{suffix}" in names), None):
                return known
            for form in forms:
                longer = {f"{prefix}{form}{suffix}": None for prefix in _AROUND}
                several = [names[name] for name in longer if name in names]
                if len(several) > 1:
                    only = f"--only {several[0].partition('.')[0]}. (only=)"
                    raise PortError(
                        f"{layer}: expected one weight that it belongs to, received {' and '.join(several)}; likely "
                        f"fix: {only}, or their beginnings in the names of the adapter"
                    )
                if several:
                    return several[0]
        return None

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.inner.names())

    @cached_property
    def _bare(self) -> list[dict[str, str]]:
        """The names by what is left of them without the first parts that all have, one part less each time."""
        bare = [{name: name for name in self.inner.names()}]
        while len(bare) <= _WRAPPERS and (prefix := common_prefix(bare[-1])):
            bare.append({name.removeprefix(prefix): whole for name, whole in bare[-1].items()})
        return bare

    def _check(self, adapter: Path) -> None:
        problems = []
        for name, change in self._changes.items():
            info = self.inner.info(name)
            shape = info.shape
            down, up = (self._adapter.info(part).shape for part in (change.down, change.up))
            inside = math.prod(down[1:])
            flat = (inside, up[0]) if change.transposed else (up[0], inside)
            if down[0] != math.prod(up[1:]) or len(up) < 2 or (*shape[:1], math.prod(shape[1:])) != flat:
                problems.append(f"{name}: expected a product of shape {shape}, received {up} by {down}")
            if info.dtype not in FLOATS or info.dtype == "float8_e8m0fnu":
                problems.append(f"{name}: expected floating-point numbers to add to, received {info.dtype}")
            elif DTYPES[info.dtype] == 1 and (beside := self._scale_beside(name)):
                problems.append(f"{name}: expected the weight itself, received {info.dtype} to multiply with {beside}")
        for name, source in self._whole.items():
            old, new = self.inner.info(name), self._adapter.info(source)
            if old.shape != new.shape:
                problems.append(f"{name}: expected shape {old.shape}, received {new.shape}")
            if old.dtype != new.dtype:
                problems.append(
                    f"{name}: expected {old.dtype}, which the file has, received {new.dtype}: what takes its place is "
                    "moved, not rounded"
                )
        _raise(adapter, problems)

    def _scale_beside(self, name: str) -> str | None:
        """What a weight of few bits is multiplied with."""
        module = name.rpartition(".")[0]
        beside = (other for other in self._names if other != name and other.rpartition(".")[0] == module)
        return next((other for other in sorted(beside) if _SCALED.search(other.rpartition(".")[2])), None)


def _check_single(adapter: Path, names: Iterable[str]) -> None:
    """Refuse several adapters in one file: nothing says which of them is meant."""
    several = sorted({match["adapter"] or "default" for name in names if (match := _PAIR.fullmatch(name))})
    if len(several) > 1:
        fix = "likely fix: a file of one, as PEFT's save_pretrained writes it"
        raise PortError(f"{adapter}: expected one adapter, received {', '.join(several)}; {fix}")


def _raise(adapter: Path, problems: list[str]) -> None:
    if problems:
        raise PortError(f"{adapter}: {counted(len(problems), 'problem')}", *problems)


def is_adapter(names: Mapping[str, Any]) -> bool:
    """Whether the names are those of an adapter.

    >>> is_adapter({"base_model.model.fc.lora_A.weight": 0})
    True
    """
    return any(_PAIR.fullmatch(name) for name in names)
