"""The layers of Flax as NNX modules: modes, states, copies, sequences."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch.flax.layers import (
    GELU,
    GRU,
    LSTM,
    RNN,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dropout2d,
    Embed,
    GroupNorm,
    Identity,
    InstanceNorm,
    LayerNorm,
    Linear,
    MaxPool,
    ReLU,
    RMSNorm,
    Sequential,
)

pytestmark = pytest.mark.usefixtures("strict_promotion")


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def zeros(*shape: int, dtype: str = "float32") -> jax.Array:
    return jax.device_put(np.zeros(shape, dtype))


def built(build) -> nnx.Module:
    """The module with zeros in its leaves: nothing is drawn, nothing compiled."""
    graph, state = nnx.split(nnx.eval_shape(build))
    return nnx.merge(graph, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state))


class Model(nnx.Module):
    """One of each that has a mode or a state."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.body = Sequential({"conv": Conv(2, 4, (3,), padding=1, rngs=rngs), "norm": BatchNorm(4, rngs=rngs)})
        self.drop = Dropout2d(0.5, rngs=rngs)
        self.lstm = LSTM(4, 3, 2, batch_first=True, dropout=0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.lstm(self.drop(self.body(x)))[0]


def test_a_model_trains_evaluates_splits_pickles_and_copies():
    model, x = Model(rngs=rngs()), np.random.default_rng(0).normal(size=(2, 5, 2)).astype("float32")
    call = nnx.jit(lambda model, x: model(x))
    first, second = call(model, x), call(model, x)
    assert int(model.body.norm.num_batches_tracked[...]) == 2
    assert not np.array_equal(first, second)  # dropout draws anew
    model.eval()
    assert model.body.norm.use_running_average
    assert model.drop.deterministic
    assert model.lstm.deterministic
    value = call(model, x)
    np.testing.assert_array_equal(value, call(model, x))
    assert int(model.body.norm.num_batches_tracked[...]) == 2
    graph, state = nnx.split(model)
    for other in (nnx.merge(graph, state), copy.deepcopy(model), pickle.loads(pickle.dumps(model)), nnx.clone(model)):
        np.testing.assert_array_equal(call(other, x), value)
    seen = nnx.view(model, deterministic=False, use_running_average=False)
    assert not seen.lstm.deterministic
    assert model.lstm.deterministic
    model.train()
    assert not model.lstm.deterministic
    gradients = nnx.jit(nnx.grad(lambda model, x: model(x).sum()))(model, x)
    assert nnx.to_flat_state(gradients).paths == nnx.to_flat_state(nnx.state(model, nnx.Param)).paths
    assert int(model.body.norm.num_batches_tracked[...]) == 3


def test_dropout_between_layers_leaves_the_last_output_alone():
    lstm = LSTM(3, 4, 2, dropout=1.0, rngs=rngs())
    output, (h, _) = lstm(np.ones((5, 2, 3), "float32"))
    # Everything between the layers is dropped: the second layer sees its biases only, the same for both sequences.
    assert bool((output != 0).all())
    np.testing.assert_array_equal(output[:, 0], output[:, 1])
    assert bool((h[0] != 0).all())


def test_dropout_without_effect_is_named():
    with pytest.warns(UserWarning, match=r"^LSTM: dropout=0.5 acts between layers, and there is only one$"):
        nnx.eval_shape(lambda: LSTM(3, 4, dropout=0.5, rngs=nnx.Rngs(params=0)))


@pytest.mark.parametrize("shape", [(50, 3, 8), (20, 2, 3, 20)])
def test_dropout2d_drops_whole_channels(shape):
    y = np.asarray(Dropout2d(0.25, rngs=rngs())(np.full(shape, 3.0, "float32"))).reshape(shape[0], -1, shape[-1])
    assert (y == y[:, :1]).all()
    kept = y[:, 0] != 0
    np.testing.assert_allclose(y[:, 0][kept], 4.0, rtol=1e-6)
    # A share of a quarter of 400 draws, within five standard errors.
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 400)


def test_layouts_of_the_leaves():
    def shapes(build):
        return {name: tuple(leaf.shape) for name, leaf in nnx.to_pure_dict(nnx.state(nnx.eval_shape(build))).items()}

    assert shapes(lambda: Conv(6, 9, (2, 5), feature_group_count=3, rngs=rngs())) == {
        "kernel": (2, 5, 2, 9),
        "bias": (9,),
    }
    assert shapes(lambda: ConvTranspose(6, 9, (2, 5), feature_group_count=3, use_bias=False, rngs=rngs())) == {
        "kernel": (2, 5, 3, 6)
    }
    assert shapes(lambda: Linear(3, 4, rngs=rngs())) == {"kernel": (3, 4), "bias": (4,)}
    assert shapes(lambda: BatchNorm(3, use_scale=False, use_bias=False, rngs=rngs())) == {
        "mean": (3,),
        "var": (3,),
        "num_batches_tracked": (),
    }
    assert shapes(lambda: InstanceNorm(3, rngs=rngs())) == {}
    assert shapes(lambda: GRU(3, 4, bidirectional=True, rngs=rngs())) == {
        f"{name}_l0{end}": shape
        for end in ("", "_reverse")
        for name, shape in (("weight_ih", (3, 12)), ("weight_hh", (4, 12)), ("bias_ih", (12,)), ("bias_hh", (12,)))
    }
    assert shapes(lambda: RNN(3, 4, 2, use_bias=False, rngs=rngs())) == {
        "weight_ih_l0": (3, 4),
        "weight_hh_l0": (4, 4),
        "weight_ih_l1": (4, 4),
        "weight_hh_l1": (4, 4),
    }


def test_they_are_the_layers_of_nnx():
    for ours, theirs in (
        (Linear, nnx.Linear),
        (Conv, nnx.Conv),
        (Embed, nnx.Embed),
        (BatchNorm, nnx.BatchNorm),
        (LayerNorm, nnx.LayerNorm),
        (GroupNorm, nnx.GroupNorm),
        (InstanceNorm, nnx.InstanceNorm),
        (RMSNorm, nnx.RMSNorm),
        (Dropout2d, nnx.Dropout),
    ):
        assert issubclass(ours, theirs)


def test_embed_follows_the_dtype_of_its_table():
    embed = built(lambda: Embed(4, 2, rngs=rngs()))
    embed.embedding.set_value(np.full((4, 2), 1 / 3))
    assert embed(np.asarray([1])).dtype == "float64"
    assert float(embed(np.asarray([1]))[0, 0]) == 1 / 3
    assert embed.attend(np.ones((1, 2))).shape == (1, 4)


def narrowing(jaxpr) -> list[str]:
    """The casts from float64 to less in a program and in all programs inside of it."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            source, target = equation.invars[0].aval.dtype, equation.params["new_dtype"]
            if source == "float64" and target != "float64":
                found.append(f"{source} to {target}")
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                found += narrowing(inner.jaxpr) if hasattr(inner, "jaxpr") else []
    return found


@pytest.mark.parametrize("wide_statistics", [True, False])
def test_a_float64_step_of_batch_norm_has_no_narrower_cast_in_it(wide_statistics):
    def step(state, x):
        module = nnx.merge(graph, state)
        return module(x), nnx.state(module)

    graph, state = nnx.split(built(lambda: BatchNorm(3, rngs=rngs())))
    wide = nnx.to_pure_dict(state)
    for name in ("scale", "bias", *(("mean", "var") if wide_statistics else ())):
        wide[name] = wide[name].astype("float64")
    nnx.replace_by_pure_dict(state, wide)
    with jax.numpy_dtype_promotion("strict" if wide_statistics else "standard"):
        program = jax.make_jaxpr(step)(state, zeros(4, 3, dtype="float64"))
        y, after = jax.eval_shape(step, state, zeros(4, 3, dtype="float64"))
    assert narrowing(program.jaxpr) == []
    assert y.dtype == after["mean"].dtype == after["var"].dtype == "float64"
    assert after["num_batches_tracked"].dtype == "int32"
    # The probe sees a cast where there is one.
    assert narrowing(jax.make_jaxpr(jax.jit(jnp.float32))(np.float64(1)).jaxpr) == ["float64 to float32"]


def test_sequential_is_a_sequence():
    first, second, third = ReLU(), GELU(), Identity()
    model = Sequential({"a": first, "b": second, "c": third})
    assert len(model) == 3
    assert list(model) == [first, second, third]
    assert model[0] is model.a is first
    assert model[-1] is third
    tail = model[1:]
    assert type(tail) is Sequential
    assert tail.b is second
    assert tail[1] is third
    assert not hasattr(tail, "a")
    with pytest.raises(IndexError, match=r"^Sequential: expected a position below 3, received 3$"):
        model[3]
    x = zeros(2)
    assert Sequential()(x) is x
    assert Sequential(Identity(), Identity())(x) is x


def test_a_slice_of_a_sequential_shares_its_modules():
    model = Sequential(Linear(2, 3, rngs=rngs()), ReLU(), Linear(3, 2, rngs=rngs()))
    head = model[2:]
    assert [path for path, _ in nnx.to_flat_state(nnx.state(head))] == [("2", "bias"), ("2", "kernel")]
    model[2].bias[...] = jnp.asarray([7.0, 8.0], "float32")
    assert getattr(head, "2").bias[...].tolist() == [7.0, 8.0]
    copied = copy.deepcopy(model)
    assert copied[2] is not model[2]
    assert copied[2].bias[...].tolist() == [7.0, 8.0]


def test_half_precision_pooling_sums_in_float32():
    x = np.full((1, 300, 1), 1.0)
    assert float(AvgPool((300,))(jnp.asarray(x, "bfloat16"))[0, 0, 0]) == 1.0


def test_max_pooling_of_integers():
    x = jnp.asarray(np.arange(-8, 0).reshape(1, 8, 1), "int32")
    assert MaxPool(3, padding=1)(x).ravel().tolist() == [-7, -4, -1]
