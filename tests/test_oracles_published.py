"""What is published beside weights: torchvision's own figures are those that the architectures state and have."""

from __future__ import annotations

import oracle_checks  # noqa: F401 - makes torchvision importable
import pytest
import torchvision

from einops_arch import architectures
from einops_arch.cli.summary.summary import summarize

NAMES = {"shufflenet_v2": "shufflenet_v2_{}", "resnet": "{}", "vgg": "{}"}
VIT = {
    "vit_base_patch16_224": "vit_b_16",
    "vit_base_patch32_224": "vit_b_32",
    "vit_large_patch16_224": "vit_l_16",
    "vit_large_patch32_224": "vit_l_32",
}
PUBLISHED = [
    (name, preset)
    for name in architectures.names()
    for preset in architectures.get(name).config.PRESETS
    if not preset.startswith("tiny") and (name in NAMES or preset in VIT)
]


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_the_figures_of_torchvision(name, preset):
    theirs = VIT[preset] if name == "vit" else NAMES[name].format(preset)
    said = torchvision.models.get_model_weights(theirs).IMAGENET1K_V1.meta
    architecture = architectures.get(name)
    assert architecture.config.PUBLISHED[preset] == (said["num_params"], said["_ops"])
    network = summarize(architecture, architecture.config.preset(preset), "torch").modules[0]
    assert network.parameters == said["num_params"]
    assert abs(network.multiply_adds / 1e9 - said["_ops"]) <= 0.001
