"""torchvision's feature extractor cuts the networks of this package as it cuts its own."""

from __future__ import annotations

import oracle_checks  # noqa: F401 - makes torchvision importable
import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from einops_arch.architectures import ResNetConfig, ViTConfig
from einops_arch.torch import ResNet, ViT


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_features_of_resnet18_are_torchvisions():
    model, oracle = ResNet(ResNetConfig.resnet18()).eval(), torchvision.models.resnet18().eval()
    oracle.load_state_dict(model.state_dict())
    nodes = {"layer1": "low", "layer3.1.relu": "middle", "layer4": "high"}
    x = image(2, 3, 64, 96)
    received, expected = (create_feature_extractor(network, nodes)(x) for network in (model, oracle))
    assert received.keys() == expected.keys() == set(nodes.values())
    for name in received:
        torch.testing.assert_close(received[name], expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(6, 8), (10, 4)])
def test_tokens_of_a_vit_are_what_its_blocks_give(size):
    model = ViT(ViTConfig.tiny()).eval()
    _, names = get_graph_node_names(model)
    assert "blocks.0.attn.qkv" in names
    seen = []
    model.blocks[0].attn.qkv.register_forward_hook(lambda module, args, output: seen.append(output))
    x = image(2, 3, *size)
    model(x)
    received = create_feature_extractor(model, ["blocks.0.attn.qkv"])(x)
    assert torch.equal(received["blocks.0.attn.qkv"], seen[0])
