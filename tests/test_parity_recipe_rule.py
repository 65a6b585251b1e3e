"""The guide to adding a layer rule, followed to the letter by a program of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from flax import nnx

from einops_arch.layouts import rules

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "guides" / "add-a-layer-rule.md"

# A network around the layer of a module, which is the page's code. Both inputs of the layer are as wide, so that no
# shape tells them apart: only the outputs do.
PROOF = """
import importlib
import sys

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from einops_arch.errors import EinopsArchError
from einops_arch.port import transfer


class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.join = torch.nn.Linear(7, 6), torch.nn.Bilinear(6, 6, 4)

    def forward(self, x, y):
        return self.join(self.first(x), y)


class FlaxPair(nnx.Module):
    def __init__(self, layer, rngs):
        self.first, self.join = nnx.Linear(7, 6, rngs=rngs), layer(6, 6, 4, rngs=rngs)

    def __call__(self, x, y):
        return self.join(self.first(x), y)


def same(model, twin):
    x, y = (np.random.default_rng(3).normal(size=(2, size)).astype(np.float32) for size in (7, 6))
    with torch.no_grad():
        expected = model(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    return bool(np.abs(twin(jnp.asarray(x), jnp.asarray(y)) - expected).max() < 1e-4)


for name in sys.argv[1:]:
    layer = importlib.import_module(name).Bilinear
    model, twin, back = Pair(), FlaxPair(layer, nnx.Rngs(0)), Pair()
    before = same(model, twin)
    try:
        transfer(model, twin)
        transfer(twin, back)
    except EinopsArchError as error:
        print(name, type(error).__name__, "join.weight" in str(error))
    else:
        print(name, before, same(model, twin), all(map(torch.equal, model.parameters(), back.parameters())))
"""


def blocks_of(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_code_of_the_guide_transfers_the_new_layer_both_ways(tmp_path):
    blocks = blocks_of("python")
    layer, rule, *_ = blocks
    assert rule.count("o i j -> i j o") == 1
    programs = {
        "guide": blocks,
        # What shows that the proof can fail.
        "wrong_rule": [layer, rule.replace("o i j -> i j o", "o i j -> j i o")],
        "no_rule": [layer],
    }
    for name, parts in programs.items():
        (tmp_path / f"{name}.py").write_text("\n\n".join(parts), encoding="utf-8")
    (tmp_path / "proof.py").write_text(PROOF, encoding="utf-8")
    command, environment = [sys.executable, "proof.py", *programs], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    # Before the transfer the outputs differ; after it they are the same, and so are the weights on the way back.
    assert seen.pop("guide") == "False True True"
    assert seen.pop("wrong_rule") == "False False True"
    assert seen.pop("no_rule").endswith("Error True")
    assert not seen


def test_the_rule_that_the_guide_shows_is_that_of_the_package():
    (shown,) = blocks_of("text")
    (entry,) = eval(f"({shown})", vars(rules).copy())
    assert entry == rules.find_rule(nnx.Conv)
