"""The edges of settings and inputs: what PyTorch refuses is refused here, what it takes has its shape and dtype.

The Flax side is only traced, so that hundreds of cases cost what one compiled layer does. What the values are stands in
the tests of settings drawn.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from flax import nnx
from torch import nn

import einops_arch.flax as layers
from einops_arch.errors import ConfigError, EinopsArchError, IndexRangeError, PortError, ShapeError
from einops_arch.flax import functional as ff
from einops_arch.port import transfer

rngs = nnx.Rngs(0)


def numbers(*shape, kind=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(kind) if kind == np.float64 else np.ones(shape, kind)


def outcome(call):
    """Shapes and dtypes of what a call gives, or "refused"."""
    try:
        leaves = jax.tree.leaves(call())
    except (EinopsArchError, RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError):
        return "refused"
    return [(tuple(leaf.shape), str(leaf.dtype).removeprefix("torch.")) for leaf in leaves]


def assert_alike(torch_call, flax_call, *inputs, images=True):
    """Both refuse the inputs, or give arrays of one shape and dtype."""
    last = images and inputs[0].ndim > 2
    expected = outcome(lambda: torch_call(*map(torch.from_numpy, inputs)))
    arrays = [jnp.asarray(np.moveaxis(x, 1, -1) if last and x.ndim > 2 else x) for x in inputs]
    # The kinds of error that users catch, never one of jax's own.
    try:
        received = jax.tree.leaves(jax.eval_shape(flax_call, *arrays))
    except EinopsArchError:
        received = "refused"
    else:
        shapes = [(leaf.shape[0], leaf.shape[-1], *leaf.shape[1:-1]) if last else leaf.shape for leaf in received]
        received = [(shape, str(leaf.dtype)) for shape, leaf in zip(shapes, received, strict=True)]
    assert received == expected


def assert_layers_alike(build_torch, build_flax, *inputs, images=True):
    graph, state = nnx.split(double(build_flax()))

    def call(*arrays):
        # Variables made inside of the trace, where running statistics can be written.
        layer = nnx.merge(graph, state, copy=True)
        return layer(*arrays)

    assert_alike(build_torch().double(), call, *inputs, images=images)


def double(layer):
    state = nnx.state(layer)
    nnx.update(layer, jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, state))
    return layer


# What has windows: an empty batch is fine, an empty image or no channels are not, nor are integers.
WINDOWS = {
    "Conv": (lambda: nn.Conv2d(3, 4, 2, padding=1), lambda: layers.Conv(3, 4, (2, 2), padding=1, rngs=rngs)),
    "ConvTranspose": (lambda: nn.ConvTranspose2d(3, 4, 2), lambda: layers.ConvTranspose(3, 4, (2, 2), rngs=rngs)),
    "MaxPool": (lambda: nn.MaxPool2d(2), lambda: layers.MaxPool((2, 2))),
    "AvgPool": (lambda: nn.AvgPool2d(2), lambda: layers.AvgPool((2, 2))),
    "LPPool": (lambda: nn.LPPool2d(2, 2), lambda: layers.LPPool(2, (2, 2))),
    "AdaptiveAvgPool": (lambda: nn.AdaptiveAvgPool2d(2), lambda: layers.AdaptiveAvgPool((2, 2))),
    "AdaptiveMaxPool": (lambda: nn.AdaptiveMaxPool2d(2), lambda: layers.AdaptiveMaxPool((2, 2))),
}
SHAPES = [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 0, 0), (2, 3, 1, 1), (2, 0, 4, 5), (2, 4, 4, 5), (2, 2, 3, 4, 5)]


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_over_nothing(name):
    for shape in SHAPES:
        assert_layers_alike(*WINDOWS[name], numbers(*shape))


NORMS = {
    "BatchNorm": (lambda: nn.BatchNorm2d(3), lambda: layers.BatchNorm(3, rngs=rngs)),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(3), lambda: layers.InstanceNorm(3, rngs=rngs)),
    "GroupNorm": (lambda: nn.GroupNorm(3, 3), lambda: layers.GroupNorm(3, 3, rngs=rngs)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_one_value_and_of_none(name):
    for shape in [(0, 3, 4, 5), (2, 3, 0, 5), (1, 3, 1, 1), (2, 3, 1, 1), (1, 3, 4, 5)]:
        assert_layers_alike(*NORMS[name], numbers(*shape))


WEIGHTED = {
    **{name: WINDOWS[name] for name in ("Conv", "ConvTranspose")},
    **NORMS,
    "Linear": (lambda: nn.Linear(5, 2), lambda: layers.Linear(5, 2, rngs=rngs)),
    "LayerNorm": (lambda: nn.LayerNorm(5), lambda: layers.LayerNorm(5, rngs=rngs)),
    "RMSNorm": (lambda: nn.RMSNorm(5), lambda: layers.RMSNorm(5, rngs=rngs)),
    "LSTM": (lambda: nn.LSTM(5, 2), lambda: layers.LSTM(5, 2, rngs=rngs)),
    "GRU": (lambda: nn.GRU(5, 2), lambda: layers.GRU(5, 2, rngs=rngs)),
    "RNN": (lambda: nn.RNN(5, 2), lambda: layers.RNN(5, 2, rngs=rngs)),
    "LSTMCell": (lambda: nn.LSTMCell(5, 2), lambda: layers.LSTMCell(5, 2, rngs=rngs)),
    "GRUCell": (lambda: nn.GRUCell(5, 2), lambda: layers.GRUCell(5, 2, rngs=rngs)),
    "RNNCell": (lambda: nn.RNNCell(5, 2), lambda: layers.RNNCell(5, 2, rngs=rngs)),
    "PReLU": (lambda: nn.PReLU(3), lambda: layers.PReLU(3)),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_integers_where_there_are_weights_are_refused(name):
    images = name in {"Conv", "ConvTranspose", "PReLU", *NORMS}
    shape = (2, 3, 4, 5) if images else (2, 5) if name.endswith("Cell") else (4, 2, 5)
    assert_layers_alike(*WEIGHTED[name], numbers(*shape, kind=np.int64), images=images)
    assert_layers_alike(*WEIGHTED[name], numbers(*shape), images=images)


ACTIVATIONS = dict.fromkeys(
    (
        *("ReLU", "SiLU", "Hardswish", "Hardsigmoid", "ReLU6", "LeakyReLU", "ELU", "GELU", "Softplus", "Mish"),
        *("Softsign", "Tanhshrink", "Hardtanh", "Softshrink", "Hardshrink", "LogSigmoid", "SELU", "CELU"),
    ),
    (),
) | {"Threshold": (0.1, 2), "Softmax": (1,), "LogSoftmax": (1,), "Softmin": (1,), "GLU": (1,)}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_integers(name):
    arguments = ACTIVATIONS[name]
    x = np.asarray([[-3, 2], [1, 9]])
    assert_alike(getattr(nn, name)(*arguments), getattr(layers, name)(*arguments), x)


@pytest.mark.parametrize("name", ["Tanh", "Sigmoid", "Softsign", "Tanhshrink"])
def test_integers_become_float32_where_pytorch_divides(name):
    x = np.asarray([-3, 0, 2])
    expected = getattr(nn, name)()(torch.from_numpy(x))
    received = getattr(layers, name)()(jnp.asarray(x))
    assert received.dtype == jnp.float32
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int64, np.float64])
def test_a_mask_is_of_booleans_or_numbers_to_be_added(kind):
    q, k, mask = numbers(3, 2, 6), numbers(4, 2, 6), np.zeros((3, 4), kind)
    hidden = np.zeros((2, 4), kind)

    def attend(layer):
        return lambda q, k, mask, hidden: layer(q, k, k, key_padding_mask=hidden, attn_mask=mask)

    module, layer = nn.MultiheadAttention(6, 2).double(), double(layers.MultiheadAttention(6, 2, rngs=rngs))
    assert_alike(attend(module), attend(layer), q, k, mask, hidden, images=False)
    heads = numbers(2, 4, 3, 5)
    weights = np.zeros((3, 3), kind)
    assert_alike(
        lambda q, m: tf.scaled_dot_product_attention(q, q, q, m),
        lambda q, m: ff.scaled_dot_product_attention(q, q, q, m),
        heads,
        weights,
        images=False,
    )


@pytest.mark.parametrize(
    ("keys", "mask", "grouped"),
    [
        ((2, 2, 6, 5), None, False),
        ((2, 2, 6, 5), None, True),
        ((2, 3, 6, 5), None, True),
        ((2, 1, 6, 5), (3, 6), False),
        ((2, 4, 6, 5), (5, 6), False),
        ((2, 4, 6, 5), (2, 1, 1, 6), False),
        ((2, 4, 0, 5), None, False),
    ],
)
def test_heads_and_masks_that_do_not_fit(keys, mask, grouped):
    masks = [] if mask is None else [numbers(*mask)]
    assert_alike(
        lambda q, k, *m: tf.scaled_dot_product_attention(q, k, k, *m, enable_gqa=grouped),
        lambda q, k, *m: ff.scaled_dot_product_attention(q, k, k, *m, enable_gqa=grouped),
        numbers(2, 4, 3, 5),
        numbers(*keys),
        *masks,
        images=False,
    )


def test_weights_of_a_loss_are_one_for_each_class_and_its_scores_no_integers():
    target = np.asarray([1, 0])
    for weight in (2, 3):
        assert_alike(tf.cross_entropy, ff.cross_entropy, numbers(2, 3), target, numbers(weight))
    assert_alike(tf.cross_entropy, ff.cross_entropy, numbers(2, 3, kind=np.int64), target)


@pytest.mark.parametrize("target", [[1, 3], [1, -1], [1, -100]])
def test_a_target_that_is_no_class(target):
    scores, target = numbers(2, 3), np.asarray(target)
    for torch_loss, loss in ((tf.cross_entropy, ff.cross_entropy), (tf.nll_loss, ff.nll_loss)):
        expected = outcome(lambda f=torch_loss: f(torch.from_numpy(scores), torch.from_numpy(target)))
        assert outcome(lambda f=loss: f(jnp.asarray(scores), jnp.asarray(target))) == expected
    compiled = jax.jit(ff.nll_loss)(jnp.asarray(scores), jnp.asarray(target))
    assert bool(jnp.isnan(compiled)) == (target.min() != -100)


def test_a_probability_outside_of_its_range():
    for value in (0.0, 1.0, 1.2, -0.1, np.nan):
        x, y = np.asarray([value]), np.ones(1)
        expected = outcome(lambda x=x, y=y: tf.binary_cross_entropy(torch.from_numpy(x), torch.from_numpy(y)))
        assert outcome(lambda x=x, y=y: ff.binary_cross_entropy(jnp.asarray(x), jnp.asarray(y))) == expected


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_pixels_are_shuffled_below_any_number_of_axes(leading):
    x = np.arange(np.prod(leading, dtype=int) * 4 * 2 * 6, dtype=np.float64).reshape(*leading, 4, 2, 6)
    for name in ("PixelShuffle", "PixelUnshuffle"):
        expected = getattr(nn, name)(2)(torch.from_numpy(x)).numpy()
        received = getattr(layers, name)(2)(jnp.asarray(np.moveaxis(x, -3, -1)))
        np.testing.assert_array_equal(np.moveaxis(np.asarray(received), -1, -3), expected)
    assert_alike(nn.PixelShuffle(2), layers.PixelShuffle(2), numbers(4, 2), images=False)


def test_an_instance_of_equal_positions_is_zero_where_epsilon_is():
    x = np.concatenate([np.ones((1, 3, 2, 2)), numbers(1, 3, 2, 2)])
    module, tensor = nn.InstanceNorm2d(3, eps=0.0, affine=True).double(), torch.from_numpy(x).requires_grad_()
    weight = np.random.default_rng(1).normal(size=x.shape)
    (module(tensor) * torch.from_numpy(weight)).sum().backward()
    layer = double(layers.InstanceNorm(3, epsilon=0.0, use_scale=True, use_bias=True, rngs=rngs))
    graph, state = nnx.split(layer)
    y, pull = jax.vjp(lambda state, a: nnx.merge(graph, state)(a), state, jnp.asarray(np.moveaxis(x, 1, -1)))
    np.testing.assert_allclose(np.moveaxis(np.asarray(y), -1, 1), module(tensor).detach(), rtol=1e-12, atol=1e-12)
    by_state, by_input = pull(jnp.asarray(np.moveaxis(weight, 1, -1)))
    np.testing.assert_allclose(np.moveaxis(np.asarray(by_input), -1, 1), tensor.grad, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(by_state["scale"], module.weight.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["ReflectionPad", "ReplicationPad", "CircularPad", "ZeroPad"])
def test_padding_around_nothing(name):
    for shape in [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 1, 1)]:
        assert_alike(getattr(nn, f"{name}2d")(1), getattr(layers, name)(1), numbers(*shape))


@pytest.mark.parametrize("name", ["ReflectionPad", "ReplicationPad", "CircularPad", "ZeroPad"])
def test_padding_that_takes_away_all_or_more(name):
    x = numbers(2, 3, 4, 5)
    for rows, columns in [((-2, -2), (0, 1)), ((-5, 1), (0, 0)), ((1, -2), (-1, -2)), ((-3, -2), (0, 0))]:
        assert_alike(getattr(nn, f"{name}2d")((*columns, *rows)), getattr(layers, name)((rows, columns)), x)
    assert_alike(
        getattr(nn, f"{name}2d")((-1, -2, 1, -2)), getattr(layers, name)(((1, -2), (-1, -2))), numbers(2, 3, 1, 7)
    )


def test_an_axis_that_is_none():
    for name in ("Softmax", "LogSoftmax", "Softmin"):
        for axis in (2, -3, 1):
            assert_alike(getattr(nn, name)(axis), getattr(layers, name)(axis), numbers(2, 3))


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
def test_a_scalar_is_one_value_along_an_axis(name):
    for axis in (0, -1):
        assert_alike(getattr(nn, name)(axis), getattr(layers, name)(axis), np.asarray(1.5, np.float32))
    assert float(ff.softmin(jnp.asarray(1.5), 0)) == float(tf.softmin(torch.tensor(1.5), 0)) == 1.0


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_targets_of_few_bits_among_many_classes(kind):
    scores, target = numbers(2, 1000), np.asarray([1, 100])
    for torch_loss, loss in ((tf.cross_entropy, ff.cross_entropy), (tf.nll_loss, ff.nll_loss)):
        expected = float(torch_loss(torch.from_numpy(scores), torch.from_numpy(target)))
        narrow = jnp.asarray(target.astype(kind))
        assert float(loss(jnp.asarray(scores), narrow)) == pytest.approx(expected, rel=1e-5)
        assert float(jax.jit(loss)(jnp.asarray(scores), narrow)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(IndexRangeError, match="from 0 to 2, received 100"):
        ff.cross_entropy(jnp.asarray(scores[:, :3]), narrow)


def test_a_table_of_positions_has_an_even_size():
    assert ff.sinusoidal_positions(3, 6).shape == (3, 6)
    with pytest.raises(ConfigError, match=r"expected an even size.*received 5"):
        ff.sinusoidal_positions(3, 5)


WIDTHS = {
    "Linear": ("in_features", lambda: layers.Linear(None, 3, rngs=rngs)),
    "Conv": ("in_features", lambda: layers.Conv(None, 3, (3, 3), rngs=rngs)),
    "ConvTranspose": ("in_features", lambda: layers.ConvTranspose(None, 3, (3, 3), rngs=rngs)),
    "BatchNorm": ("num_features", lambda: layers.BatchNorm(None, rngs=rngs)),
    "InstanceNorm": ("num_features", lambda: layers.InstanceNorm(None, rngs=rngs)),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_a_width_that_is_to_be_found_out_later_is_refused_by_name(name):
    argument, build = WIDTHS[name]
    with pytest.raises(ConfigError, match=f"^{name}: {argument} needs a whole number"):
        build()


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        (nn.LazyLinear(3), lambda: layers.Linear(4, 3, rngs=rngs)),
        (nn.LazyConv2d(3, 2), lambda: layers.Conv(4, 3, (2, 2), rngs=rngs)),
        (nn.LazyBatchNorm2d(), lambda: layers.BatchNorm(4, rngs=rngs)),
    ],
)
def test_a_lazy_module_that_was_not_called_yet_has_no_state_to_carry(module, layer):
    layer = layer()
    before = layers.state_dict(layer)
    with pytest.raises(PortError, match=r"weight.*Uninitialized.*call the PyTorch model once"):
        transfer(module, layer)
    with pytest.raises(PortError, match="Uninitialized"):
        layers.load_state_dict(layer, module.state_dict())
    assert all(np.array_equal(before[name], value) for name, value in layers.state_dict(layer).items())


def test_nothing_is_left_to_wrap_around():
    with pytest.raises(ShapeError, match="CircularPad"):
        layers.CircularPad(((2, -3),))(jnp.ones((1, 2, 3)))
