"""A translated network beside its original in PyTorch, and beside the same file with Flax's own layers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from einops import rearrange
from flax import nnx

from benchmarks.gpu.clock import times
from benchmarks.gpu.process import ROOT
from benchmarks.gpu.row import Job, guarded, held, seen
from benchmarks.plain_nnx import plain
from einops_arch.flax import load_state_dict

__all__ = ["rows"]

_BAR = 1.02
_EXACT = 1e-4
"""What float32 in another order of sums may differ by, of the output's rms."""


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """One: the U-Net of the stored golden files, wide enough to be work for the device."""
    yield guarded("translated unet", partial(_unet, job))


def _unet(job: Job) -> dict[str, Any]:
    width, batch, side = (4, 2, 32) if job.quick else (32, 8, 256)
    torch.manual_seed(0)
    original = importlib.import_module("own_models").UNet(base=width).to(job.device).eval()
    translated = _golden("unet").UNet(base=width, rngs=nnx.Rngs(0))
    load_state_dict(translated, original.state_dict())
    translated.eval()
    images = torch.rand(batch, 3, side, side, device=job.device)
    arrays = jnp.asarray(rearrange(images.cpu().numpy(), "b c h w -> b h w c"))
    calls: dict[str, Callable[[], Any]] = {
        "translated": _compiled(translated, arrays),
        "PyTorch, eager": partial(_eager, original, images),
        "Flax's own layers": _compiled(translated, arrays, own=True),
    }
    expected = rearrange(calls["PyTorch, eager"]().cpu().numpy(), "b c h w -> b h w c").astype(np.float64)
    distance = float(np.sqrt(np.mean((np.asarray(calls["translated"]()) - expected) ** 2) / np.mean(expected**2)))
    seconds = times(calls, 5 if job.quick else 20)
    ratios = {name: seconds["translated"] / took for name, took in seconds.items() if name != "translated"}
    text = f"outputs differ by {distance:.1e} of rms; "
    text += ", ".join(f"{ratio:.3f} of {name}" for name, ratio in ratios.items())
    timed = job.device == "cuda" and not job.quick
    fast = ratios["Flax's own layers"] <= _BAR or not timed
    more = {"difference": distance, "seconds": seconds, "ratio": ratios["Flax's own layers"]}
    if distance > _EXACT or timed:
        return held("translated unet", distance <= _EXACT and fast, text, **more)
    return seen("translated unet", text, **more)


def _golden(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "golden" / "translate" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"tests/golden/translate/{name}.py: no such module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compiled(model: nnx.Module, arrays: jax.Array, *, own: bool = False) -> Callable[[], Any]:
    graph, state = nnx.split(model)

    def forward(state: Any, arrays: jax.Array) -> Any:
        return nnx.merge(graph, state)(arrays)

    if own:
        with plain():
            program = jax.jit(forward).lower(state, arrays).compile()
    else:
        program = jax.jit(forward).lower(state, arrays).compile()
    return partial(program, state, arrays)


@torch.no_grad()
def _eager(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = model(images)
    return result
