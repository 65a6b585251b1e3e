"""The command `discover`, on functions and models of both frameworks."""

from __future__ import annotations

import json
import sys

import pytest

from einops_arch.cli import main

CODE = """import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn


def shuffle(x, groups=3):
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, -1, h, w)


def nonsense(x):
    return x.reshape(-1, 320)


class Heads(nn.Module):
    def __init__(self, heads=4):
        super().__init__()
        self.heads = heads
        self.drop = nn.Dropout()

    def forward(self, x):
        b, n, c = x.shape
        return self.drop(x).view(b, n, self.heads, c // self.heads).transpose(1, 2) + 0


def tokens():
    return nn.Sequential(nn.Embedding(5, 3), nn.Flatten(0, 1), nn.ReLU())


class Turned(nnx.Module):
    def __init__(self, *, rngs):
        self.linear = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return jnp.swapaxes(self.linear(x), 1, 2) + 0


class Needs(nn.Module):
    def __init__(self, size):
        super().__init__()
"""


@pytest.fixture(autouse=True)
def _code(tmp_path, monkeypatch):
    (tmp_path / "code_to_read.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "code_to_read", raising=False)


def run(capsys, *arguments):
    code = main(["discover", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_function_is_printed_with_its_sizes_and_as_json(capsys):
    code, out, _ = run(capsys, "code_to_read:shuffle", "--input", "b c h w=2,12,5,7")
    assert code == 0
    assert out.startswith('rearrange(x, "b (c1 c2) h w -> b (c2 c1) h w", c1=groups)\n  c1 = 3 (groups)\n')
    code, out, _ = run(capsys, "code_to_read:shuffle", "--input", "b c h w=2,12,5,7", "--json")
    assert code == 0
    assert json.loads(out)["discovery"]["pattern"] == "b (c1 c2) h w -> b (c2 c1) h w"


def test_what_is_no_pattern_has_exit_code_1(capsys):
    code, out, _ = run(capsys, "code_to_read:nonsense", "-i", "b c h w=16,20,5,5", "--backend", "torch")
    assert code == 1
    assert out.rstrip().endswith("the reshape crosses b")
    code, out, _ = run(capsys, "code_to_read:nonsense", "-i", "b c h w=16,20,5,5", "--backend", "torch", "--json")
    assert code == 1
    assert json.loads(out)["kind"] == "crosses"


@pytest.mark.parametrize(
    ("target", "given", "place", "pattern"),
    [
        ("Heads", "b n c=2,5,12", "code_to_read.py:24", "b n (c1 c2) -> b c1 n c2"),
        ("tokens()", "b n=2,5@int64", "flatten", "b n c -> (b n) c"),
        ("Turned", "b n c=2,4,5", "code_to_read.py:36", "b n c -> b c n"),
    ],
)
def test_a_model_is_a_table_with_lines(target, given, place, pattern, capsys):
    code, out, _ = run(capsys, f"code_to_read:{target}", "-i", given)
    assert code == 0
    assert place in out
    assert pattern in out
    assert "found: 1, pure: 1, pure expressed: 1, expressed: 1, refused: 0" in out
    code, out, _ = run(capsys, f"code_to_read:{target}", "-i", given, "--json")
    assert json.loads(out)["chains"][0]["discovery"]["pattern"] == pattern


def test_the_diff_is_printed_and_not_applied(capsys, tmp_path):
    code, out, err = run(capsys, "code_to_read:Heads", "-i", "b n c=2,5,12", "--diff")
    assert (code, err) == (0, "")
    assert '+        return rearrange(self.drop(x), "b n (c1 c2) -> b c1 n c2", c1=self.heads) + 0\n' in out
    assert (tmp_path / "code_to_read.py").read_text() == CODE
    code, out, err = run(capsys, "code_to_read:tokens()", "-i", "b n=2,5@int64", "--diff")
    assert (code, out) == (0, "")
    assert err.endswith("flatten: the source is no chain of calls on one another, in one block of statements\n")


def test_the_diff_of_a_flax_module(capsys):
    code, out, _ = run(capsys, "code_to_read:Turned", "-i", "b n c=2,4,5", "--diff")
    assert code == 0
    assert '+        return rearrange(self.linear(x), "b n c -> b c n") + 0\n' in out


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("code_to_read", "b=2", "expected module:function or module:Model, received 'code_to_read'"),
        ("code_to_read:shuffle", "b c=2", "--input: expected axes and as many sizes, such as 'b c h w=2,12,5,7' or"),
        ("code_to_read:absent", "b=2", "module 'code_to_read' has no attribute 'absent'"),
        (
            "absent_module:f",
            "b=2",
            "absent_module:f: cannot be imported: ModuleNotFoundError: No module named 'absent_module'",
        ),
        ("code_to_read:Needs", "b=2", "likely fix: a function that makes it, as code_to_read:make()"),
    ],
)
def test_wrong_usage_has_exit_code_2(target, given, message, capsys):
    code, _, err = run(capsys, target, "-i", given)
    assert code == 2
    assert message in err
