"""One layer in both frameworks on the same numbers: outputs, gradients of inputs and parameters, statistics.

float64 decides whether both compute the same function; float32 only how each rounds it, measured against the
float64 result. The weights are moved by plain transposes, so that nothing here rests on the port.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

# Both run the same formula on the same float64 numbers: sums of a few hundred terms differ by some 1e-15.
SAME_FUNCTION = 1e-13
# Compiled as quickly as can be where only the formula is asked for; as users get it where its rounding is.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# An honest float32 port was measured at 0.6 to 2 times the error of its source; below four units of roundoff
# of the tensor's rms the ratio compares noise with noise.
ERROR_RATIO, ROUNDOFF_FLOOR, ENOUGH = 4.0, 4 * 2.0**-24, 500

TORCH_NAMES = {
    "kernel": "weight",
    "embedding": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def unchanged(x: np.ndarray) -> np.ndarray:
    return x


def draw(seed: int, *shape: int) -> np.ndarray:
    """Standard normal numbers that float32 holds exactly, so that both precisions start from the same ones."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32).astype(np.float64)


def randomise(layer: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """Every bias away from zero, every scale away from one, running statistics away from where they start."""
    with torch.no_grad():
        for position, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.from_numpy(draw(seed + position, *parameter.shape)))
        for name, buffer in layer.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.from_numpy(draw(seed + 50, *buffer.shape)))
            elif name.endswith("running_var"):
                buffer.copy_(torch.from_numpy(np.exp(draw(seed + 51, *buffer.shape))).float())
    return layer


def to_flax_leaf(name: str, value: np.ndarray) -> np.ndarray:
    """(o, i, *k) of a linear, convolution or recurrent weight becomes (*k, i, o); the rest stays as it is."""
    if value.ndim < 2 or name == "embedding":
        return value
    return value.transpose(*range(2, value.ndim), 1, 0)


def to_torch_leaf(name: str, value: np.ndarray) -> np.ndarray:
    if value.ndim < 2 or name == "embedding":
        return value
    return value.transpose(-1, -2, *range(value.ndim - 2))


def twin(layer: torch.nn.Module, build: Callable[[], nnx.Module], dtype: str) -> nnx.Module:
    """The Flax layer with the numbers of the PyTorch layer; built without drawing any of its own."""
    graph, state = nnx.split(nnx.eval_shape(build))
    source = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    leaves = nnx.to_pure_dict(state)
    for name, empty in leaves.items():
        value = to_flax_leaf(name, source.pop(TORCH_NAMES.get(name, name)))
        assert value.shape == empty.shape, (name, value.shape, empty.shape)
        # A copy: JAX may share the memory of a NumPy array, and PyTorch writes to its buffers in place.
        leaves[name] = jnp.array(value, dtype if value.dtype.kind == "f" else empty.dtype)
    assert not source, f"not carried over: {sorted(source)}"
    nnx.replace_by_pure_dict(state, leaves)
    return nnx.merge(graph, state)


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    return tuple(jax.tree.leaves(outputs))


def run_torch(
    layer: torch.nn.Module, inputs: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None, dtype: str, call: Any
) -> dict[str, np.ndarray]:
    layer = layer.to(getattr(torch, dtype))
    layer.zero_grad()
    arrays = [torch.from_numpy(x).to(getattr(torch, dtype)).requires_grad_() for x in inputs]
    outputs = torch.utils._pytree.tree_leaves(call(layer, *arrays))
    loss = sum((y * torch.from_numpy(w).to(y.dtype)).sum() for y, w in zip(outputs, weights, strict=True))
    loss.backward()
    found = {f"output {n}": y.detach().numpy() for n, y in enumerate(outputs)}
    found |= {f"gradient of input {n}": x.grad.numpy() for n, x in enumerate(arrays)}
    found |= {f"gradient of {name}": p.grad.numpy() for name, p in layer.named_parameters()}
    return found | {name: b.numpy().copy() for name, b in layer.named_buffers()}


def run_flax(
    layer: nnx.Module,
    inputs: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    dtype: str,
    call: Any,
    leave: Callable[[np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def step(parameters: Any, rest: Any, arrays: Any, weights: Any) -> Any:
        def loss(parameters: Any, arrays: Any, rest: Any) -> Any:
            # Variables made here, inside of the trace, or the running statistics could not be written.
            module = nnx.merge(graph, parameters, jax.tree.map(lambda leaf: leaf, rest))
            outputs = as_tuple(call(module, *arrays))
            total = sum((y * w).sum() for y, w in zip(outputs, weights, strict=True))
            return total, (outputs, nnx.split(module, nnx.Param, ...)[2])

        gradients, kept = jax.grad(loss, argnums=(0, 1), has_aux=True)(parameters, arrays, rest)
        return *gradients, *kept

    step = jax.jit(step, compiler_options=QUICKLY if dtype == "float64" else None)
    arrays = [jnp.asarray(x, dtype) for x in inputs]
    by_parameter, by_input, outputs, after = step(parameters, rest, arrays, [jnp.asarray(w, dtype) for w in weights])
    assert all(y.dtype == dtype for y in outputs), [y.dtype for y in outputs]
    found = {f"output {n}": leave(np.asarray(y)) for n, y in enumerate(outputs)}
    found |= {f"gradient of input {n}": leave(np.asarray(g)) for n, g in enumerate(by_input)}
    for name, value in nnx.to_pure_dict(by_parameter).items():
        found[f"gradient of {TORCH_NAMES.get(name, name)}"] = to_torch_leaf(name, np.asarray(value))
    return found | {TORCH_NAMES.get(name, name): np.asarray(v) for name, v in nnx.to_pure_dict(after).items()}


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def assert_same_function(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, (name, found[name].shape, value.shape)
        difference = rms(found[name] - value)
        assert difference <= SAME_FUNCTION * rms(value), f"{name}: {difference / rms(value):.1e} of its rms"


def assert_as_accurate(
    found: dict[str, np.ndarray], source: dict[str, np.ndarray], exact: dict[str, np.ndarray]
) -> None:
    # Few numbers say little about an error: a gradient of sixteen may be seven times as lucky.
    large = {name: value for name, value in exact.items() if value.size >= ENOUGH}
    assert large, f"no result has {ENOUGH} numbers"
    for name, reference in large.items():
        error, of_source = rms(found[name] - reference), rms(source[name] - reference)
        limit = max(ERROR_RATIO * of_source, ROUNDOFF_FLOOR * rms(reference))
        assert error <= limit, f"{name}: float32 error {error:.1e}, that of PyTorch {of_source:.1e}"


def compare(
    layer: torch.nn.Module,
    build: Callable[[], nnx.Module],
    *inputs: np.ndarray,
    train: bool = True,
    enter: Callable[[np.ndarray], np.ndarray] = channels_last,
    leave: Callable[[np.ndarray], np.ndarray] = channels_first,
    torch_call: Any = lambda layer, *x: layer(*x),
    flax_call: Any = lambda layer, *x: layer(*x),
    float32: bool = False,
) -> dict[str, np.ndarray]:
    """Asserts that both layers are one function (float64) and, if asked, that both round equally well (float32).

    Inputs are in PyTorch's layout; `enter` brings them into that of Flax and `leave` brings results back.
    """
    layer = randomise(layer).train(train)
    start = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        outputs = torch.utils._pytree.tree_leaves(torch_call(layer, *map(torch.from_numpy, map(np.float32, inputs))))
    weights = [draw(90 + n, *y.shape) for n, y in enumerate(outputs)]
    entered = [np.ascontiguousarray(enter(x)) for x in inputs]
    weights_there = [np.ascontiguousarray(enter(w)) for w in weights]
    results = {}
    for dtype in ("float64", "float32") if float32 else ("float64",):
        layer.load_state_dict(start)
        other = twin(layer, build, dtype)
        other.train() if train else other.eval()
        ours = run_flax(other, entered, weights_there, dtype, flax_call, leave)
        results[dtype] = ours, run_torch(layer, inputs, weights, dtype, torch_call)
    assert_same_function(*results["float64"])
    if float32:
        assert_as_accurate(*results["float32"], results["float64"][1])
    return results["float64"][0]
