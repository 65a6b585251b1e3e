"""Packings that could be read in two ways, or would move what they should not: refused, with the way to write them."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from einops_arch.errors import PatternError, PortError
from einops_arch.layouts.packing import Packing
from einops_arch.port import port_checkpoint, transfer


def made(text, state, packing=None):
    packing = packing or Packing.parse(text)
    groups, problems = packing.match(state)
    assert problems == []
    return {name: value for group in groups for name, value in group.make(state).items()}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("q k -> qk: o i, o i -> (o + o) i", "the same axes 'o i'; likely fix: a name of its own"),
        ("q k -> qk: o i, i o -> (o + o) i", "the same axes"),
        ("qkv -> q k: (o + o) i -> o i, o i, o=3", "the same axes 'o i'"),
        ("a b c -> d e f: i, j, i -> i, i, j", "the same axes 'i'"),
        ("a b -> c: ..., ... -> ...", "the same axes '...'"),
        ("a b -> c: 1, 1 -> (1 + 1)", "the same axes '1'"),
        ("a -> b: (x + y) x -> x x, y x", "'x' is there twice"),
        ("w -> y: (a + (b + c)) i -> i (a + (b + c)), a=1, b=2", r"a '\+' inside of a '\+'"),
        ("w -> y: (h (q + k) + v) i -> i (h (q + k) + v)", r"a '\+' inside of a '\+'"),
        ("w -> w: o i -> i o, zz=7", "no tensor has the axis zz"),
        ("w -> w: o i -> i o, o=2, o=3", "the size of o is there twice"),
        ("layers.{}.w -> layers.*.w", "where {} stands for {}"),
        ("{}.*.w -> *.*.w", r"received {} \* and \* \*"),
        ("a.* b.{} -> c.*: i, j -> (i + j)", "the same wildcards in all names"),
        ("e.layers.*.h.*.w -> e.layers.*.w: ... -> l ...", "likely fix: {} for that one"),
        ("*.* -> *: ... -> l ...", "likely fix: {} for that one"),
        ("enc.*.w -> enc.*.layers.*.w: l ... -> ...", "likely fix: {} for that one"),
        ("e.{}.h.{}.w -> e.{}.w: ... -> l ...", "likely fix: {} for that one"),
    ],
)
def test_packings_that_could_be_read_in_two_ways(text, reason):
    with pytest.raises(PatternError, match=reason):
        Packing.parse(text)


Q, K = np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2) + 10


def test_tensors_with_the_same_axes_keep_their_order_where_it_is_plain():
    result = made("q k -> a b: o i, o i -> i o, i o", {"q": Q, "k": K})
    assert (result["a"] == Q.T).all()
    assert (result["b"] == K.T).all()
    result = made("q k -> a b: ..., ... -> ..., ...", {"k": K, "q": Q})
    assert (result["a"] == Q).all()
    assert (result["b"] == K).all()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("layers.{}.*.w -> *.{}.w", {"layers.3.attn.w": "attn.3.w", "layers.12.fc.w": "fc.12.w"}),
        ("*.{}.{}.** -> {}.**.*.{}", {"a.0.1.b.c": "0.b.c.a.1"}),
    ],
)
def test_wildcards_stand_for_wildcards_of_their_kind(text, names):
    state = {name: np.full(3, n) for n, name in enumerate(names)}
    result = made(text, state)
    assert {new: result[new][0] for new in result} == {new: state[old][0] for old, new in names.items()}
    assert made("", result, Packing.parse(text).inverse()).keys() == state.keys()


@pytest.mark.parametrize(
    ("text", "names", "stacked"),
    [
        ("enc.*.layers.{}.w -> enc.*.w: ... -> l ...", ["enc.7.layers.0.w", "enc.7.layers.1.w"], "enc.7.w"),
        ("layers.*.fc.* -> layers.fc.*: ... -> l ...", ["layers.0.fc.1", "layers.1.fc.1"], "layers.fc.1"),
        ("{}.h.*.w -> {}.w: ... -> l ...", ["4.h.0.w", "4.h.1.w"], "4.w"),
        ("*.{}.q {}.*.k -> *: a, b -> l (a + b)", ["x.0.q", "x.1.q", "0.x.k", "1.x.k"], "x"),
    ],
)
def test_the_layers_go_the_way_back(text, names, stacked):
    state = {name: np.full((3, 2) if "l ..." in text else 3, n) for n, name in enumerate(names)}
    result = made(text, state)
    assert list(result) == [stacked]
    expected = {name: value.shape for name, value in state.items()}
    groups, _ = Packing.parse(text).inverse().match(result)
    back = groups[0].make(result, expected)
    assert back.keys() == state.keys()
    assert all((back[name] == value).all() for name, value in state.items())


@pytest.mark.parametrize("dtypes", [("float32", "float16"), ("int32", "float64")])
def test_tensors_of_two_dtypes_are_not_packed(dtypes, tmp_path):
    state = {
        f"{n}.weight": torch.ones(2, 2, dtype=getattr(torch, dtype)) for n, dtype in zip("qk", dtypes, strict=True)
    }
    packing = ["q.weight k.weight -> qk.weight: a i, b i -> (a + b) i"]
    model = nn.ModuleDict({"qk": nn.Linear(2, 4, bias=False)})
    with pytest.raises(PortError, match=f"expected one dtype, received {', '.join(sorted(dtypes))}"):
        transfer(state, model, packing=packing)
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(PortError, match="1 problem, nothing was changed"):
        port_checkpoint(tmp_path / "x.safetensors", tmp_path / "y.safetensors", "torch", packing=packing)
