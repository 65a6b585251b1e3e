"""Two models of a user's own with a checkpoint of a training, on the command line: verify --state."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from flax.serialization import msgpack_serialize
from typer.testing import CliRunner

from einops_arch.cli.app import app
from einops_arch.cli.declarations.examples import EXAMPLES
from einops_arch.port import port_checkpoint

TORCH = """
import torch


class Tagger(torch.nn.Module):
    def __init__(self, width=6, act=torch.relu):
        super().__init__()
        self.embed = torch.nn.Embedding(20, width)
        self.act = act
        self.head = torch.nn.Linear(width, 4)

    def forward(self, tokens):
        return self.head(self.act(self.embed(tokens)))
"""
FLAX = """
from flax import nnx


class Tagger(nnx.Module):
    def __init__(self, width=6, *, bound=float("inf"), rngs):
        self.embed = nnx.Embed(20, width, rngs=rngs)
        self.head = nnx.Linear(width, 4, rngs=rngs)
        self.bound = bound

    def __call__(self, tokens):
        return self.head(nnx.relu(self.embed(tokens)).clip(max=self.bound))


class Renamed(nnx.Module):
    def __init__(self, *, rngs):
        self.tokens = nnx.Embed(20, 6, rngs=rngs)
        self.head = nnx.Linear(6, 4, rngs=rngs)

    def __call__(self, tokens):
        return self.head(nnx.relu(self.tokens(tokens)))
"""
INPUT = ("--input", "tokens: b t=2,7 int<20")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The files, and the state that the checkpoint has, with activations up to 30."""
    (tmp_path / "tagger.py").write_text(TORCH)
    (tmp_path / "flax").mkdir()
    (tmp_path / "flax" / "tagger.py").write_text(FLAX)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in [name for name in sys.modules if name.endswith("tagger")]:
        monkeypatch.delitem(sys.modules, name)
    random = np.random.default_rng(0)
    arrays = {
        "embed.weight": random.uniform(5, 30, (20, 6)).astype("float32"),
        "head.weight": random.normal(size=(4, 6)).astype("float32"),
        "head.bias": random.normal(size=4).astype("float32"),
    }
    wrapped = {f"net.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"state_dict": wrapped, "epoch": 3, "optimizer_states": []}, "tagger.ckpt")
    return arrays


def test_a_pair_in_two_files_of_one_name_is_proved_on_the_weights_of_a_training(caplog):
    """The clip is seen on the user's weights alone: random ones are drawn around 0, with a deviation of 1."""
    pair = ("verify", "tagger.py:Tagger()", "flax/tagger.py:Tagger(6, bound=20.0, rngs=nnx.Rngs(0))", *INPUT)
    result = invoke(*pair, "--state", "tagger.ckpt", "--mode", "eval", "--json")
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)["reports"][0]
    assert report["verdict"] == "semantic difference"
    result = invoke(*pair, "--transfer", "--mode", "eval")
    assert result.exit_code == 0, result.output
    same = ("verify", "tagger.py:Tagger", "flax/tagger.py:Tagger", *INPUT)
    result = invoke(*same, "--state", "tagger.ckpt")
    assert result.exit_code == 0, result.output
    assert "net. was taken off 3 names" in caplog.text
    assert "train mode: same function" in result.stdout


@pytest.mark.parametrize("target", ["flax/tagger.py:Tagger", "flax/tagger.py:Renamed"])
def test_the_weights_of_a_ported_file_go_to_both_sides(target, state):
    from einops_arch.cli.states import put_state
    from einops_arch.cli.targets import loaded

    paths = {"embed": "tokens"} if target.endswith("Renamed") else {}
    rename = [(r"^net\.", ""), *((f"^{path}", other) for path, other in paths.items())]
    port_checkpoint("tagger.ckpt", "ported.safetensors", "flax", model=loaded(target), rename=rename)
    torch_model, flax_model = loaded("tagger.py:Tagger"), loaded(target)
    put_state(Path("ported.safetensors"), torch_model, flax_model, paths)
    for name, array in state.items():
        assert (torch_model.state_dict()[name].numpy() == array).all()
    options = [text for path, other in paths.items() for text in ("--path", f"{path}={other}")]
    result = invoke("verify", "tagger:Tagger", target, *INPUT, "--state", "ported.safetensors", *options)
    assert result.exit_code == 0, result.output
    result = invoke("verify", "tagger:Tagger", target, *INPUT, "--state", "tagger.ckpt", *options)
    assert result.exit_code == 0, result.output


def test_a_model_keeps_the_dtypes_in_which_it_computes(state):
    from einops_arch.cli.states import put_state
    from einops_arch.cli.targets import loaded

    torch.save({name: torch.from_numpy(array).bfloat16() for name, array in state.items()}, "half.pt")
    model = loaded("tagger:Tagger")
    put_state(Path("half.pt"), model)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert (model.head.bias.detach() == torch.from_numpy(state["head.bias"]).bfloat16()).all()


@pytest.mark.parametrize(
    ("state_of", "lines"),
    [
        (lambda state: {"head.bias": state["head.bias"]}, ["embed.weight: missing", "head.weight: missing"]),
        (lambda state: {**state, "mask": np.zeros(2)}, ["mask: not in the model"]),
        (
            lambda state: {f"net.{name}": array[:3] for name, array in state.items()},
            ["embed.weight: expected shape (20, 6), received (3, 6)", "head.bias: expected shape (4,), received (3,)"],
        ),
    ],
)
def test_what_does_not_fit_is_told_with_the_file(state_of, lines, state):
    torch.save({name: torch.from_numpy(array) for name, array in state_of(state).items()}, "odd.pt")
    result = invoke("verify", "tagger:Tagger", "flax/tagger.py:Tagger", *INPUT, "--state", "odd.pt")
    assert result.exit_code == 2
    assert "error: odd.pt: transfer into Tagger: " in result.stderr
    assert all(f"\n  {line}" in result.stderr for line in lines)


def test_a_state_goes_with_two_models_and_not_with_other_weights():
    pair = ("verify", "tagger:Tagger", "flax/tagger.py:Tagger", *INPUT)
    result = invoke(*pair, "--state", "tagger.ckpt", "--randomize")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: verify: --state has the weights that --randomize would draw, received both\n",
    )
    result = invoke("verify", "convnet", "--state", "tagger.ckpt")
    assert result.exit_code == 2
    assert "--state, --key, --transfer" in result.stderr
    assert invoke("capture", "tagger:Tagger", "run", "--input", "b t=2,7@int64").exit_code == 0
    result = invoke("verify", "run", "--against", "flax/tagger.py:Tagger", "--state", "tagger.ckpt")
    assert result.exit_code == 2
    assert "a capture has its weights and inputs" in result.stderr
    assert any("--state" in line for line in EXAMPLES["verify"])


def test_translate_refuses_a_file_of_flax_and_says_what_to_do():
    from einops_arch.cli.targets import loaded

    model = loaded("flax/tagger.py:Tagger")
    port_checkpoint("tagger.ckpt", "ported.safetensors", "flax", model=model, rename=[(r"^net\.", "")])
    arguments = ("translate", "tagger:Tagger()", "--input", "b t=2,7 int<20", "-o", "twin.py")
    result = invoke(*arguments, "--state", "ported.safetensors")
    assert result.exit_code == 2
    assert "its arrays have Flax's names and layout" in result.stderr
    assert "--to torch --model MODULE:TWIN" in result.stderr


TAGGERS = {
    "verify": ("verify", "tagger:Tagger", "flax/tagger.py:Tagger", *INPUT, "--mode", "eval"),
    "translate": ("translate", "tagger:Tagger()", *INPUT, "-o", "twin.py"),
}


@pytest.mark.parametrize("arguments", TAGGERS.values(), ids=TAGGERS)
def test_of_several_states_none_is_taken_without_a_word(arguments, state, caplog):
    """An average beside the model is named; of two that could be meant none is taken, until --key says which."""
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    average = {name: tensor / 2 for name, tensor in tensors.items()}
    torch.save({"model": tensors, "model_ema": average, "epoch": 3}, "two.pt")
    result = invoke(*arguments, "--state", "two.pt")
    assert result.exit_code == 0, result.output
    assert "model_ema: left out: a state dict of 3 tensors beside model, which was taken" in caplog.text
    assert "epoch" not in caplog.text
    torch.save({"generator": tensors, "discriminator": {"fc.weight": torch.ones(2, 2)}}, "gan.pt")
    again = (*arguments, "--force") if arguments[0] == "translate" else arguments
    result = invoke(*again, "--state", "gan.pt")
    assert result.exit_code == 2
    assert "error: gan.pt: expected one state dict, received several: 'generator' (3 tensors), 'disc" in result.stderr
    assert "likely fix: --key generator" in result.stderr
    for file, key in (("gan.pt", "generator"), ("two.pt", "model_ema")):
        result = invoke(*again, "--state", file, "--key", key)
        assert result.exit_code == 0, result.output
    result = invoke(*again, "--state", "gan.pt", "--key", "discriminator")
    assert result.exit_code == 2
    assert "error: gan.pt: transfer into Tagger: " in result.stderr
    result = invoke(*again, "--key", "generator")
    assert result.exit_code == 2
    assert "--key names an entry of the file of --state, received it alone" in result.stderr


def test_the_key_says_whose_values_are_loaded(state):
    from einops_arch.cli.states import put_state
    from einops_arch.cli.targets import loaded
    from einops_arch.flax import state_dict

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    torch.save({"model": tensors, "model_ema": {name: tensor / 2 for name, tensor in tensors.items()}}, "two.pt")
    model = loaded("tagger:Tagger")
    put_state(Path("two.pt"), model, key="model_ema")
    assert (model.head.bias.detach().numpy() == state["head.bias"] / 2).all()
    twin = loaded("flax/tagger.py:Tagger")
    leaves = {"params": {"embed": {"embedding": state["embed.weight"]}}}
    leaves["params"]["head"] = {"kernel": state["head.weight"].T, "bias": state["head.bias"]}
    halves = {
        "params": {owner: {leaf: array / 2 for leaf, array in of.items()} for owner, of in leaves["params"].items()}
    }
    Path("two.msgpack").write_bytes(msgpack_serialize({"ema": halves, "model": leaves}))
    put_state(Path("two.msgpack"), model, twin, key="model")
    assert (state_dict(twin)["head.weight"] == state["head.weight"]).all()
    put_state(Path("two.msgpack"), model, twin, key="ema")
    assert (model.head.weight.detach().numpy() == state["head.weight"] / 2).all()


def test_a_model_is_made_with_the_arguments_of_the_command_line():
    from einops_arch.cli.targets import loaded

    assert loaded("tagger:Tagger(8)").head.in_features == 8
    assert loaded("tagger.py:Tagger(width=5)").head.in_features == 5
    assert loaded("flax/tagger.py:Tagger(8, bound=-1.5)").bound == -1.5
    result = invoke("translate", "tagger:Tagger(width=5)", "--input", "b t=2,7 int<20", "-o", "twin.py")
    assert result.exit_code == 0, result.output
    assert "width: int = 5" in Path("twin.py").read_text()
    for path in ("no_file.py", "flax/no_file.py"):
        result = invoke("translate", f"{path}:Tagger()", "--input", "b t=2,7 int<20", "-o", "other.py")
        assert result.exit_code == 2
        assert "no_file" in result.stderr
    assert result.stderr == "error: flax/no_file.py: no such file of Python\n"
