"""Load checkpoints onto a mesh of eight virtual devices; `test_flax_checkpoints_mesh.py` runs it.

It writes what it found as a file of JSON, true or false or a message by what it is about.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from einops_arch.architectures import ConvNetConfig, GPT2Config
from einops_arch.checkpoints import Checkpoint, load, open_checkpoint, save_pretrained, write_checkpoint
from einops_arch.checkpoints.disk import read_box
from einops_arch.checkpoints.formats import safetensors_file, torch_file
from einops_arch.errors import CheckpointError, EinopsArchError
from einops_arch.flax import ConvNet, state_dict, without_values
from einops_arch.flax.state import to_leaves

CONFIG = ConvNetConfig(in_channels=8, image_size=(18, 18), channels=(16, 24), kernel_size=3, hidden=32, classes=8)
GPT2_CONFIG = GPT2Config(vocabulary=16, positions=8, embedding=8, layers=1, heads=2, hidden=12)
PLACES = ("x.safetensors", "x.pt", "shards.hf", "flax.safetensors", "orbax")


class Reads:
    """Every piece that is read, where our readers ask the system for it; it can be made to fail."""

    def __init__(self):
        self.sizes, self.broken, self._read = [], False, read_box.read_at
        for module in (read_box, safetensors_file, torch_file):
            module.read_at = self

    def __call__(self, file, start, into):
        self.sizes.append(into.nbytes)
        if self.broken and len(self.sizes) > 5:
            raise CheckpointError("the disk fails")
        self._read(file, start, into)


def prepare(folder):
    model = ConvNet(CONFIG, rngs=nnx.Rngs(0))
    state = state_dict(model)
    known = ("convnet", CONFIG)
    write_checkpoint(folder / "x.safetensors", Checkpoint(state, "torch", *known))
    write_checkpoint(folder / "x.pt", Checkpoint(state, "torch"))
    save_pretrained(model, folder / "shards.hf", max_shard_size=20000)
    write_checkpoint(folder / "flax.safetensors", Checkpoint(to_leaves(model, state), "flax", *known))
    write_checkpoint(folder / "orbax", Checkpoint(to_leaves(model, state), "flax", *known))
    return state


def same(model, expected):
    found = state_dict(model)
    return all(found[name].tobytes() == value.tobytes() for name, value in expected.items())


def lie(model, axes):
    """The shards are the slices of these axes of Flax's layout; everything else is whole."""
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        value = variable.get_value()
        axis = axes.get(".".join(path))
        every = np.asarray(value)
        for number, shard in enumerate(value.addressable_shards):
            part = every if axis is None else np.split(every, 8, axis)[number]
            if shard.data.shape != part.shape or not np.array_equal(np.asarray(shard.data), part):
                return False
    return True


def message(function, *args, **options):
    try:
        function(*args, **options)
    except EinopsArchError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def on_a_mesh(folder, expected, reads):
    mesh = jax.make_mesh((8,), ("model",))
    outputs = {"conv1.kernel": 3, "conv2.kernel": 3, "fc1.kernel": 1, "fc2.kernel": 1}
    outputs |= {f"{name}.bias": 0 for name in ("conv1", "conv2", "fc1", "fc2")}
    inputs = {"conv1.kernel": 2, "conv2.kernel": 2, "fc1.kernel": 0, "fc2.kernel": 0}
    total = sum(value.nbytes for value in expected.values())
    read_box._SHORT = 0
    for place in PLACES:
        model = without_values(CONFIG)
        reads.sizes = []
        load(folder / place, model, mesh=mesh, shardings={"o": "model"})
        yield f"{place}: the outputs are split", lie(model, outputs)
        if place != "orbax":
            # TensorStore reads by itself; see below.
            yield f"{place}: every byte is read once", sum(reads.sizes) == total
            largest = max(value.nbytes for value in expected.values()) // 8
            yield f"{place}: a shard reads its slice", max(reads.sizes) <= largest
        yield f"{place}: the values are those of the file", same(model, expected)
        model = without_values(CONFIG)
        reads.sizes = []
        load(folder / place, model, mesh=mesh, shardings={"i": "model"})
        yield f"{place}: the inputs are split", lie(model, inputs) and same(model, expected)
        if place != "orbax":
            yield f"{place}: every byte is read once again", sum(reads.sizes) == total
    read_box._SHORT = 512
    square = jax.make_mesh((2, 4), ("rows", "columns"))
    model = without_values(CONFIG)
    load(folder / "x.safetensors", model, mesh=square, shardings={"o": "columns", "i": "rows"})
    yield "two axes of a mesh", model.fc1.kernel[...].sharding.spec == PartitionSpec("rows", "columns")
    yield "two axes of a mesh: the values", same(model, expected)


def in_place(folder, expected, reads):
    mesh = jax.make_mesh((8,), ("model",))
    place = NamedSharding(mesh, PartitionSpec(None, "model"))
    model = ConvNet(CONFIG, rngs=nnx.Rngs(1))
    model.fc1.kernel.set_value(jax.device_put(model.fc1.kernel[...], place))
    before = state_dict(model)
    reads.sizes, reads.broken = [], True
    yield "a disk that fails", message(load, folder / "x.safetensors", model).replace(f"{folder}/", "")
    reads.broken = False
    yield "nothing was changed", same(model, before)
    load(folder / "x.safetensors", model)
    yield "values go where those lie that they replace", model.fc1.kernel[...].sharding == place
    yield "in place: the values", same(model, expected)
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 18, 18, 8)))
    # The compiler chooses where what is computed lies; with the default, explicit axes, every operation must say it.
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    split, plain = without_values(CONFIG), ConvNet(CONFIG, rngs=nnx.Rngs(1))
    load(folder / "x.pt", split, mesh=mesh, shardings={"o": "model"})
    load(folder / "x.pt", plain)
    for each in (split, plain):
        each.eval()
    y = nnx.jit(lambda model, x: model(x))(split, jax.device_put(x, NamedSharding(mesh, PartitionSpec())))
    yield "it computes the same", bool(np.allclose(y, plain(x), atol=1e-5))
    tied = without_values(GPT2_CONFIG)
    weights = {name: np.ones(spec.shape, "float32") for name, spec in _shapes(tied).items()}
    write_checkpoint(folder / "tied.safetensors", Checkpoint(weights, "torch", "gpt2", GPT2_CONFIG))
    load(folder / "tied.safetensors", tied, mesh=mesh, shardings={"token": "model"}, dtype="bfloat16")
    words = tied.transformer.wte.embedding
    yield "tied weights stay tied", tied.lm_head.weight is words
    yield "words are split", words[...].sharding.spec == PartitionSpec("model", None) and words.dtype == "bfloat16"


def _shapes(model):
    from einops_arch.flax.state import port_steps

    return {
        name: jax.ShapeDtypeStruct(shape, "float32")
        for step, _ in port_steps(model)
        for name, (shape, _) in step.expected.items()
    }


def tensorstore(folder):
    """Eight shards in a folder of Orbax's own: of one of them only its bytes are read."""
    mesh = jax.make_mesh((8,), ("model",))
    value = jax.random.uniform(jax.random.key(0), (64, 32768))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "sharded", {"x": jax.device_put(value, NamedSharding(mesh, PartitionSpec("model")))})
    with open_checkpoint(folder / "sharded") as reader:
        before = _bytes_read()
        part = reader.part("x", ((8, 16), (0, 32768)))
        yield "Orbax: a slice reads its bytes", _bytes_read() - before < 1.5 * part.nbytes
        yield "Orbax: the slice", np.array_equal(part.view("float32"), value[8:16])


def _bytes_read():
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def errors(folder):
    mesh = jax.make_mesh((8,), ("model",))
    source = folder / "x.safetensors"
    for name, shardings in {
        "an axis that the mesh has not": {"o": "modle"},
        "an axis that no layout has": {"q": "model"},
    }.items():
        yield name, message(load, source, without_values(CONFIG), mesh=mesh, shardings=shardings)
    both = message(load, source, without_values(CONFIG), mesh=mesh, shardings={"o": "model", "i": "model"})
    yield "two axes of one tensor", both.splitlines()[-1].strip()
    yield "no mesh", message(load, source, without_values(CONFIG), shardings={"o": "model"})
    odd = replace(CONFIG, classes=12)
    yield "wrong shapes", message(load, source, without_values(odd), mesh=mesh, shardings={"o": "model"})
    write_checkpoint(folder / "odd.pt", Checkpoint(state_dict(ConvNet(odd, rngs=nnx.Rngs(0)))))
    model = without_values(odd)
    yield "sizes", message(load, folder / "odd.pt", model, mesh=mesh, shardings={"o": "model"})
    yield "nothing was made", isinstance(model.fc2.bias.get_value(), jax.ShapeDtypeStruct)
    abstract = nnx.eval_shape(lambda: ConvNet(CONFIG, rngs=nnx.Rngs(0)))
    yield "random streams", message(load, source, abstract).splitlines()[1].strip()
    wide = {name: value.astype("float64") for name, value in state_dict(ConvNet(CONFIG, rngs=nnx.Rngs(0))).items()}
    write_checkpoint(folder / "wide.pt", Checkpoint(wide))
    yield "float64 without x64", message(load, folder / "wide.pt", without_values(CONFIG)).splitlines()[1].strip()


if __name__ == "__main__":
    warnings.simplefilter("error", UserWarning)
    jax.config.update("jax_enable_x64", False)
    place = Path(sys.argv[1])
    weights, counted, found = prepare(place), Reads(), {}
    for facts in (on_a_mesh(place, weights, counted), in_place(place, weights, counted), errors(place)):
        found.update(facts)
    found.update(tensorstore(place))
    (place / "found.json").write_text(json.dumps(found), encoding="utf-8")
