"""ViT in PyTorch: its pieces against PyTorch's own, image sizes, and errors."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from einops_arch.architectures import ViTConfig
from einops_arch.architectures._resize import resize_positions, resize_weights
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.parity import randomize
from einops_arch.torch.layers import Patchify
from einops_arch.torch.layers.transformer import DotProductAttention, PatchLinear
from einops_arch.torch.vit import Block, ViT

TINY = ("tiny", "tiny_mean", "tiny_patches", "tiny_distilled")


def _model(preset="tiny", **changes):
    model = ViT(dataclasses.replace(ViTConfig.preset(preset), **changes))
    randomize(model)
    return model.double().eval()


def test_a_block_is_pytorchs_encoder_layer():
    config = ViTConfig.tiny()
    block = Block(config)
    randomize(block)
    block.double().eval()
    layer = nn.TransformerEncoderLayer(
        config.embedding,
        config.heads,
        config.hidden,
        activation="gelu",
        dropout=0.0,
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    names = {
        "self_attn.in_proj_": "attn.qkv.",
        "self_attn.out_proj.": "attn.proj.",
        "linear1.": "mlp.fc1.",
        "linear2.": "mlp.fc2.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    state = block.state_dict()
    layer.load_state_dict(
        {theirs + leaf: state[ours + leaf] for theirs, ours in names.items() for leaf in ("weight", "bias")}
    )
    x = torch.randn(2, 13, 10, dtype=torch.float64, requires_grad=True)
    # In training mode, where PyTorch takes no other path for speed.
    layer.double().train()
    torch.testing.assert_close(block(x), layer(x), rtol=1e-13, atol=1e-13)


def test_patches_and_a_linear_layer_are_a_convolution():
    linear = PatchLinear(3, 5, patch=4).double()
    image = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    expected = F.conv2d(image, linear.weight, linear.bias, stride=4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(linear(Patchify(4)(image)), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (3, 5), (1, 1)])
def test_the_kernel_of_attention_is_its_formula(queries, keys, causal):
    q = torch.randn(2, 3, queries, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, 3, keys, 4, dtype=torch.float64)
    scores = q @ k.transpose(2, 3) / 2
    if causal:
        for i in range(queries):
            scores[:, :, i, keys - queries + i + 1 :] = -torch.inf
    expected = scores.softmax(-1) @ v
    torch.testing.assert_close(DotProductAttention(causal=causal)(q, k, v), expected, rtol=1e-13, atol=1e-13)


def test_dropout_of_attention_is_on_in_training_only():
    attend = DotProductAttention(0.5)
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    assert not torch.equal(attend(q, k, v), attend(q, k, v))
    attend.eval()
    assert torch.equal(attend(q, k, v), attend(q, k, v))


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), [((7, 5), (3, 9)), ((14, 14), (24, 13)), ((1, 2), (3, 1)), ((4, 6), (4, 5))])
def test_positions_are_resized_as_pytorch_resizes_images(old, new, antialias):
    grid = torch.randn(1, 3, *old, dtype=torch.float64)
    expected = F.interpolate(grid, size=new, mode="bicubic", antialias=antialias)
    arange = partial(torch.arange, dtype=torch.float64)
    rows, columns = (resize_weights(arange, a, b, antialias=antialias) for a, b in zip(old, new, strict=True))
    received = resize_positions(grid.flatten(2).transpose(1, 2), old, rows, columns)
    torch.testing.assert_close(received, expected.flatten(2).transpose(1, 2), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("preset", TINY)
def test_another_image_size_is_another_network_of_that_size(preset):
    """With its position embedding resized once, a network made for the other size gives the same."""
    model = _model(preset)
    size = (10, 16)
    other = _model(preset, image_size=size)
    state = model.state_dict() | {"pos_embed": model._positions(model.config.grid_of(*size))}
    other.load_state_dict(state)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(model(image), other(image), rtol=1e-13, atol=1e-13)


def test_gradients_go_through_the_resize():
    model = _model()
    model(torch.randn(2, 3, 12, 4, dtype=torch.float64)).sum().backward()
    assert model.pos_embed.grad.abs().min() > 0


def test_half_precision_keeps_its_dtype_at_another_size():
    model = _model().to(torch.bfloat16)
    assert model(torch.zeros(1, 3, 10, 12, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_compiled_model_takes_several_sizes():
    model = _model()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for size in ((6, 8), (10, 4)):
        image = torch.randn(2, 3, *size, dtype=torch.float64)
        torch.testing.assert_close(compiled(image), model(image), rtol=1e-13, atol=1e-13)


def test_the_class_token_is_what_is_pooled():
    model = _model()
    image = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    tokens = {}
    model.norm.register_forward_hook(lambda _module, _inputs, output: tokens.update(normed=output))
    torch.testing.assert_close(model(image), model.head(tokens["normed"][:, 0]))
    mean = _model("tiny_mean")
    mean.blocks.register_forward_hook(lambda _module, _inputs, output: tokens.update(last=output))
    torch.testing.assert_close(mean(image), mean.head(mean.fc_norm(tokens["last"][:, 1:].mean(1))))


def test_it_begins_as_timms():
    torch.manual_seed(0)
    model = ViT(ViTConfig.of_size("tiny", 16))
    deviations = {"pos_embed": 0.02, "blocks.3.attn.qkv.weight": 0.02, "head.weight": 0.02, "cls_token": 1e-6}
    # PyTorch's own for a convolution of 768 inputs: uniform.
    deviations["patch_embed.proj.weight"] = (3 * 768) ** -0.5
    state = model.state_dict()
    for name, deviation in deviations.items():
        assert state[name].std().item() == pytest.approx(deviation, rel=0.15), name
    assert not state["blocks.0.mlp.fc1.bias"].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"image_size": (224, 220)},
            "ViTConfig: expected image_size to be multiples of patch_size=16, received (224, 220)",
        ),
        ({"heads": 7}, "ViTConfig: embedding needs a multiple of heads=7, received 768"),
        ({"classes": -1}, "ViTConfig: classes needs a whole number of at least 1, received -1"),
        ({"pool": "avg"}, "ViTConfig: pool needs 'token' or 'mean', received 'avg'"),
        ({"class_token": False}, "ViTConfig: expected pool to be 'mean' where class_token=False, received 'token'"),
        ({"epsilon": 0}, "ViTConfig: epsilon needs a number in (0, 1), received 0"),
        (
            {"distillation_token": True, "class_token": False, "pool": "mean"},
            "ViTConfig: expected distillation_token to be False where class_token=False, received True",
        ),
        (
            {"distillation_head": True},
            "ViTConfig: expected distillation_head to be False where distillation_token=False, received True",
        ),
        ({"image_size": (224,)}, "ViTConfig: expected image_size to be a height and a width, received (224,)"),
    ],
)
def test_configs_check_themselves(fields, message):
    with pytest.raises(ConfigError) as error:
        ViTConfig(**fields)
    assert str(error.value) == message


def test_a_side_that_the_patch_does_not_divide():
    with pytest.raises(ShapeError) as error:
        ViT(ViTConfig.tiny())(torch.zeros(1, 3, 6, 7))
    assert str(error.value) == (
        "image: expected axes 'b c h w' with c=3, h>=2, w>=2, h a multiple of 2, w a multiple of 2, "
        "received w=7 in shape (1, 3, 6, 7)"
    )
