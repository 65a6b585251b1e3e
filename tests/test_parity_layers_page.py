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
ROWS = [match.groupdict() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]


def test_every_line_of_the_table_is_a_row():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert len(ROWS) == len(lines) > 40


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
