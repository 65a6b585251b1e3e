"""How the time grows with the size: an exponent for each core and network, and compile time against depth."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.measure import Effort, side_by_side
from benchmarks.networks import NETWORKS, Network
from benchmarks.process import environment, rows_of, wanted

__all__ = ["exponent", "rows"]

_EFFORT = Effort(seconds=0.4, rounds=3, sample=2e-3)
_CORES = {
    "channel_shuffle": ("ChannelShuffle", {"groups": 4}),
    "depth_to_space": ("DepthToSpace", {"factor": 2}),
    "space_to_depth": ("SpaceToDepth", {"factor": 2}),
    "upsample_nearest": ("UpsampleNearest", {"factor": 2}),
    "patchify": ("Patchify", {"patch": 8}),
    "flatten_features": ("FlattenFeatures", {}),
    "gram_matrix": ("GramMatrix", {}),
}
_IMAGE = {"b": 8, "c": 64, "side": 64}
_STEPS = (1, 2, 4)
_NETWORKS = ("super_resolution", "shufflenet", "resnet", "language_model", "gpt2")


def rows(names: Sequence[str], threads: int, device: str) -> Iterator[dict[str, Any]]:
    """A row for each size that grows: the times, and the exponent of the power law through them."""
    for side in ("torch", "jax"):
        job = {"side": side, "names": list(names), "threads": threads, "device": device}
        yield from rows_of("benchmarks.growth", job, environment(side, threads, device))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms.

    >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 3)
    2.0
    """
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    return statistics.linear_regression(x, y).slope


def _times(calls: dict[str, Callable[[], Any]]) -> list[float]:
    return [statistics.median(values) for values in side_by_side(calls, _EFFORT).values()]


def _row(name: str, side: str, axis: str, expected: str, sizes: Sequence[int], seconds: list[float]) -> dict[str, Any]:
    return {
        "name": name,
        "side": side,
        "size": f"{axis} = {', '.join(map(str, sizes))}",
        "setting": f"growth with {axis}",
        "bar": None,
        "verdict": "",
        "growth": {"axis": axis, "sizes": list(sizes), "seconds": seconds, "expected": expected},
        "exponent": exponent(sizes, seconds),
    }


def _cores(side: str) -> Iterator[dict[str, Any]]:
    for name, (layer, arguments) in _CORES.items():
        for axis in ("b", "c", "side"):
            sizes = [_IMAGE[axis] * step for step in _STEPS]
            calls = {str(size): _core_call(side, layer, arguments, {**_IMAGE, axis: size}) for size in sizes}
            powers = {"b": 1, "c": 2 if name == "gram_matrix" else 1, "side": 2}
            yield _row(name, side, axis, str(powers[axis]), sizes, _times(calls))


def _core_call(side: str, layer: str, arguments: Any, sizes: dict[str, int]) -> Callable[[], Any]:
    b, c, s = sizes["b"], sizes["c"], sizes["side"]
    if side == "torch":
        import torch

        from einops_arch.torch import layers as torch_layers

        module, x = getattr(torch_layers, layer)(**arguments), torch.randn(b, c, s, s)
        # A view is read once: by itself it costs nothing at any size.
        return lambda: module(x).clone(memory_format=torch.contiguous_format)
    import jax

    from einops_arch.flax import layers

    x = jax.random.normal(jax.random.key(0), (b, s, s, c))
    program = jax.jit(getattr(layers, layer)(**arguments)).lower(x).compile()
    return lambda: program(x).block_until_ready()


def _networks(side: str, device: str) -> Iterator[dict[str, Any]]:
    for network in NETWORKS:
        if network.name not in _NETWORKS:
            continue
        axes = {"b": ((1, 2, 4), "1")} | {
            axis: ([size // 2, size, 2 * size], "1 to 2" if network.name == "gpt2" else "1")
            for axis, size in network.sizes.items()
            if axis == "t"
        }
        if "h" in network.sizes:
            axes["side"] = ([network.sizes["h"] // 2, network.sizes["h"]], "2")
        for axis, (sizes, expected) in axes.items():
            calls = {}
            for size in sizes:
                batch = size if axis == "b" else 1
                grown = {"h": size, "w": size} if axis == "side" else {axis: size}
                kept = {name: value for name, value in grown.items() if name in network.sizes}
                calls[str(size)] = _network_call(side, _sized(network, kept), batch, device)
            yield _row(network.name, side, axis, expected, sizes, _times(calls))


def _sized(network: Network, sizes: dict[str, int]) -> Network:
    return dataclasses.replace(network, sizes={**network.sizes, **sizes})


def _network_call(side: str, network: Network, batch: int, device: str) -> Callable[[], Any]:
    config = network.config(shallow=True)
    if side == "jax":
        from benchmarks.jax_networks import compiled_call

        return compiled_call(network, config, batch)[0]
    import torch

    from benchmarks.networks import inputs
    from benchmarks.torch_networks import twin

    model = twin(config).to(device)
    tensors = [torch.from_numpy(x).to(device) for x in inputs(network, config, batch, channels_last=False)]
    return torch.no_grad()(partial(model, *tensors))


def _compile_times() -> Iterator[dict[str, Any]]:
    """Where blocks repeat: does the program of twice the depth take twice as long to compile?"""
    from benchmarks.jax_networks import compiled_call

    by_name = {network.name: network for network in NETWORKS}
    depths: dict[str, tuple[str, dict[int, Any]]] = {
        "shufflenet": ("units in each stage", {depth: {"repeats": (depth,) * 3} for depth in (2, 4, 8)}),
        "language_model": ("layers", {depth: {"layers": depth} for depth in (1, 2, 4)}),
    }
    for name, (axis, settings) in depths.items():
        seconds = []
        for fields in settings.values():
            config: Any = by_name[name].config()
            config = dataclasses.replace(config, **fields)
            start = time.perf_counter()
            compiled_call(by_name[name], config, 1)
            seconds.append(time.perf_counter() - start)
        yield _row(f"{name}, time to compile", "jax", axis, "0 to 1", list(settings), seconds)


def _main() -> None:
    from benchmarks.worker import _prepare

    job = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _prepare(job["side"], job["threads"])
    side = job["side"]
    if job["names"] and not wanted("growth", job["names"]):
        return
    parts = [_cores(side), _networks(side, job["device"])] + ([_compile_times()] if side == "jax" else [])
    for part in parts:
        for row in part:
            print(json.dumps(row), file=out, flush=True)


if __name__ == "__main__":
    _main()
