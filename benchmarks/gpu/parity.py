"""Every network on the device: the same function in both frameworks, and what computing in less costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import torch

from benchmarks.gpu.row import Job, guarded, held, seen
from einops_arch import architectures
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.port import to_flax

__all__ = ["rows"]

_PUBLISHED = {"resnet": "resnet50", "vit": "vit_tiny_patch16_224", "gpt2": "gpt2", "shufflenet": "g3"}


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """Two for each network: the comparison, and the cost of TF32 and bfloat16."""
    names = architectures.names()[: 2 if job.quick else None]
    for name in names:
        config = architectures.get(name).config.preset("tiny")
        yield guarded(name, partial(_same, name, config, job.device, gradients=True))
    for name in names:
        config = architectures.get(name).config.preset("tiny")
        yield guarded(f"{name}, less", partial(_less, f"{name}, less", config, job.device))
    for name, preset in {} if job.quick else _PUBLISHED.items():
        config = architectures.get(name).config.preset(preset)
        yield guarded(f"{name} {preset}", partial(_same, f"{name} {preset}", config, job.device, gradients=False))


def _model(config: Any, device: str) -> torch.nn.Module:
    model: torch.nn.Module = architectures.of_config(config).torch_class()(config)
    randomize(model)
    return model.to(device).eval()


def _same(title: str, config: Any, device: str, *, gradients: bool) -> dict[str, Any]:
    model = _model(config, device)
    report = compare(model, to_flax(model), example_inputs(config), gradients=gradients)
    largest = max((row.difference or 0.0 for row in report.outputs), default=0.0)
    where = {leaf.device.type for leaf in model.parameters()}
    text = f"{report.verdict.value}, largest difference in float64 {largest:.1e} of rms, on {', '.join(where)}"
    return held(title, report.passed and where == {device}, text, difference=largest)


def _less(title: str, config: Any, device: str) -> dict[str, Any]:
    """How far each framework goes from its own float32, in less than float32."""
    model = _model(config, device)
    inputs = [torch.as_tensor(array, device=device) for array in example_inputs(config)]
    twin = to_flax(model)
    arrays = [_channels_last(tensor, axes.axes) for tensor, axes in zip(inputs, config.inputs(), strict=True)]
    exact = _numpy(_torch(model, inputs))
    flax_exact = _numpy(jax.tree.leaves(twin(*arrays))[0])
    parts = [
        f"{kind} {_distance(_numpy(_torch_in(kind, model, inputs)), exact):.1e} in PyTorch"
        for kind in ("tf32", "bfloat16")
    ]
    with jax.default_matmul_precision("tensorfloat32"):
        parts.append(f"tf32 {_distance(_numpy(jax.tree.leaves(twin(*arrays))[0]), flax_exact):.1e} in Flax")
    return seen(title, "rms of the difference to float32, of its rms: " + ", ".join(parts))


def _torch(model: torch.nn.Module, inputs: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        output = model(*inputs)
    while not isinstance(output, torch.Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output


def _torch_in(kind: str, model: torch.nn.Module, inputs: list[torch.Tensor]) -> torch.Tensor:
    if kind == "bfloat16":
        with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
            return _torch(model, inputs)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        return _torch(model, inputs)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def _channels_last(tensor: torch.Tensor, axes: str) -> jax.Array:
    values = tensor.cpu().numpy()
    return jax.numpy.asarray(np.moveaxis(values, 1, -1) if axes.split()[1:2] == ["c"] else values)


def _numpy(array: Any) -> np.ndarray[Any, Any]:
    values = array.float().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    return values.astype(np.float64)


def _distance(values: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean((values - exact) ** 2) / np.mean(exact**2)))
