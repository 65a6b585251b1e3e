"""Public weights: which of our networks a folder of the Hugging Face hub holds, told from its `config.json`.

Two libraries lay out folders there: transformers, whose config says `model_type`, and timm, whose config says
`architecture`. What their configs can say and ours cannot is an error, never another network.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from einops_arch.architectures import get, names
from einops_arch.architectures.config import Config
from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.architectures.vit import ViTConfig
from einops_arch.errors import CheckpointError, suggestion
from einops_arch.port.models.renames import AS_THEY_ARE, Naming, Rename

__all__ = ["GPT2_BASE", "GPT2_NAMES", "Recognised", "VIT_FILES", "VIT_NAMES", "recognise", "vit_naming"]


@dataclass(frozen=True)
class Recognised:
    """What a folder of public weights holds.

    Args:
        architecture: the name of the architecture.
        config: its config.
        naming: the names in the folder's files.
        why: what it was recognised by.
    """

    architecture: str
    config: Config
    naming: Naming
    why: str


def recognise(fields: Mapping[str, Any], tensors: Collection[str]) -> Recognised:
    """Tell the network from a `config.json` of transformers or timm, and from the names of its tensors.

    Args:
        fields: what the file says.
        tensors: the names of the tensors beside it.

    Raises:
        CheckpointError: it is no such file, no network of ours, or one that differs from ours in what it computes.
        ConfigError: a size is out of range.

    >>> found = recognise({"model_type": "gpt2", "n_layer": 24, "n_embd": 1024, "n_head": 16}, ["h.0.ln_1.weight"])
    >>> found.config == GPT2Config.gpt2_medium(), found.why
    (True, "model_type='gpt2' of transformers, 24 layers of 1024")
    """
    kind, name = fields.get("model_type"), fields.get("architecture")
    if isinstance(kind, str):
        if kind not in _TRANSFORMERS:
            raise CheckpointError(
                f"config.json: model_type={kind!r} is none of ours: {suggestion(kind, _TRANSFORMERS)}"
            )
        return _TRANSFORMERS[kind](fields, tensors)
    if isinstance(name, str):
        return _timm(name, fields)
    raise CheckpointError(
        "config.json: expected model_type, as transformers writes it, or architecture, as timm does, "
        f"received {', '.join(map(repr, fields)) or 'nothing'}"
    )


# transformers


def _vit_rows(layers: str, attention: Mapping[str, str]) -> tuple[Rename, ...]:
    parts = {name: f"{layers}.{{}}.{other}.*" for name, other in attention.items()}
    return (
        Rename("vit.embeddings.cls_token", "cls_token"),
        Rename("vit.embeddings.position_embeddings", "pos_embed"),
        Rename("vit.embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
        Rename((parts["query"], parts["key"], parts["value"]), "blocks.{}.attn.qkv.*"),
        Rename(parts["output"], "blocks.{}.attn.proj.*"),
        Rename(f"{layers}.{{}}.layernorm_before.*", "blocks.{}.norm1.*"),
        Rename(f"{layers}.{{}}.layernorm_after.*", "blocks.{}.norm2.*"),
        Rename(parts["fc1"], "blocks.{}.mlp.fc1.*"),
        Rename(parts["fc2"], "blocks.{}.mlp.fc2.*"),
        Rename("vit.layernorm.*", "norm.*"),
        Rename("classifier.*", "head.*"),
    )


_NO_PART = ("vit.pooler.**", "vit.embeddings.mask_token")

VIT_NAMES = Naming(
    _vit_rows(
        "vit.layers",
        {
            "query": "attention.q_proj",
            "key": "attention.k_proj",
            "value": "attention.v_proj",
            "output": "attention.o_proj",
            "fc1": "mlp.fc1",
            "fc2": "mlp.fc2",
        },
    ),
    _NO_PART,
)
"""The names in `state_dict()` of transformers' `ViTForImageClassification`, from version 5 on."""

VIT_FILES = Naming(
    _vit_rows(
        "vit.encoder.layer",
        {
            "query": "attention.attention.query",
            "key": "attention.attention.key",
            "value": "attention.attention.value",
            "output": "attention.output.dense",
            "fc1": "intermediate.dense",
            "fc2": "output.dense",
        },
    ),
    _NO_PART,
)
"""The names in its files, which are those of earlier versions."""

_MASKS = ("**.attn.bias", "**.attn.masked_bias")
_TIE = (("lm_head.weight", "transformer.wte.weight"),)

GPT2_NAMES = Naming(ignored=_MASKS, ties=_TIE)
"""The names of transformers' `GPT2LMHeadModel` are ours; files leave the tied layer out, old ones hold causal masks."""

GPT2_BASE = Naming(
    (
        Rename("wte.*", "transformer.wte.*"),
        Rename("wpe.*", "transformer.wpe.*"),
        Rename("h.{}.**", "transformer.h.{}.**"),
        Rename("ln_f.*", "transformer.ln_f.*"),
    ),
    _MASKS,
    _TIE,
)
"""The names of `GPT2Model`, which OpenAI's weights on the hub have."""


def vit_naming(tensors: Collection[str]) -> Naming:
    """The naming of a ViT of transformers: of a file or of `state_dict()`, with a classifier around it or without."""
    naming = VIT_FILES if any("encoder.layer." in name for name in tensors) else VIT_NAMES
    if any(name.startswith("vit.") for name in tensors):
        return naming

    def bare(name: str) -> str:
        return name.removeprefix("vit.")

    rows = tuple(
        Rename(bare(row.theirs) if isinstance(row.theirs, str) else tuple(map(bare, row.theirs)), row.ours)
        for row in naming.rows
    )
    return Naming(rows, tuple(map(bare, naming.ignored)), naming.ties)


def _vit(fields: Mapping[str, Any], tensors: Collection[str]) -> Recognised:
    _require(fields, {"hidden_act": ("gelu",)})
    classifies = any(name.startswith("classifier.") for name in tensors)
    config = ViTConfig(
        in_channels=fields.get("num_channels", 3),
        image_size=_pair(fields, "image_size", 224),
        patch_size=_square(fields, "patch_size", 16),
        embedding=fields.get("hidden_size", 768),
        layers=fields.get("num_hidden_layers", 12),
        heads=fields.get("num_attention_heads", 12),
        hidden=fields.get("intermediate_size", 3072),
        classes=len(fields.get("id2label") or range(2)) if classifies else 0,
        qkv_bias=fields.get("qkv_bias", True),
        epsilon=fields.get("layer_norm_eps", 1e-12),
        antialias=False,
        dropout=fields.get("hidden_dropout_prob", 0.0),
        attention_dropout=fields.get("attention_probs_dropout_prob", 0.0),
    )
    return Recognised("vit", config, vit_naming(tensors), _why(fields, config.layers, config.embedding))


_GPT2 = {
    # All the same function, the tanh form.
    "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def _gpt2(fields: Mapping[str, Any], tensors: Collection[str]) -> Recognised:
    _require(fields, _GPT2)
    embedding = fields.get("n_embd", 768)
    config = GPT2Config(
        vocabulary=fields.get("vocab_size", 50257),
        positions=fields.get("n_positions", 1024),
        embedding=embedding,
        layers=fields.get("n_layer", 12),
        heads=fields.get("n_head", 12),
        hidden=fields.get("n_inner") or 4 * embedding,
        epsilon=fields.get("layer_norm_epsilon", 1e-5),
        tied=fields.get("tie_word_embeddings", True),
        dropout=fields.get("resid_pdrop", 0.1),
        embedding_dropout=fields.get("embd_pdrop", 0.1),
        attention_dropout=fields.get("attn_pdrop", 0.1),
    )
    around = any(name.startswith("transformer.") for name in tensors)
    naming = GPT2_NAMES if around else GPT2_BASE
    naming = naming if config.tied else dataclasses.replace(naming, ties=())
    return Recognised("gpt2", config, naming, _why(fields, config.layers, config.embedding))


_TRANSFORMERS: dict[str, Callable[[Mapping[str, Any], Collection[str]], Recognised]] = {"vit": _vit, "gpt2": _gpt2}


def _why(fields: Mapping[str, Any], layers: int, embedding: int) -> str:
    return f"model_type={fields['model_type']!r} of transformers, {layers} layers of {embedding}"


# timm

_VIT = re.compile(r"vit_(tiny|small|base|large)_patch(\d+)(?:(?<=base_patch16)(_gap))?_(\d+)")

_NO_OTHER = {
    "qk_norm": (False,),
    "init_values": (None,),
    "no_embed_class": (False,),
    "reg_tokens": (0,),
    "pre_norm": (False,),
    "final_norm": (True,),
    "proj_bias": (True,),
    "pos_embed": ("learn",),
    "pool_include_prefix": (False,),
    "drop_rate": (0, 0.0),
    "patch_drop_rate": (0, 0.0),
    "drop_path_rate": (0, 0.0),
    "dynamic_img_size": (False, True),
    "dynamic_img_pad": (False,),
    "fix_init": (False, True),
    "weight_init": ("", "skip", "reset", "jax", "jax_nlhb", "moco"),
}
"""What timm's ViT takes and ours has no field for: the values with which it is the same network."""


def _timm(name: str, fields: Mapping[str, Any]) -> Recognised:
    why = f"architecture={name!r} of timm"
    if found := _VIT.fullmatch(name):
        size, patch, gap, side = found.groups()
        return Recognised("vit", _timm_vit(fields, size, int(patch), int(side), gap=bool(gap)), AS_THEY_ARE, why)
    for architecture in _TIMM_NAMES:
        if architecture in names() and name in get(architecture).config.PRESETS:
            config = get(architecture).config.preset(name)
            given = {field: value for field, value in _arguments(fields).items() if field != "global_pool"}
            if unknown := sorted(given.keys() - _TIMM_FIELDS):
                raise CheckpointError(f"config.json: {architecture} has no field for model_args {', '.join(unknown)}")
            changes = {_TIMM_FIELDS[field]: value for field, value in given.items()}
            return Recognised(architecture, config.from_dict({**config.to_dict(), **changes}), AS_THEY_ARE, why)
    known = [
        *ViTConfig.PRESETS,
        *(preset for each in _TIMM_NAMES if each in names() for preset in get(each).config.PRESETS),
    ]
    known = [preset for preset in known if not preset.startswith("tiny")]
    raise CheckpointError(f"config.json: architecture={name!r} of timm is none of ours: {suggestion(name, known)}")


_TIMM_NAMES = ("resnet",)
"""Architectures whose presets, parameters and layouts timm calls as we do."""

_TIMM_FIELDS = {"num_classes": "classes", "in_chans": "in_channels"}


def _arguments(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(fields.get("model_args") or {})
    for field in ("num_classes", "global_pool"):
        if field in fields:
            given.setdefault(field, fields[field])
    return given


def _timm_vit(fields: Mapping[str, Any], size: str, patch: int, side: int, *, gap: bool) -> ViTConfig:
    given = _arguments(fields)
    trained = (fields.get("pretrained_cfg") or {}).get("input_size") or (3, side, side)
    base = ViTConfig.vit_base_patch16_gap_224() if gap else ViTConfig.of_size(size, patch, side)
    embedding = given.pop("embed_dim", base.embedding)
    pool = {"token": "token", "avg": "mean"}.get(given.pop("global_pool", "avg" if gap else "token"))
    norm_after_pool = given.pop("fc_norm", None)
    if norm_after_pool is None:
        norm_after_pool = pool == "mean" and not gap
    config = {
        "in_channels": given.pop("in_chans", trained[0]),
        "image_size": _pair({"img_size": given.pop("img_size", tuple(trained[1:]))}, "img_size", side),
        "patch_size": _square({"patch_size": given.pop("patch_size", patch)}, "patch_size", patch),
        "embedding": embedding,
        "layers": given.pop("depth", base.layers),
        "heads": given.pop("num_heads", base.heads),
        "hidden": int(embedding * given.pop("mlp_ratio", 4)),
        "classes": given.pop("num_classes", 1000),
        "class_token": given.pop("class_token", not gap),
        "pool": pool,
        "norm_after_pool": norm_after_pool,
        "qkv_bias": given.pop("qkv_bias", True),
        "dropout": given.pop("proj_drop_rate", 0.0),
        "attention_dropout": given.pop("attn_drop_rate", 0.0),
    }
    if given.pop("pos_drop_rate", config["dropout"]) != config["dropout"]:
        raise CheckpointError(
            "config.json: expected pos_drop_rate equal to proj_drop_rate, as ViTConfig has one dropout"
        )
    for field, value in given.items():
        if field not in _NO_OTHER or value not in _NO_OTHER[field]:
            raise CheckpointError(f"config.json: ViTConfig has no field for {field}={value!r} in model_args")
    return ViTConfig.from_dict(config)


# Both


def _require(fields: Mapping[str, Any], choices: Mapping[str, tuple[Any, ...]]) -> None:
    """Where a field is left out it has the first of the values with which the network is ours."""
    for field, accepted in choices.items():
        received = fields.get(field, accepted[0])
        if received not in accepted:
            raise CheckpointError(
                f"config.json: expected {field} to be {' or '.join(map(repr, accepted))}, which our network computes, "
                f"received {received!r}"
            )


def _pair(fields: Mapping[str, Any], field: str, default: int) -> tuple[int, int]:
    value = fields.get(field, default)
    if isinstance(value, list | tuple) and len(value) == 2:
        return value[0], value[1]
    if isinstance(value, int):
        return value, value
    raise CheckpointError(f"config.json: expected {field} to be one number or two, received {value!r}")


def _square(fields: Mapping[str, Any], field: str, default: int) -> int:
    one, other = _pair(fields, field, default)
    if one != other:
        raise CheckpointError(f"config.json: expected {field} to be square, received {one} by {other}")
    return one
