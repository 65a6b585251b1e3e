"""How long `discover` takes on tensors of about 100,000 elements, and `discover_model` on a ViT-B.

The bounds are 50 milliseconds for a function and 20 seconds for the model, on two cores. The first call in a process
also loads the framework, and jax compiles for each new shape, so the first call is a number of its own:

    python -m benchmarks.discover            # numpy and torch, and a ViT-B
    python -m benchmarks.discover --jax      # jax too
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from einops_arch import discover, discover_model
from einops_arch.architectures import ViTConfig
from einops_arch.torch import ViT

IMAGE = ("b c h w", (2, 48, 32, 33))
EVEN = ("b c h w", (2, 48, 32, 32))
PAIR = ("b i k, b k j", ((4, 100, 125), (4, 125, 100)))


def shuffle(x: Any, groups: int = 4) -> Any:
    """Channel shuffle."""
    b, c, h, w = x.shape
    return x.reshape(b, groups, c // groups, h, w).swapaxes(1, 2).reshape(b, -1, h, w)


def windows(x: Any, size: int = 8) -> Any:
    """Swin's windows."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c)
    return x.swapaxes(2, 3).reshape(-1, size * size, c)


def pooling(x: Any) -> Any:
    """The mean over 2 x 2."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).mean((3, 5))


def gram(x: Any) -> Any:
    """Products of channels."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h * w)
    return x @ x.swapaxes(1, 2) / (h * w)


FUNCTIONS: dict[str, tuple[Callable[..., Any], str, Any]] = {
    "shuffle": (shuffle, *IMAGE),
    "windows": (windows, "b h w c", (2, 32, 32, 49)),
    "mean of parts": (pooling, *EVEN),
    "mean": (lambda x: x.mean((2, 3)), *IMAGE),
    "matmul": (lambda x, y: x @ y, *PAIR),
    "gram": (gram, *IMAGE),
}
OF_TORCH: dict[str, tuple[Callable[..., Any], str, Any]] = {
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), *EVEN),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), "b c h w", (2, 24, 32, 33)),
    "cat": (lambda x, y: torch.cat([x, y], 1), "b i k, b j k", ((4, 100, 125), (4, 100, 125))),
    "chunk": (lambda x: x.chunk(2, 1), "b n c", (40, 20, 125)),
}


def measure(name: str, backend: str, case: tuple[Callable[..., Any], str, Any], repeats: int) -> None:
    """Print the first time, and the median and the least of the others."""
    function, axes, shapes = case
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        found = discover(function, axes, shapes, backend=backend)
        seconds.append(time.perf_counter() - start)
    first, median, least = (1e3 * one for one in (seconds[0], statistics.median(seconds[1:]), min(seconds[1:])))
    print(f"{backend:6} {name:18} first {first:7.1f} ms  median {median:6.1f} ms  least {least:6.1f} ms  {found.code}")


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description="Time discover and discover_model.")
    parser.add_argument("--jax", action="store_true", help="jax too")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for backend in ("numpy", "torch", *(["jax"] if options.jax else [])):
        for name, case in (FUNCTIONS | (OF_TORCH if backend == "torch" else {})).items():
            measure(name, backend, case, options.repeats)
    config = ViTConfig.preset("vit_base_patch16_224")
    model = ViT(config).eval()
    start = time.perf_counter()
    report = discover_model(model, torch.randn(1, 3, 224, 224))
    print(f"ViT-B: {time.perf_counter() - start:.1f} s, {report.counts}")


if __name__ == "__main__":
    main()
