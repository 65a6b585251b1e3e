"""Port large checkpoints, and compare time and memory with a plain copy and with the naive way.

Every measurement is a process of its own, on the same disk, one after the other and then again. Memory is the peak of
resident memory above what the process had when it began, so imports count. Times are of the work, with the output on
the disk at the end; imports are timed on their own line.

    python -m benchmarks.checkpoints --gib 2 --repeats 5
    python -m benchmarks.checkpoints --gib 1 6 --repeats 1 --ways copy port orbax-save orbax-load

It fails where a bound is missed: memory always, time from three repeats on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

GIB, MIB = 1 << 30, 1 << 20
WAYS = ("copy", "port", "naive", "naive-torch")
ALL = (*WAYS, "back", "orbax-save", "orbax-load", "pt", "dcp", "sharded")
TENSORS, ROOM = 3, 400 * MIB
"""How many of the largest tensors may be in memory, and the bytes beside them."""
BOUNDS = {"orbax-save": GIB, "orbax-load": GIB}
"""The same bytes where Orbax takes part."""


def layers(gib: float, largest: int = GIB) -> list[tuple[str, str, tuple[int, ...]]]:
    """Kind, name and PyTorch's shape of each layer: an embedding of `largest` or less, then blocks until it is full."""
    rows = int(min(largest, gib * GIB / 4)) // 4096
    tensors: list[tuple[str, str, tuple[int, ...]]] = [("embed", "embed", (rows, 1024))]
    size, number = rows * 4096, 0
    while size < gib * GIB:
        block: list[tuple[str, tuple[int, ...]]] = [
            ("conv", (1024, 1024, 3, 3)),
            ("conv", (2048, 512, 1, 1)),
            ("conv", (512, 256, 5, 5)),
            ("linear", (4096, 4096)),
            ("linear", (1024, 4096)),
            ("norm", (1024,)),
        ]
        for kind, shape in block:
            tensors.append((kind, f"{kind}{number}", shape))
            size += 4 * int(np.prod(shape))
            number += 1
    return tensors


def build(gib: float, largest: int) -> Any:
    """The Flax model of these layers, without memory."""
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            for kind, name, shape in layers(gib, largest):
                if kind == "embed":
                    layer: Any = nnx.Embed(*shape, rngs=rngs)
                elif kind == "conv":
                    layer = nnx.Conv(shape[1], shape[0], shape[2:], rngs=rngs)
                elif kind == "linear":
                    layer = nnx.Linear(shape[1], shape[0], rngs=rngs)
                else:
                    layer = nnx.LayerNorm(shape[0], rngs=rngs)
                setattr(self, name, layer)

    return nnx.eval_shape(Net)


def make(path: Path, gib: float, largest: int) -> None:
    """Write the PyTorch checkpoint of these layers, with random numbers that repeat every 64 MiB."""
    from einops_arch.checkpoints import Reader, TensorInfo, write_tensors

    class Random(Reader):
        def __init__(self) -> None:
            self.tensors, self.aliases, self.metadata = {}, {}, {"framework": "torch", "format": "pt"}
            for kind, name, shape in layers(gib, largest):
                self.tensors[f"{name}.weight"] = TensorInfo(shape, "float32")
                if kind != "embed":
                    self.tensors[f"{name}.bias"] = TensorInfo(shape[:1], "float32")
            self.numbers = np.random.default_rng(0).standard_normal(16 * MIB, "float32").view("uint32")

        def bits(self, name: str) -> Any:
            return np.resize(self.numbers, self.tensors[name].shape)

        def blocks(self, name: str) -> Any:
            left = self.tensors[name].nbytes
            while left:
                block = self.numbers.view("uint8")[:left]
                left -= block.size
                yield block

    write_tensors(path, Random())


def copy(source: Path, target: Path) -> None:
    """What the operating system does at best."""
    shutil.copyfile(source, target)
    sync(target)


def naive(source: Path, target: Path, *, torch: bool) -> None:
    """Load everything, transpose everything, save everything."""
    if torch:
        from safetensors.torch import load_file, save_file
    else:
        from safetensors.numpy import load_file, save_file

    moved = {}
    for name, array in load_file(source).items():
        if name.startswith("conv") and array.ndim == 4:
            axes: tuple[int, ...] = (2, 3, 1, 0)
        elif name.startswith("linear") and array.ndim == 2:
            axes = (1, 0)
        else:
            moved[name] = array
            continue
        moved[name] = array.permute(axes).contiguous() if torch else np.ascontiguousarray(array.transpose(axes))
    save_file(moved, target)
    sync(target)


def sync(path: Path) -> None:
    """Have everything on the disk."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def work(way: str, gib: float, largest: int, source: Path, target: Path) -> dict[str, float]:
    """One measurement, in this process."""
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    if way == "copy":
        job: Any = partial(copy, source, target)
    elif way.startswith("naive"):
        __import__("safetensors.torch" if way.endswith("torch") else "safetensors.numpy")
        job = partial(naive, source, target, torch=way.endswith("torch"))
    else:
        from einops_arch.flax import state  # noqa: F401 - what a port imports when it begins
        from einops_arch.port.convert import port_checkpoint

        to = "torch" if way in {"back", "orbax-load"} else "flax"
        if way in {"pt", "dcp"}:
            to = "torch"
        model = build(gib, largest)
        if "orbax" in way:
            __import__("orbax.checkpoint")
        if way == "dcp":
            __import__("torch.distributed.checkpoint")
        shard: dict[str, Any] = {"max_shard_size": GIB} if way == "sharded" else {}
        job = partial(port_checkpoint, source, target, to, model=model, **shard)
    imported = time.perf_counter()
    job()
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": done - imported, "imports": imported - began, "memory": (peak - start) * 1024}


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def measure(gib: float, limit: int, repeats: int, ways: list[str], folder: Path) -> dict[str, Any]:
    """All ways on a checkpoint of one size."""
    free = shutil.disk_usage(folder).free
    if free < 3.5 * gib * GIB:
        sys.exit(f"{folder} has {free / GIB:.1f} GiB free, and {3.5 * gib:.1f} GiB are needed")
    source = folder / "source.safetensors"
    make(source, gib, limit)
    targets = {
        "back": "back.safetensors",
        "orbax-save": "orbax",
        "orbax-load": "loaded.safetensors",
        "pt": "target.pt",
        "dcp": "target.dcp",
        "sharded": "target.hf",
    }
    results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            origin = {"back": folder / "port.safetensors", "orbax-load": folder / "orbax"}.get(way, source)
            target = folder / targets.get(way, f"{way}.safetensors")
            remove(target)
            os.sync()
            sizes = ["--gib", str(gib), "--largest-mib", str(limit // MIB)]
            command = [sys.executable, __file__, "--work", way, *sizes, "--paths", str(origin), str(target)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
            results[way].append(json.loads(output.splitlines()[-1]))
            needed = {"port": "back", "orbax-save": "orbax-load"}.get(way)
            if needed not in ways:
                remove(target)
    largest = max(4 * int(np.prod(shape)) for _, _, shape in layers(gib, limit))
    return {"gib": source.stat().st_size / GIB, "largest": largest, "ways": results}


def report(result: dict[str, Any]) -> list[str]:
    """Print a table, and give what is worse than it must be, a line each."""
    ways, largest = result["ways"], result["largest"]
    middle = {way: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for way, runs in ways.items()}
    print(f"\n{result['gib']:.2f} GiB, largest tensor {largest / MIB:.0f} MiB")
    print(f"{'way':12} {'seconds':>8} {'/ copy':>7} {'spread':>15} {'memory MiB':>11} {'bound':>7} {'imports':>8}")
    misses = []
    for way, one in middle.items():
        pairs = zip(ways[way], ways["copy"], strict=True)
        ratios = sorted(run["seconds"] / other["seconds"] for run, other in pairs)
        bound = TENSORS * largest + BOUNDS.get(way, ROOM)
        limited = way not in WAYS or way == "port"
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(
            f"{way:12} {one['seconds']:8.2f} {statistics.median(ratios):7.2f} {spread:>15} {one['memory'] / MIB:11.0f} "
            f"{bound / MIB if limited else float('nan'):7.0f} {one['imports']:8.2f}"
        )
        if limited and one["memory"] > bound:
            misses.append(f"{way}: {one['memory'] / MIB:.0f} MiB of memory, at most {bound / MIB:.0f} expected")
        if way == "port" and statistics.median(ratios) > 1.8 and len(ratios) > 2:
            misses.append(f"port: {statistics.median(ratios):.2f} times a copy, at most 1.8 expected")
        if way.startswith("naive") and "port" in middle:
            time_share = middle["port"]["seconds"] / one["seconds"]
            memory_share = middle["port"]["memory"] / one["memory"]
            print(f"{'':12} port takes {time_share:.2f} of its time and {memory_share:.2f} of its memory")
            if time_share > 0.85 and len(ratios) > 2:
                misses.append(f"port: {time_share:.2f} of the time of {way}, at most 0.85 expected")
            if memory_share > 0.25:
                misses.append(f"port: {memory_share:.2f} of the memory of {way}, at most 0.25 expected")
    return misses


def main() -> None:
    """Read the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, nargs="+", default=[2.0])
    parser.add_argument("--largest-mib", type=int, default=1024, help="of the largest tensor, at most")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=ALL, default=list(WAYS))
    parser.add_argument("--folder", type=Path, help="a disk with room for three copies; a temporary folder if left out")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--work", choices=ALL, help=argparse.SUPPRESS)
    parser.add_argument("--paths", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.work, options.gib[0], options.largest_mib * MIB, *options.paths)))
        return
    ways = ["copy", *(way for way in options.ways if way != "copy")]
    results, misses = [], []
    for gib in options.gib:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-checkpoints-") as folder:
            results.append(measure(gib, options.largest_mib * MIB, options.repeats, ways, Path(folder)))
        misses += report(results[-1])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")
    if misses:
        sys.exit("\n".join(misses))


if __name__ == "__main__":
    main()
