"""What the Flax twin of an architecture computes for the golden values. Needs jax with x64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from golden_values import config_of, digest, projection

from einops_arch import architectures
from einops_arch.flax.state import load_state_dict, port_steps, state_dict
from einops_arch.parity.probes import example_inputs, random_state


def build(name, preset, dtype="float64"):
    """A model with the golden weights, its inputs in Flax's layout, and the axes of its outputs."""
    config = config_of(name, preset)
    model = architectures.get(name).flax_class()(config, rngs=nnx.Rngs(0))
    state = {key: value.astype(dtype) if value.dtype.kind == "f" else value for key, value in state_of(model).items()}
    load_state_dict(model, state)
    inputs = []
    for axes, array in zip(config.inputs(), example_inputs(config), strict=True):
        moved = rearrange(array, f"{axes.axes} -> {axes.flax_axes}")
        inputs.append(jnp.asarray(moved.astype(dtype) if array.dtype.kind == "f" else moved))
    return model, inputs


def compute(name, preset):
    model, inputs = build(name, preset)
    names = model.config.outputs()

    def outputs_of(model):
        # Projections are in PyTorch's axes, and so are the stored outputs.
        outputs = jax.tree.leaves(model(*inputs))
        return [rearrange(y, f"{axes.flax_axes} -> {axes.axes}") for axes, y in zip(names, outputs, strict=True)]

    def loss(model):
        outputs = outputs_of(model)
        total = sum((y * projection(index, y.shape)).sum() for index, y in enumerate(outputs))
        return total, outputs

    model.eval()
    # One compilation for the whole network costs less than one for each of its operations.
    gradients, outputs = nnx.jit(nnx.grad(loss, has_aux=True))(model)
    results = {f"output.{index}": np.asarray(output) for index, output in enumerate(outputs)}
    results |= gradient_digests(model, gradients)

    model.train()
    for index, output in enumerate(nnx.jit(outputs_of)(model)):
        results[f"train.{index}"] = np.asarray(output)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    results |= {f"statistics.{key}": value for key, value in state_dict(model).items() if key.endswith(buffers)}
    return results


def gradient_digests(model, gradients):
    """Gradients lie in Flax's layout; a copy of the model carries them to PyTorch's."""
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    copied = nnx.merge(graph, jax.tree.map(lambda _, gradient: gradient, parameters, gradients), rest)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {
        f"gradient.{key}": digest(key, value) for key, value in state_dict(copied).items() if not key.endswith(buffers)
    }


def state_of(model):
    shapes = {key: spec for step, _ in port_steps(model) for key, spec in step.expected.items()}
    return random_state(shapes, aliases=_ties(model))


def _ties(model):
    names = {}
    for step, variables in port_steps(model):
        for key in step.expected:
            names.setdefault(tuple(map(id, variables)) or key, []).append(key)
    return list(names.values())
