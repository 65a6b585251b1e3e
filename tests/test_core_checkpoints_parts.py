"""The parts that checkpoints are moved with: blocked copies, memory that is used again, names that change."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from einops_arch.checkpoints.disk.blocks import BLOCK, blocks, contiguous
from einops_arch.checkpoints.disk.buffer_pool import Pool
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.checkpoints.reader_views import Renamed, Untied
from einops_arch.errors import PortError


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "complex128"])
@pytest.mark.parametrize(
    "shape", [(3, 5), (130, 1100), (37, 3, 5, 67), (2, 1, 300, 3, 70), (1, 1, 1), (0, 4), (5,), ()]
)
def test_a_blocked_copy_is_a_copy(shape, dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), "u1").view(dtype).reshape(shape)
    for axes in itertools.permutations(range(len(shape))):
        view = array.transpose(axes)
        assert contiguous(view).flags.c_contiguous
        assert contiguous(view).tobytes() == view.tobytes(), axes
        if len(shape) == 2:
            turned = view[::-1, ::2]
            assert contiguous(turned).tobytes() == turned.tobytes()


def test_what_lies_right_is_not_copied():
    array = np.arange(12, dtype="u4").reshape(3, 4)
    assert contiguous(array) is array
    large = np.zeros(BLOCK // 4 + 5, "u4")
    pieces = list(blocks(large))
    assert [piece.size for piece in pieces] == [BLOCK, 20]
    assert all(np.shares_memory(piece, large) for piece in pieces)


def place(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_only_when_nobody_holds_it():
    pool, dtype = Pool(), np.dtype("u4")
    with pool.in_use():
        first = pool.empty((1 << 20,), dtype)
        address = place(first)
        view = first[3:].reshape(-1, 1).T
        del first
        other = pool.empty((1 << 20,), dtype)
        assert place(other) != address
        assert not np.shares_memory(other, view)
        del view
        assert place(pool.empty((1 << 19,), dtype)) == address
    outside = [pool.empty((1 << 20,), dtype) for _ in range(2)]
    assert place(outside[0]) != place(outside[1])


def reader(*names, tied=False):
    arrays = {name: np.full(2, index, "float32") for index, name in enumerate(names)}
    return MemoryReader({**arrays, "tied": arrays[names[0]]} if tied else arrays, {})


def test_new_names():
    found = Renamed(reader("module.a.1", "module.b.1"), [("^module.", ""), (r"(\w)\.(\d)", r"\2.\1")])
    assert list(found.tensors) == ["1.a", "1.b"]
    assert found.renamed == {"module.a.1": "1.a", "module.b.1": "1.b"}
    assert found.read("1.b").tolist() == [1, 1]
    assert Renamed(reader("a", "b", tied=True), [("tied", "c")]).aliases == {"c": "a"}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([("a|b", "c")], "rename: 1 name would be taken twice\n  c: the new name of a and of b"),
        ([("a", "b")], "rename: 1 name would be taken twice\n  b: the new name of a and of b"),
        ([("x", "y")], "rename x=y: matches none of the 2 names"),
        ([("(", "y")], "rename (=y: not a regular expression: missing ), unterminated subpattern at position 0"),
        ([("a", r"\1")], r"rename a=\1: not a regular expression: invalid group reference 1 at position 1"),
    ],
)
def test_new_names_that_do_not_work(rules, message):
    with pytest.raises(PortError) as caught:
        Renamed(reader("a", "b"), rules)
    assert str(caught.value) == message


def test_arrays_that_are_the_same_memory_are_tied():
    array = np.arange(6.0).reshape(2, 3)
    found = MemoryReader(
        {"a": array, "b": array[:], "t": array.T, "part": array[:1], "e": array[:0], "f": array[:0]}, {}
    )
    assert found.aliases == {"b": "a"}
    assert list(Untied(found).tensors) == ["a", "t", "part", "e", "f", "b"]
    assert Untied(found).read("b").tolist() == array.tolist()
