"""An explicit rename is never undone, and what an error suggests works when it is followed."""

from __future__ import annotations

import ast
import json
import re
import shlex

import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file
from test_parity_cli import invoke

from einops_arch.checkpoints import read_checkpoint
from einops_arch.errors import PortError
from einops_arch.flax import state_dict
from einops_arch.port import port_checkpoint


class Tagger(nnx.Module):
    def __init__(self, *, rngs):
        self.embed = nnx.Embed(7, 5, rngs=rngs)
        self.head = nnx.Linear(5, 3, rngs=rngs)


@pytest.fixture
def model():
    return Tagger(rngs=nnx.Rngs(0))


@pytest.fixture
def folder(tmp_path, monkeypatch, model):
    """`plain.pt`, `wrapped.ckpt` and `flax.safetensors` of one model."""
    monkeypatch.chdir(tmp_path)
    state = {name: torch.from_numpy(np.array(array)) for name, array in state_dict(model).items()}
    torch.save(state, "plain.pt")
    torch.save({"state_dict": {f"net.{name}": array for name, array in state.items()}, "epoch": 3}, "wrapped.ckpt")
    port_checkpoint("plain.pt", "flax.safetensors", "flax", model=model)
    return tmp_path


NAMES = ["net.embed.weight", "net.head.bias", "net.head.weight"]


@pytest.mark.parametrize("source", ["plain.pt", "wrapped.ckpt", "flax.safetensors"])
@pytest.mark.parametrize("known", [True, False])
def test_the_suggestion_of_a_port_like_another_file_works(source, known, folder, model):
    settings = {"model": model if known else None, "like": "wrapped.ckpt", "check": True}
    if source != "wrapped.ckpt" or known:  # its names go as they are where no model says others
        with pytest.raises(PortError, match="all 3 names of the model begin with 'net") as refused:
            port_checkpoint(source, "out.safetensors", "torch", **settings)
        settings["rename"] = ast.literal_eval(re.search(r"likely fix: rename=(\[.*?\]) \(", str(refused.value))[1])
    port_checkpoint(source, "out.safetensors", "torch", **settings)
    written = load_file("out.safetensors")
    assert sorted(written) == NAMES
    for name, array in state_dict(model).items():
        assert (written[f"net.{name}"] == array).all()


def test_the_suggestion_of_the_command_works(folder, monkeypatch):
    (folder / "twin_of_renaming.py").write_text(
        "from flax import nnx\n\n\nclass Tagger(nnx.Module):\n    def __init__(self, *, rngs):\n"
        "        self.embed = nnx.Embed(7, 5, rngs=rngs)\n        self.head = nnx.Linear(5, 3, rngs=rngs)\n"
    )
    arguments = ["port", "flax.safetensors", "out.pt", "--to", "torch", "--model", "twin_of_renaming:Tagger"]
    refused = invoke(*arguments, "--like", "wrapped.ckpt")
    assert refused.exit_code == 2
    (fix,) = re.findall(r"\((--rename '.*?')\)", refused.stderr)
    plan = invoke(*arguments, "--like", "wrapped.ckpt", *shlex.split(fix), "--dry-run", "--json")
    rows = {row["name"]: row["sources"] for row in json.loads(plan.stdout)["plan"]}
    assert rows == {
        "net.embed.weight": ["embed.embedding"],
        "net.head.weight": ["head.kernel"],
        "net.head.bias": ["head.bias"],
    }
    done = invoke(*arguments, "--like", "wrapped.ckpt", *shlex.split(fix), "--check")
    assert done.exit_code == 0, done.output
    assert sorted(read_checkpoint("out.pt").tensors) == NAMES


@pytest.mark.parametrize(
    ("source", "to", "rename", "names"),
    [
        ("plain.pt", "torch", ("^", "net."), NAMES),
        ("plain.pt", "flax", ("^", "net."), ["net.embed.embedding", "net.head.bias", "net.head.kernel"]),
        ("flax.safetensors", "flax", ("^", "net."), ["net.embed.embedding", "net.head.bias", "net.head.kernel"]),
        ("wrapped.ckpt", "torch", (r"^net\.", "body."), ["body.embed.weight", "body.head.bias", "body.head.weight"]),
        ("wrapped.ckpt", "torch", (r"^net\.", ""), ["embed.weight", "head.bias", "head.weight"]),
        ("plain.pt", "torch", ("head", "classifier"), ["classifier.bias", "classifier.weight", "embed.weight"]),
    ],
)
def test_a_rename_is_not_undone_by_a_model_with_other_names(source, to, rename, names, folder, model):
    port_checkpoint(source, "out.safetensors", to, model=model, rename=[rename], check=True)
    assert sorted(load_file("out.safetensors")) == names


def test_a_rename_that_makes_a_source_fit_is_of_the_source(folder, model):
    """Two modules of one shape that change places fit before and after."""
    twins = nnx.Dict(a=nnx.Linear(4, 4, rngs=nnx.Rngs(0)), b=nnx.Linear(4, 4, rngs=nnx.Rngs(1)))
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in state_dict(twins).items()}, "two.pt")
    rename = [("^a", "c"), ("^b", "a"), ("^c", "b")]
    port_checkpoint("two.pt", "out.safetensors", "flax", model=twins, rename=rename, check=True)
    assert (load_file("out.safetensors")["a.kernel"] == twins.b.kernel[...]).all()
    torch.save({f"x.{name}": torch.from_numpy(np.array(array)) for name, array in state_dict(model).items()}, "x.pt")
    with pytest.raises(PortError, match=r"rename y=z: matches none of the 3 names"):
        port_checkpoint("x.pt", "out.safetensors", "flax", model=model, rename=[("y", "z")], force=True)
