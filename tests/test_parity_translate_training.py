"""A translated network trains as PyTorch's: ten steps of an optimizer end at the same weights and statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor, nn

from einops_arch.flax import load_state_dict, state_dict
from einops_arch.translation import Translation, translate
from einops_arch.translation.batches import enough_for_statistics
from einops_arch.translation.inputs import arguments_of

STEPS = 10
LIMIT = 1e-9
"""Of the root mean square of each parameter, in float64."""


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)
        return x + self.dropout(self.out(mixed))


class Net(nn.Module):
    """Batch norm in two places, attention, and dropout, which the test turns off on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 12, 3, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(12, momentum=0.3, eps=1e-3)
        self.attention = Attention(12, 3)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = self.attention(x.flatten(2).transpose(1, 2))
        return self.fc(x.mean(1))


@pytest.fixture(scope="module")
def translated() -> tuple[Net, Translation]:
    torch.manual_seed(0)
    model = Net()
    return model, translate(model, torch.randn(2, 3, 16, 12), axes="b 3 h w", prove=False)


def _torch_steps(model: Net, make: Callable[..., torch.optim.Optimizer], x: Tensor, y: Tensor) -> list[float]:
    optimizer = make(model.parameters())
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _flax_steps(model: nnx.Module, transform: optax.GradientTransformation, x: Tensor, y: Tensor) -> list[float]:
    images, labels = jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), jnp.asarray(y.numpy())
    optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)

    def loss_of(model: nnx.Module) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    @nnx.jit
    def step(model: nnx.Module, optimizer: nnx.Optimizer) -> jax.Array:
        loss, gradients = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradients)
        return loss

    return [float(step(model, optimizer)) for _ in range(STEPS)]


OPTIMIZERS = {
    "SGD with momentum": (
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        lambda: optax.sgd(0.05, momentum=0.9),
    ),
    "AdamW": (
        lambda parameters: torch.optim.AdamW(parameters, lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05),
        lambda: optax.adamw(0.01, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.05),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_end_at_the_same_weights_and_statistics(translated: tuple[Net, Translation], name: str) -> None:
    make_torch, make_optax = OPTIMIZERS[name]
    original, translation = translated
    model = copy.deepcopy(original).double().train()
    model.attention.dropout.p = 0.0
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(7, 3, 20, 16, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 5, (7,), generator=generator)
    before = {key: item.clone() for key, item in model.state_dict().items()}
    with jax.enable_x64(True):
        twin = translation.module.Net(rngs=nnx.Rngs(0))
        load_state_dict(twin, before)
        twin.train()
        twin.attention.dropout.rate = 0.0
        received_losses = _flax_steps(twin, make_optax(), x, y)
        expected_losses = _torch_steps(model, make_torch, x, y)
        received = {key: np.asarray(item) for key, item in state_dict(twin).items()}
    expected = {key: item.numpy() for key, item in model.state_dict().items()}
    assert expected_losses[-1] < expected_losses[0]
    np.testing.assert_allclose(received_losses, expected_losses, rtol=LIMIT)
    for key, item in expected.items():
        if key.endswith("num_batches_tracked"):
            continue
        assert received[key].dtype == np.float64
        moved = float(np.abs(item - before[key].numpy()).max())
        assert moved > 1e-4, f"{key} did not move"
        scale = float(np.sqrt(np.mean(np.square(item))))
        assert float(np.abs(received[key] - item).max()) <= LIMIT * scale, key


def test_training_is_compared_with_a_batch_that_its_statistics_need() -> None:
    pooled = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    report = translate(pooled, torch.randn(2, 3, 6, 6), axes="b 3 h w").report
    assert report.passed
    assert [title for title in report.reports if "train" in title] == [
        "first size with b=8, train and gradients",
        "second size with b=9, train",
    ]


def test_a_batch_that_is_fixed_or_large_enough_stays() -> None:
    norm = torch.nn.BatchNorm2d(4)
    for shape, axes in (((2, 4, 3, 3), "b c h w"), ((8, 4, 1, 1), "b c h w"), ((2, 4, 1, 1), "2 c h w")):
        arguments = arguments_of(torch.randn(shape), axes)
        assert enough_for_statistics(norm, arguments) == ("", arguments)


def test_a_deep_network_is_compared_over_more_numbers() -> None:
    arguments = arguments_of(torch.randn(2, 4, 2, 2), "b c h w")
    for depth, words in ((99, ""), (100, " with b=8")):
        norms = torch.nn.Sequential(*(torch.nn.BatchNorm2d(4) for _ in range(depth)))
        assert enough_for_statistics(norms, arguments)[0] == words


class Stage(nn.Sequential):
    """As RegNet's: children under names that are no attributes' names."""

    def __init__(self, number: int, channels: int, depth: int) -> None:
        super().__init__()
        for n in range(depth):
            layer = nn.Conv2d(3 if n == 0 else channels, channels, 3, padding=1)
            self.add_module(f"block{number}-{n}", nn.Sequential(layer, nn.ReLU()))


class WithAuxiliaryHead(nn.Module):
    """As GoogLeNet: a head with images of its own that only training calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(1, 5, 2)
        self.auxiliary = nn.Sequential(nn.Conv2d(5, 7, 1), nn.ReLU())
        self.add_module("head-a", nn.Linear(5, 7))
        self.add_module("lambda", nn.Linear(7, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(x)
        y = getattr(self, "head-a")(x.mean((2, 3)))
        if self.training:
            y = y + self.auxiliary(x).mean((2, 3))
        return getattr(self, "lambda")(y)


def test_names_that_are_no_attributes_and_images_in_training_alone() -> None:
    twin = translate(WithAuxiliaryHead, torch.randn(2, 3, 6, 8), axes="b 3 h w")
    assert twin.passed, twin.report
    assert 'Sequential(\n            {\n                "block1-0":' in twin.source
    assert 'getattr(self, "head-a")(' in twin.source
    assert "auxiliary.0" in {
        row.path for report in twin.report.reports.values() for rows in report.sections.values() for row in rows
    }
