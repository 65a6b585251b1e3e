"""ShuffleNet in PyTorch: Table 1 of the paper, the public weights' sizes, and the memory format on the way."""

from __future__ import annotations

import re

import pytest
import torch
from oracle_shuffle_unit import randomize_norms
from oracle_shufflenet import OldShuffleNet, new_network_state
from torch import nn

from einops_arch.architectures import ShuffleNetConfig
from einops_arch.errors import ConfigError
from einops_arch.torch.layers import Rearrange
from einops_arch.torch.shufflenet import ShuffleNet

# The parameters of pytorchcv's networks, as its own tests state them.
PUBLIC_PARAMETERS = {
    "g1": 1_531_936,
    "g2": 1_733_848,
    "g3": 1_865_728,
    "g4": 1_968_344,
    "g8": 2_434_768,
    "g1_x0_75": 975_214,
    "g3_x0_75": 1_238_266,
    "g1_x0_5": 534_484,
    "g3_x0_5": 718_324,
    "g1_x0_25": 209_746,
    "g3_x0_25": 305_902,
}
TABLE_1_CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
TABLE_1_MILLIONS = {1: 143, 2: 140, 3: 137, 4: 133, 8: 137}


def trace(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each module gives, by its path, in the order of the calls."""
    seen: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda _, __, output, path=path: seen.__setitem__(path, output))
    model(image)
    return seen


def trace_on_meta(config: ShuffleNetConfig) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The same at 224x224, on the device that knows shapes and computes nothing."""
    with torch.device("meta"):
        model = ShuffleNet(config)
        return model, trace(model, torch.empty(1, config.in_channels, 224, 224))


def multiply_adds(config: ShuffleNetConfig) -> tuple[int, int]:
    """Multiply-adds of the convolutions and of the linear layer, from the shapes that come out."""
    model, seen = trace_on_meta(config)
    convolutions = linear = 0
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            # Each of the values that come out is a sum over the inputs of one group and over the kernel.
            convolutions += seen[path].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            linear += seen[path].numel() * module.in_features
    return convolutions, linear


@pytest.mark.parametrize("groups", list(TABLE_1_CHANNELS))
def test_sizes_and_channels_are_those_of_table_1(groups: int) -> None:
    _, seen = trace_on_meta(ShuffleNetConfig.preset(f"g{groups}"))
    rows = {"features.init_block.conv": (24, 112, 112), "features.init_block.pool": (24, 56, 56)}
    for stage, (channels, side) in enumerate(zip(TABLE_1_CHANNELS[groups], (28, 14, 7), strict=True), 1):
        for unit in range(1, (4, 8, 4)[stage - 1] + 1):
            rows[f"features.stage{stage}.unit{unit}"] = (channels, side, side)
    rows["features.final_pool"] = (TABLE_1_CHANNELS[groups][-1],)
    rows["output"] = (1000,)
    assert {path: tuple(seen[path].shape[1:]) for path in rows} == rows
    assert sum(path.rpartition(".")[2].startswith("unit") for path in seen) == 16


@pytest.mark.parametrize("groups", list(TABLE_1_CHANNELS))
def test_multiply_adds_are_those_of_table_1(groups: int) -> None:
    """Table 1 counts the convolutions alone: with the linear layer, 2, 4 and 8 groups would be 141, 134, 138."""
    convolutions, linear = multiply_adds(ShuffleNetConfig.preset(f"g{groups}"))
    print(f"groups={groups}: {convolutions:,} in convolutions, {linear:,} in the linear layer")  # noqa: T201
    assert round(convolutions / 1e6) == TABLE_1_MILLIONS[groups]
    assert linear == TABLE_1_CHANNELS[groups][-1] * 1000


def test_multiply_adds_of_other_widths_are_those_of_the_authors_with_the_linear_layer() -> None:
    """38, 292 and 524 million for three groups; 13 million for a quarter, which needs a stem of 12 channels."""
    configs = {
        13: ShuffleNetConfig.scaled(3, 0.25, stem_channels=12),
        38: ShuffleNetConfig.g3_x0_5(),
        292: ShuffleNetConfig.g3_x1_5(),
        524: ShuffleNetConfig.g3_x2_0(),
    }
    assert [round(sum(multiply_adds(config)) / 1e6) for config in configs.values()] == list(configs)
    assert round(sum(multiply_adds(ShuffleNetConfig.g3_x0_25())) / 1e6) == 11


@pytest.mark.parametrize("preset", list(PUBLIC_PARAMETERS))
def test_the_number_of_parameters_is_that_of_the_public_weights(preset: str) -> None:
    with torch.device("meta"):
        model = ShuffleNet(ShuffleNetConfig.preset(preset))
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLIC_PARAMETERS[preset]


def test_the_modules_have_the_names_of_the_public_weights() -> None:
    with torch.device("meta"):
        names = list(ShuffleNet().state_dict())
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert names[:6] == ["features.init_block.conv.weight"] + [f"features.init_block.bn.{n}" for n in norm]
    assert names[6] == "features.stage1.unit1.compress_conv1.weight"
    assert names[-8] == "features.stage3.unit4.expand_conv3.weight"
    assert names[-2:] == ["output.weight", "output.bias"]
    assert len(names) == 6 + 16 * 18 + 2


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_a_network_of_old_units_agrees_on_the_same_weights(train: bool) -> None:
    torch.manual_seed(1)
    old = randomize_norms(OldShuffleNet(2, 9, (24, 72), (2, 3), 3, 5)).double().train(train)
    config = ShuffleNetConfig(2, 3, 9, (24, 72), (2, 3), 5, shortcut_first=True)
    new = ShuffleNet(config).double().train(train)
    new.load_state_dict(new_network_state(old))
    x = torch.randn(3, 2, 40, 53, dtype=torch.float64)
    torch.testing.assert_close(new(x), old(x), rtol=1e-12, atol=1e-12)


def left_channels_last(model: nn.Module) -> list[str]:
    image = torch.randn(2, 2, 64, 80).to(memory_format=torch.channels_last)
    with torch.no_grad():
        images = {path: output for path, output in trace(model, image).items() if output.ndim == 4}
    assert {"features.init_block.conv", "features.stage2.unit1"} <= set(images)
    return [path for path, output in images.items() if not output.is_contiguous(memory_format=torch.channels_last)]


def test_an_image_in_channels_last_stays_so_from_the_first_convolution_to_the_pooling() -> None:
    model = ShuffleNet(ShuffleNetConfig.tiny()).eval()
    assert left_channels_last(model) == []
    # The same question notices a plain rearrange, which gives contiguous memory.
    model.features.stage1.unit2.c_shuffle = Rearrange("b (g k) h w -> b (k g) h w", g=3)
    assert left_channels_last(model)[0] == "features.stage1.unit2.c_shuffle"


@pytest.mark.parametrize("size", [(1, 1), (17, 40), (32, 33)])
def test_any_size_of_image_works(size: tuple[int, int]) -> None:
    config = ShuffleNetConfig.tiny()
    model = ShuffleNet(config).eval()
    image = torch.randn(3, 2, *size)
    assert tuple(model.features[:-1](image).shape) == (3, 72, *config.output_size(*size))
    assert model(image).shape == (3, 5)


ERRORS = [
    (
        lambda: ShuffleNetConfig(stage_channels=(240, 480)),
        "ShuffleNetConfig: expected repeats to be one number for each of 2 stages, received (4, 8, 4)",
    ),
    (
        lambda: ShuffleNetConfig(groups=8),
        (
            "ShuffleNetConfig: stage1.unit1: ShuffleUnitConfig: expected channels divisible by groups=8, received "
            "bottleneck_channels (out_channels // 4)=60"
        ),
    ),
    (
        lambda: ShuffleNetConfig(stage_channels=(240, 120, 960)),
        (
            "ShuffleNetConfig: stage2.unit1: ShuffleUnitConfig: combine='concat' puts the input beside the result, so "
            "it needs out_channels above in_channels=240, received out_channels=120"
        ),
    ),
    (
        lambda: ShuffleNetConfig.scaled(5),
        "ShuffleNetConfig: expected groups to be one of 1, 2, 3, 4, 8, received 5",
    ),
    (
        lambda: ShuffleNetConfig.scaled(8, 0.5),
        (
            "ShuffleNetConfig: stage1.unit1: ShuffleUnitConfig: expected channels divisible by groups=8, received "
            "expanded_channels (out_channels - in_channels)=180"
        ),
    ),
    (
        lambda: ShuffleNetConfig(stage_channels=()),
        "ShuffleNetConfig: stage_channels needs whole numbers of at least 1, received ()",
    ),
]


@pytest.mark.parametrize(("build", "message"), ERRORS, ids=[message[18:70] for _, message in ERRORS])
def test_a_config_that_does_not_fit_is_one_clear_error(build, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        build()
