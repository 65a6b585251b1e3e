"""Every field of a config of timm and transformers, set to another value: the same outputs, or refused by its name."""

from __future__ import annotations

import inspect
import json
from typing import Any

import oracle_checks  # noqa: F401 - makes torchvision importable, which timm and transformers import
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from timm.models import resnet, vision_transformer

from einops_arch.errors import EinopsArchError
from einops_arch.torch import from_pretrained

SMALL_VIT = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 18,
    "image_size": 8,
    "patch_size": 4,
    "num_labels": 3,
}
MODELS: dict[str, Any] = {
    "gpt2": (
        transformers.GPT2Config,
        transformers.GPT2LMHeadModel,
        {"vocab_size": 17, "n_positions": 13, "n_embd": 12, "n_layer": 2, "n_head": 2},
    ),
    "vit": (transformers.ViTConfig, transformers.ViTForImageClassification, SMALL_VIT),
}
WORDS = ("relu", "gelu", "gelu_new", "silu", "tanh", "mean", "x")
# What a changed field means in the other library is a list or a name of its own.
SPECIAL = {
    "id2label": [{0: "a", 1: "b"}],
    "label2id": [{"a": 0}],
    "architectures": [["Other"]],
    "dtype": ["float16"],
    "model_type": [],  # another network, of which other tests speak
    "architecture": [],
    "norm_layer": ["layernorm", "batchnorm2d", "layernormfp32"],
    "act_layer": ["relu", "silu", "gelu_tanh"],
    "embed_norm_layer": ["layernorm"],
    "aa_layer": ["avg"],
    "block_args": [{"attn_layer": "se"}],
    "global_pool": ["", "avg", "max", "token", "map", "avgmax", "fast"],
    "pos_embed": ["none", "learn"],
    "stem_type": ["deep", "deep_tiered"],
    "init_values": [0.5],
    "fc_norm": [True, False],
    "channels": [(8, 12, 16, 24)],
    "layers": [(1, 2, 1, 1)],
    "img_size": [16, (8, 12)],
    "weight_init": ["jax"],
    "pretrained_cfg": [],
}


def others(name: str, value: Any) -> list[Any]:
    """Values of the kind that the field has."""
    if name in SPECIAL:
        return SPECIAL[name]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value]
    if isinstance(value, float):
        return [0.3, 1e-3]
    if isinstance(value, str):
        return [word for word in WORDS if word != value]
    return [True, 3, 0.5, "x", 32] if value is None else []


def differences(model: Any, inputs: torch.Tensor, folder: Any, field: str) -> str:
    """What became of a folder: the same, or refused by name; anything else is told."""
    try:
        twin = from_pretrained(folder)
    except EinopsArchError as error:
        return (
            "" if field in str(error) or ALIASES.get(field, "?") in str(error) else f"refused without its name: {error}"
        )
    with torch.no_grad():
        received, expected = twin.eval()(inputs), model(inputs)
    received = received[0] if isinstance(received, tuple) else received
    expected = getattr(expected, "logits", expected)
    if received.shape != expected.shape:
        return f"shape {tuple(received.shape)}, expected {tuple(expected.shape)}"
    size = float(expected.square().mean().sqrt())
    return "" if float((received - expected).abs().max()) < 1e-4 * size else "other numbers"


# What our configs call a field whose value is out of range.
ALIASES = {
    "n_inner": "hidden",
    "n_embd": "embedding",
    "n_head": "heads",
    "num_attention_heads": "heads",
    "depth": "layers",
    "hidden_size": "embedding",
    "mlp_ratio": "hidden",
    "attention_probs_dropout_prob": "attention_dropout",
}


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Weights in which a wrong eps, a missing layer or another order shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.1)
    return model.eval()


@pytest.mark.parametrize("kind", MODELS)
def test_fields_of_transformers(kind: str, tmp_path: Any) -> None:
    config_class, model_class, sizes = MODELS[kind]
    inputs = torch.tensor([[3, 1, 4, 1, 5]]) if kind == "gpt2" else torch.randn(2, 3, 8, 8)
    known = {**config_class(**sizes).to_dict(), **dict.fromkeys(inspect.signature(config_class).parameters)}
    wrong, held = [], 0
    for field in sorted(known):
        for number, value in enumerate(others(field, known[field])):
            folder = tmp_path / f"{field}{number}"
            try:
                model = randomized(model_class(config_class(**{**sizes, field: value})))
                with torch.no_grad():
                    model(inputs)
            except Exception:  # noqa: BLE001 - no such network in transformers either
                continue
            folder.mkdir()
            state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
            if getattr(model.config, "tie_word_embeddings", False):
                state.pop("lm_head.weight", None)
            save_file(state, folder / "model.safetensors")
            fields = json.loads(model.config.to_json_string(use_diff=False))
            (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
            held += 1
            if problem := differences(model, inputs, folder, field):
                wrong.append(f"{field}={value!r}: {problem}")
    assert held > 25
    assert not wrong, "\n".join(wrong)


TIMM: dict[str, Any] = {
    "vit_tiny_patch16_224": (
        vision_transformer.VisionTransformer,
        {"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 3},
    ),
    "resnet18": (resnet.ResNet, {"num_classes": 3, "channels": (8, 12, 16, 20), "layers": (1, 1, 1, 1)}),
}


@pytest.mark.parametrize("name", TIMM)
def test_fields_of_timm(name: str, tmp_path: Any) -> None:
    network, sizes = TIMM[name]
    inputs = torch.randn(2, 3, 8, 8) if name.startswith("vit") else torch.randn(1, 3, 40, 40)
    known = {key: parameter.default for key, parameter in inspect.signature(network).parameters.items()}
    known = {**known, **sizes}
    wrong, held = [], 0
    for field in sorted(known):
        if field in {"device", "dtype", "block"}:
            continue
        for number, value in enumerate(others(field, known[field])):
            folder = tmp_path / f"{field}{number}"
            arguments = {**sizes, field: value}
            try:
                model = randomized(timm.create_model(name, **arguments))
                with torch.no_grad():
                    model(inputs)
            except Exception:  # noqa: BLE001 - no such network in timm either
                continue
            timm.models.save_for_hf(model, folder, model_args=arguments, safe_serialization=True)
            held += 1
            if problem := differences(model, inputs, folder, field):
                wrong.append(f"{field}={value!r}: {problem}")
    assert held > 20
    assert not wrong, "\n".join(wrong)
