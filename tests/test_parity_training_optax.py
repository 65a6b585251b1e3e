"""The state of an optimizer of optax goes on from its file, in PyTorch and in Flax, as from the optimizer itself."""

from __future__ import annotations

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from flax import linen, nnx
from flax.training.train_state import TrainState

from einops_arch import flax as twins
from einops_arch.architectures import ConvNetConfig
from einops_arch.errors import CheckpointError, PortError
from einops_arch.port import load_optimizer, optimizers, to_torch, transfer_optimizer

CONFIG = ConvNetConfig.tiny()
DESCRIPTIONS = {
    "AdamW": optimizers.AdamW(lr=1e-2, weight_decay=0.1, decay=optimizers.matrices),
    "scheduled": optimizers.Adam(lr=1e-2, schedule=lambda count: 1 / (1 + count)),
    "SGD": optimizers.SGD(lr=1e-2, momentum=0.9, nesterov=True),
    "RMSprop": optimizers.RMSprop(lr=1e-2, alpha=0.9, centered=True, momentum=0.5),
}


def trained(description):
    """A model and its optimizer, which has taken three steps."""
    model = twins.ConvNet(CONFIG, rngs=nnx.Rngs(0))
    model.eval()
    optimizer = description.flax(model)
    rng = np.random.default_rng(0)
    for _ in range(3):
        parameters = nnx.state(model, nnx.Param)
        gradients = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype), parameters)
        optimizer.update(model, gradients)
    return model, optimizer


def orbax(path, tree):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    return path


def managed(path, tree):
    with ocp.CheckpointManager(path) as manager:
        manager.save(3, args=ocp.args.Composite(**{name: ocp.args.StandardSave(part) for name, part in tree.items()}))
    return path


def msgpack(path, tree):
    path.write_bytes(flax.serialization.to_bytes(tree))
    return path


def kept(optimizer):
    return [np.asarray(value) for row in optimizer.state.values() for _, value in sorted(row.items())]


def same(values, others):
    return all(np.array_equal(value, other) for value, other in zip(values, others, strict=True))


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("write", [orbax, managed, msgpack])
def test_the_file_gives_what_the_optimizer_gives(name, write, tmp_path):
    description = DESCRIPTIONS[name]
    model, optimizer = trained(description)
    pure = nnx.to_pure_dict if write is msgpack else nnx.as_pure
    whole = {"model": pure(nnx.state(model, nnx.Param)), "optimizer": pure(nnx.state(optimizer))}
    path = write(tmp_path / "x", whole if write is not msgpack else jax.tree.map(np.asarray, whole))
    target = to_torch(model)
    expected, received, fresh = (description.torch(target) for _ in range(3))
    schedules = [description.torch_schedule(made) for made in (expected, received)]
    transfer_optimizer(model, optimizer, target, expected, target_schedule=schedules[0])
    assert load_optimizer(path, target, received, schedule=schedules[1]) is received
    assert same(kept(received), kept(expected))
    assert len(kept(received)) > len(kept(fresh))
    assert received.param_groups[0]["lr"] == expected.param_groups[0]["lr"]
    again = description.flax(model)
    load_optimizer(path, model, again)
    assert same(jax.tree.leaves(nnx.state(again)), jax.tree.leaves(nnx.state(optimizer)))


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(2, name="fc")(linen.Conv(4, (3, 3), name="conv")(x).mean((1, 2)))


class Twin(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.fc = nnx.Linear(4, 2, rngs=rngs)


def train_state(transformation):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 5, 3)))
    params = Net().init(jax.random.key(0), x)["params"]
    state = TrainState.create(apply_fn=Net().apply, params=params, tx=transformation)
    for _ in range(2):
        gradients = jax.grad(lambda params: jnp.square(Net().apply({"params": params}, x)).sum())(state.params)
        state = state.apply_gradients(grads=gradients)
    return state


TRANSFORMATIONS = {
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2)),
    "schedule": optax.adam(optax.linear_schedule(1e-2, 1e-3, 10)),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=1e-2),
    "masked": optax.adamw(1e-2, mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)),
    "alone": optax.scale_by_adam(),
}


@pytest.mark.parametrize("write", [orbax, msgpack])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_train_state_of_linen(name, write, tmp_path):
    state = train_state(TRANSFORMATIONS[name])
    whole = {"params": state.params, "opt_state": state.opt_state, "step": state.step}
    path = write(tmp_path / "x", whole if write is orbax else state)
    model = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 3), "fc": torch.nn.Linear(4, 2)}).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0) if name == "schedule" else None
    source = nnx.eval_shape(lambda: Twin(nnx.Rngs(0)))
    load_optimizer(path, model, optimizer, source_model=source, schedule=schedule)
    moments = jax.tree.leaves(state.opt_state, is_leaf=lambda node: hasattr(node, "mu"))
    (adam,) = [node for node in moments if hasattr(node, "mu")]
    stored = optimizer.state[model["conv"].weight]
    assert np.array_equal(stored["exp_avg"], np.asarray(adam.mu["conv"]["kernel"]).transpose(3, 2, 0, 1))
    assert np.array_equal(optimizer.state[model["fc"].weight]["exp_avg_sq"], np.asarray(adam.nu["fc"]["kernel"]).T)
    assert [row["step"] for row in optimizer.state.values()] == [2] * 4
    with pytest.raises(PortError, match="expected source_model="):
        load_optimizer(path, model, optimizer)


def test_what_is_injected_is_compared(tmp_path):
    state = train_state(TRANSFORMATIONS["injected"])
    path = msgpack(tmp_path / "x", state)
    model = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 3), "fc": torch.nn.Linear(4, 2)}).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    source = nnx.eval_shape(lambda: Twin(nnx.Rngs(0)))
    with pytest.raises(PortError, match=r"lr: expected 0\.5, as the target has, received 0\.01"):
        load_optimizer(path, model, optimizer, source_model=source)
    assert not optimizer.state
    load_optimizer(path, model, optimizer, source_model=source, allow_settings=True)
    assert len(optimizer.state) == 4


def test_what_is_no_state_of_a_known_optimizer(tmp_path):
    model, _ = trained(DESCRIPTIONS["SGD"])
    target = to_torch(model)
    state = {"params": {"w": np.ones(3)}}
    known = {"0": {"trace": jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))}}
    lion = {"count": np.ones(()), "mu": {"w": np.ones(3)}}
    cases = {
        "none": (state, "expected one entry with the state of an optimizer, received none"),
        "two": ({**state, "opt_g": known, "opt_d": known}, "received 'opt_g', 'opt_d'; likely fix: key='opt_g'"),
        "lion": (
            {**state, "opt_state": {"0": lion}},
            "received 'count', 'mu'",
        ),
        "counts": ({**state, "opt_state": {"0": {"count": np.ones(3)}}}, "expected one number"),
    }
    for name, (tree, text) in cases.items():
        path = msgpack(tmp_path / name, tree)
        with pytest.raises(CheckpointError, match=text):
            load_optimizer(path, target, DESCRIPTIONS["SGD"].torch(target))
    fresh = DESCRIPTIONS["SGD"].torch(target)
    load_optimizer(tmp_path / "two", target, fresh, key="opt_d")
    assert np.array_equal(fresh.state[target.fc2.weight]["momentum_buffer"], model.fc2.kernel[...].T)
    adam = optimizers.Adam(lr=1e-2).torch(target)
    with pytest.raises(PortError, match=r"expected Adam .* received SGD with momentum"):
        load_optimizer(tmp_path / "two", target, adam, key="opt_d")
    with pytest.raises(PortError, match=r"for \.pt files"):
        load_optimizer(tmp_path / "two", target, fresh, names=["w"])
