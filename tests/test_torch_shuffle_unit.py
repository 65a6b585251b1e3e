"""The ShuffleNet unit in PyTorch: as the old one on the same weights, in any memory format, with clear errors."""

from __future__ import annotations

import re

import pytest
import torch
from oracle_shuffle_unit import OldShuffleUnit, new_state, randomize_norms
from torch import nn

from einops_arch.architectures import ShuffleUnitConfig
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.torch.shuffle_unit import ShuffleUnit

VARIANTS = {
    "add": {"in_channels": 24, "out_channels": 24, "combine": "add"},
    "add, first not grouped": {"in_channels": 36, "out_channels": 36, "combine": "add", "grouped_conv": False},
    "concat": {"in_channels": 9, "out_channels": 24, "combine": "concat"},
    "concat, first not grouped": {
        "in_channels": 9,
        "out_channels": 48,
        "combine": "concat",
        "grouped_conv": False,
    },
    "concat, two groups": {"in_channels": 6, "out_channels": 32, "groups": 2, "combine": "concat"},
}


def features(channels: int, height: int = 7, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, channels, height, width, generator=generator, dtype=torch.float64)


def trained_unit(config: ShuffleUnitConfig) -> ShuffleUnit:
    torch.manual_seed(3)
    return randomize_norms(ShuffleUnit(config)).double().eval()


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("arguments", list(VARIANTS.values()), ids=list(VARIANTS))
def test_old_and_new_agree_on_the_same_weights(arguments: dict, train: bool) -> None:
    torch.manual_seed(1)
    old = randomize_norms(OldShuffleUnit(**arguments)).double().train(train)
    new = ShuffleUnit(ShuffleUnitConfig(**arguments)).double().train(train)
    new.load_state_dict(new_state(old))
    x = features(arguments["in_channels"])
    torch.testing.assert_close(new(x), old(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dict(new.state_dict()), new_state(old), rtol=1e-12, atol=1e-12)


def test_the_agreement_notices_a_missing_shuffle_and_the_other_order() -> None:
    arguments = VARIANTS["concat"]
    old = OldShuffleUnit(**arguments).double().eval()
    x = features(9)
    unshuffled = ShuffleUnit(ShuffleUnitConfig(**arguments)).double().eval()
    swapped = ShuffleUnit(ShuffleUnitConfig(**arguments, shortcut_first=False)).double().eval()
    unshuffled.c_shuffle = nn.Identity()
    for mutant in (unshuffled, swapped):
        mutant.load_state_dict(new_state(old))
        assert (mutant(x) - old(x)).abs().max() > 1e-3


def test_the_shuffle_after_an_ungrouped_convolution_only_renames_its_channels() -> None:
    unit = trained_unit(ShuffleUnitConfig(**VARIANTS["concat, first not grouped"]))
    x = features(9)
    expected = unit(x)
    order = unit.c_shuffle(torch.arange(12).reshape(1, 12, 1, 1)).flatten()
    with torch.no_grad():
        unit.compress_conv1.weight.copy_(unit.compress_conv1.weight[order])
        for tensor in unit.compress_bn1.state_dict().values():
            if tensor.ndim:
                tensor.copy_(tensor[order])
    assert not torch.allclose(unit(x), expected)
    unit.c_shuffle = nn.Identity()
    torch.testing.assert_close(unit(x), expected, rtol=1e-12, atol=1e-12)


def test_the_bottleneck_is_a_quarter_of_all_output_channels() -> None:
    unit = ShuffleUnit(ShuffleUnitConfig.concat())
    assert unit.compress_conv1.weight.shape == (120, 80, 1, 1)
    assert unit.dw_conv2.weight.shape == (120, 1, 3, 3)
    assert unit.expand_conv3.weight.shape == (240, 40, 1, 1)


def test_the_first_unit_of_a_network_has_no_groups_in_its_first_convolution() -> None:
    unit = ShuffleUnit(ShuffleUnitConfig.first())
    assert unit.compress_conv1.weight.shape == (60, 24, 1, 1)
    assert unit.expand_conv3.weight.shape == (216, 20, 1, 1)


def test_the_parameters_have_the_names_of_the_public_weights_in_their_order() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = []
    for conv, batch_norm in (
        ("compress_conv1", "compress_bn1"),
        ("dw_conv2", "dw_bn2"),
        ("expand_conv3", "expand_bn3"),
    ):
        expected += [f"{conv}.weight"] + [f"{batch_norm}.{leaf}" for leaf in norm]
    assert list(ShuffleUnit(ShuffleUnitConfig.tiny()).state_dict()) == expected


def test_the_zeros_of_the_padding_count_in_the_pooled_shortcut() -> None:
    unit = ShuffleUnit(ShuffleUnitConfig.tiny()).eval()
    shortcut = unit(torch.ones(1, 9, 6, 6))[0, 0]
    expected = torch.tensor([[4.0, 6.0, 6.0], [6.0, 9.0, 9.0], [6.0, 9.0, 9.0]]) / 9
    torch.testing.assert_close(shortcut, expected)


@pytest.mark.parametrize("shortcut_first", [True, False])
def test_the_shortcut_comes_where_the_config_says(shortcut_first: bool) -> None:
    unit = trained_unit(ShuffleUnitConfig(9, 24, combine="concat", shortcut_first=shortcut_first))
    x = features(9).abs()
    y = unit(x)
    shortcut = y[:, :9] if shortcut_first else y[:, 15:]
    assert torch.equal(shortcut, nn.functional.avg_pool2d(x, 3, stride=2, padding=1))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 10)])
@pytest.mark.parametrize("combine", ["add", "concat"])
def test_any_size_of_image_gives_the_size_that_the_config_says(combine: str, size: tuple[int, int]) -> None:
    config = ShuffleUnitConfig(**VARIANTS[combine])
    y = trained_unit(config)(features(config.in_channels, *size))
    assert tuple(y.shape) == (5, config.out_channels, *config.output_size(*size))


@pytest.mark.parametrize("combine", ["add", "concat"])
def test_memory_in_channels_last_stays_so_and_the_values_are_the_same(combine: str) -> None:
    config = ShuffleUnitConfig(**VARIANTS[combine])
    unit = trained_unit(config)
    x = features(config.in_channels)
    y = unit(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y.contiguous(), unit(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("combine", ["add", "concat"])
def test_the_input_is_left_as_it_was(combine: str) -> None:
    config = ShuffleUnitConfig(**VARIANTS[combine])
    x = features(config.in_channels)
    before = x.clone()
    trained_unit(config)(x)
    assert torch.equal(x, before)


ERRORS = [
    (
        {"combine": "sum"},
        "ShuffleUnitConfig: combine needs 'add' or 'concat', received 'sum'",
    ),
    (
        {"in_channels": 240, "out_channels": 240, "combine": "concat"},
        (
            "ShuffleUnitConfig: combine='concat' puts the input beside the result, so it needs out_channels above "
            "in_channels=240, received out_channels=240"
        ),
    ),
    (
        {"in_channels": 240, "out_channels": 120, "combine": "concat"},
        (
            "ShuffleUnitConfig: combine='concat' puts the input beside the result, so it needs out_channels above "
            "in_channels=240, received out_channels=120"
        ),
    ),
    (
        {"in_channels": 24, "out_channels": 240},
        (
            "ShuffleUnitConfig: combine='add' adds the input to the result, so it needs out_channels equal to "
            "in_channels=24, received out_channels=240; likely fix: combine='concat'"
        ),
    ),
    (
        {"in_channels": 20, "out_channels": 40, "combine": "concat"},
        (
            "ShuffleUnitConfig: expected channels divisible by groups=3, received in_channels=20, "
            "bottleneck_channels (out_channels // 4)=10, expanded_channels (out_channels - in_channels)=20"
        ),
    ),
    (
        {"in_channels": 20, "out_channels": 20, "grouped_conv": False},
        (
            "ShuffleUnitConfig: expected channels divisible by groups=3, received "
            "bottleneck_channels (out_channels // 4)=5, out_channels=20"
        ),
    ),
    (
        {"in_channels": 3, "out_channels": 3},
        "ShuffleUnitConfig: expected out_channels to be at least 4, for a bottleneck of a quarter, received 3",
    ),
    ({"groups": 0}, "ShuffleUnitConfig: groups needs a whole number of at least 1, received 0"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS, ids=[message[19:60] for _, message in ERRORS])
def test_a_config_that_does_not_fit_is_one_clear_error(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        ShuffleUnitConfig(**arguments)


def test_features_with_other_channels_are_one_clear_error() -> None:
    message = (
        "features: expected axes 'b c h w' with c=9, h>=1, w>=1, received c=7 in shape (2, 7, 6, 9); "
        "likely fix: move the axes with rearrange(x, 'b h w c -> b c h w')"
    )
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        ShuffleUnit(ShuffleUnitConfig.tiny())(torch.zeros(2, 7, 6, 9))
