"""Names from files reach no terminal as they are, and a command that fails says one sentence and exits with 2."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import unicodedata

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from flax import nnx
from typer.testing import CliRunner

import einops_arch.torch
from einops_arch._log import LOG, Lines
from einops_arch._text import brief, printable
from einops_arch.architectures import GPT2Config, ViTConfig
from einops_arch.checkpoints import read_checkpoint
from einops_arch.cli.app import app
from einops_arch.cli.output import Page
from einops_arch.cli.reports import Rows, print_reports
from einops_arch.errors import CheckpointError, DestinationError, EinopsArchError, ParityError, PortError
from einops_arch.parity.compare import compare
from einops_arch.port.models.transformers_names import vit_naming
from einops_arch.port.transfer import transfer
from einops_arch.translation.refusals import Refusal

NAMES = ("\x1b[2J\x1b]0;owned\x07", "a\u202egnp.exe", "b\rc", "d\x9b31m", "e\u2066f", "g\x7f\x08", "h\u200fi", "j\nk")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_harmless(text):
    hidden = {character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"}}
    assert hidden <= {"\n"}, hidden


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "e.safetensors"
    safetensors.numpy.save_file({name: np.zeros(1, "f4") for name in NAMES}, path, {"no\x1b[31mte": "x\u202ey\x1b[0m"})
    return path


def test_names_and_metadata(file, tmp_path):
    result = invoke("inspect", file)
    assert result.exit_code == 0, result.output
    assert_harmless(result.output)
    assert r"no\x1b[31mte: x\u202ey\x1b[0m" in result.output
    assert r"j\nk" in result.output
    assert json.loads(invoke("inspect", file, "--json").stdout)["tensors"][0]["name"] in NAMES
    for more in (["--dry-run"], [], ["--force", "--dtype", "float16"], ["--rename", "nothing=", "--force"]):
        result = invoke("port", file, tmp_path / "f.safetensors", "--to", "torch", *more)
        assert result.exit_code == (2 if "--rename" in more else 0), result.output
        assert_harmless(result.output)
    # What is written keeps the names.
    assert set(read_checkpoint(tmp_path / "f.safetensors").tensors) == set(NAMES)


def test_the_name_of_the_file_and_what_is_refused(tmp_path):
    # A slash in a name: the folder's ends with a bracket.
    path = tmp_path / "x\x1b[31m\u202e[" / "].pt"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({"a": 1}).replace(b"a", b"\x1b"))
    for command in (["inspect", path], ["port", path, tmp_path / "y.pt", "--to", "torch"], ["verify", path]):
        result = invoke(*command)
        assert result.exit_code == 2, result.output
        assert_harmless(result.output)
    path.write_bytes(b"\x80\x02c\x1b[2Jos\nsys\x1b[0mtem\n.")
    result = invoke("inspect", path)
    assert result.exit_code == 2
    assert_harmless(result.output)
    assert r"\x1b[2Jos.sys\x1b[0mtem" in result.output.replace("\n", "")
    path = path.with_suffix(".safetensors")
    safetensors.numpy.save_file({"a": np.zeros(1, "f4")}, path)
    result = invoke("inspect", path)
    assert result.exit_code == 0
    assert r"x\x1b[31m\u202e[/].safetensors" in result.output.replace("\n", "").replace(" ", "")


def test_messages_and_reports(caplog):
    for name in NAMES:
        assert_harmless(str(EinopsArchError(f"{name}: wrong")))
        assert_harmless(str(CheckpointError(f"{name}: wrong")))
        assert_harmless(brief(name))
        assert printable(f"ok {name}", "") == f"ok {printable(name, '')}"
        logging.getLogger("einops_arch").warning("%s: left out", name)
    assert len(caplog.messages) == len(NAMES)
    for message in caplog.messages:
        assert_harmless(message)
    assert printable("größe 重み \u3000\xa0 é") == "größe 重み \u3000\xa0 é"

    class Torch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("a\x1b[2J\u202e", torch.nn.Linear(3, 2))

        def forward(self, x):
            return next(self.children())(x)

    class Flax(nnx.Module):
        def __init__(self):
            setattr(self, "a\x1b[2J\u202e", nnx.Linear(3, 2, rngs=nnx.Rngs(0)))

        def __call__(self, x):
            return getattr(self, "a\x1b[2J\u202e")(x)

    report = compare(Torch(), Flax(), np.ones((2, 3), "float32"))
    assert r"a\x1b[2J" in str(report)
    assert_harmless(str(report))


def test_a_terminal_that_has_few_characters(tmp_path):
    safetensors.numpy.save_file(
        {"größe": np.zeros(2, "f4")}, tmp_path / "x.safetensors", {"note": "x" * 9_000 + "重み"}
    )
    code = "import sys; from einops_arch.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "inspect", "x.safetensors"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    text = run.stdout.decode("ascii")
    assert r"gr\xf6\xdfe" in text
    # Of what is as long as a file, a page is shown.
    assert r"6608 characters" in text
    assert r"x\u91cd\u307f" in text


FORGED = "w\nSame function, bit for bit"


def assert_no_line_of_its_own(text):
    assert r"w\nSame function" in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("Same function, bit")], text


def test_a_line_break_in_a_name_makes_no_line_of_its_own_in_errors_and_logs(caplog):
    for kind in (EinopsArchError, CheckpointError, PortError, DestinationError):
        assert_no_line_of_its_own(str(kind(f"{FORGED}: missing")))
    with pytest.raises(PortError) as raised:
        transfer({FORGED: np.zeros(2, "f4"), "weight": np.zeros((2, 3), "f4")}, torch.nn.Linear(3, 2))
    # Two problems are three lines.
    assert len(str(raised.value).splitlines()) == 3
    assert_no_line_of_its_own(str(raised.value))
    assert_no_line_of_its_own(str(PortError(*raised.value.within("x.pt"))))
    LOG.warning("%s: left out%s", FORGED, Lines([FORGED, "second"]))
    assert len(caplog.messages[0].splitlines()) == 3
    assert_no_line_of_its_own(caplog.messages[0])


def networks_with_a_line_break_in_a_name():
    class Torch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(FORGED, torch.nn.Linear(3, 2))

        def forward(self, x):
            return next(self.children())(x)

    class Flax(nnx.Module):
        def __init__(self):
            setattr(self, FORGED, nnx.Linear(3, 2, rngs=nnx.Rngs(0)))

        def __call__(self, x):
            return getattr(self, FORGED)(x)

    return Torch(), Flax()


def test_a_line_break_in_a_name_makes_no_line_of_its_own_in_reports():
    torch_model, flax_model = networks_with_a_line_break_in_a_name()
    report = compare(torch_model, flax_model, np.ones((2, 3), "float32"))
    with pytest.raises(ParityError) as raised:
        report.assert_same_function()
    texts = str(report), report.to_text(rows="all"), str(raised.value), str(Refusal(FORGED, "x.py:1", "call", "no"))
    for text in texts:
        assert_no_line_of_its_own(text)
    page = Page(width=200)
    for rows in Rows:
        with page.capture() as captured:
            print_reports(page, [("eval", report)], rows)
        assert_no_line_of_its_own(captured.get())


def test_a_line_break_in_a_name_makes_no_line_of_its_own_in_commands(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({FORGED: np.zeros((2, 3), "f4"), "b": np.zeros(2, "f4")}, path)
    network = ["--arch", "convnet", "--preset", "mnist"]
    commands = {
        "inspect": ["inspect", path],
        "plan": ["port", path, tmp_path / "y.pt", "--to", "torch", "--dry-run"],
        "dropped": ["port", path, tmp_path / "y.pt", "--to", "torch", "--drop", "Same"],
        "wrong names": ["port", path, tmp_path / "z.safetensors", "--to", "flax", *network],
        "file name": ["inspect", tmp_path / f"{FORGED}.safetensors"],
        "folder": ["verify", tmp_path / FORGED / "x.pt"],
    }
    for name, command in commands.items():
        result = invoke(*command)
        assert result.exit_code in {0, 2}, (name, result.output)
        assert_no_line_of_its_own(result.output)


DESTINATIONS = {"y.safetensors": "torch", "y.pt": "torch", "y.hf": "torch", "y.dcp": "torch", "y": "flax"}


@pytest.fixture
def plain(tmp_path):
    """The same numbers, as PyTorch's and as Flax's."""
    paths = {framework: tmp_path / f"{framework}.safetensors" for framework in ("torch", "flax")}
    for framework, path in paths.items():
        safetensors.numpy.save_file({"a": np.array([1e30, 2], "f4")}, path, {"framework": framework})
    return paths


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_disk_that_fails_is_one_sentence(code, destination, plain, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    framework = DESTINATIONS[destination]
    result = invoke("port", plain[framework], tmp_path / destination, "--to", framework)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert os.strerror(code) in lines[0]
    assert not (tmp_path / destination).exists()


SMALL_FILES = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from einops_arch.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("destination", ["y.dcp", "y"])
def test_what_the_system_tells_another_librarys_writer_is_one_sentence(destination, tmp_path):
    framework = DESTINATIONS[destination]
    numbers = np.random.default_rng(0).random(50_000)
    safetensors.numpy.save_file({"a": numbers}, tmp_path / "a.safetensors", {"framework": framework})
    command = [sys.executable, "-c", SMALL_FILES, "port", "a.safetensors", destination, "--to", framework]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert "cannot be written: File too large" in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors"]


def test_numbers_that_do_not_fit_are_one_sentence(plain, tmp_path):
    for name, framework in DESTINATIONS.items():
        result = invoke("port", plain[framework], tmp_path / name, "--to", framework, "--dtype", "float16")
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert "1 finite numbers do not fit float16" in result.stderr
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ("y.safetensors", "disk.sink:Sink.tensor"),
        ("y.dcp", "formats.dcp_folder:write_tensor"),
        ("y", "formats.orbax_folder:_Promise.make"),
    ],
)
def test_an_interrupted_port_ends_with_130(destination, place, plain, tmp_path):
    framework = DESTINATIONS[destination]
    code = (
        "import importlib, signal, sys, time\n"
        # A process in the background of a shell begins with interrupts ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(*_):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        f"module, names = {place!r}.split(':')\n"
        "owner = importlib.import_module(f'einops_arch.checkpoints.{module}')\n"
        "*inner, name = names.split('.')\n"
        "setattr(getattr(owner, inner[0]) if inner else owner, name, wait)\n"
        "from einops_arch.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "port", plain[framework].name, destination, "--to", framework]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"
    assert sorted(tmp_path.iterdir()) == sorted(plain.values())


def test_what_was_left_out_is_said_everywhere(tmp_path):
    first = {"w": torch.arange(3.0)}
    torch.save({"model": first, "model_ema": {"w": torch.ones(3)}, "epoch": 7}, tmp_path / "x.pt")
    arguments = ("port", tmp_path / "x.pt", tmp_path / "y.safetensors", "--to", "torch")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "nothing was left out" not in result.stdout
    assert "model_ema: left out: a state dict of 1 tensors beside model, which was taken" in result.stdout
    left_out = json.loads(invoke(*arguments, "--force", "--json").stdout)["left_out"]
    assert set(left_out) == {"model_ema", "epoch"}
    with safetensors.safe_open(tmp_path / "y.safetensors", "np") as written:
        assert json.loads(written.metadata()["left_out"]) == left_out
    assert set(json.loads(invoke("inspect", tmp_path / "x.pt", "--json").stdout)["left_out"]) == set(left_out)
    result = invoke(*arguments, "--force", "--key", "model_ema")
    assert read_checkpoint(tmp_path / "y.safetensors").tensors["w"].tolist() == [1, 1, 1]
    assert "model: left out" in result.stdout
    assert "model: left out" in invoke("inspect", tmp_path / "x.pt", "--key", "model_ema").stdout


GPT2_FIELDS = {"n_embd": 10, "n_layer": 2, "n_head": 2, "n_inner": 14, "n_positions": 13, "vocab_size": 17}
VIT_FIELDS = {
    "hidden_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 14,
    "image_size": [6, 8],
    "patch_size": 2,
}


def transformers_folder(path, kind):
    """What transformers has in a file of GPT-2 or of a bare ViT, with what our networks have no place for."""
    torch.manual_seed(0)
    if kind == "gpt2":
        state = dict(einops_arch.torch.GPT2(GPT2Config.tiny()).transformer.state_dict())
        more = {f"h.{layer}.attn.bias": torch.ones(1, 1, 13, 13).tril() for layer in range(2)}
    else:
        naming = vit_naming(["encoder.layer.0.output.dense.bias"])
        state = naming.from_canonical(einops_arch.torch.ViT(ViTConfig.tiny()).state_dict())
        state = {name: value for name, value in state.items() if not name.startswith("classifier.")}
        more = {"pooler.dense.weight": torch.randn(10, 10), "pooler.dense.bias": torch.randn(10)}
    path.mkdir()
    fields = {"model_type": kind, **(GPT2_FIELDS if kind == "gpt2" else VIT_FIELDS)}
    (path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    tensors = {name: value.clone().contiguous() for name, value in {**state, **more}.items()}
    safetensors.torch.save_file(tensors, path / "model.safetensors")
    return path, set(more)


@pytest.mark.parametrize("kind", ["gpt2", "vit"])
@pytest.mark.parametrize("to", ["torch", "flax"])
def test_names_that_a_network_has_no_place_for_are_said_everywhere(kind, to, tmp_path):
    folder, more = transformers_folder(tmp_path / "x", kind)
    arguments = ("port", folder, tmp_path / "y.safetensors", "--to", to)
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "nothing was left out" not in result.stdout
    assert all(f"{name}: left out: " in result.stdout for name in more), result.stdout
    assert set(json.loads(invoke(*arguments, "--force", "--json").stdout)["left_out"]) == more
    with safetensors.safe_open(tmp_path / "y.safetensors", "np") as written:
        assert set(json.loads(written.metadata()["left_out"])) == more
