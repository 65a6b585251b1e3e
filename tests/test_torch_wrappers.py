"""The PyTorch layers around the cores: equal to the cores and to PyTorch's own operations, in either memory format."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import einops
import einops.layers.torch
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import einops_arch.functional as core
from einops_arch.errors import ConfigError, PatternError, ShapeError
from einops_arch.torch import layers

DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.bool,
]

# Wrapper, the core it stands for, the shape of an input: prime sizes, so that no wrong order has the right shape.
WRAPPERS = [
    (layers.GramMatrix(), core.gram_matrix, (2, 3, 5, 7)),
    (layers.GramMatrix("full"), partial(core.gram_matrix, normalize="full"), (2, 3, 5, 7, 11)),
    (layers.ChannelShuffle(3), partial(core.channel_shuffle, groups=3), (2, 6, 5, 7)),
    (layers.ChannelShuffle(2), partial(core.channel_shuffle, groups=2), (2, 6)),
    (layers.ChannelUnshuffle(3), partial(core.channel_unshuffle, groups=3), (2, 6, 5, 7)),
    (layers.ChannelUnshuffle(3), partial(core.channel_unshuffle, groups=3), (2, 6)),
    (layers.DepthToSpace(3), partial(core.depth_to_space, factor=3), (2, 18, 5, 7)),
    (layers.DepthToSpace((3, 2), "DCR"), partial(core.depth_to_space, factor=(3, 2), order="DCR"), (2, 30, 5, 7)),
    (layers.DepthToSpace(2), partial(core.depth_to_space, factor=2), (2, 24, 3, 5, 7)),
    (
        layers.DepthToSpace((3, 2), drop_channel=True),
        partial(core.depth_to_space, factor=(3, 2), drop_channel=True),
        (2, 6, 5, 7),
    ),
    (layers.SpaceToDepth(2), partial(core.space_to_depth, factor=2), (2, 3, 10, 14)),
    (layers.SpaceToDepth((5, 7), "DCR"), partial(core.space_to_depth, factor=(5, 7), order="DCR"), (2, 3, 10, 14)),
    (layers.UpsampleNearest((2, 3)), partial(core.upsample_nearest, factor=(2, 3)), (2, 3, 5, 7)),
    (layers.Patchify((5, 2)), partial(core.patchify, patch=(5, 2)), (2, 3, 10, 14)),
    (layers.Unpatchify((5, 2), (3, 7)), partial(core.unpatchify, patch=(5, 2), grid=(3, 7)), (2, 21, 110)),
    (layers.FlattenFeatures(), core.flatten_features, (2, 3, 5, 7)),
    (layers.FlattenFeatures(3, (5, 7)), core.flatten_features, (2, 3, 5, 7)),
    (
        layers.UnflattenFeatures(3, (5, 7)),
        partial(core.unflatten_features, channels=3, spatial=(5, 7)),
        (2, 105),
    ),
]
# The same for wrappers that know no channels.
SEQUENCES = [
    (layers.FlattenSequence(), core.flatten_sequence, (5, 2, 3)),
    (layers.FlattenSequence(batch_first=True), partial(core.flatten_sequence, batch_first=True), (2, 5, 3)),
    (layers.UnflattenSequence(t=5), partial(core.unflatten_sequence, t=5), (10, 3)),
    (
        layers.UnflattenSequence(b=2, batch_first=True),
        partial(core.unflatten_sequence, b=2, batch_first=True),
        (10, 3),
    ),
    (layers.SplitHeads(3), partial(core.split_heads, heads=3), (2, 7, 15)),
    (layers.MergeHeads(), core.merge_heads, (2, 3, 7, 5)),
    (layers.SplitDirections(), core.split_directions, (6, 5, 7)),
    (layers.MergeDirections(), core.merge_directions, (3, 2, 5, 7)),
]
ALL = WRAPPERS + SEQUENCES
KEEPS_FORMAT = [
    (layers.ChannelShuffle(3), (2, 6, 5, 7)),
    (layers.ChannelShuffle(3), (2, 6, 3, 5, 7)),
    (layers.ChannelUnshuffle(3), (2, 6, 5, 7)),
    (layers.DepthToSpace(3), (2, 18, 5, 7)),
    (layers.DepthToSpace((3, 2), "DCR"), (2, 18, 5, 7)),
    (layers.DepthToSpace(2), (2, 16, 3, 5, 7)),
    (layers.SpaceToDepth(2), (2, 3, 10, 14)),
    (layers.SpaceToDepth((5, 2)), (2, 3, 10, 14)),
    (layers.UpsampleNearest(2), (2, 3, 5, 7)),
    (layers.UpsampleNearest(2), (2, 3, 2, 5, 7)),
]


def distinct(shape: tuple[int, ...], device: str = "cpu", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Distinct entries as far as the dtype has so many."""
    return torch.arange(torch.Size(shape).numel(), device=device).reshape(shape).to(dtype)


def last_format(x: torch.Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d


def named(cases: list) -> list:
    return [pytest.param(*case, id=f"{case[0]}{len(case[-1])}d") for case in cases]


@pytest.mark.parametrize(("wrapper", "function", "shape"), named(ALL))
def test_a_wrapper_is_its_core(wrapper, function, shape, device):
    x = distinct(shape, device)
    torch.testing.assert_close(wrapper(x), function(x), rtol=0, atol=0)


@pytest.mark.parametrize(("wrapper", "function", "shape"), named(WRAPPERS))
def test_a_wrapper_takes_channels_last_data(wrapper, function, shape, device):
    x = distinct(shape, device)
    build = {name: value for name, value in vars(wrapper).items() if name in wrapper.__init__.__annotations__}
    last = type(wrapper)(**{**build, "data_format": "channels_last"})
    takes_image = not isinstance(wrapper, layers.Unpatchify | layers.UnflattenFeatures)
    given = core.to_channels_last(x) if takes_image else x
    torch.testing.assert_close(last(given), function(given, data_format="channels_last"), rtol=0, atol=0)
    assert "data_format='channels_last'" in repr(last)


def test_wrappers_are_pytorchs_own_operations(device):
    x = distinct((2, 12, 10, 14), device)
    assert_same = partial(torch.testing.assert_close, rtol=0, atol=0)
    assert_same(layers.ChannelShuffle(3)(x), F.channel_shuffle(x, 3))
    assert_same(layers.ChannelUnshuffle(3)(F.channel_shuffle(x, 3)), x)
    assert_same(layers.DepthToSpace(2)(x), F.pixel_shuffle(x, 2))
    assert_same(layers.SpaceToDepth(2)(x), F.pixel_unshuffle(x, 2))
    assert_same(layers.UpsampleNearest(3)(x), F.interpolate(x, scale_factor=3, mode="nearest"))
    assert_same(layers.Patchify((5, 2))(x), F.unfold(x, (5, 2), stride=(5, 2)).mT)
    assert_same(layers.Unpatchify((5, 2), (2, 7))(F.unfold(x, (5, 2), stride=(5, 2)).mT), x)
    assert_same(layers.FlattenFeatures()(x), x.flatten(1))
    assert_same(layers.UnflattenFeatures(12, (10, 14))(x.flatten(1)), x)
    assert_same(layers.SplitHeads(2)(x[0]), x[0].unflatten(-1, (2, 7)).transpose(1, 2))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("wrapper", "function", "kernel", "shape"),
    [
        (layers.ChannelShuffle(3), partial(core.channel_shuffle, groups=3), "channel_shuffle", (2, 6, 5, 7)),
        (layers.ChannelUnshuffle(3), partial(core.channel_unshuffle, groups=3), "channel_shuffle", (2, 6, 5, 7)),
        (layers.DepthToSpace(3), partial(core.depth_to_space, factor=3), "pixel_shuffle", (2, 18, 5, 7)),
        (layers.SpaceToDepth(2), partial(core.space_to_depth, factor=2), "pixel_unshuffle", (2, 3, 10, 14)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_kernel_of_pytorch_is_the_core_bit_for_bit(
    wrapper, function, kernel, shape, memory_format, dtype, monkeypatch
):
    calls = []
    native = getattr(F, kernel)
    monkeypatch.setattr(F, kernel, lambda *args: calls.append(kernel) or native(*args))
    x = distinct(shape, dtype=dtype).contiguous(memory_format=memory_format)
    differentiable = dtype.is_floating_point
    received, wanted = (x.clone().requires_grad_(differentiable) for _ in range(2))
    got, expected = wrapper(received), function(wanted)
    assert len(calls) == (kernel == "channel_shuffle" or memory_format == torch.channels_last)
    assert torch.equal(got, expected)
    if differentiable:
        cotangent = distinct(tuple(got.shape), dtype=dtype)
        got.backward(cotangent)
        expected.backward(cotangent)
        assert torch.equal(received.grad, wanted.grad)


@pytest.mark.parametrize(
    ("wrapper", "shape"),
    [
        (layers.ChannelShuffle(3), (12, 60, 40, 40)),  # slower than the core where three groups are large
        (layers.DepthToSpace(3), (2, 9, 5, 7)),  # and where one channel is left
        (layers.DepthToSpace((3, 2)), (2, 12, 5, 7)),  # means something else
        (layers.DepthToSpace(3, "DCR"), (2, 18, 5, 7)),
        (layers.SpaceToDepth(2, "DCR"), (2, 3, 10, 14)),
    ],
)
def test_no_kernel_is_called_where_it_is_slower_or_another_function(wrapper, shape, monkeypatch):
    for kernel in ("channel_shuffle", "pixel_shuffle", "pixel_unshuffle"):
        monkeypatch.setattr(F, kernel, None)  # a call would raise
    x = distinct(shape).contiguous(memory_format=torch.channels_last)
    last = copy.copy(wrapper)
    last.data_format = "channels_last"
    assert torch.equal(wrapper(x), core.to_channels_first(last(core.to_channels_last(x))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64], ids=str)
@pytest.mark.parametrize(("wrapper", "shape"), named(KEEPS_FORMAT))
def test_a_tensor_in_channels_last_stays_there(wrapper, shape, dtype, device):
    ordinary = distinct(shape, device, dtype)
    memory_format = last_format(ordinary)
    x = ordinary.contiguous(memory_format=memory_format)
    y = wrapper(x)
    assert y.is_contiguous(memory_format=memory_format)
    assert not y.is_contiguous()
    assert wrapper(ordinary).is_contiguous()
    assert torch.equal(y, wrapper(ordinary))


@pytest.mark.parametrize(("wrapper", "shape"), named(KEEPS_FORMAT))
def test_the_gradient_lies_as_the_tensor_does(wrapper, shape, device):
    ordinary = distinct(shape, device)
    memory_format = last_format(ordinary)
    gradients = []
    for lies in (torch.contiguous_format, memory_format):
        x = ordinary.contiguous(memory_format=lies).requires_grad_()
        y = wrapper(x)
        cotangent = distinct(tuple(y.shape), device).contiguous(memory_format=lies)
        (gradient,) = torch.autograd.grad(y, x, cotangent)
        assert gradient.is_contiguous(memory_format=lies)
        gradients.append(gradient)
    assert torch.equal(*gradients)


def test_a_gram_matrix_is_made_of_the_tensor_as_it_lies(device):
    x = distinct((2, 3, 5, 7), device, torch.float64).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layers.GramMatrix()(x), core.gram_matrix(x.contiguous()))


@pytest.mark.parametrize("wrapper", [layers.ChannelShuffle(2), layers.DepthToSpace(2), layers.UpsampleNearest(2)])
@pytest.mark.parametrize("shape", [(0, 4, 3, 5), (2, 4, 1, 1), (1, 4, 0, 5)])
def test_empty_and_single_axes_pass(wrapper, shape, device):
    x = distinct(shape, device).contiguous(memory_format=torch.channels_last)
    wanted = copy.copy(wrapper)
    wanted.data_format = "channels_last"
    assert torch.equal(wrapper(x), core.to_channels_first(wanted(core.to_channels_last(x))))


class Every(nn.Module):
    """All wrappers at once, so that one compilation covers them."""

    def __init__(self) -> None:
        super().__init__()
        self.wrappers = nn.ModuleList(wrapper for wrapper, _, _ in ALL)
        self.repeat = layers.Repeat("b h w -> b c h w", c=3)

    def forward(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        results = [wrapper(x) for wrapper, x in zip(self.wrappers, inputs, strict=True)]
        return [*results, self.repeat(inputs[0][:, 0])]


def every_input(device: str) -> list[torch.Tensor]:
    inputs = [distinct(shape, device) for _, _, shape in ALL]
    return [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]


def assert_same(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, check_stride=True)


def test_wrappers_compile_without_a_graph_break(device):
    inputs = every_input(device)
    compiled = torch.compile(Every(), fullgraph=True, backend="eager")
    assert_same(compiled(inputs), Every()(inputs))


def test_wrappers_export_with_a_batch_of_any_size(device):
    x = distinct((2, 12, 6, 10), device).contiguous(memory_format=torch.channels_last)
    model = nn.Sequential(
        layers.ChannelShuffle(3),
        layers.DepthToSpace(2),
        layers.SpaceToDepth((3, 5)),
        layers.UpsampleNearest(2),
        layers.FlattenFeatures(45, (8, 8)),
        layers.Repeat("b e -> b t e", t=3),
    )
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("b", min=2)},)).module()
    more = torch.cat([x, x + 1, x + 2]).contiguous(memory_format=torch.channels_last)
    assert torch.equal(exported(more), model(more))


@pytest.mark.parametrize(("wrapper", "function", "shape"), named(ALL))
def test_vmap_is_a_loop(wrapper, function, shape, device):
    x = torch.stack([distinct(shape, device), distinct(shape, device) + 1]).double()
    memory_format = last_format(x[0]) if len(shape) in (4, 5) else torch.contiguous_format
    lies = torch.stack([one.contiguous(memory_format=memory_format) for one in x])
    for batch in (x, lies):
        torch.testing.assert_close(torch.func.vmap(wrapper)(batch), torch.stack([function(one) for one in x]))


# PyTorch itself scripts its decompositions when the first dual number is made.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_derivatives(device):
    x = distinct((2, 8, 4, 6), device)
    for wrapper in (layers.ChannelShuffle(2), layers.ChannelUnshuffle(2), layers.DepthToSpace(2)):
        value, derivative = torch.func.jvp(wrapper, (x,), (x * 2,))
        assert torch.equal(value, wrapper(x))
        assert torch.equal(derivative, wrapper(x * 2))


@pytest.mark.parametrize(("wrapper", "function", "shape"), named(ALL))
def test_wrappers_print_as_written_and_can_be_copied(wrapper, function, shape):
    assert repr(eval(repr(wrapper), vars(layers))) == repr(wrapper)
    x = distinct(shape)
    for twin in (pickle.loads(pickle.dumps(wrapper)), copy.deepcopy(wrapper), eval(repr(wrapper), vars(layers))):
        assert type(twin) is type(wrapper)
        assert torch.equal(twin(x), wrapper(x))
    assert list(wrapper.parameters()) == list(wrapper.buffers()) == []
    assert wrapper.state_dict() == {}


def test_wrappers_print_well():
    model = nn.Sequential(
        layers.DepthToSpace(3),
        layers.SpaceToDepth([2, 3], order="DCR", data_format="channels_last"),
        layers.FlattenFeatures(channels=20, spatial=[4, 4]),
        layers.UnflattenSequence(b=2, batch_first=True),
        layers.GramMatrix(),
        layers.Repeat("b c -> b c r1", r1=2),
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (0): DepthToSpace(factor=3, order='CRD')\n"
        "  (1): SpaceToDepth(factor=(2, 3), order='DCR', data_format='channels_last')\n"
        "  (2): FlattenFeatures(channels=20, spatial=(4, 4))\n"
        "  (3): UnflattenSequence(b=2, batch_first=True)\n"
        "  (4): GramMatrix(normalize='spatial')\n"
        "  (5): Repeat('b c -> b c r1', r1=2)\n"
        ")"
    )


def test_every_wrapper_has_its_pattern_in_the_first_line():
    assert {type(wrapper).__name__ for wrapper, _, _ in ALL} == set(layers.__all__) - {
        "Rearrange",
        "Reduce",
        "Repeat",
        "EinMix",
    }
    for wrapper, _, _ in ALL:
        pattern = type(wrapper).__doc__.split("`")[1]
        assert pattern.count("->") == 1


WRONG = [
    (
        lambda: layers.GramMatrix("mean"),
        "GramMatrix: normalize needs 'spatial', 'full' or 'none', received 'mean'",
    ),
    (
        lambda: layers.ChannelShuffle(0),
        "ChannelShuffle: groups needs a whole number of at least 1, received 0",
    ),
    (
        lambda: layers.ChannelUnshuffle(True),
        "ChannelUnshuffle: groups needs a whole number of at least 1, received True",
    ),
    (
        lambda: layers.DepthToSpace(2, "crd"),
        "DepthToSpace: order needs 'CRD' or 'DCR', received 'crd'; likely fix: order='CRD'",
    ),
    (
        lambda: layers.DepthToSpace((2, 2, 2, 2)),
        "DepthToSpace: factor needs one whole number, or one for each of 1 to 3 spatial axes, received (2, 2, 2, 2)",
    ),
    (
        lambda: layers.DepthToSpace(2, drop_channel=1),
        "DepthToSpace: drop_channel needs True or False, received 1",
    ),
    (
        lambda: layers.SpaceToDepth((2, 0.5)),
        "SpaceToDepth: factor needs a whole number of at least 1, received 0.5",
    ),
    (
        lambda: layers.UpsampleNearest(2, data_format="NHWC"),
        (
            "UpsampleNearest: data_format needs 'channels_first' or 'channels_last', received 'NHWC'; "
            "likely fix: data_format='channels_last'"
        ),
    ),
    (
        lambda: layers.Patchify(-1),
        "Patchify: patch needs a whole number of at least 1, received -1",
    ),
    (
        lambda: layers.Unpatchify((4, 4), (7,)),
        "Unpatchify: patch needs one whole number, or one for each of the spatial axes w, received (4, 4)",
    ),
    (
        lambda: layers.Unpatchify(4, 7),
        "Unpatchify: grid needs a tuple of 1 to 3 sizes, received 7",
    ),
    (
        lambda: layers.FlattenFeatures("20"),
        "FlattenFeatures: channels needs a whole number of at least 1, received '20'",
    ),
    (
        lambda: layers.UnflattenFeatures(20, 16),
        "UnflattenFeatures: spatial needs a tuple of 0 to 3 sizes, received 16",
    ),
    (
        lambda: layers.FlattenSequence(batch_first="yes"),
        "FlattenSequence: batch_first needs True or False, received 'yes'",
    ),
    (
        layers.UnflattenSequence,
        "UnflattenSequence: needs t or b, received neither; likely fix: t=...",
    ),
    (
        lambda: layers.UnflattenSequence(t=0),
        "UnflattenSequence: needs t and b where one is 0, received only t=0; likely fix: give both",
    ),
    (lambda: layers.SplitHeads(0), "SplitHeads: heads needs a whole number of at least 1, received 0"),
    (
        lambda: layers.SplitDirections(1.0),
        "SplitDirections: directions needs a whole number of at least 1, received 1.0",
    ),
    (
        lambda: layers.Repeat("b -> b r1", r1=0),
        "Repeat: r1 needs a whole number of at least 1, received 0",
    ),
]


@pytest.mark.parametrize(("build", "message"), WRONG, ids=[message.split(", received")[0] for _, message in WRONG])
def test_a_wrong_argument_fails_when_the_model_is_built(build, message):
    with pytest.raises(ConfigError) as error:
        build()
    assert str(error.value) == message


def test_an_image_of_another_size_is_an_error_and_no_row_of_nonsense():
    # 16 images of 20 x 2 x 2 are 4 rows of 320, which is what `x.view(-1, 320)` makes of them.
    with pytest.raises(ShapeError) as error:
        layers.FlattenFeatures(20, (4, 4))(torch.zeros(16, 20, 2, 2))
    assert str(error.value) == (
        "FlattenFeatures: pattern 'b c ... -> b (c ...)' needs spatial=(4, 4), "
        "received spatial=(2, 2) in shape (16, 20, 2, 2)"
    )
    with pytest.raises(ShapeError) as error:
        layers.FlattenFeatures(20, (4, 5))(torch.zeros(16, 4, 5, 20))
    assert str(error.value) == (
        "FlattenFeatures: pattern 'b c ... -> b (c ...)' needs channels=20 and spatial=(4, 5), "
        "received channels=4 and spatial=(5, 20) in shape (16, 4, 5, 20); "
        "likely fix: data_format='channels_last'"
    )


def test_an_error_speaks_of_the_axes_as_they_were_given():
    x = torch.zeros(1, 10, 4, 5).contiguous(memory_format=torch.channels_last)
    for wrapper, function in (
        (layers.DepthToSpace(3), partial(core.depth_to_space, factor=3)),
        (layers.ChannelShuffle(3), partial(core.channel_shuffle, groups=3)),
        (layers.ChannelUnshuffle(3), partial(core.channel_unshuffle, groups=3)),
        (layers.SpaceToDepth(2), partial(core.space_to_depth, factor=2)),
    ):
        with pytest.raises(ShapeError) as error:
            wrapper(x)
        with pytest.raises(ShapeError) as wanted:
            function(x)
        assert str(error.value) == str(wanted.value)
        assert "(1, 10, 4, 5)" in str(error.value)


def test_repeat_is_einops_repeat(device):
    x = distinct((2, 3, 5), device)
    for pattern, sizes in (
        ("b c w -> b c (w r1)", {"r1": 2}),
        ("b ... -> (n b) ...", {"n": 3}),
        ("b c w -> b 2 c w", {}),
    ):
        layer = layers.Repeat(pattern, **sizes)
        assert torch.equal(layer(x), einops.repeat(x, pattern, **sizes))
        for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), eval(repr(layer), vars(layers))):
            assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("b c", "Repeat: needs a pattern with two sides, such as 'b c -> c b', received 'b c'"),
        (None, "Repeat: needs a pattern with two sides, such as 'b c -> c b', received None"),
        (
            "b (c -> b c",
            "Repeat: pattern 'b (c -> b c' is wrong: Imbalanced parentheses in expression: \"b (c \"",
        ),
        ("b -> b r1", "Repeat: pattern 'b -> b r1' is wrong: Specify sizes for new axes in repeat: {'r1'}"),
        (
            "b _c -> b",
            (
                "Repeat: pattern 'b _c -> b' is wrong: Invalid axis identifier: _c: "
                "axis name should should not start or end with underscore"
            ),
        ),
    ],
)
def test_a_wrong_pattern_fails_when_the_model_is_built(pattern, message):
    with pytest.raises(PatternError) as error:
        layers.Repeat(pattern)
    assert str(error.value) == message


def test_repeat_says_what_does_not_fit():
    with pytest.raises(ShapeError) as error:
        layers.Repeat("b (c k) -> b c k r1", k=2, r1=3)(torch.zeros(2, 5))
    assert str(error.value) == (
        "Repeat: pattern 'b (c k) -> b c k r1' with k=2, r1=3 does not fit shape (2, 5): "
        "Shape mismatch, can't divide axis of length 5 in chunks of 2"
    )


def test_the_other_pattern_layers_are_einops_own():
    for name in ("Rearrange", "Reduce", "EinMix"):
        assert issubclass(getattr(layers, name), getattr(einops.layers.torch, name))
