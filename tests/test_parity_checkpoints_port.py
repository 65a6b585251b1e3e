"""A port that streams is the port that has everything in memory, and what is said about it is true."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import nnx
from test_parity_cli import invoke, refused

from einops_arch import architectures
from einops_arch.checkpoints import Checkpoint, open_checkpoint, read_checkpoint, write_checkpoint, write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.checkpoints.reader_views import CAST_TO, Cast
from einops_arch.errors import CheckpointError, DtypeError, PortError
from einops_arch.flax.state import from_leaves, port_steps, to_leaves
from einops_arch.layouts.arrays import same_bits, to_numpy, to_tensor
from einops_arch.port.convert import Port, port_checkpoint


class Zoo(nnx.Module):
    """Every kind of rule: moved, split, stacked, turned round, summed, narrowed, constant, tied."""

    def __init__(self, *, rngs):
        self.linear = nnx.Linear(3, 5, rngs=rngs)
        self.general = nnx.LinearGeneral((2, 3), (4, 5), axis=(-2, -1), rngs=rngs)
        self.conv = nnx.Conv(2, 3, (5, 4), rngs=rngs)
        self.turned = nnx.ConvTranspose(2, 3, (5, 4), rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 6, rngs=rngs, decode=False)
        self.cell = nnx.LSTMCell(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.prelu = nnx.PReLU()
        self.embed = nnx.Embed(7, 3, rngs=rngs)
        self.again = self.embed


@pytest.fixture(scope="module")
def zoo():
    return nnx.eval_shape(lambda: Zoo(rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def state(zoo):
    """Random numbers in the names and layout of PyTorch, with the ties of the model."""
    rng = np.random.default_rng(0)
    shapes = {name: spec for step, _ in port_steps(zoo) for name, spec in step.expected.items()}
    state = {name: rng.standard_normal(shape).astype("float32") for name, (shape, _) in shapes.items()}
    return {**state, "again.weight": state["embed.weight"], "norm.num_batches_tracked": np.asarray(0, "int64")}


def read_all(reader):
    return {name: reader.read(name) for name in reader.names()}


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert same_bits(found[name], np.asarray(value)), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_it_is_the_port_in_memory(dtype, zoo, state, tmp_path):
    state = {name: value.astype(dtype) if value.dtype == "float32" else value for name, value in state.items()}
    state["again.weight"] = state["embed.weight"]
    source, there, back = (tmp_path / name for name in ("s.safetensors", "there.safetensors", "back.safetensors"))
    write_tensors(source, MemoryReader(state, {"framework": "torch"}))
    expected = to_leaves(zoo, state)
    remarks = port_checkpoint(source, there, "flax", model=zoo, check=True)
    assert (
        remarks
        == [
            "norm.num_batches_tracked: ignored: not in Flax; written as 0",
            "cell.bias_ih, cell.bias_hh: sum of both",
            *["cell.bias_ih, cell.bias_hh: sum of both"] * 3,
            "embed.embedding: tied to again.embedding, written once",
        ]
        or "embed" in remarks[-1]
    )
    with open_checkpoint(there) as reader:
        assert_same(read_all(reader), expected)
        for name in reader.tensors:
            assert b"".join(block.tobytes() for block in reader.blocks(name)) == np.asarray(expected[name]).tobytes()
    port_checkpoint(there, back, "torch", model=zoo, check=True)
    assert_same(read_checkpoint(back).tensors, from_leaves(zoo, expected))


def test_what_is_in_layout_is_passed_on(zoo, state, tmp_path):
    with Port.open(MemoryReader(state, {"framework": "torch"}), "flax", model=zoo) as port:
        for target, source in (("linear.bias", "linear.bias"), ("norm.scale", "norm.weight")):
            (block,) = port.result.blocks(target)
            assert np.shares_memory(block, state[source]), target
        (block,) = port.result.blocks("linear.kernel")
        assert not np.shares_memory(block, state["linear.weight"])
    write_tensors(tmp_path / "s.safetensors", MemoryReader(state, {"framework": "torch"}))
    with Port.open(tmp_path / "s.safetensors", "flax", model=zoo) as port:
        moved = {name for name in port.result.tensors if port.result.span(name) is None}
        summed = {"cell.hi.bias", "cell.hf.bias", "cell.hg.bias", "cell.ho.bias"}
        stacked = {f"attention.{name}.bias" for name in ("query", "key", "value")}
        assert moved == {name for name in port.result.tensors if name.endswith("kernel")} | summed | stacked
        plan = {one.name: one for one in port.tensors}
        assert (plan["conv.kernel"].pattern, plan["conv.kernel"].sources) == ("o i *k -> *k i o", ("conv.weight",))


def test_problems_are_reported_before_anything_is_written(zoo, state, tmp_path):
    wrong = {name: value for name, value in state.items() if name != "linear.bias"}
    wrong |= {"linear.weight": state["linear.weight"].T, "linear.bais": state["linear.bias"]}
    write_tensors(tmp_path / "s.safetensors", MemoryReader(wrong, {"framework": "torch"}))
    with pytest.raises(PortError) as caught:
        port_checkpoint(tmp_path / "s.safetensors", tmp_path / "x.safetensors", "flax", model=zoo)
    assert str(caught.value) == (
        "state of Zoo: 3 problems, nothing was changed\n"
        "  linear.bias: missing, expected shape (5,)\n"
        "  linear.bais: not in the model; did you mean linear.bias?\n"
        "  linear.weight: expected shape (5, 3), received (3, 5); the axes are permuted: a state is in PyTorch's layout"
    )
    untied = {**state, "again.weight": state["again.weight"] + 1}
    with pytest.raises(PortError, match=r"expected the same values as .*, which the model ties to it$"):
        Port.open(MemoryReader(untied, {"framework": "torch"}), "flax", model=zoo)
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


def test_one_name_of_a_tied_tensor_is_enough(zoo, state):
    for missing in ("embed.weight", "again.weight"):
        part = {name: value for name, value in state.items() if name != missing}
        with Port.open(MemoryReader(part, {"framework": "torch"}), "flax", model=zoo) as port:
            assert_same(read_all(port.result), to_leaves(zoo, state))


def test_the_check_sees_a_changed_byte(zoo, state, tmp_path):
    source, there = tmp_path / "s.safetensors", tmp_path / "x.safetensors"
    write_tensors(source, MemoryReader(state, {"framework": "torch"}))
    with Port.open(source, "flax", model=zoo) as port:
        port.run(there)
        digests = port.check(there)
        assert len(digests["conv.weight"]) == 64
        whole = there.read_bytes()
        at = whole.index(np.ascontiguousarray(state["conv.weight"].transpose(2, 3, 1, 0)).tobytes())
        there.write_bytes(whole[: at + 9] + bytes([whole[at + 9] ^ 1]) + whole[at + 10 :])
        with pytest.raises(PortError) as caught:
            port.check(there)
    assert str(caught.value) == f"{there}: 1 tensors differ from {source}\n  conv.weight"


@pytest.mark.parametrize("old", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("new", CAST_TO)
def test_rounding_is_torchs(old, new):
    rng = np.random.default_rng(0)
    numbers = np.concatenate(
        [rng.standard_normal(4000) * 2.0 ** rng.integers(-30, 30, 4000), [0.0, -0.0, np.inf, -np.inf]]
    )
    source = to_tensor(numbers).to(getattr(torch, old))
    cast = Cast(MemoryReader({"x": to_numpy(source)}, {}), new, allow_overflow=True)
    # Beyond the largest number torch gives the largest where jax gives NaN; both are an error unless allowed.
    if new == "float8_e4m3fn":
        source = source[source.abs().double() <= 448]
        cast = Cast(MemoryReader({"x": to_numpy(source)}, {}), new)
    found, expected = cast.read("x"), to_numpy(source.to(getattr(torch, new)))
    assert found.dtype == expected.dtype
    with np.errstate(invalid="ignore"):
        wide = found.astype("float64"), expected.astype("float64")
    np.testing.assert_array_equal(*wide)
    assert b"".join(block.tobytes() for block in cast.blocks("x")) == found.tobytes()


def test_the_largest_change_is_reported_and_overflow_is_an_error():
    arrays = {
        "x": np.array([1.0, 1.001, -3.0], "float32"),
        "n": np.array([1], "int64"),
        "big": np.array([7e4], "float32"),
    }
    cast = Cast(MemoryReader(arrays, {}), "bfloat16")
    assert cast.read("x").dtype == ml_dtypes.bfloat16
    assert cast.read("n").dtype == np.int64
    assert cast.changes == {"x": float(np.float64(np.float32(1.001)) - 1.0)}
    with pytest.raises(DtypeError) as caught:
        Cast(MemoryReader(arrays, {}), "float16").read("big")
    assert str(caught.value) == (
        "big: 1 finite numbers do not fit float16, the largest is 70000; likely fix: bfloat16, which has float32's "
        "range, or --allow-overflow (allow_overflow=True)"
    )
    allowed = Cast(MemoryReader(arrays, {}), "float16", allow_overflow=True)
    assert np.isinf(allowed.read("big")).all()
    assert allowed.overflows == {"big": 1}
    with pytest.raises(DtypeError, match=r"^expected a dtype of float64, float32, .*, received int8$"):
        Cast(MemoryReader(arrays, {}), "int8")


@pytest.fixture
def tied(tmp_path):
    """A file of a language model whose decoder is its encoder, and the model."""
    architecture = architectures.get("language_model")
    config = architecture.config.preset("tiny_tied")
    model = architecture.torch_class()(config)
    path = tmp_path / "tied.safetensors"
    state = {name: to_numpy(value) for name, value in model.state_dict().items()}
    write_checkpoint(path, Checkpoint(state, "torch", "language_model", config))
    return path, model, architecture.torch_class()(config)


def test_tied_weights_stay_tied(tied, tmp_path):
    path, model, other = tied
    there, back = tmp_path / "there.safetensors", tmp_path / "back.pt"
    port_checkpoint(path, there, "flax", check=True)
    port_checkpoint(there, back, "torch", check=True)
    with open_checkpoint(there) as reader:
        assert reader.aliases == {"decoder.weight": "encoder.embedding"}
    loaded = torch.load(back, weights_only=True)
    assert loaded["decoder.weight"].data_ptr() == loaded["encoder.weight"].data_ptr()
    other.load_state_dict(loaded)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


def test_tied_weights_for_those_who_know_no_aliases(tied, tmp_path):
    path, model, other = tied
    # safetensors' own loader for models knows what is tied, a plain dictionary does not.
    assert safetensors.torch.load_model(other, path) == (set(), [])
    assert torch.equal(other.decoder.weight, model.encoder.weight)
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "decoder.weight"'):
        other.load_state_dict(safetensors.torch.load_file(path))
    port_checkpoint(path, tmp_path / "untied.safetensors", "torch", untie=True)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "untied.safetensors"))


def test_a_file_of_no_architecture_changes_its_format(tmp_path):
    source = tmp_path / "s.pt"
    torch.save({"net": {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}}, source)
    remarks = port_checkpoint(source, tmp_path / "x.safetensors", "torch", rename=[("^a", "layer")], check=True)
    assert remarks == ["names and shapes were not checked: nothing says of which architecture the file is"]
    assert sorted(read_checkpoint(tmp_path / "x.safetensors").tensors) == ["layer.bias", "layer.weight"]
    with pytest.raises(CheckpointError, match=r"^the file does not say of which architecture it is"):
        port_checkpoint(source, tmp_path / "y.safetensors", "flax")


def test_the_plan_of_the_command_line(tied, tmp_path):
    path, *_ = tied
    there = tmp_path / "there.safetensors"
    result = invoke("port", path, there, "--to", "flax", "--dry-run", "--json")
    plan = json.loads(result.stdout)
    assert not there.exists()
    rows = {row["name"]: row for row in plan["plan"]}
    assert rows["encoder.embedding"]["sources"] == ["encoder.weight"]
    assert plan["aliases"] == {"decoder.weight": "encoder.embedding"}
    assert plan["bytes"] == sum(row["bytes"] for row in plan["plan"])
    text = invoke("port", path, there, "--to", "flax", "--dry-run").stdout
    assert "nothing was written" in text
    assert "o i -> i o" in text


def test_the_command_line_does_it_all(tied, tmp_path):
    path, model, _ = tied
    foreign, there = tmp_path / "foreign.pt", tmp_path / "shards"
    torch.save({f"net.{name}": value for name, value in model.state_dict().items()}, foreign)
    options = ("--arch", "language_model", "--preset", "tiny_tied", "--rename", r"^net\.=")
    result = invoke("port", foreign, there, "--to", "flax", "--max-shard-size", "1kB", "--check", *options)
    assert result.exit_code == 0, result.output
    assert "tensors are those of the source, by SHA-256" in result.stdout
    assert len(list(there.glob("model-*.safetensors"))) > 1
    half = tmp_path / "half.safetensors"
    result = invoke("port", there, half, "--to", "torch", "--dtype", "bfloat16", "--check", "--json")
    assert result.exit_code == 0, result.output
    assert {tensor.dtype for tensor in safetensors.torch.load_file(half).values()} == {torch.bfloat16}
    assert any("rounded, changed by at most" in line for line in json.loads(result.stdout)["remarks"])
    assert refused("port", foreign, half, "--to", "torch", "--rename", "net", "--force") == (
        "error: expected --rename 'regex=replacement', received 'net'"
    )
    assert refused("port", path, path, "--to", "torch", "--force").endswith(f"it is, or holds, the source {path}")


def test_inspect(tied, tmp_path):
    path, model, _ = tied
    found = json.loads(invoke("inspect", path, "--json").stdout)
    assert found["fits"] == ["language_model (it says so)"]
    assert found["aliases"] == {"decoder.weight": "encoder.weight"}
    assert found["parameters"] == sum(one.numel() for one in model.parameters())
    model.encoder.weight.data[0, 0] = float("nan")
    model.encoder.weight.data[1, :2] = float("-inf")
    torch.save(model.state_dict(), tmp_path / "x.pt")
    found = json.loads(invoke("inspect", tmp_path / "x.pt", "--json").stdout)
    (row,) = [row for row in found["tensors"] if row["nan"]]
    assert (row["name"], row["nan"], row["inf"]) == ("encoder.weight", 1, 2)
    assert found["fits"] == ["language_model --preset tiny_tied"]
    text = invoke("inspect", tmp_path / "x.pt").stdout
    assert "decoder.weight: tied to encoder.weight" in text
    assert "3 numbers are not finite" in text
