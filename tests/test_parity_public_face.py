"""What a user types first: networks by class and by name, the same on both sides, and known to a type checker."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import einops_arch.flax
import einops_arch.torch
from einops_arch import architectures, parity, port
from einops_arch.errors import ConfigError, UnknownArchitectureError

ROOT = Path(__file__).resolve().parent.parent
SIDES = {"torch": einops_arch.torch, "flax": einops_arch.flax}
NETWORKS = {architectures.get(name).config.MODEL for name in architectures.names()}


def create(side, name, **fields):
    extra = {"rngs": nnx.Rngs(0)} if side == "flax" else {}
    return SIDES[side].create_model(name, **extra, **fields)


@pytest.mark.parametrize("side", SIDES)
def test_every_network_is_listed_and_importable(side):
    module = SIDES[side]
    assert set(module.__all__) >= NETWORKS
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name, None) is not None, name
        assert name in dir(module)


@pytest.mark.parametrize("side", SIDES)
def test_type_checkers_see_every_network_of_the_registry(side):
    tree = ast.parse((ROOT / "einops_arch" / side / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    ]
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {*NETWORKS, "generate"}


def test_both_sides_list_the_same_names():
    names = einops_arch.torch.list_models()
    assert names == einops_arch.flax.list_models() == sorted(set(names))
    assert set(architectures.names()) < set(names)
    assert {"resnet50", "vgg16_bn", "shufflenet_v2_x1_0", "gpt2_medium", "wide_resnet50_2", "resnet_tiny"} < set(names)


def test_every_listed_name_is_one_network():
    sizes = {(name, preset) for name in architectures.names() for preset in architectures.get(name).config.PRESETS}
    resolved = [architectures.resolve(name) for name in architectures.list_models()]
    pairs = [(architecture.name, preset) for architecture, preset in resolved if preset is not None]
    assert len(pairs) == len(set(pairs))
    # `gpt2` is the architecture and its first size.
    assert set(pairs) == sizes - {("gpt2", "gpt2")}


def test_patterns_are_those_of_a_shell():
    listed = einops_arch.torch.list_models("res*")
    assert listed == [name for name in einops_arch.torch.list_models() if name.startswith("res")]
    assert len(listed) > 8
    assert einops_arch.torch.list_models("vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert einops_arch.torch.list_models("nothing") == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["resnet_tiny", "gpt2_tiny", "shuffle_unit_concat", "sentiment_rnn_tiny"])
def test_a_network_is_created_by_name(side, name):
    architecture, preset = architectures.resolve(name)
    model = create(side, name)
    assert type(model) is getattr(architecture, f"{side}_class")()
    assert model.config == architecture.config.preset(preset)


def test_a_published_name_has_the_published_number_of_parameters():
    """torchvision's documentation: 11,689,512."""
    assert sum(parameter.numel() for parameter in create("torch", "resnet18").parameters()) == 11_689_512


def test_fields_are_changed_on_both_sides():
    torch_model, flax_model = (create(side, "vgg_tiny", classes=11) for side in SIDES)
    assert torch_model.config == flax_model.config != architectures.config_for("vgg_tiny")
    port.transfer(torch_model, flax_model)


@pytest.mark.parametrize("side", SIDES)
def test_wrong_names_and_fields_say_what_was_meant(side):
    with pytest.raises(UnknownArchitectureError, match="resnet50"):
        create(side, "resnet_50")
    with pytest.raises(ConfigError, match=r"resnet_tiny.*'clases'.*'classes'"):
        create(side, "resnet_tiny", clases=10)
    with pytest.raises(ConfigError, match="classes"):
        create(side, "resnet_tiny", classes=0)


def test_flax_takes_its_random_streams_by_keyword_only():
    with pytest.raises(TypeError, match="rngs"):
        einops_arch.flax.create_model("resnet_tiny")
    with pytest.raises(TypeError, match="positional"):
        einops_arch.flax.create_model("resnet_tiny", nnx.Rngs(0))
    draws = [create("flax", "convnet_tiny").conv1.kernel.get_value() for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_one_generate_per_side_with_one_signature():
    """Where the numbers come from is the framework's own: a generator here, a key there."""
    signatures = {side: list(inspect.signature(module.generate).parameters.values()) for side, module in SIDES.items()}
    names = {side: [parameter.name for parameter in parameters] for side, parameters in signatures.items()}
    assert names["torch"] == [{"key": "generator"}.get(name, name) for name in names["flax"]]
    for here, there in zip(*signatures.values(), strict=True):
        assert (here.kind, here.default) == (there.kind, there.default)
    for side, module in SIDES.items():
        for network in ("gpt2", "language_model"):
            assert importlib.import_module(f"einops_arch.{side}.{network}").generate is module.generate


@pytest.mark.parametrize("side", SIDES)
def test_generate_refuses_networks_that_read_no_text(side):
    prompt = np.array([[1, 2]])
    with pytest.raises(ConfigError, match=r"GPT2 or LanguageModel, received ResNet"):
        SIDES[side].generate(create(side, "resnet_tiny"), prompt, 2)
    with pytest.raises(ConfigError, match="received SentimentRNN"):
        SIDES[side].generate(create(side, "sentiment_rnn_tiny"), prompt, 2)


def test_without_values_takes_no_memory_on_either_side():
    config = architectures.config_for("vgg16")
    assert all(parameter.is_meta for parameter in einops_arch.torch.without_values(config).parameters())
    leaves = jax.tree.leaves(nnx.state(einops_arch.flax.without_values(config), nnx.Param))
    assert len(leaves) == 32
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def test_what_messages_name_is_exported():
    assert port.port_checkpoint is importlib.import_module("einops_arch.port.convert").port_checkpoint
    assert port.optimizers.SGD(lr=0.1)
    assert parity.Fault is importlib.import_module("einops_arch.parity.mutate").Fault
    for module in (port, parity):
        assert sorted(module.__all__, key=lambda name: (not name.isupper(), name)) == list(module.__all__)
