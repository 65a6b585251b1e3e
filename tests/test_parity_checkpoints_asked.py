"""What is asked of a checkpoint: entries, parts, names and patterns, each answered in words that lead on."""

from __future__ import annotations

import re

import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import safetensors.torch
import torch
from flax import nnx
from typer.testing import CliRunner

from einops_arch.architectures import ConvNetConfig
from einops_arch.checkpoints import open_checkpoint
from einops_arch.cli.app import app
from einops_arch.errors import CheckpointError, PortError
from einops_arch.port import load_optimizer, port_checkpoint, transfer
from einops_arch.torch import ConvNet

RUNNER = CliRunner()


def run(*arguments):
    """What a command prints, and its exit code."""
    result = RUNNER.invoke(app, [*map(str, arguments)])
    return result.output, result.exit_code


def saved(path, tensors):
    torch.save(tensors, path)
    return path


def test_one_expression_is_not_the_letters_of_it(tmp_path):
    # `n` is in both, and `net` in one.
    source = saved(tmp_path / "x.pt", {"net.weight": torch.ones(2), "none": torch.ones(3), "rest": torch.ones(4)})
    with open_checkpoint(source, drop="net") as reader:
        assert set(reader.names()) == {"none", "rest"}
    port_checkpoint(
        source, tmp_path / "y.safetensors", "torch", drop="net", packing="none rest -> all: a, b -> (a + b)"
    )
    assert safetensors.torch.load_file(tmp_path / "y.safetensors")["all"].shape == (7,)


def test_one_expression_of_transfer_is_not_the_letters_of_it():
    state = {"q": torch.full((2, 3), 2.0), "k": torch.full((3, 3), 3.0), "bias": torch.ones(5), "mask": torch.ones(1)}
    layer = nnx.Linear(3, 5, rngs=nnx.Rngs(0))
    transfer(state, layer, ignore="mask", packing="q k -> weight: q i, k i -> (q + k) i")
    assert (np.asarray(layer.kernel[...]) == np.array([[2, 2, 3, 3, 3]] * 3)).all()


@pytest.mark.parametrize("rename", [("^x\\.", ""), ["^x\\."], [("a", "b", "c")]])
def test_a_rename_that_is_no_pairs_is_told(rename):
    state = {"x.weight": torch.ones(5, 3), "x.bias": torch.ones(5)}
    with pytest.raises(PortError, match=r"rename: expected pairs .* likely fix: rename=\[\('\^module"):
        transfer(state, nnx.Linear(3, 5, rngs=nnx.Rngs(0)), rename=rename)


def test_an_entry_that_is_not_in_an_orbax_folder_does_not_make_it_broken(tmp_path):
    tree = {"params": {"fc": {"kernel": np.ones((2, 3), "float32")}}}
    opt_state = optax.sgd(0.1).init(tree)
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        items = {"state": ocp.args.StandardSave({**tree, "opt_state": opt_state}), "meta": ocp.args.JsonSave({"a": 1})}
        manager.save(3, args=ocp.args.Composite(**items))
    for key, text in {"gone": "expected an entry 'gone'", "meta": "expected an item 'meta', received 'state'"}.items():
        with pytest.raises(CheckpointError, match=text) as error:
            open_checkpoint(tmp_path / "run", key=key)
        assert "not a whole" not in str(error.value)


def test_one_option_leaves_out_what_every_layer_keeps_beside_its_tensors(tmp_path):
    layers = {f"layers.{n}.{name}": value for n in range(3) for name, value in {"w": torch.ones(n + 1)}.items()}
    more = {f"layers.{n}._extra_state": {"scale": n} for n in range(3)}
    source = saved(tmp_path / "x.pt", {**layers, **more})
    output, code = run("inspect", source)
    assert code == 2
    fix = re.search(r"likely fix: --drop '(.*)'$", output.strip().replace("\n", " "))
    assert fix is not None
    with open_checkpoint(source, drop=[fix[1]]) as reader:
        assert set(reader.names()) == set(layers)


def test_of_objects_that_end_as_tensors_do_each_is_named(tmp_path):
    tensors = {f"{name}.weight": torch.ones(n + 1) for n, name in enumerate("abcd")}
    source = saved(tmp_path / "x.pt", {**tensors, "e.weight": {"x": 1}, "f.weight": {"x": 2}})
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(source)
    options = re.findall(r"--drop '(.*?)'", str(error.value))
    with open_checkpoint(source, drop=options) as reader:
        assert set(reader.names()) == set(tensors)


def test_all_the_parts_that_fit_are_told(tmp_path):
    torch.manual_seed(0)
    state = ConvNet(ConvNetConfig.tiny()).state_dict()
    both = {f"{head}.{name}": value for head in ("model", "model_ema") for name, value in state.items()}
    source = saved(tmp_path / "x.ckpt", {"state_dict": both})
    start = ["port", source, tmp_path / "x.safetensors", "--to", "torch", "--arch", "convnet", "--preset", "tiny"]
    output, code = run(*start)
    assert code == 2
    fixes = [line.partition("likely fix: --only ")[2] for line in output.splitlines()[1:]]
    assert fixes == ["model.", "model_ema."]
    for fix in fixes:
        output, code = run(*start, "--only", fix, "--force")
        assert code == 0, output


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("make", "received function; likely fix: --model 'targets_of_asked:make()'"),
        ("three", "received int"),
        ("Net(wide=wide)", "expected arguments that are literals, as module:Net(8, norm='batch')"),
        ("three(5)", "expected something that can be called, received int"),
    ],
)
def test_what_is_no_model_is_told_by_its_name(target, text, tmp_path, monkeypatch):
    (tmp_path / "targets_of_asked.py").write_text("three = 3\ndef make(): return 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    source = saved(tmp_path / "x.pt", {"weight": torch.ones(2, 3)})
    output, code = run("port", source, tmp_path / "y", "--to", "flax", "--model", f"targets_of_asked:{target}")
    assert code == 2
    assert f"targets_of_asked:{target}: " in output
    assert text in " ".join(output.split())
    assert not (tmp_path / "y").exists()


def test_an_empty_key_is_no_entry(tmp_path):
    source = saved(tmp_path / "x.pt", {"model": {"a": torch.ones(2)}, "ema": {"a": torch.ones(3)}})
    output, code = run("port", source, tmp_path / "y.pt", "--to", "torch", "--key", "")
    assert code == 2
    assert "x.pt: expected the name of an entry, received an empty --key" in " ".join(output.split())
    assert not (tmp_path / "y.pt").exists()


def test_the_states_of_optimizers_are_listed_where_the_one_asked_for_is_none(tmp_path):
    layer = torch.nn.Linear(3, 5)
    adam = torch.optim.Adam(layer.parameters()).state_dict()
    source = saved(tmp_path / "x.pt", {"net": layer.state_dict(), "adam": adam, "other": adam})
    target = nnx.Linear(3, 5, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(target, optax.adam(1e-3), wrt=nnx.Param)
    with pytest.raises(CheckpointError, match=r"the entry 'gone' .*, received 'adam', 'other'; likely fix: key='adam'"):
        load_optimizer(source, target, optimizer, key="gone")
    with pytest.raises(
        CheckpointError, match=r"expected one entry .*, received 'adam', 'other'; likely fix: key='adam'"
    ):
        load_optimizer(source, target, optimizer)
    weights = saved(tmp_path / "y.pt", layer.state_dict())
    with pytest.raises(CheckpointError, match=r"the state of an optimizer, received none$"):
        load_optimizer(weights, target, optimizer)


def test_the_names_of_entries_may_have_dots(tmp_path):
    names = {"EMA": {"w": torch.ones(2)}, "EMA{'decay': 0.9}": {"shadow": {"w": torch.ones(3)}}}
    source = saved(tmp_path / "x.ckpt", {"state_dict": {"w": torch.ones(4)}, "callbacks": names})
    keys = {"callbacks.EMA": 2, "callbacks.EMA{'decay': 0.9}": 3, "callbacks.EMA{'decay': 0.9}.shadow": 3}
    for key, size in keys.items():
        with open_checkpoint(source, key=key) as reader:
            assert reader.info("w").shape == (size,)
