"""A config in a file is held against the tensors beside it before a model is made of it."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import json
import time

import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch import architectures
from einops_arch._settings import check_choice
from einops_arch.checkpoints import write_tensors
from einops_arch.checkpoints.reader import MemoryReader, Reader
from einops_arch.errors import EinopsArchError, PortError, suggestion
from einops_arch.layouts.state import hold_state
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


def test_the_name_that_was_meant_is_looked_for_among_so_many_pairs_at_most(monkeypatch):
    compared = []
    look = difflib.get_close_matches

    def counted(word, known, **settings):
        compared.append(known)
        return look(word, known, **settings)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    expected = {f"layers.{number}.weight": ((2,), "floating-point") for number in range(300)}
    value = np.zeros(2, np.float32)
    held = hold_state(expected, {f"layer.{number}.weight": value for number in range(3000)})
    with pytest.raises(PortError, match=r"layer\.0\.weight: not in the model; did you mean layers\.0\.weight"):
        held.check("load", ["one more"])
    assert 0 < sum(map(len, compared)) <= 10_000
    compared.clear()
    # No text of such a length is a slip of the keyboard.
    held = hold_state(expected, {"l" * 1_000_000: value, "k" * 200: value})
    with pytest.raises(PortError, match=r"\d+ characters \.\.\. l+: not in the model\n") as raised:
        held.check("load")
    assert max(map(len, str(raised.value).splitlines())) < 2500
    for look_up in (
        lambda name: suggestion(name, expected),
        architectures.resolve,
        lambda name: check_choice("Conv", "padding_mode", name, ("zeros", "reflect")),
    ):
        with contextlib.suppress(EinopsArchError):
            look_up("z" * 1_000_000)
    assert compared == []


def test_names_are_looked_up_and_not_listed_again_for_each(tmp_path, monkeypatch):
    listed = []
    names = Reader.names
    monkeypatch.setattr(Reader, "names", lambda reader: listed.append(reader) or names(reader))
    counts = []
    for layers in (20, 60):
        widths = [2, *(3 + number % 2 for number in range(layers))]
        state = torch.nn.Sequential(*map(torch.nn.Linear, widths, widths[1:])).state_dict()
        path = tmp_path / f"{layers}.pt"
        torch.save(state, path)
        model = nnx.Sequential(*(nnx.Linear(*pair, rngs=nnx.Rngs(0)) for pair in itertools.pairwise(widths)))
        listed.clear()
        with Port.open(path, "flax", model=model) as port:
            port.run(tmp_path / f"{layers}.safetensors")
            assert len(port.check(tmp_path / f"{layers}.safetensors")) == len(state)
            assert port.remarks == []
        counts.append(len(listed))
    assert counts[0] == counts[1] > 0


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
