"""Names of other libraries, read in both directions, and what a config.json is recognised as."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from einops_arch import architectures
from einops_arch.architectures import GPT2Config, ResNetConfig, ViTConfig
from einops_arch.architectures.images import ImagePreprocessing
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.errors import CheckpointError, ConfigError, EinopsArchError
from einops_arch.port.models.recognize import recognize
from einops_arch.port.models.renames import AS_THEY_ARE, Naming, Rename
from einops_arch.port.models.torchvision_names import TORCHVISION_VIT
from einops_arch.port.models.transformers_names import (
    GPT2_BASE,
    GPT2_NAMES,
    TRANSFORMERS_DEIT,
    TRANSFORMERS_DEIT_TEACHER,
    TRANSFORMERS_RESNET,
    VIT_FILES,
    VIT_NAMES,
    deit_naming,
    vit_naming,
)

VIT = {
    "cls_token": (1, 1, 4),
    "pos_embed": (1, 7, 4),
    "patch_embed.proj.weight": (4, 3, 2, 2),
    "blocks.0.norm1.weight": (4,),
    "blocks.0.attn.qkv.weight": (12, 4),
    "blocks.0.attn.qkv.bias": (12,),
    "blocks.0.attn.proj.bias": (4,),
    "blocks.0.norm2.bias": (4,),
    "blocks.11.mlp.fc1.weight": (6, 4),
    "blocks.11.mlp.fc2.bias": (4,),
    "norm.weight": (4,),
    "head.bias": (5,),
}
GPT2 = ("transformer.wte.weight", "transformer.wpe.weight", "transformer.h.3.mlp.c_fc.bias", "transformer.ln_f.bias")


def state_of(shapes):
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


DEIT = {**VIT, "dist_token": (1, 1, 4)}
RESNET = {
    "conv1.weight": (4, 3, 7, 7),
    "bn1.running_mean": (4,),
    "layer1.0.conv1.weight": (4, 4, 1, 1),
    "layer2.0.downsample.0.weight": (8, 4, 1, 1),
    "layer2.0.downsample.1.num_batches_tracked": (),
    "layer3.11.bn2.running_var": (2,),
    "layer4.2.conv3.weight": (8, 2, 1, 1),
    "layer4.2.bn3.bias": (8,),
    "fc.weight": (5, 8),
}
NAMINGS = [
    (VIT_NAMES, VIT),
    (VIT_FILES, VIT),
    (TORCHVISION_VIT, VIT),
    (TRANSFORMERS_DEIT, DEIT),
    (TRANSFORMERS_DEIT_TEACHER, {**DEIT, "head_dist.bias": (5,)}),
    (TRANSFORMERS_RESNET, RESNET),
]


@pytest.mark.parametrize(("naming", "shapes"), NAMINGS)
def test_names_of_another_library_go_there_and_back(naming, shapes):
    canonical = state_of(shapes)
    public = naming.from_canonical(canonical)
    assert not set(public) & set(canonical)
    back = naming.to_canonical(public)
    assert list(back) == list(canonical)
    assert all(back[name].tobytes() == value.tobytes() for name, value in canonical.items())


def test_query_key_and_value_are_packed_in_this_order():
    public = {f"vit.layers.2.attention.{name}_proj.bias": np.full(2, index) for index, name in enumerate("qkv")}
    # Whatever the order of the file.
    canonical = VIT_NAMES.to_canonical(dict(reversed(public.items())))
    assert {name: value.tolist() for name, value in canonical.items()} == {"blocks.2.attn.qkv.bias": [0, 0, 1, 1, 2, 2]}


def test_a_part_that_is_missing_stays_visible():
    name = "vit.layers.2.attention.q_proj.bias"
    assert VIT_NAMES.to_canonical({name: 1, "something.else": 2}) == {name: 1, "something.else": 2}


def test_the_naming_of_a_vit_is_told_from_its_tensors():
    assert vit_naming(["vit.layers.0.mlp.fc1.bias"]) == VIT_NAMES
    assert vit_naming(["vit.encoder.layer.0.output.dense.bias"]) == VIT_FILES
    bare = vit_naming(["encoder.layer.0.output.dense.bias", "pooler.dense.bias"])
    assert bare.to_canonical({"encoder.layer.0.output.dense.bias": 1, "pooler.dense.bias": 2}) == {
        "blocks.0.mlp.fc2.bias": 1
    }


def test_gpt2_without_its_last_layer_gets_it_from_the_embedding():
    canonical = dict.fromkeys(GPT2, 1) | {"transformer.wte.weight": 2}
    assert GPT2_NAMES.to_canonical(canonical) == canonical | {"lm_head.weight": 2}
    bare = {name.removeprefix("transformer."): value for name, value in canonical.items()}
    masks = {"h.3.attn.bias": 0, "h.3.attn.masked_bias": 0, "h.3.attn.c_attn.bias": 1}
    assert GPT2_BASE.to_canonical(bare | masks) == canonical | {
        "transformer.h.3.attn.c_attn.bias": 1,
        "lm_head.weight": 2,
    }
    assert AS_THEY_ARE.to_canonical(canonical) == canonical


def test_wildcards_stand_for_numbers_parts_and_several_parts():
    naming = Naming((Rename("a.{}.*", "b.*.{}"),), ignored=("**.mask",))
    assert naming.to_canonical({"x.3.y": 1, "a.3.y.z": 2, "a.x.y": 3, "mask": 4, "x.y.mask": 5}) == {
        "x.3.y": 1,
        "a.3.y.z": 2,
        "a.x.y": 3,
        "mask": 4,
    }
    # In the order in which they stand.
    assert Naming((Rename("a.{}.*", "b.{}.c.*"),)).to_canonical({"a.3.y": 1}) == {"b.3.c.y": 1}


def test_the_naming_of_a_deit_is_told_from_its_tensors():
    assert deit_naming(["deit.layers.0.mlp.fc1.bias", "classifier.weight"]) == TRANSFORMERS_DEIT
    assert deit_naming(["deit.layers.0.mlp.fc1.bias", "cls_classifier.weight"]) == TRANSFORMERS_DEIT_TEACHER
    bare = deit_naming(["encoder.layer.0.output.dense.bias", "embeddings.distillation_token"])
    assert bare.to_canonical({"embeddings.distillation_token": 1}) == {"dist_token": 1}


@pytest.mark.parametrize(
    ("heads", "expected"),
    [(["classifier.weight"], (5, False)), (["cls_classifier.weight"], (5, True)), ([], (0, False))],
)
def test_every_deit_of_transformers_has_the_distillation_token_and_some_a_layer_for_it(heads, expected):
    fields = {"model_type": "deit", "num_labels": 5, "hidden_size": 24, "num_attention_heads": 3}
    config = recognize(fields, [*heads, "deit.layernorm.bias"]).config
    assert (config.classes, config.distillation_head) == expected
    assert (config.distillation_token, config.embedding, config.epsilon) == (True, 24, 1e-12)
    assert config.tokens_before_patches == 2


def test_a_deit_of_timm_is_a_vit_of_its_sizes():
    plain = recognize({"architecture": "deit_small_patch16_224"}, [])
    assert plain.config == ViTConfig.vit_small_patch16_224()
    distilled = recognize({"architecture": "deit_base_distilled_patch16_384", "num_classes": 7}, []).config
    assert (distilled.image_size, distilled.classes, distilled.distillation_head) == ((384, 384), 7, True)
    with pytest.raises(CheckpointError, match="global_pool to be 'token'"):
        recognize({"architecture": "deit_base_distilled_patch16_224", "global_pool": "avg"}, [])
    with pytest.raises(CheckpointError, match="deit3_small_patch16_224"):
        recognize({"architecture": "deit3_small_patch16_224"}, [])


def test_the_resnets_of_transformers():
    fields = {"model_type": "resnet", "id2label": {str(label): "" for label in range(1000)}}
    assert recognize(fields, ["classifier.1.bias"]).config == ResNetConfig.resnet50()
    basic = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    assert recognize({**fields, **basic}, ["classifier.1.bias"]).config == ResNetConfig.resnet18()


@pytest.mark.parametrize("preset", [preset for preset in ViTConfig.PRESETS if not preset.startswith("tiny")])
def test_timms_names_are_presets(preset):
    found = recognize({"architecture": preset, "num_classes": 1000}, [])
    assert (found.architecture, found.config, found.naming) == ("vit", ViTConfig.preset(preset), AS_THEY_ARE)
    assert found.why == f"architecture={preset!r} of timm"


def test_no_shape_shows_how_many_heads_there_are():
    """timm's network with the mean of the patches has four heads more than the other of its size."""
    for architecture, heads in (("vit_base_patch16_384", 12), ("vit_base_patch16_gap_224", 16)):
        assert recognize({"architecture": architecture}, []).config.heads == heads
    with pytest.raises(CheckpointError, match="vit_small_patch16_gap_224"):
        recognize({"architecture": "vit_small_patch16_gap_224"}, [])


def test_what_timms_config_changes():
    changes = {
        "img_size": [64, 96],
        "in_chans": 1,
        "global_pool": "avg",
        "depth": 3,
        "mlp_ratio": 2,
        "init_values": None,
    }
    found = recognize({"architecture": "vit_small_patch32_384", "num_classes": 0, "model_args": changes}, [])
    assert found.config == ViTConfig(
        in_channels=1,
        image_size=(64, 96),
        patch_size=32,
        embedding=384,
        layers=3,
        heads=6,
        hidden=768,
        classes=0,
        pool="mean",
        norm_after_pool=True,
    )


def test_the_configs_of_transformers():
    # As OpenAI's weights on the hub say it, with fields of another time.
    fields = {"model_type": "gpt2", "n_ctx": 1024, "n_embd": 1280, "n_head": 20, "n_layer": 36, "vocab_size": 50257}
    found = recognize(fields, ["wte.weight", "h.0.attn.bias"])
    assert (found.config, found.naming) == (GPT2Config.gpt2_large(), GPT2_BASE)
    fields = {"model_type": "vit", "image_size": 384, "id2label": {"0": "cat", "1": "dog", "2": "fox"}}
    found = recognize(fields, ["classifier.bias", "vit.layernorm.bias"])
    assert found.config == ViTConfig(image_size=(384, 384), classes=3, epsilon=1e-12, antialias=False)
    assert found.why == "model_type='vit' of transformers, 12 layers of 768"
    assert recognize(fields, ["layernorm.bias"]).config.classes == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model_type": "vit", "hidden_act": "gelu_new"},
            "config.json: expected hidden_act to be 'gelu', which our network computes, received 'gelu_new'",
        ),
        (
            {"model_type": "gpt2", "activation_function": "relu"},
            (
                "config.json: expected activation_function to be 'gelu_new' or 'gelu_pytorch_tanh' or 'gelu_fast', "
                "which our network computes, received 'relu'"
            ),
        ),
        (
            {"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True},
            (
                "config.json: expected scale_attn_by_inverse_layer_idx to be False, which our network computes, "
                "received True"
            ),
        ),
        (
            {"model_type": "gpt3"},
            (
                "config.json: model_type='gpt3' is none of ours: expected one of vit, deit, resnet, gpt2; likely fix: "
                "einops-arch translate, which writes the Flax twin of other models"
            ),
        ),
        (
            {"model_type": "vit", "patch_size": [16, 8]},
            "config.json: expected patch_size to be square, received 16 by 8",
        ),
        (
            {"model_type": "vit", "image_size": "large"},
            "config.json: expected image_size to be one number or two, received 'large'",
        ),
        (
            {"architecture": "vit_base_patch16_224", "model_args": {"init_values": 1e-5}},
            "config.json: ViTConfig has no field for init_values=1e-05 in model_args",
        ),
        (
            {"architecture": "vit_base_patch16_224", "model_args": {"pos_drop_rate": 0.1}},
            "config.json: expected pos_drop_rate equal to proj_drop_rate, as ViTConfig has one dropout",
        ),
        (
            {"sizes": 3},
            (
                "config.json: expected model_type, as transformers writes it, or architecture, as timm does, "
                "received 'sizes'"
            ),
        ),
        (
            {},
            (
                "config.json: expected model_type, as transformers writes it, or architecture, as timm does, "
                "received nothing"
            ),
        ),
    ],
)
def test_what_computes_something_else_is_refused(fields, message):
    with pytest.raises(CheckpointError) as caught:
        recognize(fields, [])
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224", "vit_base_patch16_clip_224", "resnet18d"])
def test_another_network_of_timm_is_no_slip_of_one_of_ours(name):
    with pytest.raises(CheckpointError, match=rf"architecture='{name}' of timm is none of ours") as caught:
        recognize({"architecture": name}, [])
    assert "did you mean" not in str(caught.value)
    assert "einops-arch translate" in str(caught.value)


def test_sizes_out_of_range_are_the_configs_own_error():
    with pytest.raises(ConfigError, match=r"^GPT2Config: embedding needs a multiple of heads=5, received 768$"):
        recognize({"model_type": "gpt2", "n_head": 5}, [])


# fmt: off
NOT_OURS = [
    ({"architecture": "vit_base_patch16_224", "global_pool": "map"}, "global_pool to be 'token' or 'avg'.*'map'"),
    ({"architecture": "resnet18", "model_args": {"global_pool": "max"}}, "global_pool to be 'avg'.*'max'"),
    ({"architecture": "resnet18", "global_pool": "max"}, "global_pool to be 'avg'.*'max'"),
    ({"architecture": "resnet18", "pretrained_cfg": {"global_pool": "max"}}, "global_pool to be 'avg'.*'max'"),
    ({"architecture": "resnet18", "global_pool": "avg", "model_args": {"global_pool": "max"}}, "one global_pool"),
    ({"architecture": "resnet50", "model_args": {"output_stride": 8}}, "ResNetConfig has no field for output_stride=8"),
    ({"architecture": "resnet50", "model_args": {"avg_down": True}}, "ResNetConfig has no field for avg_down=True"),
    ({"architecture": "resnet50", "model_args": {"act_layer": "silu"}}, "no field for act_layer='silu'"),
    ({"architecture": "resnet50", "model_args": {"new": 1}}, "ResNetConfig has no field for new=1 in model_args"),
    ({"architecture": "resnet50", "dilated": 1}, "ResNetConfig has no field for dilated=1"),
    ({"architecture": "resnet50", "pretrained_cfg": {"dilated": 1}}, "ResNetConfig has no field for dilated=1"),
    ({"architecture": "vit_base_patch16_224", "model_args": {"scale_mlp_norm": True}}, "no field for scale_mlp_norm"),
    ({"architecture": "vit_base_patch16_224", "model_args": {"reg_tokens": 4}}, "no field for reg_tokens=4"),
    ({"architecture": "vit_base_patch16_224", "model_args": {"num_heads": "6"}}, "num_heads to be a whole number"),
    ({"model_type": "gpt2", "n_embd": 64, "hidden_size": 32}, "one value of n_embd and hidden_size.*64 and 32"),
    ({"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention to be False"),
    ({"model_type": "gpt2", "layer_norm_eps": 1e-3}, "GPT2Config has no field for layer_norm_eps=0.001"),
    ({"model_type": "gpt2", "rotary": True}, "GPT2Config has no field for rotary=True"),
    ({"model_type": "gpt2", "quantization_config": {}}, "GPT2Config has no field for quantization_config=a dict of 0"),
    ({"model_type": "gpt2", "pruned_heads": {"0": [1]}}, "pruned_heads to be a dict of 0 or None"),
    ({"model_type": "vit", "layer_norm_eps": "small"}, "layer_norm_eps to be a number, received 'small'"),
    ({"model_type": "vit", "qkv_bias": 1}, "qkv_bias to be true or false, received 1"),
    ({"model_type": "vit", "num_heads": 3}, "ViTConfig has no field for num_heads=3"),
    ({"model_type": "vit", "is_decoder": True}, "is_decoder to be False"),
    ({"model_type": "deit", "hidden_act": "relu"}, "hidden_act to be 'gelu'.*'relu'"),
    ({"model_type": "resnet", "downsample_in_bottleneck": True}, "downsample_in_bottleneck to be False"),
    ({"model_type": "resnet", "downsample_in_first_stage": True}, "downsample_in_first_stage to be False"),
    ({"model_type": "resnet", "hidden_act": "gelu"}, "hidden_act to be 'relu'.*'gelu'"),
    ({"model_type": "resnet", "hidden_sizes": [10, 20]}, "hidden_sizes to be multiples of 4"),
    ({"model_type": "resnet", "depths": 3}, "depths to be a list of whole numbers, received 3"),
]
# fmt: on


@pytest.mark.parametrize(("fields", "text"), NOT_OURS)
def test_every_field_is_used_or_harmless_or_refused_by_name(fields, text):
    with pytest.raises(CheckpointError, match=text):
        recognize(fields, [])


def test_the_other_names_of_a_field_are_used():
    found = recognize({"model_type": "gpt2", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}, [])
    assert (found.config.embedding, found.config.layers, found.config.heads) == (64, 3, 4)
    settings = {"cardinality": 32, "base_width": 4, "layers": [1, 2, 1, 1], "in_chans": 5}
    found = recognize({"architecture": "resnet50", "model_args": settings, "num_classes": 7}, [])
    assert found.config == ResNetConfig(5, depths=(1, 2, 1, 1), groups=32, width_per_group=4, classes=7)
    prepared = {"input_size": [1, 224, 224], "num_classes": 9}
    found = recognize({"architecture": "resnet18", "pretrained_cfg": prepared}, [])
    assert (found.config.in_channels, found.config.classes) == (1, 9)


def test_what_is_left_out_is_said_with_the_reason():
    naming = vit_naming(["encoder.layer.0.output.dense.bias"])
    assert set(naming.left_out(["pooler.dense.bias", "layernorm.bias"])) == {"pooler.dense.bias"}
    (reason,) = GPT2_NAMES.left_out(["transformer.h.0.attn.bias", "transformer.h.0.attn.c_attn.bias"]).values()
    assert "causal mask" in reason


DEEP = functools.reduce(lambda inner, _: [inner], range(60), 1)
STRANGE = [
    *("x" * 3_000, [1] * 2_000, DEEP, {}, {"a": {"b": [1]}}, None, [], [[1, 2], [3, 4]], ["a"], "\x1b[2J"),
    *(float("inf"), float("nan"), -1, 0, 2**100, True, 1.5, "gelu", [3, 224, 224], {"x" * 3_000: 1}),
]
"""What JSON can hold where a config has something else."""


def assert_one_sentence(call):
    """It passes, or is refused by an error of this package that fits a page."""
    text = "no refusal"
    try:
        call()
    except EinopsArchError as error:
        text = str(error)
    assert 8 < len(text) < 2500, text[:300]
    assert "\x1b" not in text


@pytest.mark.parametrize("name", architectures.names())
def test_a_config_of_any_values_is_refused_in_one_sentence(name):
    kind = architectures.get(name).config
    fields = kind.tiny().to_dict()
    for field in [*fields, "other", "x" * 3_000]:
        for value in STRANGE:
            metadata = {"architecture": name, "config": json.dumps({**fields, field: value})}
            assert_one_sentence(lambda metadata=metadata: describe(metadata))


FOREIGN = {
    "vit": ("hidden_size", "image_size", "patch_size", "id2label", "num_labels", "hidden_act", "layer_norm_eps", "odd"),
    "gpt2": ("n_embd", "n_inner", "activation_function", "layer_norm_epsilon", "tie_word_embeddings", "n_layer"),
    "resnet": ("hidden_sizes", "depths", "layer_type", "embedding_size", "downsample_in_bottleneck"),
    "vit_tiny_patch16_224": ("model_args", "pretrained_cfg", "num_classes", "input_size", "global_pool", "x" * 3_000),
    "resnet18": ("model_args", "num_classes", "global_pool"),
}
ARGUMENTS = ("img_size", "mlp_ratio", "depth", "global_pool", "layers", "channels", "block_args", "num_classes")


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_config_of_any_values_is_refused_in_one_sentence(kind):
    of_timm = kind not in {"vit", "gpt2", "resnet"}
    for value in STRANGE:
        for field in FOREIGN[kind]:
            fields = {"architecture" if of_timm else "model_type": kind, field: value}
            assert_one_sentence(lambda fields=fields: recognize(fields, ["classifier.weight"]))
        for field in ARGUMENTS if of_timm else ():
            for place in ("model_args", "pretrained_cfg"):
                fields = {"architecture": kind, place: {field: value}}
                assert_one_sentence(lambda fields=fields: recognize(fields, ["w"]))
        for field in ("model_type", "architecture"):
            assert_one_sentence(lambda fields={field: value}: recognize(fields, ["w"]))
        for field in ("input_size", "crop_mode", "crop_pct", "mean", "interpolation"):
            assert_one_sentence(lambda fields={field: value}: ImagePreprocessing.of_timm(fields))
        for field in ("size", "do_center_crop", "resample", "image_std"):
            assert_one_sentence(lambda fields={field: value}: ImagePreprocessing.of_transformers(fields))
    with pytest.raises(CheckpointError) as caught:
        recognize({"x" * 3_000 + str(number): 1 for number in range(50)}, ["w"])
    assert "and 38 more" in str(caught.value)
