"""Every registered architecture in Flax: golden values, configs, transforms, Linen, errors."""

from __future__ import annotations

import copy

import jax
import numpy as np
import pytest
from flax import nnx
from golden_flax import build, compute
from golden_values import CASES, assert_golden

import einops_arch.flax
from einops_arch import architectures
from einops_arch.errors import DtypeError, ShapeError
from einops_arch.flax import linen_variables
from einops_arch.flax._build import abstract_model


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_golden_values(name, preset):
    assert_golden(name, preset, compute(name, preset))


@pytest.mark.parametrize("name", architectures.names())
def test_every_preset_builds_without_memory(name):
    architecture = architectures.get(name)
    for preset in architecture.config.PRESETS:
        config = architecture.config.preset(preset)
        model = abstract_model(config)
        assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) > 0
        assert model.config == config


@pytest.mark.parametrize("name", architectures.names())
def test_the_network_is_in_the_package_by_its_class_name(name):
    architecture = architectures.get(name)
    assert getattr(einops_arch.flax, architecture.config.MODEL) is architecture.flax_class()
    assert architecture.config.MODEL in dir(einops_arch.flax)


@pytest.mark.parametrize("name", architectures.names())
def test_a_model_splits_merges_copies_and_jits(name):
    model, inputs = build(name, "tiny")
    model.eval()
    expected = jax.tree.leaves(model(*inputs))
    merged = nnx.merge(*nnx.split(model))
    jitted = nnx.jit(lambda model, *inputs: model(*inputs))
    for outputs in (merged(*inputs), copy.deepcopy(model)(*inputs), jitted(model, *inputs)):
        for received, output in zip(jax.tree.leaves(outputs), expected, strict=True):
            np.testing.assert_allclose(received, output, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", architectures.names())
def test_linen_initialises_takes_the_weights_and_gives_the_same(name):
    model, inputs = build(name, "tiny")
    model.eval()
    expected = jax.tree.leaves(model(*inputs))

    def evaluating(config, *, rngs):
        twin = architectures.get(name).flax_class()(config, rngs=rngs)
        twin.eval()
        return twin

    linen = nnx.bridge.to_linen(evaluating, model.config)
    variables = linen.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, *inputs)
    ported = linen_variables(model)
    for collection in ported:
        assert jax.tree.structure(ported[collection]) == jax.tree.structure(variables[collection]), collection
    outputs = jax.tree.leaves(linen.apply(ported, *inputs))
    for received, output in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(received, output, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", architectures.names())
def test_every_wrong_rank_is_one_clear_error(name):
    model, inputs = build(name, "tiny")
    axes = model.config.inputs()[0]
    with pytest.raises(ShapeError) as caught:
        model(inputs[0][None], *inputs[1:])
    message = str(caught.value)
    assert message.startswith(f"{axes.name}: expected axes '{axes.flax_axes}'")
    assert message.endswith(f"received {inputs[0].ndim + 1} axes in shape {inputs[0][None].shape}")


@pytest.mark.parametrize(
    "name", [name for name in architectures.names() if "c" in architectures.get(name).config.tiny().inputs()[0].sizes]
)
def test_channels_in_the_wrong_place_are_one_clear_error_that_knows_the_fix(name):
    model, (image, *_) = build(name, "tiny")
    with pytest.raises(ShapeError) as caught:
        model(image.transpose(0, 3, 1, 2))
    assert "likely fix: move the axes with rearrange(x, 'b c h w -> b h w c')" in str(caught.value)


@pytest.mark.parametrize(
    "name", [name for name in architectures.names() if architectures.get(name).config.tiny().inputs()[0].high]
)
def test_tokens_that_are_no_integers_are_one_clear_error(name):
    model, inputs = build(name, "tiny")
    with pytest.raises(DtypeError) as caught:
        model(inputs[0].astype("float32"))
    axes = model.config.inputs()[0]
    assert str(caught.value) == f"{axes.name}: expected integer indices of axes '{axes.axes}', received dtype float32"
