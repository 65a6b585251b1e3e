"""What a newcomer types first: `--help`, its examples, `| head`, NO_COLOR, and `doctor`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from test_parity_cli import invoke

from einops_arch import architectures
from einops_arch.architectures import GPT2Config, ResNetConfig
from einops_arch.cli import main
from einops_arch.cli.app import app
from einops_arch.cli.declarations.examples import EXAMPLES
from einops_arch.port import optimizers
from einops_arch.torch import GPT2, ConvNet, ResNet

COMMANDS = typer.main.get_command(app).commands
# Whole trainings, and a hundred faults: their own tests run these lines.
ELSEWHERE = {"demo", "mutate"}

NETS = """
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


def shuffle(x):
    b, c, h, w = x.shape
    return x.reshape(b, 3, c // 3, h, w).swapaxes(1, 2).reshape(b, c, h, w)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the examples name."""
    (tmp_path / "nets.py").write_text(NETS)
    torch.save(ConvNet().state_dict(), tmp_path / "convnet.pt")
    GPT2(GPT2Config.tiny()).save_pretrained(tmp_path / "gpt2")
    ResNet(ResNetConfig.tiny()).save_pretrained(tmp_path / "resnet")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_example_runs_in_the_order_of_the_table(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in ("nets", "classifier"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for command, examples in EXAMPLES.items():
        for line in examples if command not in ELSEWHERE else ():
            program, *arguments = shlex.split(line)
            assert (program, arguments[0]) == ("einops-arch", command)
            assert main(arguments) == 0, f"{line}\n{capsys.readouterr()}"
            assert capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_short_and_shows_what_is_typed(name, monkeypatch):
    assert EXAMPLES[name]
    monkeypatch.setenv("COLUMNS", "60")
    text = invoke(name, "--help").stdout
    assert not re.search(r"<[\w|]+>", text)  # no `<bool>` beside a flag
    assert "\x1b" not in text
    assert all(f"  $ {line}" in text for line in EXAMPLES[name])
    assert max(len(line) for line in text.splitlines() if "$ einops-arch" not in line) <= 60
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option" and not parameter.is_flag:
            assert parameter.metavar, parameter.name
            assert f"{parameter.opts[0]} {parameter.metavar}" in " ".join(text.split())


def test_the_list_cuts_no_name_on_a_narrow_screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = invoke("list").stdout
    assert max(map(len, text.splitlines())) <= 60
    for name in architectures.names():
        assert f"\n{name}\n" in f"\n{text}"
        assert all(preset in text for preset in architectures.get(name).config.PRESETS)


def test_json_is_a_flag_of_every_command():
    flags = [parameter for command in COMMANDS.values() for parameter in command.params if "--json" in parameter.opts]
    assert len(flags) == len(COMMANDS)
    assert all(parameter.is_flag for parameter in flags)


def test_the_whole_help_names_every_command():
    text = invoke("--help").stdout
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "Exit codes: 0 right, 1 not equal" in text


@pytest.mark.parametrize("command", ["show resnet50", "show resnet50 --json", "list", "verify --help"])
def test_a_reader_that_leaves_early_changes_neither_the_exit_code_nor_says_a_word(command):
    # `true` reads nothing at all, so that the first write fails.
    script = f"set -o pipefail; {sys.executable} -m einops_arch {command} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_pattern_is_still_exit_code_1_when_nobody_reads(tmp_path, monkeypatch):
    (tmp_path / "sums.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    line = f"{sys.executable} -m einops_arch discover sums:double --input 'b c=2,5'"
    for script in (line, f"{line} | true; exit ${{PIPESTATUS[0]}}"):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")


def test_no_color_is_honored_where_the_terminal_has_colors():
    variables = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [sys.executable, "-m", "einops_arch", "doctor"]
    colored, plain = (
        subprocess.run(command, capture_output=True, text=True, check=True, env=variables | more).stdout
        for more in ({}, {"NO_COLOR": "1"})
    )
    assert "\x1b[32m" in colored
    assert "\x1b[3" not in plain


_BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from einops_arch.cli import main
sys.exit(main(["doctor", "--json"]))
"""


@pytest.mark.parametrize("blocked", [(), ("torch",), ("torch", "jax", "flax")])
def test_doctor_needs_no_framework_and_names_those_there_are(blocked):
    program = _BLOCKED.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    examined = json.loads(done.stdout)
    assert set(examined["frameworks"]) == {"torch", "flax"} - set(blocked)
    versions = {row["name"]: row["version"] for row in examined["packages"]}
    assert versions["numpy"] == np.__version__
    if "torch" not in blocked:
        assert examined["frameworks"]["torch"]["version"] == torch.__version__
        assert examined["frameworks"]["torch"]["devices"]


def test_doctor_says_which_extra_is_missing_and_what_is_too_old(monkeypatch):
    from einops_arch.cli.commands import doctor

    versions = {"huggingface-hub": None, "rich": "13.1.0", "numpy": "2.10.1"}
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, real(name)))
    result = invoke("doctor")
    assert result.exit_code == 1
    assert 'huggingface-hub, for weights of the Hugging Face hub: pip install "einops-arch[hub]"' in result.stdout
    assert "rich 13.1.0: expected 13.9 or newer; likely fix: pip install -U rich" in result.stdout
    assert "numpy 2.10.1: expected" not in result.stdout


def test_a_function_in_a_description_is_printed_by_its_name():
    assert repr(optimizers.SGD(lr=0.1, decay=optimizers.matrices)) == (
        "SGD(lr=0.1, weight_decay=0.0, decay=matrices, schedule=None, momentum=0.0, nesterov=False)"
    )
    assert " at 0x" not in str(optimizers.Adam(lr=0.1, schedule=lambda step: 1 / (step + 1)))


@pytest.mark.parametrize(
    ("wrap", "shown"),
    [
        (lambda state: {"state_dict": state}, ["taken: the entry state_dict"]),
        (lambda state: {f"module.{key}": value for key, value in state.items()}, ["wrapper: module. was taken off 8"]),
        (
            lambda state: {"epoch": 3, "net": {f"_orig_mod.{key}": value for key, value in state.items()}},
            ["taken: the entry net", "wrapper: _orig_mod. was taken off 8 names, as torch.compile writes them"],
        ),
        (lambda state: state, []),
    ],
)
def test_inspect_says_what_it_took_off_and_what_then_fits(wrap, shown, tmp_path):
    torch.save(wrap(ConvNet().state_dict()), tmp_path / "weights.pt")
    lines = invoke("inspect", tmp_path / "weights.pt").stdout.splitlines()
    taken = [line for line in lines if line.startswith(("taken: ", "wrapper: "))]
    assert len(taken) == len(shown)
    assert all(line.startswith(start) for line, start in zip(taken, shown, strict=True))
    assert lines[-1] == "fits: convnet --preset mnist"


def test_a_pickled_module_is_refused_with_the_fix(tmp_path):
    torch.save(ConvNet(), tmp_path / "module.pt")
    result = invoke("inspect", tmp_path / "module.pt")
    assert result.exit_code == 2
    assert "torch.save(torch.load(FILE, weights_only=False).state_dict(), OTHER)" in result.stderr
