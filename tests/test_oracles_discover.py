"""discover_model on models that nobody here wrote: torchvision, timm and transformers, with no trained weights."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import oracle_checks  # noqa: F401 - makes torchvision importable
import pytest
import timm
import torch
import torchvision.models as tv
import transformers

from einops_arch import discover_model
from einops_arch.discovery.rewriting.rewrite import diff

IMAGE = (2, 3, 64, 96)
TORCHVISION = {
    "shufflenet_v2_x0_5": {},
    "swin_t": {},
    "swin_v2_t": {},
    "convnext_tiny": {},
    "vit_b_32": {"image_size": 64},
    "maxvit_t": {"input_size": (224, 224)},
    "googlenet": {"init_weights": False, "aux_logits": False},
    "mobilenet_v3_small": {},
    "densenet121": {},
    "squeezenet1_1": {},
    "regnet_y_400mf": {},
}
SQUARE = {"vit_b_32": 64, "maxvit_t": 224}
TIMM = {
    "vit_tiny_patch16_224": {"img_size": (64, 96), "depth": 2},
    "deit_tiny_patch16_224": {"img_size": (64, 96), "depth": 2},
    "beit_base_patch16_224": {"img_size": (64, 64), "depth": 2, "embed_dim": 48, "num_heads": 3},
    "swin_tiny_patch4_window7_224": {"img_size": (64, 96), "depths": (2, 2, 2, 2)},
    "swinv2_tiny_window8_256": {"img_size": (64, 64), "depths": (2, 2, 2, 2)},
    "coatnet_nano_rw_224": {"img_size": (64, 64)},
    "maxvit_nano_rw_256": {"img_size": (64, 64)},
    "gmlp_ti16_224": {"img_size": (64, 64)},
    "resmlp_12_224": {"img_size": (64, 64)},
    "mixer_s32_224": {"img_size": (64, 64)},
    "efficientformer_l1": {"img_size": 224},
    "efficientformerv2_s0": {"img_size": 224},
    "convnext_atto": {},
    "convmixer_768_32": {},
    "poolformer_s12": {},
    "pvt_v2_b0": {},
    "twins_pcpvt_small": {"img_size": (64, 96), "depths": (1, 1, 1, 1)},
    "twins_svt_small": {"img_size": (64, 96), "depths": (1, 1, 1, 1)},
    "xcit_nano_12_p16_224": {"img_size": (64, 96), "depth": 2},
    "cait_xxs24_224": {"img_size": (64, 64), "depth": 2, "depth_token_only": 1},
    "levit_128s": {"img_size": (224, 224)},
    "mobilevit_xxs": {},
    "mobilevitv2_050": {},
    "crossvit_tiny_240": {},
    "nest_tiny": {"img_size": 224},
    "focalnet_tiny_srf": {},
    "davit_tiny": {"depths": (1, 1, 1, 1)},
    "edgenext_xx_small": {},
    "volo_d1_224": {"img_size": (64, 64)},
    "tnt_s_patch16_224": {"img_size": 224, "depth": 2},
    "sequencer2d_s": {"img_size": 224, "layers": (1, 1, 1, 1)},
    "botnet26t_256": {},
    "halonet26t": {},
    "lambda_resnet26t": {},
    "eca_resnet33ts": {},
    "skresnet18": {},
    "resnest14d": {},
    "hiera_tiny_224": {},
}
LARGE = {"efficientformer_l1", "efficientformerv2_s0", "levit_128s", "nest_tiny", "tnt_s_patch16_224", "sequencer2d_s",
         "botnet26t_256", "halonet26t", "lambda_resnet26t", "hiera_tiny_224", "crossvit_tiny_240"}  # fmt: skip
SIZES = {"crossvit_tiny_240": 240, "botnet26t_256": 256, "halonet26t": 256, "lambda_resnet26t": 256}

_TEXT = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
TRANSFORMERS = {
    "GPT2": {"vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4},
    "Bert": _TEXT,
    "Roberta": {**_TEXT, "max_position_embeddings": 40},
    "DistilBert": {"vocab_size": 50, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 20},
    "Albert": {**_TEXT, "embedding_size": 10},
    "Electra": _TEXT,
    "Llama": {**_TEXT, "num_key_value_heads": 2},
    "Mistral": {**_TEXT, "num_key_value_heads": 2},
    "Qwen2": {**_TEXT, "num_key_value_heads": 2},
    "Gemma": {**_TEXT, "num_key_value_heads": 2, "head_dim": 6},
    "Phi": {**_TEXT, "hidden_size": 32, "num_key_value_heads": 2},
    "GPTNeoX": _TEXT,
    "OPT": {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 20,
            "word_embed_proj_dim": 24},
    "Bloom": {"vocab_size": 50, "hidden_size": 24, "n_layer": 2, "n_head": 4},
    "GPTJ": {"vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "T5Encoder": {"vocab_size": 50, "d_model": 24, "num_layers": 2, "num_heads": 4, "d_kv": 6, "d_ff": 20},
    "FNet": {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 20},
    "DebertaV2": {**_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 8},
}  # fmt: skip
COUNTS: Counter[str] = Counter()


def check(model, inputs):
    report = discover_model(model.eval(), inputs)
    counts = report.counts
    assert counts["found"]
    wrong = [chain for chain in report.chains if chain.kind == "wrong"]
    assert not wrong, wrong
    held = [chain.recorded for chain in report.chains if chain.discovery is not None]
    COUNTS.update(counts, models=1, held=sum(held))
    for chain in report.chains:
        if chain.discovery is None:
            COUNTS[f"refused as {chain.kind}"] += 1
    assert counts["pure expressed"] >= 0.95 * counts["pure"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    torch.manual_seed(0)
    side = SQUARE.get(name)
    image = torch.randn(2, 3, side, side) if side else torch.randn(IMAGE)
    check(getattr(tv, name)(weights=None, **TORCHVISION[name]), image)


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    torch.manual_seed(0)
    size = TIMM[name].get("img_size", IMAGE[2:])
    if name in LARGE:
        size = SIZES.get(name, 224)
    height, width = size if isinstance(size, tuple) else (size, size)
    check(timm.create_model(name, pretrained=False, **TIMM[name]), torch.randn(2, 3, height, width))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name.removesuffix('Encoder')}Config")(**TRANSFORMERS[name])
    model = getattr(transformers, f"{name}Model")(config)
    check(model, {"input_ids": torch.randint(1, 50, (2, 7))})


def test_the_lines_are_those_of_the_library_and_the_diff_is_of_them():
    # Three images: with as many as there are groups, no word would be sure to mean the groups.
    chains = discover_model(tv.shufflenet_v2_x0_5(weights=None).eval(), torch.randn(3, *IMAGE[1:])).chains
    assert {Path(chain.steps[0].file).name for chain in chains} == {"shufflenetv2.py"}
    found = diff(chains)
    assert '\n+    x = rearrange(x, "b (c1 c2) h w -> b (c2 c1) h w", c1=groups)\n' in found.text
    assert {reason for _, reason in found.left} == {
        "pack, and only rearrange is written",
        "unpack, and only rearrange is written",
    }


def test_a_vit_b_takes_less_than_20_seconds():
    model = tv.vit_b_16(weights=None).eval()
    start = time.perf_counter()
    discover_model(model, torch.randn(1, 3, 224, 224))
    assert time.perf_counter() - start < 20


def test_the_sum_of_all_models():
    sys.stdout.write(f"{dict(sorted(COUNTS.items()))}\n")
    assert COUNTS["models"] >= 40
    assert COUNTS["pure expressed"] >= 0.95 * COUNTS["pure"]
    assert COUNTS["refused as wrong"] == 0
    # Nothing that was found is left without the model's own values as a witness.
    assert COUNTS["held"] == COUNTS["expressed"]
