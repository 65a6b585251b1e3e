"""What is wrong is said in one message: what was expected, what was received, where, and the likely fix."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from einops_arch.flax.layers import (
    GELU,
    LSTM,
    RNN,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dropout,
    Dropout2d,
    Embed,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    MaxPool,
    ReflectionPad,
    ReLU,
    RMSNorm,
    Sequential,
)

pytestmark = pytest.mark.usefixtures("strict_promotion")


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def zeros(*shape: int, dtype: str = "float32") -> jax.Array:
    return jax.device_put(np.zeros(shape, dtype))


def built(build) -> nnx.Module:
    """The module with zeros in its leaves: nothing is drawn, nothing compiled."""
    graph, state = nnx.split(nnx.eval_shape(build))
    return nnx.merge(graph, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state))


WRONG_SETTINGS = [
    (
        lambda: Conv(3, 4, 3, rngs=rngs()),
        (
            "Conv: expected kernel_size as a tuple with one size per spatial axis, received the integer 3, which NNX "
            "would read as a 1D kernel whatever the input; likely fix: kernel_size=(3, 3) for images"
        ),
    ),
    (
        lambda: Conv(3, 4, (3, 3, 3, 3), rngs=rngs()),
        "Conv: expected kernel_size as a tuple of 1, 2 or 3 integers, received (3, 3, 3, 3)",
    ),
    (
        lambda: Conv(3, 4, (3, 3), padding="SAME", rngs=rngs()),
        (
            "Conv: expected padding in integers, 'same' or 'valid', received 'SAME'; likely fix: "
            "padding=kernel_size // 2 for odd kernels ('SAME' pads the two sides unequally where strides are above 1)"
        ),
    ),
    (
        lambda: Conv(3, 4, (3, 3), strides=(1, 2, 1), rngs=rngs()),
        "Conv: strides needs one whole number, or one for each of the spatial axes h w, received (1, 2, 1)",
    ),
    (
        lambda: Conv(6, 4, (3, 3), feature_group_count=3, rngs=rngs()),
        "Conv: out_features needs a multiple of feature_group_count=3, received 4",
    ),
    (
        lambda: Conv(3, 4, (3,), padding_mode="symmetric", rngs=rngs()),
        "Conv: padding_mode needs 'zeros', 'reflect', 'circular' or 'replicate', received 'symmetric'",
    ),
    (
        lambda: ConvTranspose(3, 4, (3,), strides=2, output_padding=2, rngs=rngs()),
        "ConvTranspose: expected output_padding below the larger of strides and kernel_dilation, (2,), received (2,)",
    ),
    (
        lambda: Linear(0, 4, rngs=rngs()),
        "Linear: in_features needs a whole number of at least 1, received 0",
    ),
    (
        lambda: Embed(10, 4, padding_idx=10, rngs=rngs()),
        "Embed: padding_idx needs a whole number from -10 to 9, received 10",
    ),
    (lambda: Dropout(1.5), "Dropout: rate needs a number in [0, 1], received 1.5"),
    (
        lambda: BatchNorm(3, momentum=99, rngs=rngs()),
        "BatchNorm: momentum needs a number in [0, 1], received 99",
    ),
    (
        lambda: LayerNorm(3, epsilon=-1e-5, rngs=rngs()),
        "LayerNorm: epsilon needs a number of at least 0, received -1e-05",
    ),
    (
        lambda: GroupNorm(4, 12, rngs=rngs()),
        (
            "GroupNorm: num_features needs a multiple of num_groups=12, received 4; "
            "likely fix: the channels come first here, then the groups"
        ),
    ),
    (
        lambda: MaxPool((2, 3), padding=(1, 2)),
        (
            "MaxPool: expected padding of at most half the window (2, 3), received (1, 2); "
            "more would leave windows with nothing but padding"
        ),
    ),
    (
        lambda: AvgPool((2, 3), strides=(1, 1, 1)),
        (
            "AvgPool: expected window, strides and padding as integers, or with one for each of 1, 2 or 3 spatial "
            "axes, received window=(2, 3), strides=(1, 1, 1), padding=0"
        ),
    ),
    (
        lambda: ReflectionPad((1, 2, 3, 4)),
        (
            "ReflectionPad: expected padding as an integer, or for each of 1, 2 or 3 spatial axes an "
            "integer or a pair (before, after), received (1, 2, 3, 4)"
        ),
    ),
    (lambda: GELU("tanh"), "GELU: approximate needs True or False, received 'tanh'"),
    (
        lambda: RNN(3, 4, nonlinearity="gelu", rngs=rngs()),
        "RNN: nonlinearity needs 'tanh' or 'relu', received 'gelu'; likely fix: nonlinearity='relu'",
    ),
    (lambda: LSTM(3, 4, 2, dropout=2, rngs=rngs()), "LSTM: dropout needs a number in [0, 1], received 2"),
    (
        lambda: Sequential(ReLU(), nnx.relu),
        (
            "Sequential: expected an nnx.Module at '1', received relu; likely fix: its module, such as ReLU() for a "
            "function, or a small nnx.Module that calls it"
        ),
    ),
    (
        lambda: Sequential({"train": ReLU()}),
        "Sequential: expected names that can be attributes (no dot, no method of the module), received 'train'",
    ),
]


@pytest.mark.parametrize(("build", "message"), WRONG_SETTINGS, ids=[m.split(",")[0] for _, m in WRONG_SETTINGS])
def test_wrong_settings(build, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        build()


def conv():
    return built(lambda: Conv(3, 4, (3, 3), rngs=rngs()))


def lstm(**settings):
    return built(lambda: LSTM(3, 4, **settings, rngs=rngs()))


WRONG_CALLS = [
    (
        lambda: conv()(zeros(1, 8, 8, 4)),
        "Conv: expected 3 input channels on the last axis (channels last), received 4 in shape (1, 8, 8, 4)",
    ),
    (
        lambda: conv()(zeros(1, 3, 8, 8)),
        (
            "Conv: expected 3 input channels on the last axis (channels last), received 8 in shape (1, 3, 8, 8); "
            "likely fix: channels first? axis 1 has 3, move it to the end with to_channels_last(x)"
        ),
    ),
    (
        lambda: conv()(zeros(1, 1, 8, 8, 3)),
        "Conv: expected axes 'b h w c' (the batch may be left out), received 5 axes in shape (1, 1, 8, 8, 3)",
    ),
    (
        lambda: conv()(zeros(1, 2, 8, 3)),
        (
            "Conv: expected spatial sizes of at least (3, 3) (the window's reach), received (2, 8) after padding "
            "in shape (1, 2, 8, 3)"
        ),
    ),
    (
        lambda: built(lambda: Conv(3, 4, (9,), padding=4, padding_mode="reflect", rngs=rngs()))(zeros(1, 4, 3)),
        "Conv: expected reflect padding smaller than the image's (4,), received ((4, 4),) in shape (1, 4, 3)",
    ),
    (
        lambda: built(lambda: ConvTranspose(3, 4, (3,), padding=3, rngs=rngs()))(zeros(1, 4, 3)),
        (
            "ConvTranspose: expected an output of at least 1 along each of 'w', received (0,) from shape (1, 4, 3); "
            "likely fix: less padding than (3,)"
        ),
    ),
    (
        lambda: built(lambda: Linear(3, 4, rngs=rngs()))(zeros(2, 5)),
        "Linear: expected 3 input features on the last axis, received 5 in shape (2, 5)",
    ),
    (
        lambda: built(lambda: BatchNorm(3, rngs=rngs()))(zeros(1, 1, 1, 3)),
        (
            "BatchNorm: expected more than one value per channel in training, received shape (1, 1, 1, 3); "
            "likely fix: a larger batch, or model.eval()"
        ),
    ),
    (
        lambda: built(lambda: InstanceNorm(3, rngs=rngs()))(zeros(5, 1, 1, 3)),
        "InstanceNorm: expected more than one position in space, received shape (5, 1, 1, 3)",
    ),
    (
        lambda: built(lambda: GroupNorm(3, 3, rngs=rngs()))(zeros(1, 3)),
        "GroupNorm: expected more than one value per group, received shape (1, 3)",
    ),
    (
        lambda: built(lambda: RMSNorm(3, rngs=rngs()))(zeros()),
        "RMSNorm: expected 3 input features on the last axis, received a scalar of shape ()",
    ),
    (
        lambda: MaxPool(3)(zeros(1, 2, 8, 3)),
        (
            "MaxPool: expected spatial sizes of at least (3, 3) (the window's reach), received (2, 8) after padding "
            "in shape (1, 2, 8, 3)"
        ),
    ),
    (
        lambda: Dropout2d(0.5, rngs=rngs())(zeros(4, 3)),
        "Dropout2d: expected axes 'b ... c' with a spatial axis, received 2 axes in shape (4, 3)",
    ),
    (
        lambda: lstm()(zeros(5, 2, 4)),
        "LSTM: expected 3 input features on the last axis of 't b i', received 4 in shape (5, 2, 4)",
    ),
    (
        lambda: lstm(batch_first=True)(zeros(3)),
        "LSTM: expected axes 'b t i' (the batch may be left out), received 1 axes in shape (3,)",
    ),
    (
        lambda: lstm()(zeros(5, 2, 3), zeros(1, 2, 4)),
        "LSTM: expected the state as the tuple (h, c), received one array",
    ),
    (
        lambda: lstm()(zeros(5, 2, 3), (zeros(1, 2, 4), zeros(2, 1, 4))),
        "LSTM: expected state c as '(layer direction) b hidden' of shape (1, 2, 4), received shape (2, 1, 4)",
    ),
    (
        lambda: lstm()(zeros(5, 2, 3), lengths=[5, 6]),
        "LSTM: expected lengths from 1 to 5 (the steps of x), received lengths from 5 to 6",
    ),
    (
        lambda: lstm()(zeros(5, 2, 3), lengths=[5, 0]),
        "LSTM: expected lengths from 1 to 5 (the steps of x), received lengths from 0 to 5",
    ),
    (
        lambda: lstm()(zeros(5, 2, 3), lengths=[5, 4, 3]),
        "LSTM: expected one length for each of the 2 sequences, received lengths of shape (3,)",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS, ids=[m.split("(")[0] for _, m in WRONG_CALLS])
def test_wrong_shapes(call, message):
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        call()


def test_wrong_dtypes():
    message = r"^Embed: expected indices of an integer dtype, received float32 in shape \(2,\)$"
    with pytest.raises(DtypeError, match=message):
        built(lambda: Embed(10, 4, rngs=rngs()))(zeros(2))
    with pytest.raises(DtypeError, match=r"^LSTM: expected lengths as integers, received dtype float64$"):
        lstm()(zeros(5, 2, 3), lengths=[5.0, 4.0])
    with pytest.raises(
        DtypeError, match=r"^AvgPool: expected floating-point values, received int32 in shape \(1, 4, 2\)$"
    ):
        AvgPool(2)(zeros(1, 4, 2, dtype="int32"))


@pytest.mark.parametrize(
    ("indices", "found"), [([[1, 12], [30, 0]], "30 as the largest"), ([[-1, 2], [0, 9]], "-1 as the smallest")]
)
def test_an_index_outside_of_the_table_is_an_error_where_its_value_is_known(indices, found):
    embed = built(lambda: Embed(10, 4, rngs=rngs()))
    message = rf"^Embed: expected indices from 0 to 9 \(num_embeddings=10\), received {found} in shape \(2, 2\)$"
    for values in (np.asarray(indices), jnp.asarray(indices, "int32")):
        with pytest.raises(IndexRangeError, match=message) as caught:
            embed(values)
        assert isinstance(caught.value, IndexError)


def test_an_index_outside_of_the_table_is_nan_in_a_compiled_program():
    for rows in (1, 3):
        embed = built(lambda rows=rows: Embed(rows, 2, rngs=rngs()))
        found = nnx.jit(lambda module, indices: module(indices))(embed, jnp.asarray([0, rows, -1], "int32"))
        assert np.isnan(np.asarray(found)).all(axis=1).tolist() == [False, True, True]


def test_bytes_may_index_a_vocabulary_larger_than_a_byte():
    embed = built(lambda: Embed(300, 2, padding_idx=299, rngs=rngs()))
    assert np.asarray(embed(np.asarray([0, 255], "uint8"))).tolist() == [[0.0, 0.0]] * 2


def test_a_wide_index_is_checked_before_it_could_be_cut_to_32_bits():
    with pytest.raises(IndexRangeError, match="received 4294967296 as the largest"):
        built(lambda: Embed(10, 4, rngs=rngs()))(np.asarray([2**32]))
