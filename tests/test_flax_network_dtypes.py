"""Every Flax network: what it computes in, what its weights are, blocks computed again, and what happens inside."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch import architectures
from einops_arch.errors import ConfigError
from einops_arch.flax import create_model

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


def test_create_model_hands_on_what_is_computed_in():
    model = create_model("convnet", rngs=nnx.Rngs(0), classes=2, dtype=jnp.bfloat16, param_dtype=jnp.float16)
    assert (model.fc2.dtype, model.fc2.kernel.dtype, model.fc2.kernel.shape[1]) == (jnp.bfloat16, jnp.float16, 2)
    with pytest.raises(ConfigError, match="remat"):
        create_model("convnet", rngs=nnx.Rngs(0), remat=True)


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
