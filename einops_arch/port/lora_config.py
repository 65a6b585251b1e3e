"""How strongly a LoRA adapter was trained to be added, by PEFT's config beside it or by numbers among its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import exists
from einops_arch.checkpoints.metadata import read_json
from einops_arch.checkpoints.reader import Reader
from einops_arch.errors import PortError
from einops_arch.port.models.fields import ANY, Fields

__all__ = ["ScaleOf", "config_path", "scales"]

ScaleOf: TypeAlias = Callable[[str, int], tuple[float, bool]]
"""By the name of a layer and the rank of its product: how often it is added, and whether it lies transposed."""

_HARMLESS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        (
            *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "r"),
            *("target_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "lora_dropout"),
            *("exclude_modules", "megatron_core", "runtime_config", "eva_config"),
            *("peft_version", "ensure_weight_tying", "qalora_group_size"),
        ),
        ANY,
    ),
    "peft_type": ("LORA",),
    # PiSSA, OLoRA, LoftQ and CorDA change the weights of the base before they train, and the file has the old ones.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
    **dict.fromkeys(("loftq_config", "corda_config", "lora_ga_config"), (None, {})),
    **dict.fromkeys(("use_dora", "lora_bias", "use_qalora"), (False, None)),
    **dict.fromkeys(("layer_replication", "megatron_config", "trainable_token_indices", "arrow_config"), (None,)),
    "alora_invocation_tokens": (None,),
    "target_parameters": (None, []),
    "bias": ("none",),
}
"""Fields of PEFT that change nothing of the merged weight, with the values for which that is so."""


def config_path(adapter: Path) -> Path:
    """Where the config of an adapter is, if it has one."""
    return (adapter.parent if adapter.is_file() else adapter) / "adapter_config.json"


def scales(adapter: Path, tensors: Reader) -> ScaleOf:
    """How strong the product of each layer is.

    Args:
        adapter: the file or folder of the adapter.
        tensors: what is in it.

    Raises:
        PortError: a number is none that a product can be multiplied with; from the function, too, where nothing says
            how strong a product is.
        CheckpointError: the config cannot be read, or says more than a merge does.
    """
    path = config_path(adapter)
    if exists(path):
        return _configured(path)
    names = set(tensors.names())

    def stated(layer: str, rank: int) -> tuple[float, bool]:
        name = f"{layer}.alpha"
        if name not in names:
            raise PortError(
                f"{adapter}: nothing says how strong the product is for {layer}; likely fix: {path.name} beside it, as "
                "PEFT writes it"
            )
        shape = tensors.info(name).shape
        if math.prod(shape) != 1:
            raise PortError(f"{adapter}: {name}: expected one number, received shape {shape}")
        return _finite(tensors.read(name).reshape(()).item(), f"{adapter}: {name}") / rank, False

    return stated


def _configured(path: Path) -> ScaleOf:
    fields = Fields(read_json(path), "a merge of LoRA", file=str(path))
    alpha = _finite(fields.number("lora_alpha", default=8), f"{path}: lora_alpha")
    root = fields.flag("use_rslora", default=False)
    transposed = fields.flag("fan_in_fan_out", default=False)
    alphas, _ = fields.take("alpha_pattern", default={}), fields.take("rank_pattern")
    fields.finish(_HARMLESS)
    if not isinstance(alphas or {}, Mapping):
        raise PortError(
            f"{path}: expected a number by the name of a layer under alpha_pattern, received {brief(alphas)}"
        )
    own: dict[str, float] = {}
    for key, value in (alphas or {}).items():
        if not re.fullmatch(r"[\w.]+", key):
            raise PortError(f"{path}: expected names of layers under alpha_pattern, received {brief(key)}")
        own[key] = _finite(value, f"{path}: alpha_pattern: {brief(key)}")

    def scale(layer: str, rank: int) -> tuple[float, bool]:
        # PEFT takes a key for a regular expression, in which a dot is any character.
        mine = next((value for key, value in own.items() if re.search(rf"(^|\.){key}$", layer)), alpha)
        return mine / (rank**0.5 if root else rank), transposed

    return scale


def _finite(value: Any, where: str) -> float:
    try:
        number = float(value) if type(value) in {int, float} else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PortError(f"{where}: expected a finite number, received {brief(value)}")
    return number
