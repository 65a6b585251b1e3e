"""Build both layers of a setting from their texts, carry the state of the first to the second, and compare outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import einops_arch.flax as flax_layers
from einops_arch.flax import state_dict
from einops_arch.port import transfer

__all__ = ["difference"]

_NAMES = {name: getattr(flax_layers, name) for name in flax_layers.__all__}


def difference(torch_text: str, flax_text: str, inputs: Sequence[str], *, plain: bool) -> float:
    """The largest difference of two layers' outputs in float64, in evaluation mode, by the largest output.

    Every weight of the first is drawn at random, and every leaf of its state must have its place in the second.

    Args:
        torch_text: a layer, in names of `torch.nn`.
        flax_text: a layer, in names of `einops_arch.flax`.
        inputs: shapes in PyTorch's order; `"int 2 5 <7"` are integers below 7.
        plain: whether arrays keep PyTorch's order in Flax, where otherwise channels go last.

    >>> difference("Linear(6, 4)", "Linear(6, 4, rngs=rngs)", ["2 6"], plain=True) < 1e-12
    True
    """
    torch.manual_seed(0)
    module = eval(torch_text, {}, vars(torch.nn)).double().eval()  # noqa: S307 a text of this repository
    layer = eval(flax_text, {}, _NAMES | {"rngs": nnx.Rngs(0)})  # noqa: S307
    _draw_weights(module)
    layer.eval()
    if state := module.state_dict():
        transfer(module, layer)
        carried = state_dict(layer)
        wrong = [key for key, value in state.items() if not np.array_equal(carried.get(key, ()), value.numpy())]
        if wrong or carried.keys() != state.keys():
            raise ValueError(f"{torch_text}: not the same state: {wrong or sorted(carried.keys() ^ state.keys())}")
    arrays = [_input(text, seed) for seed, text in enumerate(inputs)]
    if not arrays:
        return 0.0
    with torch.no_grad():
        expected = _leaves(module(*map(torch.from_numpy, arrays)))
    move = np.asarray if plain else _channels_last
    received = jax.tree.leaves(layer(*(jnp.asarray(move(array)) for array in arrays)))
    largest = 0.0
    for y, tensor in zip(received, expected, strict=True):
        reference = move(tensor.numpy())
        if np.shape(y) != reference.shape:
            raise ValueError(f"{torch_text}: expected shape {reference.shape}, received {np.shape(y)}")
        scale = max(float(np.abs(reference).max(initial=0.0)), 1e-30)
        largest = max(largest, float(np.abs(np.asarray(y) - reference).max(initial=0.0)) / scale)
    return largest


def _leaves(outputs: Any) -> list[torch.Tensor]:
    """The tensors of nested tuples; None is none."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [] if outputs is None else [tensor for part in outputs for tensor in _leaves(part)]


def _draw_weights(module: Any) -> None:
    """Away from where they start, or ones and zeros would hide a mistake; what a spectral norm keeps stays."""
    if "spectral" in repr(module).lower():
        return
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.from_numpy(rng.uniform(0.5, 2.0, size=buffer.shape)))


def _input(text: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if text.startswith("int "):
        *sizes, bound = text.removeprefix("int ").split()
        return rng.integers(0, int(bound.removeprefix("<")), tuple(map(int, sizes)))
    return rng.normal(size=tuple(map(int, text.split())))


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array
