"""A slice through a layout, and the names of axes: both frameworks split the same weights along the same axes."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from test_parity_checkpoints_port import Zoo

from einops_arch import architectures
from einops_arch.checkpoints import load, open_checkpoint, write_tensors
from einops_arch.checkpoints.disk import read_box as reading
from einops_arch.checkpoints.disk.read_box import read_box
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.checkpoints.reader_views import Cast, Renamed, Untied
from einops_arch.errors import CheckpointError
from einops_arch.flax._build import abstract_model
from einops_arch.flax.state import port_steps, to_leaves
from einops_arch.layouts.arrays import same_bits
from einops_arch.layouts.axes import flax_axes, specs_of, torch_axes
from einops_arch.layouts.boxes import slices
from einops_arch.layouts.patterns import LayoutPattern
from einops_arch.layouts.slices import part_through
from einops_arch.port import to_flax
from einops_arch.port.stream import Ported
from einops_arch.port.transfer import model_state

SHAPES = st.lists(st.integers(0, 5), max_size=4)


@st.composite
def shapes_and_boxes(draw, shapes=SHAPES):
    shape = tuple(draw(shapes))
    ends = [sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in shape]
    everything = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    return shape, tuple(
        (0, size) if all_of_it else tuple(end) for size, end, all_of_it in zip(shape, ends, everything, strict=True)
    )


@given(shapes_and_boxes(), st.sampled_from([0, 8, 64, 512]), st.sampled_from([16, 1 << 20]))
def test_a_box_of_a_file_is_the_box_of_the_array(case, short, block):
    import tempfile

    shape, box = case
    array = np.arange(int(np.prod(shape)), dtype="uint16").reshape(shape)
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_SHORT", short)
        patch.setattr(reading, "BLOCK", block)
        file.write(b"ahead" + array.tobytes())
        file.flush()
        assert same_bits(read_box(file.fileno(), 5, shape, box, array.dtype), np.array(array[slices(box)]))


@given(st.data())
def test_a_box_through_a_pattern_is_the_box_of_what_the_pattern_makes(data):
    text, sizes, left = data.draw(
        st.sampled_from(
            [
                ("o i *k -> *k i o", {}, (3, 2, 4, 5)),
                ("(n heads k) e -> n e heads k", {"n": 3, "heads": 2}, (24, 5)),
                ("(*o) (*i) -> *i *o", {"o": (4, 5), "i": (2, 3)}, (20, 6)),
                ("o (c h w) -> (h w c) o", {"c": 2, "h": 3}, (4, 30)),
                ("a b (c d) -> (d b) a c", {"c": 2}, (3, 4, 6)),
                ("1 -> ", {}, (1,)),
                ("a 1 b -> b (a)", {}, (3, 1, 4)),
            ]
        )
    )
    pattern = LayoutPattern.parse(text)
    array = np.arange(int(np.prod(left)), dtype="uint32").reshape(left)
    moved = pattern.apply(array, sizes)
    _, box = data.draw(shapes_and_boxes(st.just(moved.shape)))
    wanted = []

    def read(one):
        wanted.append(int(np.prod([stop - start for start, stop in one])))
        return array[slices(one)]

    found = part_through(pattern, left, box, sizes, read)
    assert same_bits(np.array(found), np.array(moved[slices(box)]))
    if "(" not in text.partition("->")[2]:
        # Where no axis of the result is made of several, no element is read that is not wanted.
        assert sum(wanted) == found.size


@pytest.fixture(scope="module")
def zoo():
    """A model with every kind of rule, and weights for it in both layouts."""
    model = nnx.eval_shape(lambda: Zoo(rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    shapes = {name: spec for step, _ in port_steps(model) for name, spec in step.expected.items()}
    state = {name: rng.standard_normal(shape).astype("float32") for name, (shape, _) in shapes.items()}
    state |= {"again.weight": state["embed.weight"], "norm.num_batches_tracked": np.asarray(0, "int64")}
    return model, {"torch": state, "flax": to_leaves(model, state)}


@pytest.mark.parametrize(
    ("place", "framework"),
    [
        ("x.safetensors", "torch"),
        ("x.pt", "torch"),
        ("x.hf", "torch"),
        ("x.dcp", "torch"),
        ("x.safetensors", "flax"),
        ("orbax", "flax"),
    ],
)
def test_a_slice_of_any_format_in_any_layout(place, framework, zoo, tmp_path):
    model, weights = zoo
    shard = 200 if place == "x.hf" else None
    write_tensors(tmp_path / place, MemoryReader(weights[framework], {"framework": framework}), max_shard_size=shard)
    rng = np.random.default_rng(1)
    with open_checkpoint(tmp_path / place) as reader:
        readers = [Ported(reader, model, framework, to) for to in ("torch", "flax")]
        readers += [reader, Cast(reader, "bfloat16"), Renamed(reader, [("^", "x.")]), Untied(reader)]
        for one in readers:
            for name in one.tensors:
                bits = one.bits(name)
                for _ in range(3):
                    ends = [sorted(rng.integers(0, size + 1, 2).tolist()) for size in bits.shape]
                    box = tuple(
                        (0, size) if rng.random() < 0.3 else tuple(end)
                        for size, end in zip(bits.shape, ends, strict=True)
                    )
                    assert same_bits(np.array(one.part(name, box)), np.array(bits[slices(box)])), (name, box)


@pytest.mark.parametrize("name", architectures.names())
def test_both_frameworks_call_the_axes_the_same(name):
    architecture = architectures.get(name)
    config = architecture.config.tiny()
    with torch.device("meta"):
        torch_names = torch_axes(architecture.torch_class()(config))
    steps = port_steps(abstract_model(config))
    flax_names = flax_axes(steps)
    tied = collections.Counter(id(variable) for _, variables in steps for variable in variables)
    for step, variables in steps:
        for one in step.expected:
            for leaf in step.leaves:
                if tied[id(variables[0])] == 1:
                    assert sorted(torch_names[one]) == sorted(flax_names[leaf.path]), one
    # What has more than one axis has names, but for what a network holds itself: a class token, positions.
    nameless = {one for one, names in torch_names.items() if len(names) > 1 and not all(names)}
    assert nameless <= {"cls_token", "pos_embed"}


def test_an_axis_is_split_where_the_layout_has_it():
    torch_names, flax_names = (("o",), ("i",), ("kh",), ("kw",)), (("kh",), ("kw",), ("i",), ("o",))
    tensors = {"weight": ((8, 4, 3, 3), [torch_names]), "kernel": ((3, 3, 4, 8), [flax_names])}
    specs, problems = specs_of(tensors, {"o": "model"}, {"model": 4, "data": 2})
    assert specs == {"weight": ("model", None, None, None), "kernel": (None, None, None, "model")}
    assert problems == []
    packed = {"in_proj": ((18, 4), [(("n", "heads", "k"), ("e",))])}
    _, problems = specs_of(packed, {"heads": "model"}, {"model": 2})
    assert problems == ["in_proj: axis heads is a part of (n heads k), and only a whole axis can be split"]
    tied = {"words": ((8, 4), [(("token",), ("e",)), (("o",), ("i",))])}
    assert specs_of(tied, {"o": "model"}, {"model": 2})[0] == {"words": ("model", None)}
    _, problems = specs_of(tied, {"o": "model", "token": "data"}, {"model": 2, "data": 2})
    assert problems == ["words: axis o is under another name on data, and cannot be on model"]


@pytest.mark.parametrize("place", ["orbax", "x.safetensors"])
def test_flaxs_checkpoints_go_into_pytorch(place, tmp_path):
    architecture = architectures.get("language_model")
    config = architecture.config.preset("tiny_tied")
    torch.manual_seed(0)
    source = architecture.torch_class()(config)
    flax_model = to_flax(source)
    facts = {"framework": "flax", "architecture": "language_model"}
    write_tensors(tmp_path / place, MemoryReader(to_leaves(flax_model, model_state(source)), facts))
    with torch.device("meta"):
        model = architecture.torch_class()(config)
    load(tmp_path / place, model)
    assert model.decoder.weight is model.encoder.weight
    found = model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in source.state_dict().items())
    with pytest.raises(CheckpointError, match=r"^the checkpoint is in Flax's layout, and nothing says how that of"):
        load(tmp_path / place, torch.nn.Linear(2, 3))
