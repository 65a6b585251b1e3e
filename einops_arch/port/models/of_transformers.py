"""The networks, settings and names that a config.json of transformers stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.architectures.vit import ViTConfig
from einops_arch.port.models.fields import ANY, Fields
from einops_arch.port.models.recognized import Recognized
from einops_arch.port.models.renames import Naming, Rename

__all__ = ["GPT2_BASE", "GPT2_NAMES", "TRANSFORMERS", "VIT_FILES", "VIT_NAMES", "vit_naming"]


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


TRANSFORMERS: dict[str, Callable[[Mapping[str, Any], Collection[str]], Recognized]] = {"vit": _vit, "gpt2": _gpt2}


def _why(fields: Mapping[str, Any], layers: int, embedding: int) -> str:
    return f"model_type={fields['model_type']!r} of transformers, {layers} layers of {embedding}"
