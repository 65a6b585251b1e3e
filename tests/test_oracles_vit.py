"""ViT against timm's and transformers', with random weights: names, layouts, float64, float32, gradients, folders.

Two differences are on purpose. timm resizes the position embedding in float32 whatever its dtype, we in its own: for
the comparison in float64 its cast is taken out. And transformers takes the softmax in float32 where it computes
attention itself ("eager"); here it computes attention with PyTorch's kernel, its default, in the dtype that it has.
"""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import oracle_checks as checks
import pytest
import timm
import torch
import torchvision
import transformers
from oracle_checks import Public

from einops_arch.architectures import ViTConfig
from einops_arch.flax import from_pretrained as flax_from_pretrained
from einops_arch.flax import state_dict
from einops_arch.parity.probes import random_numbers
from einops_arch.port.models import of_timm as timm_names
from einops_arch.port.models.recognize import recognize
from einops_arch.port.models.torchvision_names import TORCHVISION_VIT
from einops_arch.port.models.transformers_names import (
    TRANSFORMERS_DEIT,
    TRANSFORMERS_DEIT_TEACHER,
    VIT_FILES,
    VIT_NAMES,
    deit_naming,
)
from einops_arch.torch import from_pretrained as torch_from_pretrained
from einops_arch.torch._build import without_values
from einops_arch.torch.vit import ViT

PUBLISHED = [preset for preset in ViTConfig.PRESETS if not preset.startswith("tiny")]
SMALL = {"img_size": 64, "num_classes": 7, "embed_dim": 48, "depth": 2, "num_heads": 3}
TIMM = {
    "class token": ("vit_tiny_patch16_224", {}),
    "patch 32, no bias": ("vit_base_patch32_224", {"img_size": (64, 96), "qkv_bias": False}),
    "mean beside a class token": ("vit_small_patch16_224", {"global_pool": "avg"}),
    "mean": ("vit_base_patch16_gap_224", {}),
    "mean, norm after it": ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False, "mlp_ratio": 3.0}),
    "no last layer": ("vit_tiny_patch16_224", {"num_classes": 0}),
    "distillation token": ("deit_tiny_distilled_patch16_224", {}),
    "distillation token, no last layer": ("deit_small_distilled_patch16_224", {"num_classes": 0}),
}


def double(model, image):
    """timm in float64: without its cast of the position embedding to float32."""
    if image.dtype is not torch.float64:
        return model(image)
    with mock.patch.object(torch.Tensor, "float", lambda tensor: tensor):
        return model(image)


def of_timm(name, folder, **settings):
    oracle = timm.create_model(name, pretrained=False, dynamic_img_size=True, **settings)
    unsettle(oracle)
    timm.models.save_for_hf(oracle, folder, safe_serialization=True)
    fields = json.loads((folder / "config.json").read_text())
    return Public(oracle, recognize(fields, oracle.state_dict()).config, call=double)


def of_transformers(folder, kind="ViT", naming=VIT_NAMES, head="ForImageClassification", **settings):
    oracle = getattr(transformers, kind + head)(getattr(transformers, f"{kind}Config")(**settings))
    unsettle(oracle)
    oracle.save_pretrained(folder)
    fields = json.loads((folder / "config.json").read_text())
    return Public(
        oracle,
        recognize(fields, oracle.state_dict()).config,
        to_canonical=naming.to_canonical,
        to_oracle=naming.from_canonical,
        call=lambda model, image: model(image, interpolate_pos_encoding=True).logits,
    )


def unsettle(oracle):
    checks.unsettle(oracle)
    # A class token starts at a millionth, where a mistake does not show.
    for name, value in oracle.state_dict().items():
        if name.endswith(("cls_token", "dist_token", "distillation_token", "pos_embed", "position_embeddings")):
            value.copy_(torch.from_numpy(random_numbers(name, value.shape)))
    return oracle


# Every name of timm that is taken for one of ours, of the presets and of other image and patch sizes.
NAMES = [name for name in timm.list_models("vit_*") if timm_names._VIT.fullmatch(name)]
NAMES += [name for name in timm.list_models("deit*") if timm_names._DEIT.fullmatch(name)]


def test_every_preset_is_a_name_of_timm():
    assert set(PUBLISHED) < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_the_network_that_timm_has(name):
    with torch.device("meta"):
        oracle = timm.create_model(name, pretrained=False, num_classes=1000)
    config = recognize({"architecture": name, "num_classes": 1000}, []).config
    shapes = {key: value.shape for key, value in oracle.state_dict().items()}
    assert {key: value.shape for key, value in without_values(config).state_dict().items()} == shapes
    # No shape shows these.
    block = oracle.blocks[0]
    assert (block.attn.num_heads, block.norm1.eps, oracle.global_pool) == (
        config.heads,
        config.epsilon,
        {"token": "token", "mean": "avg"}[config.pool],
    )


@pytest.mark.parametrize("preset", PUBLISHED)
def test_every_size_has_timms_names_shapes_and_count(preset):
    with torch.device("meta"):
        # Where timm has weights without a last layer, its default is none.
        oracle = timm.create_model(preset, pretrained=False, num_classes=1000)
        ours = ViT(ViTConfig.preset(preset))
    shapes = {name: value.shape for name, value in oracle.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    assert list(ours.state_dict()) == list(shapes)
    published = {"vit_base_patch16_224": 86_567_656, "vit_tiny_patch16_224": 5_717_416}
    published |= {"vit_small_patch16_224": 22_050_664, "vit_large_patch16_224": 304_326_632}
    assert checks.parameter_count(ours) == published.get(preset, checks.parameter_count(oracle))


@pytest.mark.parametrize("case", TIMM)
def test_small_ones_are_timms_at_every_image_size(case, tmp_path):
    name, settings = TIMM[case]
    public = of_timm(name, tmp_path, **SMALL | settings)
    patch = public.config.patch_size
    grids = [(3, 5), (7, 2), (1, 1)]
    own = (2, 3, *public.config.image_size)
    checks.assert_state_fits_both_ways(public)
    checks.assert_same_outputs(
        public,
        *([checks.images(b, 3, h * patch, w * patch)] for b, (h, w) in enumerate(grids, 1)),
        [checks.images(*own)],
    )
    checks.assert_same_training(public, [[checks.images(2, 3, 3 * patch, 5 * patch)]])
    checks.assert_rounds_as_well(public, [checks.images(*own)])


def test_base_is_timms_at_full_size(tmp_path):
    public = of_timm("vit_base_patch16_224", tmp_path)
    assert public.config == ViTConfig.vit_base_patch16_224()
    assert checks.parameter_count(public.oracle) == 86_567_656
    checks.assert_state_fits_both_ways(public)
    checks.assert_same_outputs(public, [checks.images(1, 3, 224, 224)])
    checks.assert_rounds_as_well(public, [checks.images(1, 3, 224, 224)])


OTHERS = [preset for preset in PUBLISHED if preset != "vit_base_patch16_224" and "large" not in preset]
OTHERS.remove("deit_base_distilled_patch16_224")  # a tiny and a small one are compared


@pytest.mark.parametrize("preset", OTHERS)
def test_others_are_timms_at_full_size(preset, tmp_path):
    # Those called large differ from these in numbers only, and take 10 GB.
    public = of_timm(preset, tmp_path, num_classes=1000)
    assert public.config == ViTConfig.preset(preset)
    checks.assert_state_fits_both_ways(public)
    checks.assert_same_outputs(public, [checks.images(1, 3, 224, 224)])


def test_tiny_is_timms_at_full_size_with_gradients(tmp_path):
    public = of_timm("vit_tiny_patch16_224", tmp_path)
    assert public.config == ViTConfig.vit_tiny_patch16_224()
    checks.assert_same_training(public, [[checks.images(2, 3, 224, 224)]])


def test_a_small_one_is_that_of_transformers_at_every_image_size(tmp_path):
    public = of_transformers(
        tmp_path,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=50,
        image_size=64,
        num_labels=7,
    )
    checks.assert_state_fits_both_ways(public)
    checks.assert_same_outputs(
        public, *([checks.images(b, 3, *side)] for b, side in enumerate([(64, 64), (48, 80)], 1))
    )
    checks.assert_same_training(public, [[checks.images(2, 3, 96, 32)]])
    checks.assert_rounds_as_well(public, [checks.images(2, 3, 64, 64)])


def test_base_is_that_of_transformers_at_full_size(tmp_path):
    public = of_transformers(tmp_path, num_labels=1000)
    assert checks.parameter_count(public.oracle) == 86_567_656
    checks.assert_same_outputs(public, [checks.images(1, 3, 224, 224)])


DEITS = [
    ("ForImageClassification", TRANSFORMERS_DEIT),
    ("ForImageClassificationWithTeacher", TRANSFORMERS_DEIT_TEACHER),
]


@pytest.mark.parametrize(("head", "naming"), DEITS)
def test_a_deit_of_transformers_at_every_image_size_and_from_its_folder(head, naming, tmp_path):
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    public = of_transformers(tmp_path, "DeiT", naming, head, **sizes, image_size=32, num_labels=5)
    checks.assert_state_fits_both_ways(public)
    checks.assert_same_outputs(public, *([checks.images(2, 3, *side)] for side in [(32, 32), (48, 80)]))
    checks.assert_same_training(public, [[checks.images(2, 3, 96, 32)]])
    checks.assert_rounds_as_well(public, [checks.images(2, 3, 32, 32)])
    oracle = public.oracle.eval()
    assert_folder(tmp_path, naming.to_canonical(oracle.state_dict()), lambda image: oracle(image).logits, "float32")


def test_a_deit_of_transformers_without_classifier(tmp_path):
    settings = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}
    oracle = unsettle(transformers.DeiTModel(transformers.DeiTConfig(**settings, image_size=32)).eval())
    oracle.save_pretrained(tmp_path)
    state = oracle.state_dict()
    expected = deit_naming(state).to_canonical(state)
    assert_folder(tmp_path, expected, lambda image: oracle(image).last_hidden_state[:, 0], "float32")


@pytest.mark.parametrize(("shards", "dtype"), [("5GB", "float32"), ("20KB", "float32"), ("20KB", "bfloat16")])
def test_a_folder_of_transformers(shards, dtype, tmp_path):
    settings = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    oracle = transformers.ViTForImageClassification(transformers.ViTConfig(**settings, image_size=32, num_labels=5))
    checks.unsettle(oracle)
    oracle = oracle.to(getattr(torch, dtype)).eval()
    oracle.save_pretrained(tmp_path, max_shard_size=shards)
    assert (tmp_path / "model.safetensors").exists() == (shards == "5GB")
    assert_folder(tmp_path, VIT_NAMES.to_canonical(oracle.state_dict()), lambda image: oracle(image).logits, dtype)


def test_a_folder_of_transformers_without_classifier(tmp_path):
    settings = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}
    oracle = transformers.ViTModel(transformers.ViTConfig(**settings, image_size=32)).eval()
    oracle.save_pretrained(tmp_path)
    found = VIT_NAMES.to_canonical({f"vit.{name}": value for name, value in oracle.state_dict().items()})
    assert_folder(tmp_path, found, lambda image: oracle(image).last_hidden_state[:, 0], "float32")


def test_a_folder_of_timm(tmp_path):
    public = of_timm("vit_tiny_patch16_224", tmp_path, **SMALL | {"img_size": 32})
    oracle = public.oracle.eval()
    assert_folder(tmp_path, oracle.state_dict(), oracle, "float32")


def assert_folder(folder, state, call, dtype):
    """Both twins from a folder: every bit of the oracle's state, and its answer."""
    image = checks.images(2, 3, 32, 32)
    ours, other = torch_from_pretrained(folder), flax_from_pretrained(folder)
    received = state_dict(other)
    assert set(ours.state_dict()) == set(received) == set(state)
    for name, value in ours.state_dict().items():
        assert value.dtype == state[name].dtype
        # As bytes, because numpy has no bfloat16.
        expected = state[name].view(torch.uint8).numpy().tobytes()
        assert value.view(torch.uint8).numpy().tobytes() == expected, name
        assert received[name].tobytes() == expected, name
    tensor = torch.from_numpy(image).to(getattr(torch, dtype))
    with torch.no_grad():
        expected = call(tensor).float().numpy()
        outputs = (
            ours(tensor).float().numpy(),
            np.asarray(other(image.transpose(0, 2, 3, 1).astype(received[name].dtype))),
        )
    # What rounds this much is checked where it is exact, above; here is that the right network was built.
    limit = {"float32": 1e-5, "bfloat16": 0.1}[dtype]
    for output in outputs:
        np.testing.assert_allclose(output.astype(np.float32), expected, atol=limit * np.abs(expected).max(), rtol=0)


def test_the_names_in_files_are_those_of_transformers_own_conversion(tmp_path):
    """`VIT_FILES` is what `save_pretrained` writes, name by name and bit by bit."""
    from safetensors.torch import load_file

    public = of_transformers(tmp_path, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=32)
    written = load_file(tmp_path / "model.safetensors")
    made = VIT_FILES.from_canonical(public.state)
    assert set(made) == set(written)
    assert all(checks.same_bits(made[name], value) for name, value in written.items())


@pytest.mark.parametrize("settings", [{"image_size": 48, "patch_size": 16}, {"image_size": 40, "patch_size": 8}])
def test_a_vit_of_torchvision_is_ours_under_other_names(settings):
    sizes = {"num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 40, "num_classes": 7}
    oracle = torchvision.models.VisionTransformer(**settings, **sizes)
    checks.unsettle(oracle)
    for name, value in oracle.state_dict().items():
        if name.endswith(("class_token", "pos_embedding")):
            value.copy_(torch.from_numpy(random_numbers(name, value.shape)))
    config = ViTConfig(
        image_size=(settings["image_size"],) * 2,
        patch_size=settings["patch_size"],
        embedding=24,
        layers=2,
        heads=3,
        hidden=40,
        classes=7,
    )
    public = Public(oracle, config, to_canonical=TORCHVISION_VIT.to_canonical, to_oracle=TORCHVISION_VIT.from_canonical)
    checks.assert_state_fits_both_ways(public)
    checks.assert_same_outputs(public, [checks.images(2, 3, settings["image_size"], settings["image_size"])])


@pytest.mark.parametrize(
    ("name", "preset"), [("vit_b_16", "vit_base_patch16_224"), ("vit_l_16", "vit_large_patch16_224")]
)
def test_a_published_vit_of_torchvision_has_all_names_of_ours(name, preset):
    with torch.device("meta"):
        oracle = torchvision.models.get_model(name, weights=None)
    shapes = {key: tuple(value.shape) for key, value in without_values(ViTConfig.preset(preset)).state_dict().items()}
    state = {key: np.zeros(1, np.float32) for key in oracle.state_dict()}
    assert TORCHVISION_VIT.to_canonical(state).keys() == shapes.keys()
    block, settings = oracle.encoder.layers[0], ViTConfig.preset(preset)
    assert (block.num_heads, block.ln_1.eps) == (settings.heads, settings.epsilon)
