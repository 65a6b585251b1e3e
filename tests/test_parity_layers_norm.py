"""Normalisation in Flax is that of PyTorch: values, gradients, running statistics, in float64 and float32."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_parity import (
    ERROR_RATIO,
    ROUNDOFF_FLOOR,
    SAME_FUNCTION,
    channels_last,
    compare,
    draw,
    randomise,
    rms,
    run_flax,
    run_torch,
    twin,
    unchanged,
)

from einops_arch.flax.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

pytestmark = pytest.mark.usefixtures("strict_promotion")


# Few values per channel: the unbiased variance is up to 1.5 times the biased one. (With two values the normalised
# ones are 1 and -1 whatever they were, and the gradient is all rounding.)
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("kind", "shape", "settings"),
    [
        (torch.nn.BatchNorm1d, (3, 5), {"momentum": 0.3}),
        (torch.nn.BatchNorm1d, (2, 5, 3), {"momentum": None, "eps": 1e-3}),
        (torch.nn.BatchNorm2d, (4, 3, 7, 8), {}),
        (torch.nn.BatchNorm3d, (1, 3, 2, 3, 4), {"affine": False}),
    ],
    ids=str,
)
def test_batch_norm(kind, shape, settings, train):
    affine = settings.get("affine", True)
    own = {"momentum": settings.get("momentum", 0.1), "epsilon": settings.get("eps", 1e-5)}
    found = compare(
        kind(shape[1], **settings),
        lambda: BatchNorm(shape[1], **own, use_scale=affine, use_bias=affine, rngs=nnx.Rngs(0)),
        draw(3, *shape) * 2 + 3,
        train=train,
        float32=len(shape) == 4,
    )
    assert found["num_batches_tracked"] == train


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_after_three_steps(momentum):
    layer = randomise(torch.nn.BatchNorm2d(3, momentum=momentum)).double()
    other = twin(layer, lambda: BatchNorm(3, momentum=momentum, rngs=nnx.Rngs(0)), "float64")
    start = layer.running_var.numpy().copy()
    step = nnx.jit(lambda module, x: module(x))
    for number in range(3):
        x = draw(10 + number, 2, 3, 2, 2) * (number + 1) + number
        layer(torch.from_numpy(x))
        step(other, jnp.asarray(channels_last(x)))
    for name, found in (("running_mean", other.mean), ("running_var", other.var)):
        expected = getattr(layer, name).numpy()
        assert rms(np.asarray(found[...]) - expected) <= SAME_FUNCTION * rms(expected)
    assert found.dtype == "float64"
    assert int(other.num_batches_tracked[...]) == int(layer.num_batches_tracked) == 3
    assert rms(layer.running_var.numpy() - start) > 0.1 * rms(start)


def test_an_empty_batch_leaves_the_running_statistics_alone():
    layer = torch.nn.BatchNorm1d(3)
    expected = layer(torch.zeros(0, 3, 4))
    other = twin(layer, lambda: BatchNorm(3, rngs=nnx.Rngs(0)), "float32")
    assert other(jnp.zeros((0, 4, 3), "float32")).shape == (0, 4, 3)
    assert expected.shape == (0, 3, 4)
    assert bool(jnp.isfinite(other.mean[...]).all())
    assert bool(jnp.isfinite(other.var[...]).all())


@pytest.mark.parametrize(
    ("layer", "build", "shape"),
    [
        (torch.nn.GroupNorm(3, 12), lambda: GroupNorm(12, 3, rngs=nnx.Rngs(0)), (3, 12, 4, 5)),
        (torch.nn.GroupNorm(1, 6, eps=1e-3), lambda: GroupNorm(6, 1, epsilon=1e-3, rngs=nnx.Rngs(0)), (2, 6, 5)),
        (torch.nn.GroupNorm(4, 4), lambda: GroupNorm(4, 4, rngs=nnx.Rngs(0)), (2, 4, 2, 3, 4)),
        (torch.nn.GroupNorm(2, 6), lambda: GroupNorm(6, 2, rngs=nnx.Rngs(0)), (3, 6)),
        (torch.nn.InstanceNorm1d(3), lambda: InstanceNorm(3, rngs=nnx.Rngs(0)), (2, 3, 7)),
        (
            torch.nn.InstanceNorm2d(3, affine=True, eps=1e-3),
            lambda: InstanceNorm(3, epsilon=1e-3, use_scale=True, use_bias=True, rngs=nnx.Rngs(0)),
            (4, 3, 6, 7),
        ),
        (torch.nn.InstanceNorm3d(2), lambda: InstanceNorm(2, rngs=nnx.Rngs(0)), (2, 2, 3, 4, 5)),
    ],
    ids=lambda value: repr(value) if isinstance(value, torch.nn.Module) else "",
)
def test_group_and_instance_norm(layer, build, shape):
    compare(layer, build, draw(4, *shape) * 0.01 + 1, float32=len(shape) == 4)


@pytest.mark.parametrize(
    ("layer", "build"),
    [
        (torch.nn.LayerNorm(7), lambda: LayerNorm(7, rngs=nnx.Rngs(0))),
        (
            torch.nn.LayerNorm(7, eps=1e-3, bias=False),
            lambda: LayerNorm(7, epsilon=1e-3, use_bias=False, rngs=nnx.Rngs(0)),
        ),
        (torch.nn.RMSNorm(7), lambda: RMSNorm(7, rngs=nnx.Rngs(0))),
        (
            torch.nn.RMSNorm(7, eps=1e-3, elementwise_affine=False),
            lambda: RMSNorm(7, epsilon=1e-3, use_scale=False, rngs=nnx.Rngs(0)),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, torch.nn.Module) else "",
)
def test_layer_and_rms_norm(layer, build):
    # At a scale of 1e-3 an epsilon of 1e-6 in place of 1e-5 changes the result by a factor.
    compare(layer, build, draw(4, 13, 6, 7) * 1e-3, enter=unchanged, leave=unchanged, float32=True)


@pytest.mark.parametrize(
    ("layer", "build"),
    [
        (torch.nn.LayerNorm(64), lambda: LayerNorm(64, rngs=nnx.Rngs(0))),
        (torch.nn.GroupNorm(2, 64), lambda: GroupNorm(64, 2, rngs=nnx.Rngs(0))),
        (torch.nn.BatchNorm1d(64), lambda: BatchNorm(64, rngs=nnx.Rngs(0))),
    ],
    ids=["LayerNorm", "GroupNorm", "BatchNorm"],
)
def test_a_mean_of_a_thousand_deviations_costs_no_more_than_in_pytorch(layer, build):
    x = (draw(8, 32, 64) + 1000.0).astype(np.float32).astype(np.float64)
    weights = [np.ones((32, 64))]
    results = {}
    for dtype in ("float64", "float32"):
        other = twin(layer, build, dtype)
        ours = run_flax(other, [x], weights, dtype, lambda m, x: m(x), unchanged)["output 0"]
        results[dtype] = ours, run_torch(layer, [x], weights, dtype, lambda m, x: m(x))["output 0"]
    exact = results["float64"][1]
    ours, theirs = (rms(found - exact) for found in results["float32"])
    assert rms(results["float64"][0] - exact) <= 1e-11 * rms(exact)  # a thousand times the usual
    # E[x^2] - E[x]^2 loses 0.05 here; a mean rounded once, 1000 * 2^-25.
    assert ours <= max(ERROR_RATIO * theirs, ROUNDOFF_FLOOR * rms(exact))


def test_the_default_epsilon_of_rms_norm_follows_the_dtype():
    x = draw(4, 3, 5) * 1e-4
    for dtype in ("float64", "float32", "bfloat16"):
        given = torch.from_numpy(x).to(getattr(torch, dtype))
        layer = torch.nn.RMSNorm(5, elementwise_affine=False)
        module = RMSNorm(5, use_scale=False, rngs=nnx.Rngs(0))
        found = module(jnp.asarray(x, dtype)).astype("float64")
        expected = layer(given).double().numpy()
        spacing = {"float64": 1e-13, "float32": 1e-6, "bfloat16": 2.0**-8}[dtype]
        np.testing.assert_allclose(np.asarray(found), expected, rtol=spacing)


def test_half_precision_is_normalised_in_float32():
    x = draw(4, 16, 33) * 3
    layer = torch.nn.LayerNorm(33).bfloat16()
    expected = layer(torch.from_numpy(x).bfloat16()).double().detach().numpy()
    module = twin(torch.nn.LayerNorm(33), lambda: LayerNorm(33, rngs=nnx.Rngs(0)), "bfloat16")
    found = module(jnp.asarray(x, "bfloat16"))
    assert found.dtype == "bfloat16"
    # One rounding to eight bits at the end: a neighbour at most, and that seldom.
    different = np.asarray(found.astype("float64")) != expected
    assert different.mean() < 0.02
    np.testing.assert_allclose(np.asarray(found.astype("float64")), expected, rtol=2.0**-7)
