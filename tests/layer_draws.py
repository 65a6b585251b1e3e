"""One function of both frameworks on the same numbers: float64 decides, errors must come from both or from neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import torch
from layer_parity import QUICKLY, channels_first, channels_last

# How many settings are drawn for each layer; `nox -s tests-layers` draws 200.
SETTINGS = int(os.environ.get("EINOPS_ARCH_LAYER_SETTINGS", "10"))
# A failure is not made smaller: each try would compile anew, and settings are small already.
drawn = hypothesis.settings(
    max_examples=SETTINGS,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)

OUTPUTS, GRADIENTS = 1e-12, 1e-10
# Below so many units of roundoff of the result's rms a ratio compares noise with noise.
ERROR_RATIO, FLOOR = 4.0, 4.0
ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Numbers of which some are equal and some are zero, so that ties and kinks are met."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    return np.where(rng.random(shape) < 0.2, np.round(values), values)


def assert_agree(
    torch_call: Callable[..., Any],
    flax_call: Callable[..., Any],
    *inputs: np.ndarray,
    enter: Callable[[np.ndarray], np.ndarray] | Sequence[Callable[[np.ndarray], np.ndarray]] = channels_last,
    leave: Callable[[np.ndarray], np.ndarray] = channels_first,
) -> None:
    """Outputs to 1e-12 and gradients to 1e-10 of float64, or an error on both sides."""
    entries = enter if isinstance(enter, (list, tuple)) else [enter] * len(inputs)
    arrays = [jnp.asarray(e(x)) for e, x in zip(entries, inputs, strict=True)]
    tensors = [torch.from_numpy(x).requires_grad_() for x in inputs]
    expected, refusal = _or_error(torch_call, tensors)
    if refusal is not None:
        _, error = _or_error(lambda *x: jax.eval_shape(flax_call, *x), arrays)
        assert error is not None, f"PyTorch: {refusal}; here: no error"
        return
    indices = expected[1] if isinstance(expected, tuple) else None
    expected = expected[0] if isinstance(expected, tuple) else expected
    weight = np.random.default_rng(7).normal(size=expected.shape)

    def values(*x: jax.Array) -> Any:
        y = flax_call(*x)
        return y if isinstance(y, tuple) else (y, None)

    def outputs_and_gradients(weight: jax.Array, *x: jax.Array) -> Any:
        y, pull, more = jax.vjp(values, *x, has_aux=True)
        assert y.shape == weight.shape, (y.shape, weight.shape)
        weight = weight.astype(y.dtype)
        return y, more, pull(weight) if expected.requires_grad else ()

    # Compiled as one program, as quickly as can be: operations one by one take ten times as long.
    program = jax.jit(outputs_and_gradients, compiler_options=QUICKLY)
    received, more, gradients = program(jnp.asarray(_entered(weight, leave)), *arrays)
    if indices is not None:
        np.testing.assert_array_equal(leave(np.asarray(more)), indices.numpy())
    np.testing.assert_allclose(leave(np.asarray(received)), expected.detach().numpy(), rtol=OUTPUTS, atol=OUTPUTS)
    if not expected.requires_grad:
        return
    (expected * torch.from_numpy(weight)).sum().backward()
    for tensor, gradient, entry in zip(tensors, gradients, entries, strict=True):
        reference = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(np.asarray(gradient), entry(reference), rtol=GRADIENTS, atol=GRADIENTS)


def rounds_as_well(
    torch_call: Callable[..., Any],
    flax_call: Callable[..., Any],
    x: np.ndarray,
    *,
    enter: Callable[[np.ndarray], np.ndarray] = channels_last,
    leave: Callable[[np.ndarray], np.ndarray] = channels_first,
) -> None:
    """In each narrower dtype the error is at most four times PyTorch's, under jit and under vmap too."""
    for dtype, roundoff in ROUNDOFF.items():
        narrow = torch.from_numpy(x).to(getattr(torch, dtype))
        exact = torch_call(narrow.double()).numpy()
        source = torch_call(narrow).double().numpy()
        array = jnp.asarray(enter(narrow.double().numpy()), dtype)
        compiled = jax.jit(flax_call)(array)
        assert compiled.dtype == array.dtype, (compiled.dtype, array.dtype)
        of_source = _rms(source - exact)
        limit = max(ERROR_RATIO * of_source, FLOOR * roundoff * _rms(exact))
        for name, y in {"eager": flax_call(array), "jit": compiled, "vmap": _mapped(flax_call, array)}.items():
            error = _rms(leave(np.asarray(y, np.float64)) - exact)
            assert error <= limit, f"{dtype}, {name}: error {error:.1e}, that of PyTorch {of_source:.1e}"


def _mapped(flax_call: Callable[..., Any], array: jax.Array) -> jax.Array:
    """One sample at a time, each with a batch axis."""
    return jax.vmap(lambda sample: flax_call(sample[None])[0])(array)


def _or_error(call: Callable[..., Any], inputs: Sequence[Any]) -> tuple[Any, Exception | None]:
    try:
        return call(*inputs), None
    except Exception as error:  # noqa: BLE001 - that there is one is what is compared
        return None, error


def _entered(weight: np.ndarray, leave: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return channels_last(weight) if leave is channels_first else leave(weight)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
