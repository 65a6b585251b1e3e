"""Published sizes: torchvision's figures are those that the architectures state, and the twins are one function."""

from __future__ import annotations

import oracle_checks  # noqa: F401 - makes torchvision importable
import pytest
import torch
import torchvision
from golden_values import config_of

from einops_arch import architectures
from einops_arch.cli.summary.summary import summarize
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.port import to_flax

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

LARGEST = 50e6
"""Parameters up to which the twins of a published size are compared, in float64 with gradients."""


def smallest_published(name):
    """The published size with the fewest parameters, and their number; on the meta device it takes no memory."""
    architecture = architectures.get(name)
    sizes = {}
    for preset in architecture.config.PRESETS:
        if not preset.startswith("tiny"):
            with torch.device("meta"):
                model = architecture.torch_class()(architecture.config.preset(preset))
            sizes[preset] = sum(parameter.numel() for parameter in model.parameters())
    return min(sizes.items(), key=lambda size: size[1], default=None)


# The others' published sizes are compared with the networks of torchvision, timm and transformers, both twins.
COMPARED_WITH_OTHERS = {"resnet", "vgg", "shufflenet_v2", "vit", "gpt2"}
ALONE = [name for name in architectures.names() if name not in COMPARED_WITH_OTHERS]
SMALLEST = {name: size for name in ALONE if (size := smallest_published(name))}
OWN = [(name, preset) for name, (preset, size) in SMALLEST.items() if size <= LARGEST]


@pytest.mark.parametrize(("name", "preset"), OWN)
def test_twins_of_a_published_size_compute_the_same_function(name, preset):
    torch_model = architectures.get(name).torch_class()(config_of(name, preset))
    randomize(torch_model)
    flax_model = to_flax(torch_model)
    # A batch norm over a handful of values magnifies rounding, so those networks get an image of a usual size.
    statistics = any(key.endswith("running_var") for key in torch_model.state_dict())
    inputs = example_inputs(torch_model.config, batch=2, sizes={"h": 64, "w": 96} if statistics else None)
    compare(torch_model, flax_model, inputs, gradients=True).assert_same_function()
    compare(torch_model, flax_model, inputs, mode="train", steps=3).assert_same_function()


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_the_figures_of_torchvision(name, preset):
    theirs = VIT[preset] if name == "vit" else NAMES[name].format(preset)
    said = torchvision.models.get_model_weights(theirs).IMAGENET1K_V1.meta
    architecture = architectures.get(name)
    assert architecture.config.PUBLISHED[preset] == (said["num_params"], said["_ops"])
    network = summarize(architecture, architecture.config.preset(preset), "torch").modules[0]
    assert network.parameters == said["num_params"]
    assert abs(network.multiply_adds / 1e9 - said["_ops"]) <= 0.001
