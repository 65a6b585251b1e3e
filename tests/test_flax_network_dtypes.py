"""Every Flax network: what it computes in, what its weights are, blocks computed again, and what happens inside."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch import architectures
from einops_arch.errors import ConfigError
from einops_arch.flax import ReLU, create_model, return_features
from einops_arch.flax.state import named_modules

NAMES = architectures.names()
# Compiled as quickly as can be: what is computed is the question, not how fast.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
REPEATING = ["gpt2", "resnet", "vit"]


def inputs(config):
    """Arrays in Flax's layout, floating-point ones in float32."""
    arrays = []
    for axes in config.inputs():
        names = axes.flax_axes.split()
        sizes = [axes.sizes.get(name) or axes.example.get(name) or axes.least.get(name) or 3 for name in names]
        sizes = [
            -(-size // axes.multiple.get(name, 1)) * axes.multiple.get(name, 1)
            for name, size in zip(names, sizes, strict=True)
        ]
        rng = np.random.default_rng(len(arrays))
        integers = axes.dtype.startswith("int")
        arrays.append(
            jnp.asarray(rng.integers(0, axes.high, sizes) if integers else rng.normal(size=sizes).astype(np.float32))
        )
    return arrays


def built(name, **options):
    architecture = architectures.get(name)
    return architecture.flax_class()(architecture.config.tiny(), rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_computes_in_the_dtype_and_keeps_weights_in_the_other(name):
    model = built(name, dtype=jnp.bfloat16, param_dtype=jnp.float32)
    model.eval()
    arrays = inputs(model.config)
    graph, state = nnx.split(model)
    program = jax.make_jaxpr(lambda state, *arrays: nnx.merge(graph, state)(*arrays))(state, *arrays)
    made = {str(var.aval.dtype) for var in program.jaxpr.outvars if jnp.issubdtype(var.aval.dtype, jnp.floating)}
    assert made == {"bfloat16"}
    products = [
        equation.invars
        for equation in _equations(program.jaxpr)
        if equation.primitive.name in ("dot_general", "conv_general_dilated")
    ]
    narrow = [all(str(var.aval.dtype) == "bfloat16" for var in variables) for variables in products]
    assert not products or sum(narrow) / len(narrow) > 0.5, f"{sum(narrow)} of {len(narrow)} products in bfloat16"
    parameters = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert {str(leaf.dtype) for leaf in parameters} <= {"float32"}


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


@pytest.mark.parametrize("name", NAMES)
def test_weights_have_the_dtype_that_was_asked_for_and_the_same_values(name):
    model, plain = built(name, param_dtype=jnp.bfloat16), built(name)
    for leaf, reference in zip(
        jax.tree.leaves(nnx.state(model, nnx.Param)), jax.tree.leaves(nnx.state(plain, nnx.Param)), strict=True
    ):
        assert leaf.dtype == jnp.bfloat16
        np.testing.assert_array_equal(leaf, reference.astype(jnp.bfloat16))


def test_a_dtype_that_is_none_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"ConvNet: expected param_dtype as a floating-point dtype, received .*int32"):
        built("convnet", param_dtype=jnp.int32)
    with pytest.raises(
        ConfigError, match=r"ConvNet: expected dtype as a floating-point dtype, received 'half a float'"
    ):
        built("convnet", dtype="half a float")


@pytest.mark.parametrize("name", REPEATING)
def test_blocks_that_are_computed_again_give_the_same_values_and_gradients(name):
    model, plain = built(name, remat=True), built(name)
    arrays = inputs(model.config)

    def step(model):
        graph, parameters, rest = nnx.split(model, nnx.Param, ...)

        def loss(parameters):
            copy = nnx.merge(graph, parameters, rest, copy=True)
            return jnp.square(copy(*arrays)).sum(), nnx.state(copy, nnx.BatchStat)

        program = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICKLY)
        backward = jax.make_jaxpr(jax.grad(loss, has_aux=True))(parameters)
        return program(parameters), {equation.primitive.name for equation in _equations(backward.jaxpr)}

    received, operations = step(model)
    expected, plain_operations = step(plain)
    again = {"checkpoint", "remat", "remat2"}
    assert again & operations
    assert not again & plain_operations
    for leaf, reference in zip(jax.tree.leaves(received), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, reference, rtol=1e-3, atol=1e-5 * max(float(jnp.abs(reference).max()), 1e-6))


@pytest.mark.parametrize("name", ["shufflenet", "shufflenet_v2", "style_transfer"])
def test_networks_of_many_blocks_have_the_same_program_with_blocks_computed_again(name):
    """Traced only: the operations are the same one by one, and some stand inside of a checkpoint."""
    programs = []
    for remat in (False, True):
        model = built(name, remat=remat)
        graph, state = nnx.split(model)
        arrays = inputs(model.config)

        def run(state, *arrays, graph=graph):
            copy = nnx.merge(graph, state, copy=True)
            return copy(*arrays), nnx.state(copy, nnx.BatchStat)

        programs.append(jax.make_jaxpr(run)(state, *arrays).jaxpr)
    again = {"checkpoint", "remat", "remat2"}
    plain, remat = [list(_equations(program)) for program in programs]
    assert not again & {equation.primitive.name for equation in plain}
    assert sum(equation.primitive.name in again for equation in remat) > 1
    calls = again | {"jit", "pjit", "closed_call"}
    plain, remat = [
        [(e.primitive.name, *map(str, e.outvars[0].aval.shape)) for e in equations if e.primitive.name not in calls]
        for equations in (plain, remat)
    ]
    assert plain == remat


def test_create_model_hands_on_what_is_computed_in():
    model = create_model("convnet", rngs=nnx.Rngs(0), classes=2, dtype=jnp.bfloat16, param_dtype=jnp.float16)
    assert (model.fc2.dtype, model.fc2.kernel.dtype, model.fc2.kernel.shape[1]) == (jnp.bfloat16, jnp.float16, 2)
    with pytest.raises(ConfigError, match="remat"):
        create_model("convnet", rngs=nnx.Rngs(0), remat=True)


@pytest.mark.skipif(not hasattr(nnx, "capture"), reason="Flax has it from 0.12.6 on")
@pytest.mark.parametrize(
    ("name", "path", "axes"),
    [("resnet", ("layer1", "0"), 4), ("vit", ("blocks", "0"), 3), ("gpt2", ("transformer", "h", 0, "mlp"), 3)],
)
def test_intermediates_are_captured_by_their_paths(name, path, axes):
    model = built(name)
    model.eval()
    graph, state = nnx.split(model)

    def run(state, *arrays):
        return nnx.capture(nnx.merge(graph, state), nnx.Intermediate, method_outputs=nnx.Intermediate)(*arrays)

    _, inside = jax.eval_shape(run, state, *inputs(model.config))
    for part in path:
        inside = inside[part]
    (features,) = jax.tree.leaves(inside["__call__"])
    assert features.ndim == axes


@pytest.mark.parametrize("name", NAMES)
def test_every_module_with_weights_gives_its_features(name):
    model = built(name)
    model.eval()
    paths = [
        path
        for path, module in named_modules(model)
        if any(isinstance(leaf, nnx.Param) for leaf in vars(module).values())
    ]
    graph, state = nnx.split(model)
    arrays = inputs(model.config)

    def run(state, *arrays):
        return return_features(nnx.merge(graph, state), ["", *paths])(*arrays)

    output, features = jax.eval_shape(run, state, *arrays)
    assert features.keys() == {"", *paths}
    assert features.pop("") == output
    assert all(jax.tree.leaves(value) for value in features.values())


def test_features_are_what_the_rest_of_the_network_goes_on_with():
    model = built("resnet")
    model.eval()
    (image,) = inputs(model.config)
    logits, features = return_features(model, ["layer1.0", "avgpool"])(image)
    np.testing.assert_array_equal(logits, model(image))
    np.testing.assert_array_equal(logits, model.fc(features["avgpool"]))
    rest = model[5:] if model[4] is model.layer1 else pytest.fail("another order of the layers")
    np.testing.assert_array_equal(rest(features["layer1.0"]), logits)


def test_a_module_that_runs_twice_gives_a_list_and_one_that_does_not_run_is_an_error():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.act, self.spare = ReLU(), ReLU()

        def __call__(self, x):
            return self.act(self.act(x) - 1)

    model = Twice(nnx.Rngs(0))
    _, features = return_features(model, ["act"])(jnp.asarray([3.0]))
    assert [float(value[0]) for value in features["act"]] == [3.0, 2.0]
    with pytest.raises(ConfigError, match="no output of spare of Twice"):
        return_features(model, ["spare"])(jnp.ones(1))
    with pytest.raises(ConfigError, match="Twice has no module 'acts': did you mean 'act'"):
        return_features(model, ["acts"])
    with pytest.raises(ConfigError, match=r"no output of layer1.0 of ResNet.*remat=False"):
        return_features(built("resnet", remat=True), ["layer1.0"])(jnp.ones((1, 32, 32, 3)))
    # Nothing stays behind.
    assert ReLU.__call__.__qualname__ == "ReLU.__call__" and not hasattr(ReLU.__call__, "__wrapped__")  # noqa: PT018
