"""Four processes that load checkpoints onto a mesh of PyTorch; `test_torch_checkpoints_mesh.py` starts them.

Each process writes what it found as a file of JSON, true or false or a message by what it is about.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard

from einops_arch.architectures import GPT2Config, ResNetConfig
from einops_arch.checkpoints import load, save_pretrained
from einops_arch.checkpoints.disk import read_box
from einops_arch.checkpoints.formats import safetensors_file
from einops_arch.errors import CheckpointError, EinopsArchError
from einops_arch.torch import GPT2, ResNet

PROCESSES = 4
CONFIG = ResNetConfig(in_channels=8, block="basic", stem_channels=8, depths=(1, 1), widths=(8, 16), classes=12)
GPT2_CONFIG = GPT2Config(vocabulary=16, positions=20, embedding=8, layers=1, heads=2, hidden=12)
PLACES = ("x.safetensors", "shards.hf", "x.pt", "x.dcp")


def prepare(folder):
    """The same weights in every format."""
    torch.manual_seed(0)
    model = ResNet(CONFIG)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(torch.full_like(value, 3) if "num" in name else torch.rand(value.shape))
    torch.save(model.state_dict(), folder / "x.pt")
    save_pretrained(model, folder / "shards.hf", max_shard_size=5000)
    save_pretrained(model, folder / "whole")
    (folder / "whole" / "model.safetensors").rename(folder / "x.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        dcp.save(model.state_dict(), checkpoint_id=folder / "x.dcp", no_dist=True)
    torch.save(GPT2(GPT2_CONFIG).state_dict(), folder / "tied.pt")


def meta(kind=ResNet, config=CONFIG):
    with torch.device("meta"):
        return kind(config)


class Reads:
    """What is read, counted where our readers ask the system for it; it can be made to fail."""

    def __init__(self):
        self.bytes, self.broken, self._read = 0, False, read_box.read_at
        read_box.read_at = safetensors_file.read_at = self

    def __call__(self, file, start, into):
        self.bytes += into.nbytes
        if self.broken and self.bytes > 2000:
            raise CheckpointError("the disk fails")
        self._read(file, start, into)


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def same(model, expected):
    """Every value is that of the file, to the bit."""
    found = {name: whole(value) for name, value in model.state_dict().items()}
    return list(found) == list(expected) and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in expected.items()
    )


def part(value, axis):
    """What this process should have of a value that is split along an axis."""
    return value if axis is None else value.chunk(PROCESSES, axis)[dist.get_rank()]


def lie(model, expected, axes):
    """The shards are the slices of these axes, by the end of the name; everything else is whole."""
    for name, tensor in model.state_dict().items():
        axis = next((axis for end, axis in axes.items() if name.endswith(end)), None)
        placement = Replicate() if axis is None else Shard(axis)
        if tensor.placements != (placement,) or not torch.equal(tensor.to_local(), part(expected[name], axis)):
            return False
    return True


def local_bytes(model):
    return sum(tensor.to_local().nbytes for tensor in model.state_dict().values())


def message(function, *args, **options):
    try:
        function(*args, **options)
    except EinopsArchError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def on_a_mesh(folder, expected, reads):
    mesh = init_device_mesh("cpu", (PROCESSES,), mesh_dim_names=("model",))
    outputs = {"conv1.weight": 0, "conv2.weight": 0, "0.weight": 0, "fc.weight": 0, "fc.bias": 0}
    inputs = {"conv1.weight": 1, "conv2.weight": 1, "0.weight": 1, "fc.weight": 1}
    for place in PLACES:
        model = meta()
        reads.bytes = 0
        load(folder / place, model, mesh=mesh, shardings={"o": "model"})
        yield f"{place}: the outputs are split", lie(model, expected, outputs)
        yield f"{place}: nothing else is read", reads.bytes <= local_bytes(model) + 200
        yield f"{place}: the values are those of the file", same(model, expected)
        model = meta()
        reads.bytes, read_box._SHORT = 0, 0
        load(folder / place, model, mesh=mesh, shardings={"i": "model"})
        yield f"{place}: the inputs are split", lie(model, expected, inputs)
        yield f"{place}: nothing between the pieces is read", reads.bytes <= local_bytes(model) + 200
        read_box._SHORT = 512
    model = meta()
    load(folder / "x.pt", model, mesh=mesh, shardings={"o": "model"}, dtype="bfloat16")
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in expected.items()}
    yield "a dtype that was asked for", same(model, half)
    square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("rows", "columns"))
    model = meta()
    load(folder / "x.safetensors", model, mesh=square, shardings={"o": "columns", "i": "rows"})
    row, column = square.get_coordinate()
    piece = expected["fc.weight"].chunk(2, 1)[row].chunk(2, 0)[column]
    yield "two axes of a mesh", torch.equal(model.fc.weight.to_local(), piece) and same(model, expected)
    tied, values = meta(GPT2, GPT2_CONFIG), torch.load(folder / "tied.pt", weights_only=True)
    load(folder / "tied.pt", tied, mesh=mesh, shardings={"token": "model"})
    yield "tied weights stay tied", tied.lm_head.weight is tied.transformer.wte.weight and same(tied, values)
    yield "words are split", torch.equal(tied.lm_head.weight.to_local(), part(values["lm_head.weight"], 0))


def on_fsdp(folder, expected, reads):
    x = torch.rand(2, 8, 32, 32)
    plain = ResNet(CONFIG).eval()
    load(folder / "x.safetensors", plain)
    yield "one process alone", same(plain, expected)
    for name, model in {"without values": meta(), "with values": ResNet(CONFIG)}.items():
        fully_shard(model.layer1)
        fully_shard(model)
        reads.bytes = 0
        load(folder / "x.safetensors", model)
        local = {name: t.to_local() if isinstance(t, DTensor) else t for name, t in model.state_dict().items()}
        yield f"FSDP {name}: nothing else is read", reads.bytes == sum(one.nbytes for one in local.values())
        yield f"FSDP {name}: its shards", torch.equal(local["fc.weight"], part(expected["fc.weight"], 0))
        yield f"FSDP {name}: the values are those of the file", same(model, expected)
        model.eval()
        with torch.no_grad():
            yield f"FSDP {name}: it computes the same", torch.allclose(model(x), plain(x), atol=1e-6)
    lines = message(load, folder / "x.safetensors", model, dtype="float16").splitlines()
    yield "FSDP: another dtype", lines[1].strip()
    mesh = init_device_mesh("cpu", (PROCESSES,), mesh_dim_names=("model",))
    yield "FSDP: a mesh twice", message(load, folder / "x.safetensors", model, mesh=mesh)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    reads.bytes, reads.broken = 0, dist.get_rank() == 2
    yield "a disk that fails in one process", message(load, folder / "x.safetensors", model).replace(f"{folder}/", "")
    reads.broken = False
    place = "nowhere.pt" if dist.get_rank() == 1 else "x.pt"
    yield "a file that one process has not", message(load, folder / place, model).replace(str(folder), "")
    yield "nothing was changed", not any(whole(value).any() for value in model.state_dict().values())


def errors(folder, expected, reads):
    mesh = init_device_mesh("cpu", (PROCESSES,), mesh_dim_names=("model",))
    source = folder / "x.safetensors"
    for name, shardings in {
        "an axis that the mesh has not": {"o": "modle"},
        "an axis that no layout has": {"q": "model"},
    }.items():
        yield name, message(load, source, meta(), mesh=mesh, shardings=shardings)
    both = message(load, source, meta(), mesh=mesh, shardings={"o": "model", "i": "model"})
    yield "two axes of one tensor", both.splitlines()[-1].strip()
    yield "no mesh", message(load, source, meta(), shardings={"o": "model"})
    yield "no names", message(load, source, meta(), mesh=init_device_mesh("cpu", (PROCESSES,)))
    odd = meta(config=replace(CONFIG, in_channels=6))
    yield "wrong shapes", message(load, source, odd, mesh=mesh, shardings={"i": "model"})
    torch.manual_seed(1)
    torch.save(ResNet(replace(CONFIG, in_channels=6)).state_dict(), folder / f"odd{dist.get_rank()}.pt")
    yield "sizes", message(load, folder / f"odd{dist.get_rank()}.pt", odd, mesh=mesh, shardings={"i": "model"})
    yield "nothing was made", all(value.is_meta for value in odd.state_dict().values())


def work(rank, folder):
    warnings.simplefilter("error")
    # PyTorch's own, of its own future.
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), PROCESSES), rank=rank, world_size=4)
    expected = torch.load(folder / "x.pt", weights_only=True)
    reads, found = Reads(), {}
    for part_of_it in (on_a_mesh, on_fsdp, errors):
        found.update(part_of_it(folder, expected, reads))
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    prepare(place)
    mp.start_processes(work, (place,), PROCESSES, start_method="fork")
