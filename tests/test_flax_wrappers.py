"""The Flax layers around the cores, and the pattern layers of einops for NNX."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import einops
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import einops_arch.functional as core
from einops_arch.errors import ConfigError, DtypeError, PatternError, ShapeError
from einops_arch.flax import layers

LAST = {"data_format": "channels_last"}
# Wrapper, the core it stands for, the shape of an input: prime sizes, so that no wrong order has the right shape.
WRAPPERS = [
    (layers.GramMatrix(), partial(core.gram_matrix, **LAST), (2, 5, 7, 3)),
    (layers.GramMatrix("none"), partial(core.gram_matrix, normalize="none", **LAST), (2, 5, 3)),
    (layers.ChannelShuffle(3), partial(core.channel_shuffle, groups=3, **LAST), (2, 5, 7, 6)),
    (
        layers.ChannelShuffle(3, data_format="channels_first"),
        partial(core.channel_shuffle, groups=3),
        (2, 6, 5, 7),
    ),
    (layers.ChannelUnshuffle(3), partial(core.channel_unshuffle, groups=3, **LAST), (2, 5, 7, 6)),
    (layers.DepthToSpace(3), partial(core.depth_to_space, factor=3, **LAST), (2, 5, 7, 18)),
    (
        layers.DepthToSpace((3, 2), "DCR", drop_channel=True),
        partial(core.depth_to_space, factor=(3, 2), order="DCR", drop_channel=True, **LAST),
        (2, 5, 7, 6),
    ),
    (
        layers.SpaceToDepth((5, 7), "DCR"),
        partial(core.space_to_depth, factor=(5, 7), order="DCR", **LAST),
        (2, 10, 14, 3),
    ),
    (layers.UpsampleNearest((2, 3)), partial(core.upsample_nearest, factor=(2, 3), **LAST), (2, 5, 7, 3)),
    (layers.Patchify((5, 2)), partial(core.patchify, patch=(5, 2), **LAST), (2, 10, 14, 3)),
    (
        layers.Unpatchify((5, 2), (3, 7)),
        partial(core.unpatchify, patch=(5, 2), grid=(3, 7), **LAST),
        (2, 21, 110),
    ),
    (layers.FlattenFeatures(3, (5, 7)), partial(core.flatten_features, **LAST), (2, 5, 7, 3)),
    (
        layers.UnflattenFeatures(3, (5, 7)),
        partial(core.unflatten_features, channels=3, spatial=(5, 7), **LAST),
        (2, 105),
    ),
    (layers.FlattenSequence(batch_first=True), partial(core.flatten_sequence, batch_first=True), (2, 5, 3)),
    (layers.UnflattenSequence(t=5), partial(core.unflatten_sequence, t=5), (10, 3)),
    (layers.SplitHeads(3), partial(core.split_heads, heads=3), (2, 7, 15)),
    (layers.MergeHeads(), core.merge_heads, (2, 3, 7, 5)),
    (layers.SplitDirections(), core.split_directions, (6, 5, 7)),
    (layers.MergeDirections(), core.merge_directions, (3, 2, 5, 7)),
]
PATTERNS = [
    (
        layers.Rearrange("b h w (g k) -> b (k g) h w", g=3),
        partial(einops.rearrange, pattern="b h w (g k) -> b (k g) h w", g=3),
        (2, 5, 7, 6),
    ),
    (layers.Rearrange("b ... c -> b c ..."), partial(einops.rearrange, pattern="b ... c -> b c ..."), (2, 5, 7, 3)),
    (
        layers.Reduce("b (h r1) (w r2) c -> b h w c", "max", r1=5, r2=2),
        partial(einops.reduce, pattern="b (h r1) (w r2) c -> b h w c", reduction="max", r1=5, r2=2),
        (2, 10, 14, 3),
    ),
    (
        layers.Reduce("b ... c -> c", "mean"),
        partial(einops.reduce, pattern="b ... c -> c", reduction="mean"),
        (2, 5, 3),
    ),
    (
        layers.Repeat("b h w c -> b (h r1) w n c", r1=2, n=3),
        partial(einops.repeat, pattern="b h w c -> b (h r1) w n c", r1=2, n=3),
        (2, 5, 7, 3),
    ),
]
ALL = WRAPPERS + PATTERNS


def distinct(shape: tuple[int, ...], dtype: str = "float32") -> jax.Array:
    return jnp.arange(jnp.prod(jnp.array(shape))).reshape(shape).astype(dtype)


def named(cases: list) -> list:
    return [pytest.param(*case, id=str(case[0])) for case in cases]


def mixer() -> layers.EinMix:
    return layers.EinMix("b n (heads c) -> b heads (n k)", "heads c k", "heads k", heads=3, c=5, k=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(("wrapper", "function", "shape"), named(ALL))
def test_a_wrapper_is_its_function(wrapper, function, shape):
    x = distinct(shape)
    assert jnp.array_equal(wrapper(x), function(x))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int32", "bool"])
def test_moves_keep_the_dtype(dtype):
    x = distinct((2, 4, 6, 8), dtype)
    for wrapper in (layers.ChannelShuffle(2), layers.DepthToSpace(2), layers.FlattenFeatures(8, (4, 6))):
        assert wrapper(x).dtype == dtype


def test_wrappers_work_in_jit_and_vmap():
    @nnx.jit  # one program for all of them
    def everything(wrappers, inputs):
        return [jax.vmap(wrapper)(jnp.stack([x, x + 1])) for wrapper, x in zip(wrappers, inputs, strict=True)]

    inputs = [distinct(shape) for _, _, shape in ALL]
    results = everything(nnx.List(wrapper for wrapper, _, _ in ALL), inputs)
    for (wrapper, function, _), x, batched in zip(ALL, inputs, results, strict=True):
        assert jnp.allclose(batched[0], function(x), rtol=1e-6), wrapper


def test_gradients_of_moves_move_back():
    x = distinct((2, 4, 6, 8))
    for wrapper in (layers.ChannelShuffle(2), layers.DepthToSpace(2), layers.FlattenFeatures(8, (4, 6))):
        assert jnp.array_equal(jax.grad(lambda x, wrapper=wrapper: (wrapper(x) ** 2).sum())(x), 2 * x)


@pytest.mark.parametrize(("wrapper", "function", "shape"), named(ALL))
def test_wrappers_print_as_written_and_can_be_copied(wrapper, function, shape):
    x = distinct(shape)
    graph, state = nnx.split(wrapper)
    assert not jax.tree.leaves(state)
    for twin in (
        pickle.loads(pickle.dumps(wrapper)),
        copy.deepcopy(wrapper),
        eval(repr(wrapper), vars(layers)),
        nnx.merge(graph, state),
        nnx.clone(wrapper),
    ):
        assert type(twin) is type(wrapper)
        assert repr(twin) == repr(wrapper)
        assert jnp.array_equal(twin(x), function(x))
        assert nnx.graphdef(twin) == graph  # what was compiled for one serves the other
    assert hash(graph) == hash(nnx.graphdef(eval(repr(wrapper), vars(layers))))


def test_wrappers_print_well():
    class Model(nnx.Module):
        def __init__(self) -> None:
            self.up = layers.DepthToSpace(3)
            self.down = layers.SpaceToDepth([2, 3], order="DCR", data_format="channels_first")
            self.flat = layers.FlattenFeatures(channels=20, spatial=[4, 4])
            self.heads = layers.MergeHeads()
            self.pool = layers.Reduce("b (h r1) c -> b h c", "max", r1=2)

    assert repr(Model()) == (
        "Model(\n"
        "  up=DepthToSpace(factor=3, order='CRD'),\n"
        "  down=SpaceToDepth(factor=(2, 3), order='DCR', data_format='channels_first'),\n"
        "  flat=FlattenFeatures(channels=20, spatial=(4, 4)),\n"
        "  heads=MergeHeads(),\n"
        "  pool=Reduce('b (h r1) c -> b h c', 'max', r1=2)\n"
        ")"
    )
    assert repr(mixer()) == (
        "EinMix( # Param: 36 (144 B)\n"
        "  pattern='b n (heads c) -> b heads (n k)',\n"
        "  weight_shape='heads c k',\n"
        "  bias_shape='heads k',\n"
        "  weight=Param( # 30 (120 B)\n"
        "    value=Array(shape=(3, 5, 2), dtype=dtype('float32'))\n"
        "  ),\n"
        "  bias=Param( # 6 (24 B)\n"
        "    value=Array(shape=(1, 3, 1, 2), dtype=dtype('float32'))\n"
        "  )\n"
        ")"
    )


def test_every_wrapper_has_its_pattern_in_the_first_line():
    for wrapper, _, _ in WRAPPERS:
        assert type(wrapper).__doc__.split("`")[1].count("->") == 1


def test_wrappers_serve_linen_users():
    linen = nnx.bridge.to_linen(layers.DepthToSpace, 2, skip_rng=True)
    x = distinct((1, 3, 5, 8))
    assert jnp.array_equal(linen.apply(linen.init(jax.random.key(0), x), x), core.depth_to_space(x, 2, **LAST))
    linen = nnx.bridge.to_linen(layers.EinMix, "b c -> b o", "c o", "o", c=8, o=3)
    assert jax.tree.map(jnp.shape, linen.init(jax.random.key(0), x[0, 0])) == {
        "params": {"weight": (8, 3), "bias": (1, 3)}
    }


WRONG = [
    (
        lambda: layers.GramMatrix("mean"),
        ConfigError,
        "GramMatrix: normalize needs 'spatial', 'full' or 'none', received 'mean'",
    ),
    (
        lambda: layers.ChannelShuffle(0),
        ConfigError,
        "ChannelShuffle: groups needs a whole number of at least 1, received 0",
    ),
    (
        lambda: layers.DepthToSpace(2, "crd"),
        ConfigError,
        "DepthToSpace: order needs 'CRD' or 'DCR', received 'crd'; likely fix: order='CRD'",
    ),
    (
        lambda: layers.DepthToSpace(2, drop_channel=None),
        ConfigError,
        "DepthToSpace: drop_channel needs True or False, received None",
    ),
    (
        lambda: layers.SpaceToDepth(()),
        ConfigError,
        "SpaceToDepth: factor needs one whole number, or one for each of 1 to 3 spatial axes, received ()",
    ),
    (
        lambda: layers.UpsampleNearest(2, data_format="NCHW"),
        ConfigError,
        (
            "UpsampleNearest: data_format needs 'channels_first' or 'channels_last', received 'NCHW'; "
            "likely fix: data_format='channels_first'"
        ),
    ),
    (
        lambda: layers.Unpatchify((4, 4), (7,)),
        ConfigError,
        "Unpatchify: patch needs one whole number, or one for each of the spatial axes w, received (4, 4)",
    ),
    (
        lambda: layers.UnflattenFeatures(20, 16),
        ConfigError,
        "UnflattenFeatures: spatial needs a tuple of 0 to 3 sizes, received 16",
    ),
    (
        layers.UnflattenSequence,
        ConfigError,
        "UnflattenSequence: needs t or b, received neither; likely fix: t=...",
    ),
    (
        lambda: layers.SplitHeads("3"),
        ConfigError,
        "SplitHeads: heads needs a whole number of at least 1, received '3'",
    ),
    (
        lambda: layers.Rearrange("b (c k) -> b c k", k=-1),
        ConfigError,
        "Rearrange: k needs a whole number of at least 1, received -1",
    ),
    (
        lambda: layers.Rearrange("b c h -> b c"),
        PatternError,
        (
            "Rearrange: pattern 'b c h -> b c' is wrong: "
            "Identifiers only on one side of expression (should be on both): {'h'}"
        ),
    ),
    (
        lambda: layers.Rearrange("b c, c b"),
        PatternError,
        "Rearrange: needs a pattern with two sides, such as 'b c -> c b', received 'b c, c b'",
    ),
    (
        lambda: layers.Rearrange("b (c k) -> b c k"),
        PatternError,
        "Rearrange: pattern 'b (c k) -> b c k' is wrong: Could not infer sizes for {'c', 'k'}",
    ),
    (
        lambda: layers.Repeat("b (c -> b c"),
        PatternError,
        "Repeat: pattern 'b (c -> b c' is wrong: Imbalanced parentheses in expression: \"b (c \"",
    ),
    (
        lambda: layers.Repeat("b -> b n"),
        PatternError,
        "Repeat: pattern 'b -> b n' is wrong: Specify sizes for new axes in repeat: {'n'}",
    ),
    (
        lambda: layers.Reduce("b c -> b", "median"),
        ConfigError,
        (
            "Reduce: reduction needs 'min', 'max', 'sum', 'mean', 'prod', 'any' or 'all', received 'median'; "
            "likely fix: reduction='mean'"
        ),
    ),
    (
        lambda: layers.Reduce("b c -> b n", "sum"),
        PatternError,
        "Reduce: pattern 'b c -> b n' is wrong: Unexpected identifiers on the right side of reduce sum: {'n'}",
    ),
    (
        lambda: layers.EinMix("b c -> b o", "c o", c=3, rngs=nnx.Rngs(0)),
        PatternError,
        (
            "EinMix: pattern 'b c -> b o' with weight_shape='c o', bias_shape=None is wrong: "
            "Dimension o of weight should be specified"
        ),
    ),
    (
        lambda: layers.EinMix("b c -> b o", ("c", "o"), c=3, o=2, rngs=nnx.Rngs(0)),
        PatternError,
        "EinMix: weight_shape needs the names of axes, such as 'c o', received ('c', 'o')",
    ),
    (
        lambda: layers.EinMix("b c -> b o", "c o", "n", c=3, o=2, rngs=nnx.Rngs(0)),
        PatternError,
        (
            "EinMix: pattern 'b c -> b o' with weight_shape='c o', bias_shape='n' is wrong: "
            "Bias axes {'n'} not present in output"
        ),
    ),
    (
        lambda: layers.EinMix("b c -> b o", "c o", c=3, o=0, rngs=nnx.Rngs(0)),
        ConfigError,
        "EinMix: o needs a whole number of at least 1, received 0",
    ),
]


@pytest.mark.parametrize(("build", "kind", "message"), WRONG)
def test_a_wrong_argument_fails_when_the_model_is_built(build, kind, message):
    with pytest.raises(kind) as error:
        build()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            layers.Rearrange("b h w c -> b c h w"),
            (2, 3),
            (
                "Rearrange: pattern 'b h w c -> b c h w' does not fit shape (2, 3): "
                "Wrong shape: expected 4 dims. Received 2-dim tensor."
            ),
        ),
        (
            layers.Repeat("b (c k) -> b c k n", k=2, n=3),
            (2, 5),
            (
                "Repeat: pattern 'b (c k) -> b c k n' with k=2, n=3 does not fit shape (2, 5): "
                "Shape mismatch, can't divide axis of length 5 in chunks of 2"
            ),
        ),
        (
            mixer(),
            (2, 7, 16),
            (
                "EinMix: pattern 'b n (heads c) -> b heads (n k)' with heads=3, c=5 does not fit shape (2, 7, 16): "
                "Shape mismatch, 16 != 15"
            ),
        ),
        (
            layers.EinMix("b ... c -> b ... o", "c o", c=3, o=2, rngs=nnx.Rngs(0)),
            (2, 7, 1),  # 1 would be broadcast by einsum
            "EinMix: pattern 'b ... c -> b ... o' with c=3 does not fit shape (2, 7, 1): Shape mismatch, 1 != 3",
        ),
        (
            layers.FlattenFeatures(20, (4, 5)),
            (16, 20, 4, 5),
            (
                "FlattenFeatures: pattern 'b ... c -> b (c ...)' needs channels=20 and spatial=(4, 5), "
                "received channels=5 and spatial=(20, 4) in shape (16, 20, 4, 5); "
                "likely fix: data_format='channels_first'"
            ),
        ),
    ],
)
def test_an_array_that_does_not_fit_is_an_error_that_says_why(layer, shape, message):
    for call in (layer, nnx.jit(layer)):
        with pytest.raises(ShapeError) as error:
            call(jnp.zeros(shape))
        assert str(error.value) == message


def test_the_mean_of_integers_is_refused():
    with pytest.raises(DtypeError) as error:
        layers.Reduce("b c -> b", "mean")(jnp.zeros((2, 3), "int32"))
    assert str(error.value) == (
        "Reduce: pattern 'b c -> b' with 'mean' needs floating-point numbers, received int32; "
        "likely fix: convert them first"
    )


def test_reduce_takes_a_function():
    x = distinct((2, 5, 3))
    assert jnp.array_equal(layers.Reduce("b n c -> b c", jnp.max)(x), x.max(axis=1))


def test_einmix_is_the_einsum_it_reads_as():
    layer, x = mixer(), distinct((2, 7, 15)) / 100
    parts = einops.rearrange(x, "b n (heads c) -> b n heads c", heads=3)
    mixed = jnp.einsum("bnhc,hck->bhnk", parts, layer.weight[...]) + layer.bias[...]
    assert jnp.allclose(layer(x), einops.rearrange(mixed, "b heads n k -> b heads (n k)"), atol=1e-5)


def test_einmix_is_a_module_like_any_other():
    layer, x = mixer(), distinct((2, 7, 15)) / 100
    wanted = layer(x)
    graph, state = nnx.split(layer)
    assert sorted(nnx.to_pure_dict(state)) == ["bias", "weight"]
    for twin in (
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        nnx.merge(graph, state),
    ):
        assert nnx.graphdef(twin) == graph
        assert jnp.array_equal(twin(x), wanted)
    assert layer.axes_lengths == {"heads": 3, "c": 5, "k": 2}
    gradient = nnx.grad(lambda layer: layer(x).sum())(layer)
    assert jnp.allclose(gradient["bias"][...], 2 * 7)
    abstract = nnx.eval_shape(mixer)
    assert abstract.weight.shape == (3, 5, 2)
    without = layers.EinMix("b c -> b o", "c o", c=3, o=2, rngs=nnx.Rngs(0))
    assert without.bias is None
    assert sorted(nnx.to_pure_dict(nnx.state(without))) == ["weight"]


def test_einmix_draws_its_weights_from_the_stream_of_parameters():
    build = partial(layers.EinMix, "b c -> b o", "c o", "o", c=3, o=2)
    one, same, other = (build(rngs=nnx.Rngs(params=seed)) for seed in (0, 0, 1))
    assert jnp.array_equal(one.weight[...], same.weight[...])
    assert not jnp.array_equal(one.weight[...], other.weight[...])
    assert not jnp.array_equal(one.weight[0], one.bias[0])
    assert one.weight.dtype == one.bias.dtype == jnp.float32
