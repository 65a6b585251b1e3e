"""ResNet and VGG in Flax: initial distributions, and what a slice gives."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch.architectures import ResNetConfig, VGGConfig
from einops_arch.flax import VGG, ResNet


def test_weights_begin_as_in_torchvision():
    block = ResNet(ResNetConfig(depths=(1,), widths=(64,)), rngs=nnx.Rngs(0)).layer1[0]
    # Standard deviations of He et al.: by what goes out of a weight, groups or not.
    assert float(block.conv2.kernel[...].std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert float(block.conv3.kernel[...].std()) == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    config = ResNetConfig(depths=(1,), widths=(64,), groups=2, width_per_group=64)
    grouped = ResNet(config, rngs=nnx.Rngs(0)).layer1[0].conv2
    assert float(grouped.kernel[...].std()) == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    network = VGG(VGGConfig(convolutions=(2,), widths=(64,), hidden=100), rngs=nnx.Rngs(0))
    assert float(network.features[2].kernel[...].std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert float(network.classifier[3].kernel[...].std()) == pytest.approx(0.01, rel=0.05)
    assert not network.features[2].bias[...].any()
    assert not network.classifier[6].bias[...].any()


def test_a_slice_gives_the_feature_map():
    model = ResNet(ResNetConfig.tiny(), rngs=nnx.Rngs(0))
    model.eval()
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 33, 64, 3)))
    features = model[:-2](image)
    assert features.ndim == 4
    assert jnp.array_equal(model[-2:](features), model(image))
