"""One layer in both frameworks with one state: names and bits, outputs, gradients and buffers after a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from layer_draws import GRADIENTS, OUTPUTS
from layer_parity import QUICKLY, channels_first, channels_last, randomise, unchanged

import einops_arch.flax as layers


def assert_twins(
    build_torch: Callable[[], torch.nn.Module],
    build: Callable[[], nnx.Module],
    shapes: Sequence[tuple[int, ...]],
    *,
    train: bool,
    randomized: bool = True,
    images: bool = True,
) -> None:
    torch.manual_seed(0)
    module = build_torch().double().train(train)
    if randomized:  # vectors of length 1, and weights that belong to them
        randomise(module)
    state = {key: value.detach().numpy().copy() for key, value in module.state_dict().items()}
    layer = build()
    layers.load_state_dict(layer, state)
    layer.train() if train else layer.eval()
    assert_bits(layers.state_dict(layer), state)

    last = channels_last if len(shapes[0]) > 2 and images else unchanged
    first = channels_first if last is channels_last else unchanged
    inputs = [np.random.default_rng(n).normal(size=shape) for n, shape in enumerate(shapes)]
    tensors = [torch.from_numpy(x).requires_grad_() for x in inputs]
    expected = torch.utils._pytree.tree_leaves(module(*tensors))
    weights = [np.random.default_rng(n).normal(size=y.shape) for n, y in enumerate(expected)]
    sum((y * torch.from_numpy(w)).sum() for y, w in zip(expected, weights, strict=True)).backward()

    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def step(parameters, rest, arrays):
        def loss(parameters, arrays):
            model = nnx.merge(graph, parameters, jax.tree.map(lambda leaf: leaf, rest))
            outputs = jax.tree.leaves(model(*arrays))
            total = sum((y * last(w)).sum() for y, w in zip(outputs, weights, strict=True))
            return total, (outputs, nnx.split(model, nnx.Param, ...)[2])

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(parameters, arrays)

    step = jax.jit(step, compiler_options=QUICKLY)
    (by_parameter, by_input), (outputs, after) = step(parameters, rest, [jnp.asarray(last(x)) for x in inputs])
    for received, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(first(np.asarray(received)), reference.detach(), rtol=OUTPUTS, atol=OUTPUTS)
    for received, tensor in zip(by_input, tensors, strict=True):
        np.testing.assert_allclose(first(np.asarray(received)), tensor.grad, rtol=GRADIENTS, atol=GRADIENTS)
    gradients = layers.state_dict(nnx.merge(graph, by_parameter, rest))
    for key, parameter in module.named_parameters():
        np.testing.assert_allclose(gradients[key], parameter.grad, rtol=GRADIENTS, atol=GRADIENTS, err_msg=key)
    moved = layers.state_dict(nnx.merge(graph, parameters, after))
    for key, buffer in module.named_buffers():
        if key in moved:
            np.testing.assert_allclose(moved[key], buffer, rtol=OUTPUTS, atol=OUTPUTS, err_msg=key)


def assert_bits(received, expected):
    assert received.keys() == expected.keys()
    for key, value in expected.items():
        assert received[key].dtype == value.dtype
        np.testing.assert_array_equal(received[key], value, err_msg=key)
