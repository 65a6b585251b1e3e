"""LoRA adapters, merged into the weights that they were trained for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import exists
from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.metadata import read_json
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.wrappers import Untied
from einops_arch.errors import PortError
from einops_arch.port.folding import Array, Computed
from einops_arch.port.models.fields import ANY, Fields

__all__ = ["Merged", "is_adapter"]

_PAIR = re.compile(
    r"(?P<name>.+)\.(?:(?P<embedding>lora_embedding_)|lora[_.])(?P<side>A|B|down|up)(?:\.default)?(?:\.weight)?"
)
_AROUND = ("base_model.model.", "base_model.", "transformer.", "model.", "unet.", "text_encoder.")
"""What stands before the names of the network in an adapter of PEFT or diffusers, or before those of the file."""
_CONFIG = "adapter_config.json"
_HARMLESS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        (
            *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_type", "r"),
            *("target_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "lora_dropout"),
            *("init_lora_weights", "exclude_modules", "megatron_core", "runtime_config", "eva_config", "loftq_config"),
            *("peft_version", "corda_config", "lora_ga_config", "ensure_weight_tying", "qalora_group_size"),
        ),
        ANY,
    ),
    **dict.fromkeys(("use_dora", "lora_bias", "use_qalora"), (False, None)),
    **dict.fromkeys(("layer_replication", "megatron_config", "trainable_token_indices", "arrow_config"), (None,)),
    "alora_invocation_tokens": (None,),
    "target_parameters": (None, []),
    "bias": ("none",),
}
"""Fields of PEFT that change nothing of the merged weight, with the values for which that is so."""


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
        adapter: the file of the adapter; `adapter_config.json` beside it says how strong it is.

    Raises:
        PortError: the adapter holds something else, or does not belong to these weights.
        CheckpointError: the adapter or its config cannot be read.
    """

    def __init__(self, inner: Reader, adapter: Path) -> None:
        super().__init__(Untied(inner) if inner.aliases else inner)
        self.tensors, self.aliases = dict(self.inner.tensors), {}
        self._adapter = open_checkpoint(adapter)
        try:
            self._changes, self._whole = self._read(adapter)
            self._check(adapter)
        except BaseException:
            self._adapter.close()
            raise

    @cached_property
    def remarks(self) -> dict[str, str]:
        replaced = dict.fromkeys(self._whole, "replaced by the adapter's")
        return {
            **{name: f"the adapter's product merged, {c.scale:g} times" for name, c in self._changes.items()},
            **replaced,
        }

    def compute(self, name: str) -> tuple[Array, Array]:
        old = self.wide(name)
        if name in self._whole:
            return self._adapter.read(self._whole[name]).astype("float64"), old
        return old + self._product(self._changes[name], old.shape), old

    def close(self) -> None:
        self._adapter.close()
        super().close()

    def _product(self, change: _Change, shape: tuple[int, ...]) -> Array:
        down, up = (self._adapter.read(part).astype("float64") for part in (change.down, change.up))
        flat = up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)
        product: Array = change.scale * (flat.T if change.transposed else flat)
        if product.size != np.prod(shape) or product.shape[0] != shape[0]:
            raise PortError(f"{change.up}: a product of {product.shape} does not belong to shape {shape}")
        shaped: Array = product.reshape(shape)
        return shaped

    def _read(self, adapter: Path) -> tuple[dict[str, _Change], dict[str, str]]:
        names = self._adapter.names()
        pairs: dict[tuple[str, bool], dict[str, str]] = {}
        whole: dict[str, str] = {}
        problems = []
        for name in names:
            match = _PAIR.fullmatch(name)
            if match:
                side = {"A": "down", "B": "up"}.get(match["side"], match["side"])
                pairs.setdefault((match["name"], bool(match["embedding"])), {})[side] = name
            elif not name.endswith(".alpha"):
                target = self._target(re.sub(r"\.modules_to_save(\.default)?", "", name), suffix="")
                if target is None:
                    problems.append(f"{name}: neither a part of a LoRA product nor a weight of the file")
                else:
                    whole[target] = name
        scale_of = self._scales(adapter)
        changes = {}
        for (layer, embedding), sides in pairs.items():
            target = self._target(layer, suffix=".weight")
            if target is None or len(sides) != 2:
                missing = (
                    "the file has no such weight" if target is None else "the other half of its product is missing"
                )
                problems.append(f"{layer}: {missing}")
                continue
            rank = self._adapter.info(sides["down"]).shape[0]
            scale, transposed = scale_of(layer, rank)
            changes[target] = _Change(sides["down"], sides["up"], scale, transposed or embedding)
        if not changes and not problems:
            problems.append("it holds no product of LoRA")
        if problems:
            raise PortError("\n  ".join([f"{adapter}: {len(problems)} problems", *problems]))
        return changes, whole

    def _scales(self, adapter: Path) -> Callable[[str, int], tuple[float, bool]]:
        """How strong the product of a layer is, and whether it lies transposed."""
        names = set(self._adapter.names())
        path = adapter.parent / _CONFIG if adapter.is_file() else adapter / _CONFIG
        if not exists(path):

            def stated(layer: str, rank: int) -> tuple[float, bool]:
                if f"{layer}.alpha" not in names:
                    raise PortError(
                        f"{adapter}: nothing says how strong the product is; likely fix: {_CONFIG} beside it, as PEFT "
                        "writes it"
                    )
                return float(self._adapter.read(f"{layer}.alpha")) / rank, False

            return stated
        fields = Fields(read_json(path), "a merge of LoRA", f" in {_CONFIG}")
        alpha = fields.number("lora_alpha", default=8)
        root = fields.flag("use_rslora", default=False)
        transposed = fields.flag("fan_in_fan_out", default=False)
        alphas, _ = fields.take("alpha_pattern", default={}), fields.take("rank_pattern")
        fields.finish(_HARMLESS)
        own: Mapping[str, float] = alphas if isinstance(alphas, dict) else {}
        for key, value in own.items():
            if not re.fullmatch(r"[\w.]+", key) or type(value) not in {int, float}:
                raise PortError(
                    f"{path}: expected names of layers and numbers under alpha_pattern, received {brief(key)}"
                )

        def scale(layer: str, rank: int) -> tuple[float, bool]:
            mine = next((value for key, value in own.items() if f".{layer}".endswith(f".{key}")), alpha)
            return mine / (rank**0.5 if root else rank), transposed

        return scale

    def _target(self, layer: str, suffix: str) -> str | None:
        """The name in the file of a layer of the adapter."""
        forms = [layer, *(layer.removeprefix(prefix) for prefix in _AROUND if layer.startswith(prefix))]
        forms += [form.removeprefix(prefix) for form in forms for prefix in _AROUND if form.startswith(prefix)]
        forms += [f"{prefix}{form}" for form in forms for prefix in _AROUND]
        return next((f"{form}{suffix}" for form in forms if f"{form}{suffix}" in self.tensors), None)

    def _check(self, adapter: Path) -> None:
        problems = []
        for name, change in self._changes.items():
            shape, (down, up) = (
                self.tensors[name].shape,
                (self._adapter.info(part).shape for part in (change.down, change.up)),
            )
            flat = (up[0], int(np.prod(down[1:]))) if not change.transposed else (int(np.prod(down[1:])), up[0])
            if down[0] != (up[1] if len(up) > 1 else -1) or (shape[0], int(np.prod(shape[1:]))) != flat:
                problems.append(f"{name}: expected a product of shape {shape}, received {up} by {down}")
        for name, source in self._whole.items():
            if self._adapter.info(source).shape != self.tensors[name].shape:
                received = self._adapter.info(source).shape
                problems.append(f"{name}: expected shape {self.tensors[name].shape}, received {received}")
        if problems:
            raise PortError("\n  ".join([f"{adapter}: {len(problems)} problems", *problems]))


def is_adapter(names: Mapping[str, Any]) -> bool:
    """Whether the names are those of an adapter.

    >>> is_adapter({"base_model.model.fc.lora_A.weight": 0})
    True
    """
    return any(_PAIR.fullmatch(name) for name in names)
