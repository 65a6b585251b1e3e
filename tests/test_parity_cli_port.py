"""The command port: round trips through every format, and files and destinations that it refuses."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_parity_cli import invoke, refused

from einops_arch import architectures
from einops_arch.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from einops_arch.cli import output
from einops_arch.layouts.arrays import same_bits
from einops_arch.parity import randomize


def state_of(name, dtype=None):
    """Random weights of the tiny network of that name, in which a mistake shows; tied ones are tied."""
    model = architectures.get(name).torch_class()(architectures.get(name).config.preset("tiny"))
    randomize(model)
    state = model.state_dict()
    return {key: value.to(dtype) if dtype and value.is_floating_point() else value for key, value in state.items()}


@pytest.fixture
def weights(tmp_path):
    """A file of ConvNet's tiny weights, as PyTorch saves them."""
    path = tmp_path / "weights.pt"
    torch.save(state_of("convnet"), path)
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", architectures.names())
def test_every_format_there_and_back(name, tmp_path):
    source = tmp_path / "source.pt"
    state = state_of(name)
    torch.save(state, source)
    steps = [("orbax", "flax"), ("one.safetensors", "torch"), ("two.safetensors", "flax"), ("back.pth", "torch")]
    options = ("--arch", name, "--preset", "tiny")
    for place, to in steps:
        result = invoke("port", source, tmp_path / place, "--to", to, *options)
        assert result.exit_code == 0, result.output
        # From here on the files say it themselves.
        source, options = tmp_path / place, ()
    back = torch.load(source, weights_only=True)
    assert set(back) == set(state)
    for key, value in state.items():
        assert same_bits(value.numpy(), back[key].numpy()), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes_stay(dtype, tmp_path):
    source = tmp_path / "source.pt"
    state = state_of("shuffle_unit", dtype)
    torch.save(state, source)
    there, back = tmp_path / "there.safetensors", tmp_path / "back.pt"
    assert invoke("port", source, there, "--to", "flax", "--arch", "shuffle_unit", "--preset", "tiny").exit_code == 0
    assert invoke("port", there, back, "--to", "torch").exit_code == 0
    found = torch.load(back, weights_only=True)
    for key, value in state.items():
        assert found[key].dtype == value.dtype, key
        assert torch.equal(found[key], value), key


def test_the_summary(weights, tmp_path):
    destination = tmp_path / "flax.safetensors"
    arguments = ("port", weights, destination, "--to", "flax", "--arch", "convnet", "--preset", "tiny")
    result = invoke(*arguments)
    size = sum(value.nbytes for value in state_of("convnet").values())
    assert result.stdout == (
        f"{destination}: convnet, PyTorch to Flax\n"
        f"8 tensors read, 8 written, {size / 1000:.3g} kB\n"
        "every value was moved, bit for bit; nothing was left out or added\n"
    )
    result = invoke(*arguments, "--force", "--json")
    assert json.loads(result.stdout) == {
        "source": str(weights),
        "destination": str(destination),
        "from": "torch",
        "to": "flax",
        "architecture": "convnet",
        "config": json.loads(architectures.get("convnet").config.preset("tiny").to_json()),
        "tensors_read": 8,
        "tensors_written": 8,
        "bytes": size,
        "left_out": {},
        "remarks": [],
    }


def test_the_summary_says_which_dtype_changed(tmp_path):
    source, destination = tmp_path / "source.pt", tmp_path / "flax.safetensors"
    torch.save(state_of("shuffle_unit"), source)
    result = invoke("port", source, destination, "--to", "flax", "--arch", "shuffle_unit", "--preset", "tiny")
    remarks = result.stdout.splitlines()[2:]
    counters = sum(key.endswith("num_batches_tracked") for key in state_of("shuffle_unit"))
    assert counters > 2
    assert [line.partition(", ")[0] for line in remarks] == [f"{counters} counters int64 became int32"]


def test_a_plan_cuts_no_name_on_a_narrow_screen(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    options = ("--to", "flax", "--arch", "convnet", "--preset", "tiny", "--dry-run")
    text = invoke("port", weights, tmp_path / "x.safetensors", *options).stdout
    assert "\nconv1.weight to conv1.kernel\n  o i *k -> *k i o; 3 3 2 3, float32, 216 bytes\n" in text
    assert "\nfc2.bias to fc2.bias\n" in text


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("destination", ["flax.safetensors", "folder"])
def test_nan_and_inf_in_the_weights_are_said(suffix, destination, tmp_path):
    state = {name: value.clone() for name, value in state_of("convnet").items()}
    state["conv1.weight"].view(-1)[:3] = torch.nan
    state["conv1.weight"].view(-1)[3] = -torch.inf
    state["fc2.bias"][0] = torch.inf
    source = tmp_path / f"source{suffix}"
    torch.save(state, source) if suffix == ".pt" else save_file(state, source)
    options = ("--to", "flax", "--arch", "convnet", "--preset", "tiny")
    result = invoke("port", source, tmp_path / destination, *options)
    assert result.exit_code == 0, result.output
    counts = [line for line in result.stdout.splitlines() if " holds " in line]
    assert counts == ["conv1.kernel: holds 3 NaN and 1 inf", "fc2.bias: holds 0 NaN and 1 inf"]
    report = json.loads(invoke("port", source, tmp_path / destination, *options, "--force", "--json").stdout)
    assert report["not_finite"] == {"conv1.kernel": {"nan": 3, "inf": 1}, "fc2.bias": {"nan": 0, "inf": 1}}


def test_verify_takes_the_file(weights, tmp_path):
    result = invoke("verify", weights, "--arch", "convnet", "--preset", "tiny", "--mode", "eval", "--no-gradients")
    assert result.exit_code == 0, result.output
    assert "round trip: 8 tensors, bit for bit\neval mode: same function\n" in result.stdout
    ported = tmp_path / "flax.safetensors"
    assert invoke("port", weights, ported, "--to", "flax", "--arch", "convnet", "--preset", "tiny").exit_code == 0
    result = invoke("verify", ported, "--mode", "eval", "--no-gradients", "--json")
    assert json.loads(result.stdout)["results"][0]["config"]["image_size"] == [17, 12]


def test_what_the_file_does_not_say_is_asked_for(weights, tmp_path):
    there = tmp_path / "there.safetensors"
    odd = tmp_path / "odd.safetensors"
    write_checkpoint(odd, Checkpoint({"a": np.zeros(3), "b.c": np.zeros(2)}))
    assert refused("port", odd, there, "--to", "flax") == (
        f"error: {odd}: the file does not say of which architecture it is, and none fits; likely fix: --arch with one "
        f"of {', '.join(architectures.names())}, or --model pkg.module:make()"
    )
    assert refused("port", odd, there, "--to", "flax", "--arch", "convnet") == (
        f"error: {odd}: the file does not say its config, and none fits; likely fix: --preset with one of mnist, "
        "digits, tiny, or --config FILE"
    )
    assert refused("port", weights, there, "--to", "flax", "--arch", "convent", "--preset", "tiny") == (
        "error: no architecture and no preset is named 'convent': did you mean 'convnet' or 'convnet_mnist' or "
        "'convnet_digits'?"
    )
    assert names_in(tmp_path) == ["odd.safetensors", "weights.pt"]


def test_options_that_contradict_the_file(tmp_path):
    source, there = tmp_path / "source.safetensors", tmp_path / "there.safetensors"
    config = architectures.get("convnet").config.preset("tiny")
    state = {key: value.numpy() for key, value in state_of("convnet").items()}
    write_checkpoint(source, Checkpoint(state, "torch", "convnet", config))
    assert refused("port", source, there, "--to", "flax", "--arch", "shufflenet") == (
        f"error: {source}: its metadata says convnet, received --arch shufflenet; likely fix: leave --arch out"
    )
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**config.to_dict(), "hidden": 8, "dropout": 0.25}))
    assert refused("port", source, there, "--to", "flax", "--config", file) == (
        f"error: {source}: its metadata says hidden=7, received 8; dropout=0.5, received 0.25; "
        "likely fix: leave --config out"
    )
    assert not there.exists()
    # Options that say the same are no contradiction.
    assert invoke("port", source, there, "--to", "flax", "--arch", "convnet", "--preset", "tiny").exit_code == 0


def test_every_problem_of_a_checkpoint_in_one_message(tmp_path):
    source, there = tmp_path / "source.pt", tmp_path / "there.safetensors"
    state = state_of("convnet")
    del state["conv1.bias"]
    state["fc2.wieght"] = state.pop("fc2.weight")
    state["head.bias"] = torch.zeros(3)
    state["fc1.weight"] = state["fc1.weight"].T.contiguous()
    state["conv2.weight"] = torch.zeros(5, 3, 2, 2)
    state["fc1.bias"] = torch.zeros(7, dtype=torch.int64)
    torch.save(state, source)
    assert refused("port", source, there, "--to", "flax", "--arch", "convnet", "--preset", "tiny").splitlines() == [
        f"error: {source}: state of ConvNet: 7 problems, nothing was changed",
        "  conv1.bias: missing, expected shape (3,)",
        "  fc2.weight: missing, expected shape (4, 7)",
        "  fc2.wieght: not in the model; did you mean fc2.weight?",
        "  head.bias: not in the model",
        "  conv2.weight: expected shape (5, 3, 3, 3), received (5, 3, 2, 2)",
        "  fc1.weight: expected shape (7, 10), received (10, 7); the axes are permuted: a state is in PyTorch's layout",
        "  fc1.bias: expected floating-point numbers, received int64",
    ]
    assert names_in(tmp_path) == ["source.pt"]


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("module.", "DataParallel writes them; likely fix: save model.module.state_dict()"),
        ("_orig_mod.", "torch.compile writes them; likely fix: save model._orig_mod.state_dict()"),
    ],
)
def test_names_with_a_wrapper_before_them(prefix, reason, tmp_path):
    source = tmp_path / "source.pt"
    torch.save({prefix + key: value for key, value in state_of("convnet").items()}, source)
    assert refused("verify", source, "--arch", "convnet", "--preset", "tiny") == (
        f"error: {source}: expected names such as 'conv1.weight', received '{prefix}conv1.weight': all 8 names "
        f"start with '{prefix}', as {reason}, or take the prefix off each name"
    )


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file(ending, part, weights, tmp_path):
    source = tmp_path / f"source.{ending}"
    write_checkpoint(source, read_checkpoint(weights))
    whole = source.read_bytes()
    source.write_bytes(whole[: int(part * len(whole))])
    message = refused("verify", source, "--arch", "convnet", "--preset", "tiny")
    kind = {"pt": "PyTorch", "safetensors": "safetensors"}[ending]
    assert message.startswith((f"error: {source}: not a whole {kind} file: ", f"error: {source}: refused, "))
    assert "\n" not in message
    there = tmp_path / "there.safetensors"
    assert refused("port", source, there, "--to", "flax", "--arch", "convnet", "--preset", "tiny") == message
    assert names_in(tmp_path) == sorted([source.name, "weights.pt"])


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["torch.save", "torch.save, old form", "pickle"])
def test_a_pickle_that_would_run_code(form, tmp_path):
    source, trace = tmp_path / "source.pt", tmp_path / "trace"
    content = {**state_of("convnet"), "epoch": Payload(trace)}
    if form == "pickle":
        source.write_bytes(pickle.dumps({key: np.asarray(1.0) for key in content} | {"epoch": content["epoch"]}))
    else:
        torch.save(content, source, _use_new_zipfile_serialization=form == "torch.save")
    message = refused("port", source, tmp_path / "a.safetensors", "--to", "flax", "--arch", "convnet")
    assert message.startswith(f"error: {source}: ")
    assert ("not plain weights" if form == "pickle" else "entry 'epoch' is an object") in message
    assert "\n" not in message
    assert names_in(tmp_path) == ["source.pt"]
    # The file would have done it.
    with source.open("rb") as file:
        if form == "pickle":
            pickle.load(file)
        else:
            torch.load(file, weights_only=False)
    assert trace.is_dir()


def test_a_destination_that_exists(weights, tmp_path):
    there = tmp_path / "there.safetensors"
    there.write_text("dear")
    arguments = ("port", weights, there, "--to", "flax", "--arch", "convnet", "--preset", "tiny")
    assert refused(*arguments) == f"error: {there} exists already; replace it with --force (force=True)"
    assert there.read_text() == "dear"
    assert invoke(*arguments, "--force").exit_code == 0
    assert read_checkpoint(there).framework == "flax"


def test_a_destination_that_cannot_be_written(weights, tmp_path):
    options = ("--to", "flax", "--arch", "convnet", "--preset", "tiny", "--force")
    nowhere, inside = tmp_path / "absent" / "a.safetensors", weights / "a.safetensors"
    assert refused("port", weights, nowhere, *options) == (
        f"error: {nowhere} cannot be written: {nowhere.parent} does not exist"
    )
    assert refused("port", weights, inside, *options) == (
        f"error: {inside} cannot be written: {weights} is not a folder"
    )
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "thesis.txt").write_text("dear")
    held = "other things than a checkpoint, such as 'thesis.txt'"
    assert refused("port", weights, folder, *options) == (
        f"error: {folder} is a folder that holds {held}; it is not replaced"
    )
    assert names_in(tmp_path) == ["project", "weights.pt"]
    assert names_in(folder) == ["thesis.txt"]


def test_a_format_that_does_not_hold_what_is_asked(weights, tmp_path):
    options = ("--arch", "convnet", "--preset", "tiny")
    pt, folder, other = tmp_path / "a.pt", tmp_path / "a", tmp_path / "a.onnx"
    assert refused("port", weights, pt, "--to", "flax", *options) == (
        f"error: {pt}: a .pt file holds PyTorch's state; write .safetensors or an Orbax folder for Flax"
    )
    assert refused("port", weights, folder, "--to", "torch", *options).startswith(
        f"error: {folder}: an Orbax folder holds the state of a Flax model; write .safetensors"
    )
    assert refused("port", weights, other, "--to", "flax", *options).startswith(
        f"error: {other}: expected a name that ends with .safetensors, .pt, "
    )
    assert names_in(tmp_path) == ["weights.pt"]


def test_a_source_that_is_not_there_or_no_checkpoint(tmp_path):
    absent, folder, text = tmp_path / "absent.pt", tmp_path / "folder", tmp_path / "notes.txt"
    folder.mkdir()
    text.write_text("hello")
    there = tmp_path / "a.safetensors"
    assert refused("port", absent, there, "--to", "flax") == f"error: {absent}: no such file or folder"
    assert str(folder) in refused("port", folder, there, "--to", "flax")
    assert refused("port", text, there, "--to", "flax").startswith(f"error: {text}: expected a file that ends with ")
    numbers = tmp_path / "numbers.pt"
    torch.save({"epoch": 3, "loss": [1.0]}, numbers)
    assert refused("port", numbers, there, "--to", "flax").startswith(
        f"error: {numbers}: expected a state dict, or one under state_dict, "
    )
    assert names_in(tmp_path) == ["folder", "notes.txt", "numbers.pt"]


def test_a_dcp_folder_there_and_back(weights, tmp_path):
    network = ("--arch", "convnet", "--preset", "tiny")
    assert invoke("port", weights, tmp_path / "a.dcp", "--to", "torch", "--check", *network).exit_code == 0
    assert invoke("port", tmp_path / "a.dcp", tmp_path / "b", "--to", "flax", "--format", "orbax").exit_code == 0
    back = invoke("port", tmp_path / "b", tmp_path / "c.pth", "--to", "torch", "--check")
    assert back.exit_code == 0, back.output
    state, found = state_of_file(weights), state_of_file(tmp_path / "c.pth")
    assert set(found) == set(state)
    assert all(torch.equal(value, found[name]) for name, value in state.items())


def state_of_file(path):
    return torch.load(path, weights_only=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_what_the_system_refuses_ends_with_exit_code_2(weights, tmp_path, monkeypatch):
    network = ("--to", "flax", "--arch", "convnet", "--preset", "tiny", "--force")
    before, there = weights.read_bytes(), tmp_path / "there.safetensors"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    loop = tmp_path / "loop"
    assert refused("port", loop, there, *network).endswith("cannot be read: Too many levels of symbolic links")
    assert refused("port", weights, loop / "x.safetensors", *network).endswith("Too many levels of symbolic links")
    link = tmp_path / "link.pt"
    link.symlink_to(weights)
    same = refused("port", weights, link, "--to", "torch", *network[2:])
    assert same.endswith(f"it is, or holds, the source {weights}")
    real = os.open

    def full(path, flags, *rest, **options):
        new = flags & os.O_CREAT
        return real("/dev/full" if new else path, flags & ~(os.O_CREAT | os.O_EXCL), *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        assert refused("port", weights, there, *network) == (
            f"error: {there} cannot be written: No space left on device"
        )

    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        # Root may read everything, so the system is made to say no.
        patch.setattr(os, "open", forbidden)
        assert refused("port", weights, there, *network) == f"error: {weights}: cannot be read: Permission denied"

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", broken)
        assert "the file cannot be read: Input/output error" in refused("port", weights, there, *network)
    assert weights.read_bytes() == before
    assert names_in(tmp_path) == ["link.pt", "loop", "weights.pt"]


def test_the_bar_has_bytes_rate_and_time_left(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(output, "screen", lambda: output.Page(file=screen, force_terminal=True, width=120))
    with output.bytes_bar("Writing x.safetensors", 2_000_000) as advance:
        advance(1_000_000)
        advance(500_000)
    text = screen.getvalue()
    assert "Writing x.safetensors" in text
    assert "1.5/2.0 MB" in text
    assert "MB/s" in text or "?" in text
    assert "0:00:0" in text
