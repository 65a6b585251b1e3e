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

from einops_arch._text import brief
from einops_arch.architectures import get, names
from einops_arch.architectures.config import Config
from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.architectures.resnet import ResNetConfig
from einops_arch.architectures.vit import ViTConfig
from einops_arch.errors import CheckpointError, suggestion
from einops_arch.port.models.fields import ANY, Fields
from einops_arch.port.models.renames import AS_THEY_ARE, Naming, Rename

__all__ = ["GPT2_BASE", "GPT2_NAMES", "Recognized", "VIT_FILES", "VIT_NAMES", "recognize", "vit_naming"]


@dataclass(frozen=True)
class Recognized:
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


def recognize(fields: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    """Tell the network from a `config.json` of transformers or timm, and from the names of its tensors.

    Args:
        fields: what the file says.
        tensors: the names of the tensors beside it.

    Raises:
        CheckpointError: it is no such file, no network of ours, or one that differs from ours in what it computes.
        ConfigError: a size is out of range.

    >>> gpt2 = recognize({"model_type": "gpt2", "n_layer": 24, "n_embd": 1024, "n_head": 16}, ["h.0.ln_1.weight"])
    >>> gpt2.config == GPT2Config.gpt2_medium(), gpt2.why
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


_NO_PART = {
    "vit.pooler.**": "the pooler of transformers, which this network does not have",
    "vit.embeddings.mask_token": "it stands for hidden patches in pretraining, which this network does not have",
}

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

_MASKS = dict.fromkeys(
    ("**.attn.bias", "**.attn.masked_bias"), "a causal mask, which earlier versions of transformers kept as a buffer"
)
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
        Rename(bare(row.source) if isinstance(row.source, str) else tuple(map(bare, row.source)), row.target)
        for row in naming.rows
    )
    return Naming(rows, {bare(name): reason for name, reason in _NO_PART.items()}, naming.ties)


_OF_EVERY_MODEL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        (
            # Where it comes from, and what the numbers of its outputs are called.
            *("_name_or_path", "transformers_version", "architectures", "model_type", "id2label", "label2id"),
            *("num_labels", "_num_labels", "problem_type", "finetuning_task", "task_specific_params"),
            # How values are kept, computed and given back.
            *("dtype", "torch_dtype", "return_dict", "output_hidden_states", "output_attentions", "use_cache"),
            *("chunk_size_feed_forward", "gradient_checkpointing", "torchscript", "use_bfloat16", "tf_legacy_loss"),
            *("_attn_implementation", "attn_implementation", "_attn_implementation_autoset"),
            # How it begins, and how text is made with it.
            *("initializer_range", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "prefix"),
            *("decoder_start_token_id", "tokenizer_class", "max_length", "min_length", "do_sample", "early_stopping"),
            *("num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p"),
            *("repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
            *("bad_words_ids", "num_return_sequences", "output_scores", "return_dict_in_generate"),
            *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "suppress_tokens"),
            *("exponential_decay_length_penalty", "begin_suppress_tokens"),
        ),
        ANY,
    ),
    "is_encoder_decoder": (False,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
}
"""Fields of every config of transformers: the values with which the network computes the same."""

_OF_VIT: dict[str, tuple[Any, ...]] = {
    **_OF_EVERY_MODEL,
    # Of the pooler and of pretraining, which are no part of it; and of words, which it has not.
    **dict.fromkeys(("pooler_output_size", "pooler_act", "encoder_stride", "tie_word_embeddings"), ANY),
}

_OF_GPT2: dict[str, tuple[Any, ...]] = {
    **_OF_EVERY_MODEL,
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    # The same product, in float32 where it would be in less.
    "reorder_and_upcast_attn": ANY,
    # Of other last layers, and of fields that nothing reads any more.
    **dict.fromkeys(("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"), ANY),
    **dict.fromkeys(("summary_first_dropout", "n_ctx", "n_special", "predict_special_tokens"), ANY),
}


def _vit(values: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    fields = Fields(values, "ViTConfig")
    fields.one_of("hidden_act", {"gelu": True}, "gelu")
    classifies = any(name.startswith("classifier.") for name in tensors)
    config = ViTConfig(
        in_channels=fields.whole("num_channels", default=3),
        image_size=fields.pair("image_size", (224, 224)),
        patch_size=fields.square("patch_size", 16),
        embedding=fields.whole("hidden_size", default=768),
        layers=fields.whole("num_hidden_layers", default=12),
        heads=fields.whole("num_attention_heads", default=12),
        hidden=fields.whole("intermediate_size", default=3072),
        classes=_classes(values) if classifies else 0,
        qkv_bias=fields.flag("qkv_bias", default=True),
        epsilon=fields.number("layer_norm_eps", default=1e-12),
        antialias=False,
        dropout=fields.number("hidden_dropout_prob", default=0.0),
        attention_dropout=fields.number("attention_probs_dropout_prob", default=0.0),
    )
    fields.finish(_OF_VIT)
    return Recognized("vit", config, vit_naming(tensors), _why(values, config.layers, config.embedding))


def _classes(values: Mapping[str, Any]) -> int:
    labels = values.get("id2label")
    count = values.get("num_labels", values.get("_num_labels", 2))
    return len(labels) if isinstance(labels, dict) and labels else count if type(count) is int else 2


# All the same function, the tanh form.
_TANH_GELU = {"gelu_new": True, "gelu_pytorch_tanh": True, "gelu_fast": True}


def _gpt2(values: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    fields = Fields(values, "GPT2Config")
    fields.one_of("activation_function", _TANH_GELU, "gelu_new")
    embedding = fields.whole("n_embd", "hidden_size", default=768)
    hidden = fields.take("n_inner")
    config = GPT2Config(
        vocabulary=fields.whole("vocab_size", default=50257),
        positions=fields.whole("n_positions", "max_position_embeddings", default=1024),
        embedding=embedding,
        layers=fields.whole("n_layer", "num_hidden_layers", default=12),
        heads=fields.whole("n_head", "num_attention_heads", default=12),
        hidden=4 * embedding if hidden is None else hidden,
        epsilon=fields.number("layer_norm_epsilon", default=1e-5),
        tied=fields.flag("tie_word_embeddings", default=True),
        dropout=fields.number("resid_pdrop", default=0.1),
        embedding_dropout=fields.number("embd_pdrop", default=0.1),
        attention_dropout=fields.number("attn_pdrop", default=0.1),
    )
    fields.finish(_OF_GPT2)
    around = any(name.startswith("transformer.") for name in tensors)
    naming = GPT2_NAMES if around else GPT2_BASE
    naming = naming if config.tied else dataclasses.replace(naming, ties=())
    return Recognized("gpt2", config, naming, _why(values, config.layers, config.embedding))


_TRANSFORMERS: dict[str, Callable[[Mapping[str, Any], Collection[str]], Recognized]] = {"vit": _vit, "gpt2": _gpt2}


def _why(fields: Mapping[str, Any], layers: int, embedding: int) -> str:
    return f"model_type={fields['model_type']!r} of transformers, {layers} layers of {embedding}"


# timm

_VIT = re.compile(r"vit_(tiny|small|base|large)_patch(\d{1,4})(?:(?<=base_patch16)(_gap))?_(\d{1,5})")

_PREPARED = (
    # Where it comes from.
    *("url", "file", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag", "custom_load", "license"),
    *("description", "origin_url", "paper_name", "paper_ids", "notes"),
    # What images it was trained on and is tested with; `input_size` is used.
    *("test_input_size", "min_input_size", "fixed_input_size", "interpolation", "crop_pct", "test_crop_pct"),
    *("crop_mode", "mean", "std", "pool_size", "test_pool_size"),
    # What its classes are called, and its first and last layers, whose names are known.
    *("label_offset", "label_names", "label_descriptions", "labels", "first_conv", "classifier", "num_features"),
)
"""Fields of timm beside the arguments of the network, which do not change what it computes."""

_TRAINING: dict[str, tuple[Any, ...]] = dict.fromkeys(("drop_rate", "drop_path_rate"), (0,))

_OF_TIMM_VIT: dict[str, tuple[Any, ...]] = {
    **_TRAINING,
    "qk_norm": (False,),
    "scale_attn_norm": (False,),
    "scale_mlp_norm": (False,),
    "init_values": (None,),
    "no_embed_class": (False,),
    "reg_tokens": (0,),
    "pre_norm": (False,),
    "final_norm": (True,),
    "proj_bias": (True,),
    "pos_embed": ("learn",),
    "pool_include_prefix": (False,),
    "patch_drop_rate": (0,),
    "dynamic_img_size": ANY,
    "dynamic_img_pad": (False,),
    "strict_img_size": ANY,
    "fix_init": ANY,
    "weight_init": ANY,
    "embed_norm_layer": (None,),
    "norm_layer": (None,),
    "act_layer": (None, "gelu"),
}
"""What timm's ViT takes and ours has no field for: the values with which it is the same network."""

_OF_TIMM_RESNET: dict[str, tuple[Any, ...]] = {
    **_TRAINING,
    "output_stride": (32,),
    "stem_width": (64,),
    "stem_type": ("",),
    "replace_stem_pool": (False,),
    "block_reduce_first": (1,),
    "down_kernel_size": (1,),
    "avg_down": (False,),
    "act_layer": (None, "relu"),
    "norm_layer": (None, "batchnorm2d"),
    "aa_layer": (None, ""),
    "drop_block_rate": (0,),
    "zero_init_last": ANY,
    "block_args": (None, {}),
}
"""What timm's ResNet takes and ours has no field for: the values with which it is the same network."""


def _timm(name: str, values: Mapping[str, Any]) -> Recognized:
    why = f"architecture={name!r} of timm"
    if match := _VIT.fullmatch(name):
        size, patch, gap, side = match.groups()
        fields = _arguments(values, "ViTConfig", (3, int(side), int(side)))
        return Recognized("vit", _timm_vit(fields, size, int(patch), int(side), gap=bool(gap)), AS_THEY_ARE, why)
    for architecture in _TIMM_NAMES:
        if architecture in names() and name in get(architecture).config.PRESETS:
            config = _timm_resnet(_arguments(values, "ResNetConfig", (3, 224, 224)), ResNetConfig.preset(name))
            return Recognized(architecture, config, AS_THEY_ARE, why)
    known = [
        *ViTConfig.PRESETS,
        *(preset for each in _TIMM_NAMES if each in names() for preset in get(each).config.PRESETS),
    ]
    known = [preset for preset in known if not preset.startswith("tiny")]
    raise CheckpointError(f"config.json: architecture={brief(name)} of timm is none of ours: {suggestion(name, known)}")


_TIMM_NAMES = ("resnet",)
"""Architectures whose presets, parameters and layouts timm calls as we do."""


def _arguments(values: Mapping[str, Any], who: str, trained: tuple[int, int, int]) -> Fields:
    """The arguments of the network, with what the rest of the config says of them."""
    inner = values.get("pretrained_cfg")
    # Files of earlier versions have one level.
    prepared = dict(inner) if isinstance(inner, Mapping) else {}
    outer = {name: value for name, value in values.items() if name not in {"model_args", "pretrained_cfg"}}
    arguments = dict(values.get("model_args") or {})
    for source in (outer, prepared):
        size = source.pop("input_size", None)
        if isinstance(size, list | tuple) and len(size) == 3 and all(type(length) is int for length in size):
            trained = (size[0], size[1], size[2])
        elif size is not None:
            raise CheckpointError(f"config.json: expected input_size to be three numbers, received {brief(size)}")
    for source in (outer, prepared):
        for name in ("num_classes", "global_pool"):
            value = source.pop(name, None)
            if value is not None and source is outer and arguments.get(name, value) != value:
                raise CheckpointError(
                    f"config.json: expected one {name}, received {brief(arguments[name])} in model_args and "
                    f"{brief(value)} beside it"
                )
            if value is not None:
                arguments.setdefault(name, value)
        Fields(source, who).finish(dict.fromkeys(_PREPARED, ANY))
    arguments.setdefault("in_chans", trained[0])
    return Fields({"img_size": list(trained[1:]), **arguments}, who, " in model_args")


def _timm_vit(fields: Fields, size: str, patch: int, side: int, *, gap: bool) -> ViTConfig:
    base = ViTConfig.vit_base_patch16_gap_224() if gap else ViTConfig.of_size(size, patch, side)
    embedding = fields.whole("embed_dim", default=base.embedding)
    pool = fields.one_of("global_pool", {"token": "token", "avg": "mean"}, "avg" if gap else "token")
    norm_after_pool = fields.take("fc_norm")
    if norm_after_pool is None:
        norm_after_pool = pool == "mean" and not gap
    config = {
        "in_channels": fields.whole("in_chans", default=3),
        "image_size": fields.pair("img_size", (side, side)),
        "patch_size": fields.square("patch_size", patch),
        "embedding": embedding,
        "layers": fields.whole("depth", default=base.layers),
        "heads": fields.whole("num_heads", default=base.heads),
        "hidden": int(embedding * fields.number("mlp_ratio", default=4)),
        "classes": fields.whole("num_classes", default=1000),
        "class_token": fields.flag("class_token", default=not gap),
        "pool": pool,
        "norm_after_pool": norm_after_pool,
        "qkv_bias": fields.flag("qkv_bias", default=True),
        "dropout": fields.number("proj_drop_rate", default=0.0),
        "attention_dropout": fields.number("attn_drop_rate", default=0.0),
    }
    if fields.number("pos_drop_rate", default=config["dropout"]) != config["dropout"]:
        raise CheckpointError(
            "config.json: expected pos_drop_rate equal to proj_drop_rate, as ViTConfig has one dropout"
        )
    fields.finish(_OF_TIMM_VIT)
    return ViTConfig.from_dict(config)


def _timm_resnet(fields: Fields, preset: ResNetConfig) -> ResNetConfig:
    fields.one_of("global_pool", {"avg": True, "fast": True, "fastavg": True}, "avg")
    fields.take("img_size")
    config = {
        **preset.to_dict(),
        "in_channels": fields.whole("in_chans", default=preset.in_channels),
        "classes": fields.whole("num_classes", default=preset.classes),
        "groups": fields.whole("cardinality", default=preset.groups),
        "width_per_group": fields.whole("base_width", default=preset.width_per_group),
        "depths": fields.take("layers", default=list(preset.depths)),
        "widths": fields.take("channels", default=list(preset.widths)),
    }
    fields.finish(_OF_TIMM_RESNET)
    return ResNetConfig.from_dict(config)
