"""Every row of the page "PyTorch to Flax, layer by layer", executed from its text."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_parity import QUICKLY, channels_last

import einops_arch.flax as layers
from einops_arch.port import transfer

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "layer-by-layer.md"
ROW = re.compile(r"^\| `(?P<torch>.+?)` \| `(?P<flax>.+?)` \| (?P<shape>[\d ]+) \|", re.MULTILINE)
CALL = re.compile(
    r"^\| `(?P<torch>.+?)` \| `(?P<flax>.+?)` \| `(?P<call>\(.+?\))` \|(?P<stock>.+)\|(?P<trap>.+)\|$", re.MULTILINE
)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
CALLS = [match.groupdict() for match in CALL.finditer(PAGE.read_text(encoding="utf-8"))]


def test_every_line_of_the_table_is_a_row():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert len(ROWS) + len(CALLS) == len(lines)
    assert (len(ROWS) > 40, len(CALLS) > 25) == (True, True)


@pytest.mark.parametrize("row", ROWS, ids=[row["torch"] for row in ROWS])
def test_both_layers_of_a_row_are_one_function(row):
    torch.manual_seed(0)
    names = {name: getattr(layers, name) for name in layers.__all__} | {"rngs": nnx.Rngs(0)}
    module = eval(row["torch"], {}, vars(torch.nn)).double().eval()
    layer = eval(row["flax"], {}, names)
    layer.eval()
    if list(module.parameters()):
        transfer(module, layer)
    x = np.random.default_rng(0).normal(size=tuple(map(int, row["shape"].split())))
    move = channels_last if x.ndim == 4 else np.asarray
    expected = torch.utils._pytree.tree_leaves(module(torch.from_numpy(x)))
    # As one program, compiled as quickly as can be: operations one by one take several times as long.
    program = jax.jit(layer.__call__, compiler_options=QUICKLY)
    received = jax.tree.leaves(program(jnp.asarray(move(x))))
    for y, reference in zip(received, expected, strict=True):
        values = reference.detach().numpy()
        moved = channels_last(values) if values.ndim == 4 else values
        np.testing.assert_allclose(y, moved, rtol=1e-12, atol=1e-12)


def drawn(*shape):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


ARRAYS = {
    "x": drawn(3, 2, 6),
    "y": drawn(4, 2, 6),
    "first": drawn(2, 3, 6),
    "second": drawn(2, 4, 6),
    "keys": drawn(4, 2, 5),
    "values": drawn(4, 2, 7),
    "hidden": np.triu(np.ones((3, 4), bool), 2),
    "blind": np.arange(3)[:, None] == np.ones(4),
    "padded": np.arange(4) > np.asarray([[1], [3]]),
    "short": np.arange(3) > np.asarray([[1], [2]]),
    "query": drawn(2, 4, 3, 5),
    "key": drawn(2, 4, 6, 5),
    "value": drawn(2, 4, 6, 7),
    "few": drawn(2, 2, 6, 5),
    "seen": np.tril(np.ones((3, 6), bool), -1),
    "tokens": np.asarray([[1, 0, 4], [2, 2, 0]]),
    "logits": drawn(4, 3),
    "target": np.asarray([0, 2, 1, 0]),
    "weights": np.asarray([0.5, 2.0, 0.25]),
    "soft": softmax(drawn(4, 3) * 2),
    "other": softmax(drawn(4, 3) * 3),
    "logs": np.log(softmax(drawn(4, 3) * 4)),
    "steps": np.log(softmax(drawn(6, 2, 4))),
    "labels": np.asarray([[1, 2, 1], [3, 2, 0]]),
    "lengths": np.asarray([6, 5]),
    "label_lengths": np.asarray([3, 2]),
}


@pytest.mark.parametrize("row", CALLS, ids=[row["torch"] + row["call"] for row in CALLS])
def test_both_sides_of_a_call_are_one_function(row):
    torch.manual_seed(1)
    module = eval(row["torch"], {}, vars(torch.nn))
    layer = eval(row["flax"], {}, {name: getattr(layers, name) for name in layers.__all__} | NAMED)
    if isinstance(module, torch.nn.Module):
        module = module.double().eval()
        layer.eval()
        transfer(module, layer)
    used = {name: value for name, value in ARRAYS.items() if re.search(rf"\b{name}\b(?!=)", row["call"])}
    call = eval(f"lambda f, a: f{used_in(row['call'], used)}")
    tensors = {name: torch.from_numpy(value) for name, value in used.items()}
    expected = [y for y in torch.utils._pytree.tree_leaves(call(module, tensors)) if y is not None]
    # A table of embeddings is written to where `max_norm` says so, which is why it is no constant of the program.
    received = jax.tree.leaves(call(layer, {name: jnp.asarray(value) for name, value in used.items()}))
    for y, reference in zip(received, expected, strict=True):
        np.testing.assert_allclose(y, reference.detach(), rtol=1e-12, atol=1e-12)


def used_in(call, names):
    """The call with each array taken from the mapping `a`."""
    return re.sub(rf"\b({'|'.join(names)})\b(?!=)", r"a['\1']", call)


NAMED = {"functional": layers.functional, "rngs": nnx.Rngs(0)}
