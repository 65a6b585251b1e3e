"""A config in a file is held against the tensors beside it before a model is made of it."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from einops_arch import architectures
from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.errors import EinopsArchError
from einops_arch.port.convert import Port
from einops_arch.port.models.folder import open_pretrained

HUGE = 100_000_000


def edited(config):
    """The config with one number after the other that is far too large."""
    fields = config.to_dict()
    for name, value in fields.items():
        if type(value) is int:
            yield name, {**fields, name: HUGE}
            yield name, {**fields, name: 10**30}
        elif isinstance(value, list | tuple) and value and all(type(one) is int for one in value):
            yield name, {**fields, name: [HUGE] * len(value)}


@pytest.mark.parametrize("name", architectures.names())
def test_a_config_of_a_hundred_million_beside_one_tensor(name):
    config = architectures.get(name).config.tiny()
    for field, fields in edited(config):
        facts = {"framework": "torch", "architecture": name, "config": json.dumps(fields)}
        began = time.process_time()
        with pytest.raises(EinopsArchError):
            Port.open(MemoryReader({"weight": np.ones(1, "float32")}, facts), "flax")
        assert time.process_time() - began < 5, field


def test_layers_are_counted_by_the_names_in_the_file(tmp_path):
    fields = {**architectures.get("language_model").config.tiny().to_dict(), "layers": HUGE}
    facts = {"framework": "torch", "architecture": "language_model", "config": json.dumps(fields)}
    write_tensors(tmp_path / "x.hf", MemoryReader({"weight": np.ones(1, "float32")}, facts))
    for opened in (lambda: Port.open(tmp_path / "x.hf", "flax"), lambda: open_pretrained(tmp_path / "x.hf")):
        with pytest.raises(EinopsArchError, match=r"expected layers of at most 1 together, .* received 100000000"):
            opened()


def test_a_config_of_transformers_is_held_against_its_tensors_too(tmp_path):
    write_tensors(tmp_path / "x.hf", MemoryReader({"wte.weight": np.ones((3, 2), "float32")}, {"framework": "torch"}))
    fields = {"model_type": "gpt2", "n_layer": HUGE, "n_embd": 2, "n_head": 1, "vocab_size": 3, "n_positions": 5}
    (tmp_path / "x.hf" / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(EinopsArchError, match="expected layers of at most 1 together"):
        open_pretrained(tmp_path / "x.hf")
