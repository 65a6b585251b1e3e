"""The parts of a comparison one by one: layouts, verdicts, probes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from einops.layers.torch import Rearrange
from flax import nnx
from imports import loaded

from einops_arch.architectures.language_model import LanguageModelConfig
from einops_arch.architectures.super_resolution import SuperResolutionConfig
from einops_arch.errors import PortError
from einops_arch.flax import layers as ours
from einops_arch.flax.state import state_dict
from einops_arch.layouts.layer_axes import channel_place, layer_axes
from einops_arch.parity import Verdict, compare, example_inputs, random_state, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.pair import pooled
from einops_arch.parity.report.verdicts import Measure, Pair, measure, rms, worst
from einops_arch.parity.runs.axes import TraceCall, channels_last, plain, resolve
from einops_arch.parity.runs.values import flatten, rebuild
from einops_arch.port import register_axes
from einops_arch.torch import layers as wrappers

NN = torch.nn
MOVED = (0, 2, 3, 1)
FLOAT = "floating-point"


def layout(module, out, given=None, other=None, known=()):
    """The layout of the output of one module that was called alone."""
    call = TraceCall("m", 0, module, given, [out], None, 0)
    return resolve([call], {} if other is None else {"m": other}, known)["m", 0, 0]


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (NN.Conv2d(3, 4, 1), (2, 4, 5, 6), MOVED),
        (NN.Conv2d(3, 4, 1), (4, 5, 6), (1, 2, 0)),
        (NN.ConvTranspose1d(3, 4, 1), (2, 4, 5), (0, 2, 1)),
        (NN.AdaptiveAvgPool3d(2), (2, 4, 2, 2, 2), (0, 2, 3, 4, 1)),
        (NN.BatchNorm1d(4), (2, 4), (0, 1)),
        (NN.BatchNorm1d(4), (2, 4, 5), (0, 2, 1)),
        (NN.GroupNorm(2, 4), (2, 4, 5), (0, 2, 1)),
        (NN.ReflectionPad2d(1), (2, 4, 5, 6), MOVED),
        (NN.Dropout2d(), (2, 4, 5, 6), MOVED),
        (NN.PixelShuffle(2), (2, 4, 5, 6), MOVED),
        (wrappers.DepthToSpace(2), (2, 4, 5, 6), MOVED),
        (wrappers.DepthToSpace(2, drop_channel=True), (2, 5, 6), (0, 1, 2)),
        (wrappers.Unpatchify(2, (2, 2)), (2, 4, 5, 6), MOVED),
        (wrappers.Patchify(2), (2, 4, 5), (0, 1, 2)),
        (wrappers.GramMatrix(), (2, 4, 4), (0, 1, 2)),
        (NN.LSTM(4, 5), (2, 4, 5), (0, 1, 2)),
        (NN.Linear(4, 5), (2, 4, 7, 5), (0, 1, 2, 3)),
        (NN.Embedding(4, 5), (2, 4, 5), (0, 1, 2)),
        (NN.ReLU(), (2, 4, 5, 6), (0, 1, 2, 3)),
    ],
)
def test_layers_know_their_channels(module, shape, expected):
    assert layout(module, torch.zeros(shape)) == expected


PUBLIC = {name: kind for name, kind in vars(NN).items() if isinstance(kind, type) and issubclass(kind, NN.Module)}
# What takes `(N, C, ...)` and is no layer on images: losses, and windows laid out as rows.
NO_IMAGES = {"Fold", "Unfold", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss"}


def test_channels_stand_where_the_documentation_of_pytorch_has_them():
    stated = {name for name, kind in PUBLIC.items() if re.search(r"Input: :math:`\(N, C", kind.__doc__ or "")}
    assert len(stated - NO_IMAGES) > 40
    for name in stated - NO_IMAGES:
        (takes, *_), _ = layer_axes(PUBLIC[name])
        assert channel_place(takes, 4 if "..." in takes else len(takes.split())) == 1, name


def test_users_say_where_their_channels_are():
    class Mixer(NN.Module):
        pass

    assert layout(Mixer(), torch.zeros(2, 4, 5)) == (0, 1, 2)
    register_axes(Mixer, "b c t", "b c t")
    assert layout(Mixer(), torch.zeros(2, 4, 5)) == (0, 2, 1)


def test_two_wrappers_of_one_data_format_have_the_same_axes():
    first = ours.ChannelShuffle(2, data_format="channels_first")
    assert layout(wrappers.ChannelShuffle(2), torch.zeros(2, 4, 5, 6), other=first) == (0, 1, 2, 3)
    assert layout(wrappers.ChannelShuffle(2), torch.zeros(2, 4, 5, 6), other=ours.ChannelShuffle(2)) == MOVED


def test_patterns_that_name_their_axes_decide():
    one, other = Rearrange("b c h w -> b c w h"), ours.Rearrange("b h w c -> b w h c")
    assert layout(one, torch.zeros(2, 4, 5, 6), other=other) == (0, 2, 3, 1)
    assert layout(Rearrange("b c h w -> b h w c"), torch.zeros(2, 4, 5, 6)) == (0, 1, 2, 3)


def test_a_module_takes_the_layout_of_its_input():
    x, y = torch.zeros(2, 4, 5, 6), torch.ones(2, 4, 5, 6)
    assert layout(NN.GELU(), y, given=x, known=[(x, MOVED)]) == MOVED
    assert layout(NN.Flatten(2), torch.zeros(2, 4, 30), given=x, known=[(x, MOVED)]) == (0, 1, 2)


def test_what_goes_into_a_convolution_has_channels_too():
    """As the sum in a residual block, of which no module knows where it comes from."""
    total, active, out = (torch.zeros(2, 4, 5, 6) for _ in range(3))
    calls = [
        TraceCall("relu", 0, NN.ReLU(), total, [active], None, 0),
        TraceCall("conv", 0, NN.Conv2d(4, 4, 1), active, [out], None, 1),
    ]
    assert resolve(calls, {}, [])["relu", 0, 0] == MOVED


def test_else_the_module_around_it_tells():
    x, inner, out = torch.zeros(2, 4, 5, 6), torch.zeros(2, 4, 7, 8), torch.zeros(2, 4)
    calls = [
        TraceCall("block.tanh", 0, NN.Tanh(), None, [inner], 0, 1),
        TraceCall("block", 0, NN.Module(), x, [out], None, 0),
    ]
    found = resolve(calls, {}, [(x, MOVED)])
    assert found["block.tanh", 0, 0] == MOVED
    assert found["block", 0, 0] == plain(2)


def test_a_stated_layout_reaches_what_rules_cannot_know():
    class Last(NN.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    class Same(nnx.Module):
        def __call__(self, x):
            return x + 0

    image = random_numbers("image", (2, 3, 4, 5))
    # That the values agree with the same axes on both sides is no chance, and nothing says otherwise.
    assert compare(Last(), Same(), image, axes="b c h w").verdict is Verdict.BIT_EQUAL
    stated = {"": "b c h w -> b h w c"}
    assert compare(Last(), Same(), image, axes="b c h w", layouts=stated).verdict is Verdict.SHAPE
    assert compare(Last(), Same(), image, axes="b c h w", layouts={"": "b h w c -> b h w c"}).passed


def numbers(count=2000):
    return random_numbers("numbers", (count,))


def pair(error_torch, error_flax, count=2000, shift=0.0):
    exact = numbers(count)
    noise = random_numbers("noise", (count,))
    own = [(exact + error * noise).astype(np.float32) for error in (error_torch, error_flax)]
    return Pair(exact, exact + shift * noise, *own)


@pytest.mark.parametrize(
    ("shift", "errors", "verdict"),
    [
        (0.0, (1e-6, 3.5e-6), Verdict.SAME_FUNCTION),
        (0.0, (1e-6, 4.5e-6), Verdict.ROUNDING),
        # Neither may be much worse than the other, in either direction.
        (0.0, (1e-4, 1e-7), Verdict.ROUNDING),
        # Four roundoffs count as none.
        (0.0, (1e-10, 2e-7), Verdict.SAME_FUNCTION),
        (0.0, (0.0, 1e-6), Verdict.ROUNDING),
        (0.9e-12, (1e-6, 1e-6), Verdict.BIT_EQUAL),
        (1.1e-12, (1e-6, 1e-6), Verdict.SEMANTIC),
        (0.9e-12, (1e-6, 1.1e-6), Verdict.SAME_FUNCTION),
    ],
)
def test_verdicts_on_both_sides_of_each_limit(shift, errors, verdict):
    assert measure([pair(*errors, shift=shift)]).verdict is verdict


def test_scales_do_not_matter_and_do_not_overflow():
    for scale in (1e-200, 1e200):
        exact = numbers() * scale
        assert measure([Pair(exact, exact * (1 + 1e-13))]).verdict is Verdict.SAME_FUNCTION
        assert measure([Pair(exact, exact * (1 + 1e-11))]).verdict is Verdict.SEMANTIC
    assert rms(np.array([3e200, 4e200])) == pytest.approx(np.sqrt(12.5) * 1e200)


def test_zero_is_only_equal_to_zero():
    zero = np.zeros(5)
    assert measure([Pair(zero, zero.copy())]).verdict is Verdict.BIT_EQUAL
    assert measure([Pair(zero, zero + 1e-300)]).verdict is Verdict.SEMANTIC
    assert measure([Pair(zero + 1e-20, zero - 1e-20)], zero=1e-13).verdict is Verdict.SAME_FUNCTION


def test_integers_are_equal_or_not():
    tokens = np.array([3, 4, 5])
    assert measure([Pair(tokens, tokens.astype(np.int32))]).verdict is Verdict.BIT_EQUAL
    assert measure([Pair(tokens, np.array([3, 4, 6]))]).difference == pytest.approx(1 / 3)


def test_few_numbers_count_only_together():
    """An unlucky ratio of a short output is no verdict; a bad layer among short ones is."""
    lucky = Measure(0.0, 1e-7, 1e-7, 1.0, Verdict.SAME_FUNCTION, 20)
    unlucky = Measure(0.0, 2e-7, 1e-6, 5.0, Verdict.ROUNDING, 20, by_ratio=True)
    large = Measure(0.0, 2e-7, 1e-6, 5.0, Verdict.ROUNDING, 2000, by_ratio=True)
    wrong = Measure(0.0, 2e-7, 1e-5, 50.0, Verdict.ROUNDING, 20, by_ratio=True)
    others = [Measure(0.0, 4e-7, 4e-7, 1.0, Verdict.SAME_FUNCTION, 20)]
    assert worst([one.verdict for one in pooled([lucky, unlucky, *others])]) is Verdict.SAME_FUNCTION
    assert worst([one.verdict for one in pooled([lucky, large, *others])]) is Verdict.ROUNDING
    assert worst([one.verdict for one in pooled([lucky, wrong, *others])]) is Verdict.ROUNDING


def test_nests_are_taken_apart_and_built_again():
    nest = (1, {"b": [2, 3], "a": None}, "text")
    leaves = flatten(nest, lambda value: isinstance(value, int))
    assert leaves == [("0", 1), ("1.b.0", 2), ("1.b.1", 3)]
    back = rebuild(nest, lambda place, value: (place, value), lambda value: isinstance(value, int))
    assert back == (("0", 1), {"b": [("1.b.0", 2), ("1.b.1", 3)], "a": None}, "text")


SHAPES = {
    "conv.weight": ((5, 3, 2, 2), FLOAT),
    "conv.bias": ((500,), FLOAT),
    "bn.weight": ((500,), FLOAT),
    "bn.running_mean": ((500,), FLOAT),
    "bn.running_var": ((500,), FLOAT),
    "bn.num_batches_tracked": ((), "integer"),
    "rnn.bias_hh_l0": ((500,), FLOAT),
}


def test_a_state_in_which_mistakes_show():
    state = random_state(SHAPES)
    assert {name: value.shape for name, value in state.items()} == {name: s for name, (s, _) in SHAPES.items()}
    assert all(value.dtype == np.float32 for name, value in state.items() if name != "bn.num_batches_tracked")
    for name in ("conv.bias", "rnn.bias_hh_l0", "bn.running_mean"):
        assert np.abs(state[name]).min() >= 0.1
        assert abs(np.mean(state[name] > 0) - 0.5) < 0.1
    assert state["bn.running_var"].min() >= 0.5
    assert state["bn.running_var"].max() > 1.9
    assert 3 <= state["bn.num_batches_tracked"] < 23
    weight = random_state({"fc.weight": ((200, 50), FLOAT)})["fc.weight"]
    assert weight.std() == pytest.approx(1 / np.sqrt(50), rel=0.03)
    assert abs(weight.mean()) < 0.01


def test_numbers_go_by_name_and_seed():
    state = random_state(SHAPES)
    back = random_state(dict(reversed(SHAPES.items())))
    assert all(np.array_equal(state[name], back[name]) for name in SHAPES)
    assert not np.array_equal(state["conv.bias"], random_state(SHAPES, seed=1)["conv.bias"])
    assert not np.array_equal(state["conv.bias"], random_state({"fc.bias": ((500,), FLOAT)})["fc.bias"])


STORED = ["165f873e1c219bbbd4d08e3f", "fb98a03e160f953e"]


def test_numbers_stay_as_they_are():
    """Stored values of the tests are made with them."""
    state = random_state({"fc.weight": ((1, 3), FLOAT), "fc.bias": ((2,), FLOAT)})
    assert [state["fc.weight"].tobytes().hex(), state["fc.bias"].tobytes().hex()] == STORED


def test_names_of_one_array_have_one_value():
    shapes = {"b.weight": ((4, 3), FLOAT), "a.weight": ((4, 3), FLOAT)}
    tied = random_state(shapes, aliases=[("b.weight", "a.weight")])
    assert np.array_equal(tied["a.weight"], tied["b.weight"])
    assert np.array_equal(tied["a.weight"], random_state(shapes)["a.weight"])
    with pytest.raises(PortError, match=r"^b.weight: expected the shape of a.weight, which is the same array"):
        random_state(shapes | {"b.weight": ((3, 4), FLOAT)}, aliases=[("a.weight", "b.weight")])


def test_unknown_integers_are_refused_and_left_alone():
    with pytest.raises(PortError, match=r"^position_ids: expected floating-point numbers or num_batches_tracked"):
        random_state({"position_ids": ((4,), "integer")})
    model = NN.Linear(2, 2)
    model.register_buffer("position_ids", torch.arange(4))
    randomize(model)
    assert model.position_ids.tolist() == [0, 1, 2, 3]


def test_both_frameworks_are_filled_alike():
    one, other = NN.BatchNorm2d(3), ours.BatchNorm(3, rngs=nnx.Rngs(0))
    randomize(one, seed=4)
    randomize(other, seed=4)
    for name, value in state_dict(other).items():
        assert np.array_equal(value, one.state_dict()[name].numpy())


def test_ties_stay_ties():
    model = NN.Sequential(NN.Linear(3, 3), NN.Linear(3, 3))
    model[1].weight = model[0].weight
    randomize(model)
    assert model[1].weight is model[0].weight
    assert torch.equal(model.state_dict()["0.weight"], model.state_dict()["1.weight"])


def test_example_inputs_have_no_two_sizes_equal():
    (image,) = example_inputs(SuperResolutionConfig.tiny_rgb())
    assert image.dtype == np.float32
    assert len(set(image.shape)) == 4
    assert {size % 2 for size in image.shape[2:]} == {0, 1}
    (tokens,) = example_inputs(LanguageModelConfig.tiny(), batch=2)
    assert tokens.dtype == np.int64
    assert tokens.shape[1] == 2
    assert 0 <= tokens.min() <= tokens.max() < LanguageModelConfig.tiny().vocabulary


def test_importing_parity_loads_no_framework():
    assert loaded("import einops_arch.parity, einops_arch.parity.report.table").isdisjoint(
        {"torch", "jax", "flax", "rich"}
    )


def test_channels_move_to_the_end():
    assert channels_last(5, 1) == (0, 2, 3, 4, 1)
