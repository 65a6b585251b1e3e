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
from einops_arch.port.models import fit
from einops_arch.port.models.folder import open_pretrained
from einops_arch.port.packed import PackedReader
from einops_arch.port.ties import once_tied

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


def test_a_file_of_few_names_is_held_against_few_networks(monkeypatch):
    built = []
    build = fit._of_config
    monkeypatch.setattr(fit, "_of_config", lambda *arguments: built.append(arguments) or build(*arguments))
    shapes = {"fc.weight": (5, 3), "fc.bias": (5,)}
    assert fit.find_fits(shapes) == []
    assert fit.nearest(shapes) == []
    # One of each architecture, to see which names it has.
    assert len(built) <= len(architectures.names())


def test_many_names_of_one_tensor_take_no_time_for_each_pair():
    array = np.ones(2, np.float32)
    reader = MemoryReader({"w": array, **{f"alias_{number}": array for number in range(5000)}}, {})
    start = time.process_time()
    kept = once_tied(reader, {"w"})
    assert time.process_time() - start < 1
    assert (list(kept.tensors), dict(kept.aliases), len(kept.left_out)) == (["w"], {}, 5000)


class Counting(MemoryReader):
    """Arrays, with the number of elements that were read."""

    count = 0

    def bits(self, name):
        self.count += self.tensors[name].size
        return super().bits(name)

    def part(self, name, box):
        part = super().bits(name)[tuple(slice(*row) for row in box)]
        self.count += part.size
        return part


@pytest.mark.parametrize(
    ("packing", "expected"),
    [
        ("w -> w.{}: l ... -> ...", lambda w, layer: w[layer]),
        ("w -> w.{}: a l b -> b a", lambda w, layer: w[:, layer].T),
        ("w -> a.{} b.{}: (x + y) l i -> x i, i y, x=1", lambda w, layer: w[:1, layer]),
    ],
)
def test_a_stack_is_read_once_for_all_of_its_layers(packing, expected):
    array = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    reader = Counting({"w": array}, {"framework": "torch"})
    packed = PackedReader(reader, packing)
    for name in packed.tensors:
        layer = int(name.rpartition(".")[2])
        value = packed.read(name)
        assert value.shape == packed.info(name).shape
        assert np.array_equal(value, array[1:, layer].T if name.startswith("b.") else expected(array, layer))
    # The third makes two tensors of each layer.
    assert reader.count == array.size * (2 if "b.{}" in packing else 1)
