"""Training that goes on in the other framework takes the steps it would have taken in its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch import architectures
from einops_arch.parity import example_inputs, randomize
from einops_arch.parity.report import limits
from einops_arch.port import to_flax, to_torch, transfer, transfer_optimizer
from einops_arch.port.optimizer import specs as optimizers
from einops_arch.port.transfer import model_state

HALF = 50


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors this small only wait for a second thread."""
    torch.set_num_threads(1)


def _schedule(step):
    return 1 / (1 + 0.05 * step)


CASES = {
    "convolutional": (
        "convnet",
        {"dropout": 0.0},
        optimizers.AdamW(lr=3e-3, weight_decay=0.1, decay=optimizers.matrices, schedule=_schedule),
    ),
    "recurrent and tied": ("language_model", {"dropout": 0.0}, optimizers.RMSprop(lr=3e-4, momentum=0.9)),
    # Not Adam: the bias of dw_bn2 has no effect, because another batch norm follows; Adam would divide the rounding
    # of its gradient by its size, and walk at random.
    "batch norm": ("shuffle_unit", {}, optimizers.SGD(lr=0.02, momentum=0.9, nesterov=True, schedule=_schedule)),
}
PRESETS = {"language_model": "tiny_tied"}


class Batch:
    """One batch and the target of its first output, for both frameworks."""

    def __init__(self, config):
        self.torch = [torch.from_numpy(x.astype(_double(x))) for x in example_inputs(config)]
        (axes, *_), (out, *_) = config.inputs(), config.outputs()
        self.flax = [_moved(x.numpy(), axes) for x in self.torch]
        model = architectures.of_config(config).torch_class()(config).double().eval()
        shape = _first(model(*self.torch)).shape
        target = np.random.default_rng(5).normal(size=tuple(shape))
        self.torch_target, self.flax_target = torch.from_numpy(target), _moved(target, out)


def _double(x):
    return np.float64 if x.dtype.kind == "f" else x.dtype


def _moved(x, axes):
    order = [axes.axes.split().index(name) for name in axes.flax_axes.split()]
    return jnp.asarray(np.ascontiguousarray(x.transpose(order)))


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def _train_torch(model, optimizer, schedule, batch, steps):
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.mean((_first(model(*batch.torch)) - batch.torch_target) ** 2).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


@nnx.jit
def _step(model, optimizer, inputs, target):
    def loss(model):
        return jnp.mean((_first(model(*inputs)) - target) ** 2)

    optimizer.update(model, nnx.grad(loss)(model))


def _train_flax(model, optimizer, batch, steps):
    model.train()
    for _ in range(steps):
        _step(model, optimizer, batch.flax, batch.flax_target)


def _worst(ours, theirs):
    """The largest rms difference of any array, relative to its rms."""
    assert ours.keys() == theirs.keys()
    return max(
        np.sqrt(np.mean((np.float64(theirs[name]) - ours[name]) ** 2) / np.mean(np.float64(ours[name]) ** 2))
        for name in ours
    )


@pytest.mark.parametrize("case", CASES)
def test_half_in_one_framework_and_half_in_the_other_is_the_whole_in_one(case):
    name, fields, description = CASES[case]
    architecture = architectures.get(name)
    preset = architecture.config.preset(PRESETS.get(name, "tiny")).to_dict()
    config = architecture.config.from_dict(preset | fields)
    batch = Batch(config)
    start = architecture.torch_class()(config)
    randomize(start)
    start = start.double()

    def torch_side():
        model = architecture.torch_class()(config).double()
        transfer(start, model)
        optimizer = description.torch(model)
        return model, optimizer, description.torch_schedule(optimizer)

    # The same for both directions, so that the step is compiled once.
    transformation = description.optax(to_flax(start))
    whole = torch_side()
    _train_torch(*whole, batch, HALF)
    at_half = {name: array.copy() for name, array in model_state(whole[0]).items()}
    _train_torch(*whole, batch, HALF)
    expected = model_state(whole[0])
    # The second half is far from nothing, so a state that is lost shows.
    assert _worst(at_half, expected) > 1e-3

    ours = torch_side()
    _train_torch(*ours, batch, HALF)
    twin = to_flax(ours[0])
    theirs = nnx.Optimizer(twin, transformation, wrt=nnx.Param)
    transfer_optimizer(*ours[:2], twin, theirs, source_schedule=ours[2])
    _train_flax(twin, theirs, batch, HALF)
    assert _worst(expected, model_state(twin)) <= limits.FLOAT64

    twin = to_flax(start)
    theirs = nnx.Optimizer(twin, transformation, wrt=nnx.Param)
    _train_flax(twin, theirs, batch, HALF)
    model = to_torch(twin)
    optimizer = description.torch(model)
    schedule = description.torch_schedule(optimizer)
    transfer_optimizer(twin, theirs, model, optimizer, target_schedule=schedule)
    _train_torch(model, optimizer, schedule, batch, HALF)
    assert _worst(expected, model_state(model)) <= limits.FLOAT64


def test_a_lost_state_is_another_training():
    """The test above has teeth."""
    torch.manual_seed(0)
    model, x = torch.nn.Linear(3, 2).double(), torch.randn(5, 3).double()
    description = optimizers.SGD(lr=0.02, momentum=0.9)

    def train(model, optimizer):
        for _ in range(HALF):
            optimizer.zero_grad()
            torch.mean((model(x) - 1) ** 2).backward()
            optimizer.step()

    optimizer = description.torch(model)
    train(model, optimizer)
    fresh = torch.nn.Linear(3, 2).double()
    transfer(model, fresh)
    train(fresh, description.torch(fresh))
    train(model, optimizer)
    assert _worst(model_state(model), model_state(fresh)) > 1e-6


def test_the_state_that_arrives_is_the_moments_in_their_layout():
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (5, 7)), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    twin = nnx.Sequential(
        nnx.Conv(2, 3, (5, 7), padding="VALID", rngs=nnx.Rngs(0)), jnp.ravel, nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        model(torch.randn(1, 2, 5, 7)).square().sum().backward()
        optimizer.step()
    theirs = nnx.Optimizer(twin, optimizers.Adam(lr=1e-3).optax(twin), wrt=nnx.Param)
    transfer_optimizer(model, optimizer, twin, theirs)
    kept = theirs.opt_state[0]
    assert int(kept.count[...]) == 3
    assert int(theirs.step[...]) == 3
    for torch_name, flax_name in (("exp_avg", "mu"), ("exp_avg_sq", "nu")):
        expected = optimizer.state[model[0].weight][torch_name].numpy().transpose(2, 3, 1, 0)
        received = getattr(kept, flax_name)["layers"][0]["kernel"][...]
        assert np.asarray(received).tobytes() == np.ascontiguousarray(expected).tobytes()

    # And back, into an optimiser that has not taken a step.
    other = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (5, 7)), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    back = torch.optim.Adam(other.parameters(), lr=1e-3)
    transfer_optimizer(twin, theirs, other, back)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert back.state[two]["step"] == 3
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(back.state[two][name], optimizer.state[one][name])
            assert back.state[two][name].data_ptr() != optimizer.state[one][name].data_ptr()
    assert jax.tree.leaves(nnx.state(twin))  # the model itself is not changed by its optimiser's port
