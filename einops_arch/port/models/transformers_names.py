"""The names that transformers has for its networks, each of which is one of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from einops_arch.port.models.renames import Naming, Rename

__all__ = [
    "GPT2_BASE",
    "GPT2_NAMES",
    "TRANSFORMERS_DEIT",
    "TRANSFORMERS_DEIT_TEACHER",
    "TRANSFORMERS_RESNET",
    "VIT_FILES",
    "VIT_NAMES",
    "deit_naming",
    "resnet_naming",
    "vit_naming",
]

# Below one block: in `state_dict()` from version 5 on, and in files, which have the names of earlier versions.
_IN_STATE = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "output": "attention.o_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
_IN_FILES = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "output": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}


def _naming(model: str, heads: Mapping[str, str], *, in_files: bool) -> Naming:
    """The names of a vision transformer, whose layers stand below `model`."""
    around = f"{model}." if model else ""
    layers = f"{around}encoder.layer" if in_files else f"{around}layers"
    parts = {name: f"{layers}.{{}}.{other}.*" for name, other in (_IN_FILES if in_files else _IN_STATE).items()}
    return Naming(
        (
            Rename(f"{around}embeddings.cls_token", "cls_token"),
            Rename(f"{around}embeddings.distillation_token", "dist_token"),
            Rename(f"{around}embeddings.position_embeddings", "pos_embed"),
            Rename(f"{around}embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
            Rename((parts["query"], parts["key"], parts["value"]), "blocks.{}.attn.qkv.*"),
            Rename(parts["output"], "blocks.{}.attn.proj.*"),
            Rename(f"{layers}.{{}}.layernorm_before.*", "blocks.{}.norm1.*"),
            Rename(f"{layers}.{{}}.layernorm_after.*", "blocks.{}.norm2.*"),
            Rename(parts["fc1"], "blocks.{}.mlp.fc1.*"),
            Rename(parts["fc2"], "blocks.{}.mlp.fc2.*"),
            Rename(f"{around}layernorm.*", "norm.*"),
            *(Rename(f"{foreign}.*", f"{canonical}.*") for foreign, canonical in heads.items()),
        ),
        {
            f"{around}pooler.**": "the pooler of transformers, which this network does not have",
            f"{around}embeddings.mask_token": (
                "it stands for hidden patches in pretraining, which this network does not have"
            ),
        },
    )


_ONE_HEAD = {"classifier": "head"}
_TWO_HEADS = {"cls_classifier": "head", "distillation_classifier": "head_dist"}

VIT_NAMES = _naming("vit", _ONE_HEAD, in_files=False)
"""The names in `state_dict()` of transformers' `ViTForImageClassification`, from version 5 on."""


VIT_FILES = _naming("vit", _ONE_HEAD, in_files=True)
"""The names in its files, which are those of earlier versions."""


TRANSFORMERS_DEIT = _naming("deit", _ONE_HEAD, in_files=False)
"""The names in `state_dict()` of transformers' `DeiTForImageClassification`, which reads the class token alone."""


TRANSFORMERS_DEIT_TEACHER = _naming("deit", _TWO_HEADS, in_files=False)
"""The names of `DeiTForImageClassificationWithTeacher`, which gives the mean of two heads as ours and timm's do."""


def vit_naming(tensors: Collection[str]) -> Naming:
    """The naming of a ViT of transformers: of a file or of `state_dict()`, with a classifier around it or without."""
    return _told("vit", _ONE_HEAD, tensors)


def deit_naming(tensors: Collection[str]) -> Naming:
    """The naming of a DeiT of transformers, as `vit_naming` tells it, with one classifier or two."""
    return _told("deit", _TWO_HEADS if "cls_classifier.weight" in tensors else _ONE_HEAD, tensors)


def _told(model: str, heads: Mapping[str, str], tensors: Collection[str]) -> Naming:
    around = any(name.startswith(f"{model}.") for name in tensors)
    return _naming(model if around else "", heads, in_files=any("encoder.layer." in name for name in tensors))


def _resnet_rows(stages: int, convolutions: int) -> tuple[Rename, ...]:
    stem, layers = "resnet.embedder.embedder", "resnet.encoder.stages"
    rows = [Rename(f"{stem}.convolution.*", "conv1.*"), Rename(f"{stem}.normalization.*", "bn1.*")]
    for stage in range(stages):
        foreign, canonical = f"{layers}.{stage}.layers.{{}}", f"layer{stage + 1}.{{}}"
        for number in range(convolutions):
            part = f"{foreign}.layer.{number}"
            rows.append(Rename(f"{part}.convolution.*", f"{canonical}.conv{number + 1}.*"))
            rows.append(Rename(f"{part}.normalization.*", f"{canonical}.bn{number + 1}.*"))
        rows.append(Rename(f"{foreign}.shortcut.convolution.*", f"{canonical}.downsample.0.*"))
        rows.append(Rename(f"{foreign}.shortcut.normalization.*", f"{canonical}.downsample.1.*"))
    return (*rows, Rename("classifier.1.*", "fc.*"))


def resnet_naming(stages: int) -> Naming:
    """The naming of a ResNet of transformers of so many stages; of either kind of block.

    >>> resnet_naming(2).to_canonical({"resnet.encoder.stages.1.layers.0.layer.2.convolution.weight": 0.5})
    {'layer2.0.conv3.weight': 0.5}
    """
    return Naming(_resnet_rows(stages, 3))


TRANSFORMERS_RESNET = resnet_naming(4)
"""The names of transformers' `ResNetForImageClassification` of four stages, as the published ones have."""


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
