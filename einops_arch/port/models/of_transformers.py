"""The networks, settings and names that a config.json of transformers stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from einops_arch._text import brief
from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.architectures.resnet import ResNetConfig
from einops_arch.architectures.vit import ViTConfig
from einops_arch.errors import CheckpointError
from einops_arch.port.models.fields import ANY, Fields
from einops_arch.port.models.recognized import Recognized
from einops_arch.port.models.transformers_names import (
    GPT2_BASE,
    GPT2_NAMES,
    deit_naming,
    resnet_naming,
    vit_naming,
)

__all__ = ["TRANSFORMERS"]


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


_OF_RESNET: dict[str, tuple[Any, ...]] = {
    **_OF_EVERY_MODEL,
    "downsample_in_first_stage": (False,),
    "downsample_in_bottleneck": (False,),
    # Which stages a backbone gives out.
    **dict.fromkeys(("out_features", "out_indices", "stage_names", "tie_word_embeddings"), ANY),
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
    classifies = any(name.startswith("classifier.") for name in tensors)
    config = _vision_transformer(fields, _classes(values) if classifies else 0)
    return Recognized("vit", config, vit_naming(tensors), _why(values, config.layers, config.embedding))


def _deit(values: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    fields = Fields(values, "ViTConfig")
    # Both kinds of classifier have the token; only one has a layer for it.
    heads = any(name.startswith("cls_classifier.") for name in tensors)
    classifies = heads or any(name.startswith("classifier.") for name in tensors)
    config = _vision_transformer(fields, _classes(values) if classifies else 0)
    config = dataclasses.replace(config, distillation_token=True, distillation_head=heads)
    return Recognized("vit", config, deit_naming(tensors), _why(values, config.layers, config.embedding))


def _vision_transformer(fields: Fields, classes: int) -> ViTConfig:
    fields.choice("hidden_act", {"gelu": True}, "gelu")
    config = ViTConfig(
        in_channels=fields.whole("num_channels", default=3),
        image_size=fields.pair("image_size", (224, 224)),
        patch_size=fields.square("patch_size", 16),
        embedding=fields.whole("hidden_size", default=768),
        layers=fields.whole("num_hidden_layers", default=12),
        heads=fields.whole("num_attention_heads", default=12),
        hidden=fields.whole("intermediate_size", default=3072),
        classes=classes,
        qkv_bias=fields.flag("qkv_bias", default=True),
        epsilon=fields.number("layer_norm_eps", default=1e-12),
        antialias=False,
        dropout=fields.number("hidden_dropout_prob", default=0.0),
        attention_dropout=fields.number("attention_probs_dropout_prob", default=0.0),
    )
    fields.finish(_OF_VIT)
    return config


def _resnet(values: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    fields = Fields(values, "ResNetConfig")
    fields.choice("hidden_act", {"relu": True}, "relu")
    block = fields.choice("layer_type", {"basic": "basic", "bottleneck": "bottleneck"}, "bottleneck")
    expansion = 1 if block == "basic" else 4
    channels = fields.wholes("hidden_sizes", (256, 512, 1024, 2048))
    uneven = [width for width in channels if width % expansion]
    if uneven:
        raise CheckpointError(
            f"config.json: expected hidden_sizes to be multiples of {expansion}, received {brief(list(channels))}"
        )
    if tensors and not any(name.startswith("classifier.") for name in tensors):
        raise CheckpointError(
            "config.json: expected a ResNet with its classifier (ResNetForImageClassification), received none"
        )
    config = ResNetConfig(
        in_channels=fields.whole("num_channels", default=3),
        block=block,
        stem_channels=fields.whole("embedding_size", default=64),
        depths=fields.wholes("depths", (3, 4, 6, 3)),
        widths=tuple(width // expansion for width in channels),
        classes=_classes(values),
    )
    fields.finish(_OF_RESNET)
    why = f"model_type='resnet' of transformers, {block} blocks {config.depths}"
    return Recognized("resnet", config, resnet_naming(len(config.widths)), why)


def _classes(values: Mapping[str, Any]) -> int:
    labels = values.get("id2label")
    count = values.get("num_labels", values.get("_num_labels", 2))
    return len(labels) if isinstance(labels, dict) and labels else count if type(count) is int else 2


# All the same function, the tanh form.
_TANH_GELU = {"gelu_new": True, "gelu_pytorch_tanh": True, "gelu_fast": True}


def _gpt2(values: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    fields = Fields(values, "GPT2Config")
    fields.choice("activation_function", _TANH_GELU, "gelu_new")
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


TRANSFORMERS: dict[str, Callable[[Mapping[str, Any], Collection[str]], Recognized]] = {
    "vit": _vit,
    "deit": _deit,
    "resnet": _resnet,
    "gpt2": _gpt2,
}


def _why(fields: Mapping[str, Any], layers: int, embedding: int) -> str:
    return f"model_type={fields['model_type']!r} of transformers, {layers} layers of {embedding}"
