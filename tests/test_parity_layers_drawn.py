"""The functions of `einops_arch.flax.functional` and layers around them, against torch.nn on settings drawn widely."""

from __future__ import annotations

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from layer_draws import assert_agree, drawn, numbers, rounds_as_well
from layer_parity import channels_first, channels_last, unchanged

import einops_arch.flax as layers
from einops_arch.errors import ShapeError
from einops_arch.flax import functional as ff
from einops_arch.flax.functional.resize import nearest_positions

few = st.integers(1, 6)


def sizes(axes, least=1, most=6):
    return st.tuples(*[st.integers(least, most)] * axes)


def of_rank(name, axes):
    return getattr(tf, f"{name}{axes}d")


@st.composite
def pools(draw):
    axes = draw(st.integers(1, 3))
    window = draw(sizes(axes, 1, 4))
    strides = draw(st.none() | sizes(axes, 1, 4))
    padding = tuple(draw(st.integers(0, size // 2)) for size in window)
    return axes, window, strides, padding, draw(st.booleans()), numbers(draw(few), 2, 3, *draw(sizes(axes)))


def hold_values(window, strides, padding, dilation, ceil_mode, x):
    """Whether every window holds a value; PyTorch gives a position outside of x for one that holds none."""
    try:
        largest = of_rank("max_pool", len(window))(
            torch.from_numpy(x), window, strides, padding, dilation, ceil_mode=ceil_mode
        )
    except RuntimeError:  # the same is to be refused on both sides
        return True
    return bool(largest.isfinite().all())


def test_windows_that_hold_no_value_have_no_position():
    x = torch.randn(2, 3, 1, 4)
    setting = ((2, 1), (2, 2), (1, 0), (2, 1))
    y, at = ff.max_pool(jnp.asarray(channels_last(x.numpy())), *setting, return_indices=True)
    np.testing.assert_array_equal(channels_first(np.asarray(y)), tf.max_pool2d(x, *setting).numpy())
    assert np.isneginf(y).all()
    assert (at == -1).all()


@drawn
@given(pools(), st.data())
def test_max_pool(pool, data):
    axes, window, strides, padding, ceil_mode, x = pool
    dilation = data.draw(sizes(axes, 1, 3))
    hypothesis.assume(hold_values(window, strides, padding, dilation, ceil_mode, x))
    assert_agree(
        lambda t: of_rank("max_pool", axes)(
            t, window, strides, padding, dilation, ceil_mode=ceil_mode, return_indices=True
        ),
        layers.MaxPool(window, strides, padding, dilation, ceil_mode=ceil_mode, return_indices=True),
        x,
    )


@drawn
@given(pools(), st.booleans(), st.sampled_from([None, None, 3, -2]))
def test_avg_pool(pool, count_include_pad, divisor):
    axes, window, strides, padding, ceil_mode, x = pool
    kwargs = {} if axes == 1 else {"divisor_override": divisor}
    assert_agree(
        lambda t: of_rank("avg_pool", axes)(
            t, window, strides, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad, **kwargs
        ),
        layers.AvgPool(window, strides, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad, **kwargs),
        x,
    )


@drawn
@given(pools(), st.sampled_from([1, 2, 3, 1.5]))
def test_lp_pool(pool, p):
    axes, window, strides, _, ceil_mode, x = pool
    x = np.abs(x) if p == 1.5 else x
    window, strides = (window[0], strides and strides[0]) if axes == 1 else (window, strides)
    assert_agree(
        lambda t: of_rank("lp_pool", axes)(t, p, window, strides, ceil_mode),
        layers.LPPool(p, window, strides, ceil_mode=ceil_mode),
        x,
    )


@drawn
@given(st.integers(1, 3), st.data())
def test_adaptive_pools(axes, data):
    x = numbers(data.draw(few), 2, 3, *data.draw(sizes(axes, 1, 9)))
    asked = data.draw(st.tuples(*[st.integers(1, 7) | (st.none() if axes > 1 else st.nothing())] * axes))
    assert_agree(lambda t: of_rank("adaptive_avg_pool", axes)(t, asked), layers.AdaptiveAvgPool(asked), x)
    assert_agree(
        lambda t: of_rank("adaptive_max_pool", axes)(t, asked, return_indices=True),
        layers.AdaptiveMaxPool(asked, return_indices=True),
        x,
    )


@drawn
@given(st.integers(2, 3), st.data())
def test_fractional_max_pool(axes, data):
    window, asked = data.draw(sizes(axes, 1, 3)), data.draw(sizes(axes, 1, 4))
    # At times one position too few, which both refuse.
    size = tuple(o + w - 1 + data.draw(st.integers(-1, 5)) for o, w in zip(asked, window, strict=True))
    x = numbers(data.draw(few), 2, 3, *[max(n, 1) for n in size])
    if data.draw(st.booleans()):
        x[0, 1].flat[0] = np.nan
    samples = np.random.default_rng(data.draw(few)).random((2, 3, axes))
    module = getattr(torch.nn, f"FractionalMaxPool{axes}d")
    module = module(window, asked, return_indices=True, _random_samples=torch.from_numpy(samples))
    layer = layers.FractionalMaxPool(window, asked, return_indices=True)
    assert_agree(module, lambda a: layer(a, random_samples=jnp.asarray(samples)), x)


@drawn
@given(st.sampled_from([(0.5, 0.3), 0.7, (0.9, 0.11)]), st.data())
def test_fractional_max_pool_by_ratio(ratio, data):
    samples = np.random.default_rng(data.draw(few)).random((2, 3, 2))
    module = torch.nn.FractionalMaxPool2d(2, output_ratio=ratio, _random_samples=torch.from_numpy(samples))
    layer = layers.FractionalMaxPool(2, output_ratio=ratio)
    x = numbers(data.draw(few), 2, 3, *data.draw(sizes(2, 10, 15)))
    assert_agree(module, lambda a: layer(a, random_samples=jnp.asarray(samples)), x)


@drawn
@given(st.integers(1, 3), st.data())
def test_max_unpool(axes, data):
    window = data.draw(sizes(axes, 1, 3))
    x = numbers(data.draw(few), 2, 3, *data.draw(sizes(axes, 3, 6)))
    y, at = of_rank("max_pool", axes)(torch.from_numpy(x), window, return_indices=True)
    size = data.draw(st.sampled_from([None, x.shape[2:]]))
    indices = jnp.asarray(np.moveaxis(at.numpy(), 1, -1))
    assert_agree(
        lambda t: of_rank("max_unpool", axes)(t, at, window, output_size=size),
        lambda a: layers.MaxUnpool(window)(a, indices, size),
        y.numpy(),
    )


@drawn
@given(st.integers(1, 3), st.data())
def test_interpolate(axes, data):
    smooth = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}[axes]
    mode = data.draw(st.sampled_from(["nearest", "nearest-exact", "area", *smooth * 2]))
    kwargs = {"mode": mode}
    if mode in smooth:
        kwargs |= {"align_corners": data.draw(st.booleans()), "antialias": axes == 2 and data.draw(st.booleans())}
    if data.draw(st.booleans()):
        kwargs["size"] = data.draw(sizes(axes, 1, 13))
    else:
        factor = st.sampled_from([0.3, 0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0]) | st.floats(0.1, 3.1)
        kwargs["scale_factor"] = data.draw(st.tuples(*[factor] * axes))
        kwargs["recompute_scale_factor"] = data.draw(st.sampled_from([None, True, False]))
    x = numbers(data.draw(few), 2, 3, *data.draw(sizes(axes, 1, 7)))
    factors = kwargs.get("scale_factor")
    # Where nearest keeps a size under another factor, PyTorch's gradient is not that of what it gives.
    kept = factors and any(f != 1 and int(s * f) == s for s, f in zip(x.shape[2:], factors, strict=True))
    hypothesis.assume(not (mode == "nearest" and kept and kwargs["recompute_scale_factor"] is not True))
    # With antialias PyTorch repeats the pixels of an image that is to be a single column along that column.
    width = kwargs["size"][-1] if "size" in kwargs else int(x.shape[-1] * factors[-1])
    hypothesis.assume(not (kwargs.get("antialias") and width == 1))
    if mode == "area" and factors and min(int(s * f) for s, f in zip(x.shape[2:], factors, strict=True)) < 1:
        # PyTorch gives an image of no pixels here, of which it takes no gradient; in no other mode does it.
        with pytest.raises(ShapeError, match="at least 1"):
            layers.Upsample(**kwargs)(jnp.asarray(channels_last(x)))
        return
    assert_agree(lambda t: tf.interpolate(t, **kwargs), layers.Upsample(**kwargs), x)


def test_nearest_that_keeps_a_size_has_the_gradient_of_its_result():
    kwargs = {"scale_factor": 1.04, "mode": "nearest", "recompute_scale_factor": False}
    x = torch.arange(6.0)[None, None].requires_grad_()
    expected = tf.interpolate(x, **kwargs)
    received = ff.interpolate(jnp.arange(6.0)[None, :, None], **kwargs)
    assert received.ravel().tolist() == expected.ravel().tolist() == [0, 0, 1, 2, 3, 4]
    slope = jax.grad(lambda x: ff.interpolate(x, **kwargs).sum())(jnp.arange(6.0)[None, :, None])
    assert slope.ravel().tolist() == [2, 1, 1, 1, 1, 0]
    assert torch.autograd.grad(expected.sum(), x)[0].ravel().tolist() == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_takes_pytorchs_pixel_for_all_small_sizes(mode, dtype):
    differing = []
    for size in range(1, 25):
        x = torch.arange(size, dtype=getattr(torch, dtype))[None, None]
        for out in range(1, 41):
            expected = tf.interpolate(x, out, mode=mode)[0, 0].numpy()
            received = nearest_positions(size, out, None, np.dtype(dtype), exact=mode == "nearest-exact")
            if not np.array_equal(received, expected):
                differing.append((size, out))
    assert differing == []


@drawn
@given(st.integers(1, 3), st.sampled_from(["constant", "reflect", "replicate", "circular"]), st.data())
def test_pad(axes, mode, data):
    pairs = data.draw(st.tuples(*[st.tuples(st.integers(-3, 4), st.integers(-3, 4))] * axes))
    flat = [side for pair in reversed(pairs) for side in pair]
    value = 1.5 if mode == "constant" else None
    layer = {
        "constant": lambda: layers.ConstantPad(pairs, 1.5),
        "reflect": lambda: layers.ReflectionPad(pairs),
        "replicate": lambda: layers.ReplicationPad(pairs),
        "circular": lambda: layers.CircularPad(pairs),
    }[mode]()
    image = data.draw(sizes(axes, 1, 7))
    # Where less is left than wraps around, PyTorch copies what it has just written, or memory that nobody wrote: its
    # gradients are wrong there, or it says that memory overlaps.
    rests = [size + min(low, 0) + min(high, 0) for size, (low, high) in zip(image, pairs, strict=True)]
    fits = all(max(*pair, 1) <= rest for pair, rest in zip(pairs, rests, strict=True))
    hypothesis.assume(mode != "circular" or fits)
    assert_agree(lambda t: tf.pad(t, flat, mode, value), layer, numbers(data.draw(few), 2, 3, *image))


@drawn
@given(st.integers(1, 3), st.data())
def test_pixel_shuffle_and_back(factor, data):
    h, w = data.draw(sizes(2, 1, 4))
    c = data.draw(few)
    assert_agree(torch.nn.PixelShuffle(factor), layers.PixelShuffle(factor), numbers(1, 2, c * factor**2, h, w))
    assert_agree(
        torch.nn.PixelUnshuffle(factor), layers.PixelUnshuffle(factor), numbers(2, 2, c, h * factor, w * factor)
    )


@drawn
@given(st.sampled_from(["sum", "mean", "max"]), st.booleans(), st.data())
def test_embedding_bag(mode, in_rows, data):
    rows, width = data.draw(st.integers(2, 7)), data.draw(few)
    padding_idx = data.draw(st.none() | st.integers(-rows, rows - 1))
    indices = np.random.default_rng(data.draw(few)).integers(0, rows, (3, 4) if in_rows else 9)
    offsets, last = None, False
    if not in_rows:
        last = data.draw(st.booleans())
        middle = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
        offsets = np.asarray([0, *sorted(middle), *([9] if last else [])])
    weights = (
        np.random.default_rng(5).normal(size=indices.shape) if mode == "sum" and data.draw(st.booleans()) else None
    )
    options = {"mode": mode, "padding_idx": padding_idx, "include_last_offset": last}
    of_torch, of_jax = (
        [None if a is None else move(a) for a in (offsets, weights)] for move in (torch.from_numpy, jnp.asarray)
    )
    assert_agree(
        lambda t: tf.embedding_bag(
            torch.from_numpy(indices), t, of_torch[0], per_sample_weights=of_torch[1], **options
        ),
        lambda a: ff.embedding_bag(jnp.asarray(indices), a, of_jax[0], per_sample_weights=of_jax[1], **options),
        np.random.default_rng(3).normal(size=(rows, width)),
        enter=unchanged,
        leave=unchanged,
    )


@drawn
@given(st.data())
def test_unfold_and_fold(data):
    window, strides, dilation = (data.draw(sizes(2, 1, 3)) for _ in range(3))
    padding, size = data.draw(sizes(2, 0, 2)), data.draw(sizes(2, 2, 7))

    def swap(rows):
        return np.swapaxes(rows, 1, 2)

    x = numbers(data.draw(few), 2, 3, *size)
    assert_agree(
        lambda t: tf.unfold(t, window, dilation, padding, strides).transpose(1, 2),
        layers.Unfold(window, strides, padding, dilation),
        x,
        leave=unchanged,
    )
    try:
        rows = tf.unfold(torch.from_numpy(x), window, dilation, padding, strides)
    except RuntimeError:
        return
    assert_agree(
        lambda t: tf.fold(t, size, window, dilation, padding, strides),
        layers.Fold(size, window, strides, padding, dilation),
        numbers(3, *rows.shape),
        enter=swap,
    )


@drawn
@given(st.integers(2, 3), st.sampled_from(["zeros", "border", "reflection"]), st.booleans(), st.data())
def test_grid_sample(axes, padding_mode, align_corners, data):
    mode = data.draw(st.sampled_from(["bilinear", "nearest", *(["bicubic"] if axes == 2 else [])]))
    x = numbers(data.draw(few), 2, 3, *data.draw(sizes(axes)))
    grid = numbers(data.draw(few), 2, *data.draw(sizes(axes, 1, 4)), axes) * data.draw(st.sampled_from([0.5, 1.0, 3.0]))
    assert_agree(
        lambda t, g: tf.grid_sample(t, g, mode, padding_mode, align_corners),
        lambda a, g: ff.grid_sample(a, g, mode, padding_mode, align_corners=align_corners),
        x,
        grid,
        enter=[functools.partial(np.moveaxis, source=1, destination=-1), unchanged],
    )


@drawn
@given(st.integers(2, 3), st.booleans(), st.data())
def test_affine_grid(axes, align_corners, data):
    out = data.draw(sizes(axes, 2, 5))
    assert_agree(
        lambda t: tf.affine_grid(t, [2, 3, *out], align_corners),
        lambda a: ff.affine_grid(a, out, align_corners=align_corners),
        numbers(data.draw(few), 2, axes, axes + 1),
        enter=unchanged,
        leave=unchanged,
    )


@drawn
@given(st.sampled_from([1.0, 2.0, 3.0, 0.5, float("inf")]), st.sampled_from([-1, 0, 1]), st.data())
def test_normalize(p, axis, data):
    x = numbers(data.draw(few), *data.draw(sizes(3, 1, 4)))
    x[0] = 0.0
    if p == 0.5:
        x = x + 0.5
    epsilon = data.draw(st.sampled_from([1e-12, 0.5, 3.0]))
    assert_agree(
        lambda t: tf.normalize(t, p, axis, epsilon),
        lambda a: ff.normalize(a, p, axis, epsilon),
        x,
        enter=unchanged,
        leave=unchanged,
    )


@drawn
@given(st.sampled_from([0.0, 1.0, 2.0, 3.0, float("inf")]), st.data())
def test_cdist(p, data):
    n, m, k = data.draw(sizes(3, 1, 4))
    x = numbers(data.draw(few), 2, n, k)
    y = np.concatenate([numbers(data.draw(few), 2, m, k), x[:, :1]], 1)  # one distance is zero
    assert_agree(
        lambda a, b: torch.cdist(a, b, p), lambda a, b: ff.cdist(a, b, p), x, y, enter=unchanged, leave=unchanged
    )


ACTIVATIONS = {
    "SiLU": (),
    "Hardswish": (),
    "Hardsigmoid": (),
    "ReLU6": (),
    "Mish": (),
    "SELU": (),
    "Softsign": (),
    "LogSigmoid": (),
    "Tanhshrink": (),
    "ReLU": (),
    "Tanh": (),
    "Sigmoid": (),
    "Hardtanh": ("min_val", "max_val"),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "CELU": ("alpha",),
    "Softplus": ("beta", "threshold"),
    "Softshrink": ("lambd",),
    "Hardshrink": ("lambd",),
    "Threshold": ("threshold", "value"),
}
# At kinks and beyond where exponentials overflow.
EDGES = [-1e4, -800.0, -6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 20.0, 800.0, 1e4]


@drawn
@given(st.data())
def test_activations(data):
    seed = data.draw(st.integers(0, 99))
    x = np.concatenate([EDGES, np.random.default_rng(seed).normal(size=49) * 3])
    bounds = sorted(
        data.draw(st.lists(st.sampled_from([-3.0, -0.5, 0.25, 0.5, 1.0, 3.0]), min_size=2, max_size=2, unique=True))
    )
    drawn_settings = {"min_val": bounds[0], "max_val": bounds[1], "lambd": abs(bounds[0]), "value": 7.0}
    drawn_settings |= {
        "negative_slope": bounds[0],
        "alpha": abs(bounds[1]),
        "beta": abs(bounds[0]),
        "threshold": bounds[1],
    }
    calls = {}
    for name, arguments in ACTIVATIONS.items():
        values = [drawn_settings[argument] for argument in arguments]
        calls[name] = getattr(torch.nn, name)(*values), getattr(layers, name)(*values)
    # All in one program: compiling is what takes the time.
    stacked = jax.jit(lambda a: jnp.stack([layer(a) for _, layer in calls.values()], -1))
    assert_agree(
        lambda t: torch.stack([module(t) for module, _ in calls.values()], -1),
        stacked,
        x,
        enter=unchanged,
        leave=unchanged,
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_of_what_is_infinite(name):
    arguments = {"Hardtanh": (-1.0, 2.0), "Threshold": (0.5, 7.0)}.get(name, ())
    x = np.asarray([np.inf, -np.inf, np.nan])
    expected = getattr(torch.nn, name)(*arguments)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(getattr(layers, name)(*arguments)(jnp.asarray(x)), expected)


@drawn
@given(st.sampled_from(["Softmax", "Softmin", "LogSoftmax", "GLU"]), st.sampled_from([-1, 0, 1, 2]), st.data())
def test_activations_along_an_axis(name, axis, data):
    x = numbers(data.draw(few), *data.draw(sizes(3, 1, 4)))
    assert_agree(getattr(torch.nn, name)(axis), getattr(layers, name)(axis), x, enter=unchanged, leave=unchanged)


def test_a_softmax_over_the_channels_of_an_image_asks_for_an_image():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert_agree(torch.nn.Softmax2d(), layers.Softmax2d(), x)
    for shape in ((3, 4), (2, 3, 4, 5, 6)):
        with pytest.raises(ShapeError, match="Softmax2d"):
            layers.Softmax2d()(jnp.ones(shape))
        with pytest.raises(ValueError, match="Softmax2d"):
            torch.nn.Softmax2d()(torch.ones(shape))


def test_a_random_slope_lies_between_its_bounds_and_is_their_middle_in_evaluation():
    layer = layers.RReLU(0.2, 0.7, rngs=nnx.Rngs(0))
    x = np.concatenate([EDGES, np.random.default_rng(0).normal(size=2000)])
    graph, state = nnx.split(layer)

    def call(array):
        return nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))(array)

    # One draw for both: the gradient is the slope that was taken.
    y, pull = jax.vjp(call, jnp.asarray(x))
    slopes = np.asarray(pull(jnp.ones_like(y))[0])
    np.testing.assert_array_equal(y, np.where(x <= 0, x * slopes, x))
    drawn_slopes = slopes[x <= 0]
    assert 0.2 <= drawn_slopes.min() < 0.21 and 0.69 < drawn_slopes.max() <= 0.7  # noqa: PT018 one interval
    assert abs(drawn_slopes.mean() - 0.45) < 0.02
    np.testing.assert_array_equal(slopes[x > 0], 1.0)
    assert not np.array_equal(layer(jnp.asarray(x)), layer(jnp.asarray(x)))
    layer.eval()
    assert_agree(torch.nn.RReLU(0.2, 0.7).eval(), layer, x, enter=unchanged, leave=unchanged)


@drawn
@given(st.sampled_from([1, 3]), st.integers(0, 3), st.data())
def test_prelu(slopes, axes, data):
    x, weight = numbers(data.draw(few), 2, 3, *data.draw(sizes(axes))), numbers(data.draw(few), slopes)
    assert_agree(tf.prelu, ff.prelu, x, weight, enter=[lambda a: np.moveaxis(a, 1, -1), unchanged])


ROUNDED = {
    "max pool": (lambda t: tf.max_pool2d(t, 3, 2, 1), layers.MaxPool(3, 2, 1)),
    "avg pool": (lambda t: tf.avg_pool2d(t, 3, 2, 1, ceil_mode=True), layers.AvgPool(3, 2, 1, ceil_mode=True)),
    "lp pool": (lambda t: tf.lp_pool2d(t, 2, 3, 2), layers.LPPool(2, 3, 2)),
    "adaptive average": (lambda t: tf.adaptive_avg_pool2d(t, 5), layers.AdaptiveAvgPool(5)),
    "bilinear": (
        lambda t: tf.interpolate(t, scale_factor=1.7, mode="bilinear"),
        layers.Upsample(scale_factor=1.7, mode="bilinear"),
    ),
    "bicubic": (lambda t: tf.interpolate(t, (17, 5), mode="bicubic"), layers.Upsample((17, 5), mode="bicubic")),
    "SiLU": (tf.silu, layers.SiLU()),
    "Mish": (tf.mish, layers.Mish()),
    "ELU": (tf.elu, layers.ELU()),
    "Hardswish": (tf.hardswish, layers.Hardswish()),
    "Softplus": (tf.softplus, layers.Softplus()),
    "Softmax": (lambda t: tf.softmax(t, 1), layers.Softmax()),
    "LogSoftmax": (lambda t: tf.log_softmax(t, 1), layers.LogSoftmax()),
    "normalize": (lambda t: tf.normalize(t, dim=1), ff.normalize),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_half_precision_is_as_accurate_as_in_pytorch(name):
    torch_call, flax_call = ROUNDED[name]
    x = np.random.default_rng(3).normal(size=(2, 8, 12, 9))
    rounds_as_well(torch_call, flax_call, x)


def test_the_gradient_of_a_window_with_nan_goes_to_the_nan():
    x = np.asarray([[[np.nan, 1.0, np.nan, 3.0, 2.0, 5.0]]])
    tensor = torch.from_numpy(x).requires_grad_()
    tf.max_pool1d(tensor, 3).sum().backward()
    gradient = jax.grad(lambda a: layers.MaxPool((3,))(a).sum())(jnp.asarray(np.moveaxis(x, 1, -1)))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(gradient), -1, 1), tensor.grad)


def test_an_average_over_volumes_refuses_a_window_larger_than_the_image():
    with pytest.raises(RuntimeError, match="smaller than"):
        tf.avg_pool3d(torch.ones(1, 1, 2, 2, 2), 3, 1, 1)
    with pytest.raises(ValueError, match=r"AvgPool: .*\(3, 3, 3\).*before padding"):
        layers.AvgPool((3, 3, 3), 1, 1)(jnp.ones((1, 2, 2, 2, 1)))
