"""Every registered architecture in PyTorch: golden values, configs, memory format, compilation, errors."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from golden_torch import compute, flatten, state_of
from golden_values import CASES, assert_golden, config_of

import einops_arch.torch
from einops_arch import architectures
from einops_arch.errors import DtypeError, ShapeError
from einops_arch.parity.probes import example_inputs


def build(name, preset):
    config = config_of(name, preset)
    model = architectures.get(name).torch_class()(config)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state_of(model).items()})
    return model.eval(), [torch.from_numpy(array) for array in example_inputs(config)]


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_golden_values(name, preset, device):
    assert_golden(name, preset, compute(name, preset, device))


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_outputs_have_the_axes_that_the_config_states(name, preset):
    model, inputs = build(name, preset)
    bound = {}
    for axes, array in zip(model.config.inputs(), inputs, strict=True):
        bound |= dict(zip(axes.axes.split(), array.shape, strict=True))
    outputs = flatten(model(*inputs))
    assert len(outputs) == len(model.config.outputs())
    for axes, output in zip(model.config.outputs(), outputs, strict=True):
        assert output.ndim == len(axes.axes.split())
        for axis, size in zip(axes.axes.split(), output.shape, strict=True):
            assert size == axes.sizes.get(axis, size), f"{axes.name}: axis {axis}"
            if axis in ("b", "t"):
                assert size == bound[axis], f"{axes.name}: axis {axis}"


@pytest.mark.parametrize("name", architectures.names())
def test_every_preset_builds_without_memory(name):
    """The published sizes are real networks; on the meta device they cost nothing."""
    architecture = architectures.get(name)
    for preset in architecture.config.PRESETS:
        with torch.device("meta"):
            model = architecture.torch_class()(architecture.config.preset(preset))
        assert sum(parameter.numel() for parameter in model.parameters()) > 0
        assert model.config == architecture.config.preset(preset)


@pytest.mark.parametrize("name", architectures.names())
def test_the_network_is_in_the_package_by_its_class_name(name):
    architecture = architectures.get(name)
    assert getattr(einops_arch.torch, architecture.config.MODEL) is architecture.torch_class()
    assert architecture.config.MODEL in dir(einops_arch.torch)


@pytest.mark.parametrize("name", architectures.names())
def test_a_model_pickles_and_copies(name):
    model, inputs = build(name, "tiny")
    expected = flatten(model(*inputs))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(torch.equal(a, b) for a, b in zip(flatten(other(*inputs)), expected, strict=True))
        assert other.config == model.config


@pytest.mark.parametrize("name", architectures.names())
def test_a_model_compiles(name):
    model, inputs = build(name, "tiny")
    # PyTorch's own recurrent layers are the one thing that its compiler steps around.
    whole = not any(isinstance(module, torch.nn.RNNBase) for module in model.modules())
    compiled = torch.compile(model, fullgraph=whole, backend="eager")
    # With gradients on, stepping around them warns of tensors that are no leaves.
    with torch.no_grad() if not whole else contextlib.nullcontext():
        for received, expected in zip(flatten(compiled(*inputs)), flatten(model(*inputs)), strict=True):
            torch.testing.assert_close(received, expected)


@pytest.mark.parametrize("name", architectures.names())
def test_every_wrong_rank_is_one_clear_error(name):
    model, inputs = build(name, "tiny")
    axes = model.config.inputs()[0]
    with pytest.raises(ShapeError) as caught:
        model(inputs[0][None], *inputs[1:])
    message = str(caught.value)
    assert message.startswith(f"{axes.name}: expected axes '{axes.axes}'")
    assert message.endswith(f"received {inputs[0].ndim + 1} axes in shape {tuple(inputs[0][None].shape)}")


@pytest.mark.parametrize(
    "name", [name for name in architectures.names() if "c" in architectures.get(name).config.tiny().inputs()[0].sizes]
)
def test_channels_in_the_wrong_place_are_one_clear_error_that_knows_the_fix(name):
    model, (image, *_) = build(name, "tiny")
    with pytest.raises(ShapeError) as caught:
        model(image.movedim(1, -1))
    assert "likely fix: move the axes with rearrange(x, 'b h w c -> b c h w')" in str(caught.value)


@pytest.mark.parametrize(
    "name", [name for name in architectures.names() if architectures.get(name).config.tiny().inputs()[0].high]
)
def test_tokens_that_are_no_integers_are_one_clear_error(name):
    model, inputs = build(name, "tiny")
    with pytest.raises(DtypeError) as caught:
        model(inputs[0].float())
    axes = model.config.inputs()[0]
    assert str(caught.value) == (
        f"{axes.name}: expected integer indices of axes '{axes.axes}', received dtype torch.float32"
    )


@pytest.mark.parametrize(
    "name",
    [name for name in architectures.names() if architectures.get(name).config.tiny().inputs()[0].axes == "b c h w"],
)
def test_a_channels_last_image_gives_the_same_numbers(name):
    model, (image,) = build(name, "tiny")
    expected = flatten(model.double()(image.double()))
    model = model.to(memory_format=torch.channels_last)
    received = flatten(model(image.double().to(memory_format=torch.channels_last)))
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-10, atol=1e-12)
