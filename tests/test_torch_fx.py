"""PyTorch networks and layers in PyTorch's own tracers: `torch.fx.symbolic_trace` and `torch.jit.trace`."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import einops_arch.torch as layers
from einops_arch import architectures
from einops_arch.torch import functional


def tiny_presets():
    for architecture in map(architectures.get, architectures.names()):
        for preset in architecture.config.PRESETS:
            if preset.startswith("tiny"):
                yield pytest.param(architecture, architecture.config.preset(preset), id=f"{architecture.name}-{preset}")


def inputs(config, batch):
    """Random inputs of the smallest sizes that are no multiples of one another."""
    rng = np.random.default_rng(0)
    for axes in config.inputs():
        free = {name: max(axes.least.get(name, 1), axes.example.get(name, 1)) for name in axes.axes.split()}
        sizes = {**free, **axes.sizes, "b": batch}
        shape = [sizes[name] + 2 * (name == "t") for name in axes.axes.split()]
        high = axes.high
        yield torch.from_numpy(rng.integers(0, high, shape) if high else rng.normal(size=shape).astype(np.float32))


def flat(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else [leaf for part in outputs for leaf in flat(part)]


def assert_equal(received, expected):
    for tensor, other in zip(flat(received), flat(expected), strict=True):
        assert torch.equal(tensor, other)


@pytest.mark.parametrize(("architecture", "config"), list(tiny_presets()))
def test_a_traced_network_computes_what_the_network_does(architecture, config):
    model = architecture.torch_class()(config).eval()
    traced = torch.fx.symbolic_trace(model)
    for batch in (2, 3):
        tensors = tuple(inputs(config, batch))
        assert_equal(traced(*tensors), model(*tensors))
    assert_equal(copy.deepcopy(traced)(*tensors), model(*tensors))
    assert dict(traced.named_parameters()).keys() == dict(model.named_parameters()).keys()


def test_a_traced_network_keeps_its_cores_as_nodes():
    model = architectures.get("shufflenet").torch_class()(architectures.get("shufflenet").config.tiny())
    functions = [node.target for node in torch.fx.symbolic_trace(model).graph.nodes if node.op == "call_function"]
    shuffles = sum(isinstance(module, layers.ChannelShuffle) for module in model.modules())
    assert functions.count(functional.channel_shuffle) == shuffles > 1


LAYERS = [
    (layers.Rearrange("b c (h r) -> b (c r) h", r=2), (2, 3, 8)),
    (layers.Reduce("b c (h r) -> b c h", "max", r=2), (2, 3, 8)),
    (layers.Repeat("b c -> b c r", r=3), (2, 5)),
    (layers.EinMix("b (h i) -> b (h o)", weight_shape="h i o", bias_shape="h o", h=2, i=3, o=5), (7, 6)),
    (layers.GramMatrix("full"), (2, 3, 5, 7)),
    (layers.ChannelShuffle(3), (2, 12, 5, 7)),
    (layers.ChannelUnshuffle(3), (2, 12, 5, 7)),
    (layers.DepthToSpace((2, 3), order="DCR"), (2, 12, 5, 7)),
    (layers.SpaceToDepth(2), (2, 3, 4, 6)),
    (layers.UpsampleNearest((1, 2)), (2, 3, 4, 6)),
    (layers.Patchify(2), (2, 3, 4, 6)),
    (layers.Unpatchify(2, grid=(2, 3)), (2, 6, 12)),
    (layers.FlattenFeatures(3, (4, 6)), (2, 3, 4, 6)),
    (layers.UnflattenFeatures(3, (4, 6)), (2, 72)),
    (layers.FlattenSequence(), (7, 2, 5)),
    (layers.UnflattenSequence(t=7), (14, 5)),
    (layers.SplitHeads(3), (2, 7, 12)),
    (layers.MergeHeads(), (2, 3, 7, 4)),
    (layers.SplitDirections(2), (6, 2, 5)),
    (layers.MergeDirections(), (3, 2, 2, 5)),
]


def test_no_layer_is_left_out():
    tested = {type(layer).__name__ for layer, _ in LAYERS}
    exported = (getattr(layers, name) for name in layers.__all__)
    wrappers = {
        cls.__name__
        for cls in exported
        if isinstance(cls, type) and cls.__module__.startswith("einops_arch.torch.layers")
    }
    assert tested == wrappers


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: type(value).__name__)
def test_a_traced_layer_computes_what_the_layer_does(layer, shape):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    traced = torch.fx.symbolic_trace(nn.Sequential(layer, nn.Identity()))
    assert torch.equal(traced(x), layer(x))
    assert torch.equal(torch.fx.symbolic_trace(layer)(x), layer(x))


class Shuffler(nn.Module):
    """A module of a user's that calls cores of `einops_arch.torch.functional`, with sizes that it reads."""

    def forward(self, x):
        b, c, _, w = x.shape
        x = functional.rearrange(functional.channel_shuffle(x, 3), "b c h w -> b (c h) w", w=w, c=c)
        return functional.flatten_features(x) / b


def test_a_users_module_is_traced_as_well_and_by_another_tracer():
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module, path):
            return False

    x = torch.arange(2 * 12 * 5 * 7.0).reshape(2, 12, 5, 7)
    model = nn.Sequential(Shuffler())
    for tracer in (torch.fx.Tracer(), Tracer()):
        traced = torch.fx.GraphModule(model, tracer.trace(model))
        assert torch.equal(traced(x), model(x))


def test_a_traced_core_still_checks_its_sizes():
    traced = torch.fx.symbolic_trace(layers.ChannelShuffle(3))
    with pytest.raises(ValueError, match="channels divisible by 3"):
        traced(torch.zeros(2, 10, 4, 4))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("length", [1, 4])
def test_gpt2_is_traced_by_torchscript_for_texts_of_other_lengths(length):
    architecture = architectures.get("gpt2")
    config = architecture.config.tiny()
    model = architecture.torch_class()(config).eval()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, config.vocabulary, (2, 9)))
    traced = torch.jit.trace(model, (tokens[:, :length],))
    for other in (1, 4, 9):
        torch.testing.assert_close(traced(tokens[:, :other]), model(tokens[:, :other]), rtol=0, atol=1e-6)
