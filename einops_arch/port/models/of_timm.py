"""The networks and settings that a config.json of timm names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from einops_arch._text import brief
from einops_arch.architectures import get, names
from einops_arch.architectures.resnet import ResNetConfig
from einops_arch.architectures.vit import ViTConfig
from einops_arch.errors import CheckpointError
from einops_arch.port.models.fields import ANY, Fields
from einops_arch.port.models.recognized import Recognized, UnknownNetworkError
from einops_arch.port.models.renames import AS_THEY_ARE

__all__ = ["recognize_timm"]


_VIT = re.compile(r"vit_(tiny|small|base|large)_patch(\d{1,4})(?:(?<=base_patch16)(_gap))?_(\d{1,5})")
_DEIT = re.compile(r"deit_(tiny|small|base)(_distilled)?_patch(\d{1,4})_(\d{1,5})")


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


def recognize_timm(name: str, values: Mapping[str, Any]) -> Recognized:
    """Tell the network from its name in timm and the settings beside it."""
    why = f"architecture={name!r} of timm"
    if match := _VIT.fullmatch(name):
        size, patch, gap, side = match.groups()
        fields = _arguments(values, "ViTConfig", (3, int(side), int(side)))
        return Recognized("vit", _timm_vit(fields, size, int(patch), int(side), gap=bool(gap)), AS_THEY_ARE, why)
    if match := _DEIT.fullmatch(name):
        size, distilled, patch, side = match.groups()
        fields = _arguments(values, "ViTConfig", (3, int(side), int(side)))
        sizes = (size, int(patch), int(side))
        return Recognized("vit", _timm_vit(fields, *sizes, gap=False, distilled=bool(distilled)), AS_THEY_ARE, why)
    for architecture in _TIMM_NAMES:
        if architecture in names() and name in get(architecture).config.PRESETS:
            config = _timm_resnet(_arguments(values, "ResNetConfig", (3, 224, 224)), ResNetConfig.preset(name))
            return Recognized(architecture, config, AS_THEY_ARE, why)
    known = [
        *ViTConfig.PRESETS,
        *(preset for each in _TIMM_NAMES if each in names() for preset in get(each).config.PRESETS),
    ]
    known = [preset for preset in known if not preset.startswith("tiny")]
    # A library wrote the name, so that it is no slip of another one.
    raise UnknownNetworkError(
        f"config.json: architecture={brief(name)} of timm is none of ours: expected one of {', '.join(known)}; "
        "likely fix: einops-arch translate, which writes the Flax twin of other models"
    )


_TIMM_NAMES = ("resnet",)
"""Architectures whose presets, parameters and layouts timm calls as we do."""


def _arguments(values: Mapping[str, Any], who: str, trained: tuple[int, int, int]) -> Fields:
    """The arguments of the network, with what the rest of the config says of them."""
    inner = values.get("pretrained_cfg")
    # Files of earlier versions have one level.
    prepared = dict(inner) if isinstance(inner, Mapping) else {}
    outer = {name: value for name, value in values.items() if name not in {"model_args", "pretrained_cfg"}}
    model_args = values.get("model_args")
    if not isinstance(model_args, Mapping | None):
        raise CheckpointError(f"config.json: expected model_args to be fields by name, received {brief(model_args)}")
    arguments = dict(model_args or {})
    for source in (outer, prepared):
        size = source.pop("input_size", None)
        if isinstance(size, list | tuple) and len(size) == 3 and all(type(length) is int for length in size):
            trained = (size[0], size[1], size[2])
        elif size is not None:
            raise CheckpointError(f"config.json: expected input_size to be three numbers, received {brief(size)}")
    for source in (outer, prepared):
        for name in ("num_classes", "global_pool"):
            value = source.pop(name, None)
            if value is not None and source is outer and name in arguments and arguments[name] != value:
                raise CheckpointError(
                    f"config.json: expected one {name}, received {brief(arguments[name])} in model_args and "
                    f"{brief(value)} beside it"
                )
            if value is not None:
                arguments.setdefault(name, value)
        Fields(source, who).finish(dict.fromkeys(_PREPARED, ANY))
    arguments.setdefault("in_chans", trained[0])
    return Fields({"img_size": list(trained[1:]), **arguments}, who, " in model_args")


def _timm_vit(fields: Fields, size: str, patch: int, side: int, *, gap: bool, distilled: bool = False) -> ViTConfig:
    base = ViTConfig.vit_base_patch16_gap_224() if gap else ViTConfig.of_size(size, patch, side)
    embedding = fields.whole("embed_dim", default=base.embedding)
    pools = {"token": "token"} if distilled else {"token": "token", "avg": "mean"}
    pool = fields.choice("global_pool", pools, "avg" if gap else "token")
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
        "distillation_token": distilled,
        "distillation_head": distilled,
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
    fields.choice("global_pool", {"avg": True, "fast": True, "fastavg": True}, "avg")
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
