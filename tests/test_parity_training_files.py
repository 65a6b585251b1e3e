"""The optimizer of a training in PyTorch goes on in Flax from its file, as from the optimizer itself."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch import flax as twins
from einops_arch.architectures import ConvNetConfig, LanguageModelConfig
from einops_arch.checkpoints import load
from einops_arch.errors import CheckpointError, PortError
from einops_arch.port import load_optimizer, optimizers, transfer_optimizer
from einops_arch.torch import ConvNet, LanguageModel

DESCRIPTIONS = {
    "AdamW": optimizers.AdamW(lr=1e-2, weight_decay=0.1, b1=0.8, b2=0.95),
    "Adam": optimizers.Adam(lr=1e-2),
    "SGD": optimizers.SGD(lr=1e-2, momentum=0.9, nesterov=True),
    "RMSprop": optimizers.RMSprop(lr=1e-2, alpha=0.9, centered=True, momentum=0.5),
}


def trained(description, model, inputs):
    """An optimizer that has taken three steps."""
    optimizer = description.torch(model)
    for _ in range(3):
        optimizer.zero_grad()
        output = model(*inputs)
        (output[0] if isinstance(output, tuple) else output).square().mean().backward()
        optimizer.step()
    return optimizer


@pytest.fixture(scope="module")
def convnet():
    torch.manual_seed(0)
    return ConvNet(ConvNetConfig.tiny()).eval()


def images(model):
    (image,) = model.config.inputs()
    return (torch.randn(4, *(image.sizes[axis] for axis in "chw"), generator=torch.Generator().manual_seed(0)),)


def same(first, other):
    pairs = zip(jax.tree.leaves(nnx.state(first)), jax.tree.leaves(nnx.state(other)), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_file_gives_what_the_optimizer_gives(name, convnet, tmp_path):
    description = DESCRIPTIONS[name]
    optimizer = trained(description, convnet, images(convnet))
    saved = {"epoch": 3, "model": convnet.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(saved, tmp_path / "x.pt")
    twin = twins.ConvNet(convnet.config, rngs=nnx.Rngs(0))
    load(tmp_path / "x.pt", twin)
    expected, received, fresh = (description.flax(twin) for _ in range(3))
    transfer_optimizer(convnet, optimizer, twin, expected)
    load_optimizer(tmp_path / "x.pt", twin, received)
    assert same(received, expected)
    assert not same(received, fresh)


def test_groups_need_names_or_have_them(convnet, tmp_path):
    weights = [parameter for name, parameter in convnet.named_parameters() if name.endswith("weight")]
    biases = [parameter for name, parameter in convnet.named_parameters() if name.endswith("bias")]
    order = [*(n for n, _ in convnet.named_parameters() if n.endswith("weight"))]
    order += [n for n, _ in convnet.named_parameters() if n.endswith("bias")]
    optimizer = torch.optim.Adam([{"params": weights}, {"params": biases}], lr=1e-2)
    convnet(*images(convnet)).square().mean().backward()
    optimizer.step()
    torch.save({"state_dict": convnet.state_dict(), "optimizer_states": [optimizer.state_dict()]}, tmp_path / "x.ckpt")
    twin = twins.ConvNet(convnet.config, rngs=nnx.Rngs(0))
    expected, received = (optimizers.Adam(lr=1e-2).flax(twin) for _ in range(2))
    transfer_optimizer(convnet, optimizer, twin, expected)
    with pytest.raises(PortError, match=r"expected one group .* received 2; likely fix: names="):
        load_optimizer(tmp_path / "x.ckpt", twin, received)
    load_optimizer(tmp_path / "x.ckpt", twin, received, names=order)
    assert same(received, expected)
    with pytest.raises(PortError, match=r"expected shape"):
        load_optimizer(tmp_path / "x.ckpt", twin, received, names=order[::-1])
    stored = optimizer.state_dict()
    for group, names in zip(stored["param_groups"], (order[: len(weights)], order[len(weights) :]), strict=True):
        group["param_names"] = names  # as optimizers of named parameters write them
    torch.save({"state_dict": convnet.state_dict(), "optimizer": stored}, tmp_path / "y.ckpt")
    again = optimizers.Adam(lr=1e-2).flax(twin)
    load_optimizer(tmp_path / "y.ckpt", twin, again)
    assert same(again, expected)


def test_a_tied_parameter_is_one(tmp_path):
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig.tiny_tied()).eval()
    description = optimizers.Adam(lr=1e-3)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (3, 4)))
    optimizer = trained(description, model, (tokens,))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "x.pt")
    twin = twins.LanguageModel(model.config, rngs=nnx.Rngs(0))
    expected, received = (description.flax(twin) for _ in range(2))
    transfer_optimizer(model, optimizer, twin, expected)
    load_optimizer(tmp_path / "x.pt", twin, received)
    assert same(received, expected)


def test_what_differs_is_said_and_nothing_is_changed(convnet, tmp_path):
    optimizer = trained(optimizers.Adam(lr=1e-2), convnet, images(convnet))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    torch.save({"model": convnet.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "scheduled.pt")
    plain = trained(optimizers.Adam(lr=1e-2), convnet, images(convnet))
    torch.save({"model": convnet.state_dict(), "optimizer": plain.state_dict()}, tmp_path / "plain.pt")
    nadam = torch.optim.NAdam(convnet.parameters())
    torch.save({"model": convnet.state_dict(), "optimizer": nadam.state_dict()}, tmp_path / "nadam.pt")
    torch.save(convnet.state_dict(), tmp_path / "weights.pt")
    both = {"g": plain.state_dict(), "d": plain.state_dict()}
    torch.save({"model": convnet.state_dict(), "optimizers": both}, tmp_path / "two.pt")
    twin = twins.ConvNet(convnet.config, rngs=nnx.Rngs(0))
    target, fresh = (optimizers.Adam(lr=1e-2).flax(twin) for _ in range(2))
    for name, error, text in (
        ("scheduled", PortError, "a scheduler has set it; likely fix: position="),
        ("nadam", PortError, "expected the settings of SGD, Adam, AdamW or RMSprop"),
        ("weights", CheckpointError, "received none"),
        ("two", CheckpointError, r"received 'optimizers\.g', 'optimizers\.d'"),
    ):
        with pytest.raises(error, match=text):
            load_optimizer(tmp_path / f"{name}.pt", twin, target)
    with pytest.raises(PortError, match=r"lr: expected 0\.5, as the target has, received 0\.01"):
        load_optimizer(tmp_path / "plain.pt", twin, optimizers.Adam(lr=0.5).flax(twin))
    assert same(target, fresh)
    load_optimizer(tmp_path / "two.pt", twin, target, key="optimizers.d")
    assert not same(target, fresh)
    assert schedule.last_epoch == 0


def test_pytorch_is_not_needed(convnet, tmp_path):
    optimizer = trained(optimizers.Adam(lr=1e-2), convnet, images(convnet))
    torch.save({"model": convnet.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "x.pt")
    code = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from flax import nnx\n"
        "from einops_arch.architectures import ConvNetConfig\n"
        "from einops_arch.flax import ConvNet\n"
        "from einops_arch.port import load_optimizer, optimizers\n"
        "model = ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))\n"
        "optimizer = optimizers.Adam(lr=1e-2).flax(model)\n"
        "load_optimizer(sys.argv[1], model, optimizer)\n"
        "print(int(optimizer.step[...]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.pt"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
