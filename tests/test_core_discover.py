"""From old numpy code to the pattern: found, with its sizes, proven, and refused where there is none."""

from __future__ import annotations

import math
import re

import einops
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imports import loaded

import einops_arch
from einops_arch import DiscoveryError, PatternError, ShapeError, discover
from einops_arch.discovery import same_pattern
from einops_arch.errors import ConfigError


def shuffle(x, groups=3):
    b, c, h, w = x.shape
    return x.reshape(b, groups, c // groups, h, w).swapaxes(1, 2).reshape(b, -1, h, w)


def windows(x, size=4):
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, size, size, c)


def heads_of(count):
    return lambda x: x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


MOVES = {
    "shuffle": (shuffle, "b c h w", (2, 12, 5, 7), "b (c1 c2) h w -> b (c2 c1) h w", {"c1": 3}),
    "windows": (windows, "b h w c", (2, 8, 12, 5), "b (h1 h2) (w1 w2) c -> (b h1 w1) h2 w2 c", {"h2": 4, "w2": 4}),
    "heads": (heads_of(4), "b n c", (2, 5, 12), "b n (c1 c2) -> b c1 n c2", {"c1": 4}),
    "one group": (lambda x: shuffle(x, 1), "b c h w", (2, 6, 5, 7), "b c h w -> b c h w", {}),
    "batch of one": (heads_of(4), "b n c", (1, 5, 12), "b n (c1 c2) -> b c1 n c2", {"c1": 4}),
    "heads as large as their number": (heads_of(4), "b n c", (2, 5, 16), "b n (c1 c2) -> b c1 n c2", {"c1": 4}),
    "new axes": (lambda x: x[:, None, :, None], "b c", (2, 3), "b c -> b 1 c 1", {}),
    "lost axes": (lambda x: x.squeeze((1, 3)), "b i c j", (2, 1, 3, 1), "b 1 c 1 -> b c", {}),
    "square image": (
        lambda x: x.reshape(*x.shape[:2], math.isqrt(x.shape[2]), -1),
        "b c n",
        (2, 3, 16),
        "b c (n1 n2) -> b c n1 n2",
        {"n1": 4},
    ),
    "transposed": (np.transpose, "i j k", (2, 3, 5), "i j k -> k j i", {}),
    "a number": (lambda x: x.reshape(1), "", (), " -> 1", {}),
    "repeat": (lambda x: np.repeat(x, 3, axis=1), "b c", (2, 5), "b c -> b (c r)", {"r": 3}),
    "tile": (lambda x: np.tile(x, (1, 3)), "b c", (2, 5), "b c -> b (r c)", {"r": 3}),
    "broadcast": (lambda x: np.broadcast_to(x, (3, *x.shape)), "b c", (2, 5), "b c -> r b c", {"r": 3}),
    "repeat by an axis": (lambda x: np.repeat(x[:, None], len(x), 1), "b c", (2, 5), "b c -> b r c", {"r": 2}),
}


@pytest.mark.parametrize(("function", "axes", "shape", "pattern", "sizes"), MOVES.values(), ids=MOVES)
def test_a_move_or_repetition_is_found(function, axes, shape, pattern, sizes):
    found = discover(function, axes, shape)
    assert (found.pattern.strip(), dict(found.sizes)) == (pattern.strip(), sizes)
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(found(x), function(x))
    if found.operation == "rearrange":
        np.testing.assert_array_equal(found.undo(function(x)), x)
    assert found.traps == ()


REDUCTIONS = {
    "mean": (lambda x: x.mean((2, 3)), "b c h w -> b c", "mean", {}),
    "sum with axes kept": (lambda x: x.sum((2, 3), keepdims=True), "b c h w -> b c 1 1", "sum", {}),
    "max": (lambda x: np.max(x, 1), "b c h w -> b h w", "max", {}),
    "min and transpose": (lambda x: x.min(0).transpose(2, 0, 1), "b c h w -> w c h", "min", {}),
    "prod": (lambda x: x.prod(3), "b c h w -> b c h", "prod", {}),
    "pooling": (
        lambda x: x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 3, 3).max((3, 5)),
        "b c (h1 h2) (w1 w2) -> b c h1 w1",
        "max",
        {"h2": 2, "w2": 3},
    ),
    "everything": (lambda x: x.sum(), "b c h w ->", "sum", {}),
}


@pytest.mark.parametrize(("function", "pattern", "reduction", "sizes"), REDUCTIONS.values(), ids=REDUCTIONS)
def test_a_reduction_is_found(function, pattern, reduction, sizes):
    found = discover(function, "b c h w", (2, 4, 6, 9))
    assert (found.operation, found.pattern.strip(), found.reduction, dict(found.sizes)) == (
        "reduce",
        pattern,
        reduction,
        sizes,
    )
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 9))
    np.testing.assert_allclose(found(x), function(x), rtol=1e-12)


def test_concatenation_and_splitting_are_pack_and_unpack():
    joined = discover(lambda x, y: np.concatenate([x, y], 1), "b c1 h, b c2 h", ((2, 3, 5), (2, 4, 5)))
    assert (joined.operation, joined.pattern) == ("pack", "b * h")
    stacked = discover(lambda x, y: np.stack([x, y], 1), "b c, b c", ((2, 3), (2, 3)))
    assert (stacked.operation, stacked.pattern) == ("pack", "b * c")
    flat = discover(lambda x, y: np.concatenate([x.reshape(len(x), -1), y], 1), "b h w, b n", ((2, 3, 5), (2, 4)))
    assert (flat.operation, flat.pattern) == ("pack", "b *")
    x = np.arange(70.0).reshape(2, 7, 5)
    split = discover(lambda x: (x[:, :3], x[:, 3:]), "b c h", (2, 7, 5))
    assert (split.operation, split.pattern, split.packed) == ("unpack", "b * h", ((3,), (4,)))
    assert [part.shape for part in split(x)] == [(2, 3, 5), (2, 4, 5)]
    assert split.code == 'x, y = unpack(x, [[3], [4]], "b * h")'


def test_a_tuple_of_interleaved_parts_is_one_array_by_its_first_axis():
    found = discover(lambda x: tuple(x.reshape(*x.shape[:2], 3, 4, -1).transpose(2, 0, 3, 1, 4)), "b n c", (2, 5, 24))
    assert found.split
    assert (found.pattern, dict(found.sizes)) == ("b n (c1 c2 c3) -> c1 b c2 n c3", {"c1": 3, "c2": 4})


HEADS = 4
CONTRACTIONS = {
    "matmul": (lambda x, y: x @ y, "b i k, b k j", ((2, 3, 4), (2, 4, 5)), "b i k, b k j -> b i j", ""),
    "outer": (np.outer, "i, j", ((2,), (3,)), "i, j -> i j", ""),
    "tensordot": (
        lambda x, y: np.tensordot(x, y, ([1, 2], [0, 1])).T,
        "a k l, k l b",
        ((2, 3, 4), (3, 4, 5)),
        "a k l, k l b -> b a",
        "",
    ),
    "scores of heads": (
        lambda q, k: (
            q.reshape(*q.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)
            @ k.reshape(*k.shape[:2], HEADS, -1).transpose(0, 2, 3, 1)
            / math.sqrt(q.shape[2] // HEADS)
        ),
        "b n c, b m c",
        ((2, 3, 8), (2, 5, 8)),
        "b n c1 c2, b m c1 c2 -> b c1 n m",
        " / c2**0.5",
    ),
    "gram": (
        lambda x: np.einsum("bchw,bdhw->bcd", x, x) / x[0].size,
        "b c h w",
        (2, 3, 4, 5),
        "b c h w, b c2 h w -> b c c2",
        " / (c * h * w)",
    ),
    "squared length": (lambda x: (x * x).sum(-1), "b c", (2, 5), "b c, b c -> b", ""),
}


@pytest.mark.parametrize(("function", "axes", "shapes", "pattern", "end"), CONTRACTIONS.values(), ids=CONTRACTIONS)
def test_a_contraction_is_found(function, axes, shapes, pattern, end):
    found = discover(function, axes, shapes)
    assert (found.operation, found.pattern) == ("einsum", pattern)
    assert found.code.endswith(f'"{pattern}"){end}')
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for shape in (shapes if isinstance(shapes[0], tuple) else [shapes])]
    np.testing.assert_allclose(found(*arrays), function(*arrays), rtol=1e-9, atol=1e-12)


REFUSED = {
    "slice": (lambda x: x[:, 1:5], "slice", "it takes 1:5 of axis c of size 6"),
    "step": (lambda x: x[:, ::2], "slice", "it takes 0::2 of axis c of size 6"),
    "index": (lambda x: x[:, 2], "slice", "it takes index 2 of axis c of size 6"),
    "flip": (lambda x: x[:, :, ::-1], "flip", "it turns axis h round"),
    "roll": (lambda x: np.roll(x, 2, 3).swapaxes(0, 1), "roll", "it rolls axis w by 2"),
    "padding": (
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 0))),
        "padding",
        "it pads the output: axis 2 by 1 before and 2 after",
    ),
    "two at once": (
        lambda x: np.roll(x[:, :3], 1, 2),
        "slice",
        "it takes 0:3 of axis c of size 6 and it rolls axis h by 1",
    ),
    "picked": (lambda x: x[:, [0, 1, 3, 2, 4, 5]], "gather", "it picks indices 0, 1, 3, 2, 4, 5 of axis c"),
    "triangle": (np.tril, "mask", "it writes constants between the elements"),
    "diagonal": (lambda x: np.diagonal(x, 0, 2, 3), "diagonal", "it takes the diagonal of axes h and w"),
    "nothing": (lambda x: x[:0], "slice", "its output is empty"),
    "masked": (
        lambda x: np.where(np.tril(np.ones(x.shape)) > 0, x, -np.inf),
        "mask",
        "it writes constants between the elements",
    ),
    "half": (
        lambda x: np.sign(x).astype(np.float16),
        "computes",
        "it rounds to float16, which is too coarse to number elements with",
    ),
    "scaled mean": (lambda x: x.mean(1) * 2, "computes", "it reduces, but not by a mean, sum, max, min or prod"),
    "norm": (lambda x: np.sqrt((x * x).sum(1)), "computes", "it reduces, but not by a mean, sum, max, min or prod"),
    "two outputs": (
        lambda x: (x, x.mean(1)),
        "computes",
        (
            "its 2 outputs together: they are neither the parts of its input nor of one shape; likely fix: ask "
            "for each of them alone"
        ),
    ),
    "crossing": (
        lambda x: x.reshape(-1, 24),
        "crosses",
        "the output is cut every 24 elements, but one step along c is 20 elements: the reshape crosses c",
    ),
    "largest": (lambda x: -np.sort(-x, 2), "values", "where it puts an element depends on the values"),
    "relu": (lambda x: np.maximum(x, 0), "computes", "it computes new values"),
    "sort": (lambda x: np.sort(x, 1), "values", "where it puts an element depends on the values"),
    "exponential": (np.exp, "computes", "it computes new values"),
    "softmax": (
        lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
        "computes",
        "it computes new values",
    ),
    "median": (lambda x: np.median(x, 1) * 0.3 + 0.05, "computes", "it computes new values"),
    "overlap": (
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 3),
        "overlap",
        "it repeats some elements more often than others, as windows that overlap do",
    ),
}


@pytest.mark.parametrize(("function", "kind", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_pattern_is_named(function, kind, reason):
    shape = (7, 6, 4, 5)
    with pytest.raises(DiscoveryError) as error:
        discover(function, "b c h w", shape)
    assert error.value.kind == kind
    assert str(error.value) == f"discover: at shape {shape} no pattern does what the function does: {reason}"


def test_a_reshape_that_mixes_images_is_refused_with_an_example():
    with pytest.raises(DiscoveryError) as error:
        discover(lambda x: x.reshape(-1, 320), "b c h w", (16, 20, 5, 5))
    assert str(error.value) == (
        "discover: at shape (16, 20, 5, 5) no pattern does what the function does: in row 1 of the output "
        "element (1, 0) comes from b=0 and element (1, 180) from b=1: the reshape crosses b"
    )


def test_randomness_state_and_side_effects_are_refused():
    random, seen = np.random.default_rng(0), []

    def counts(x):
        seen.append(1)
        return x + len(seen)

    def writes(x):
        x *= 2
        return x

    for function, kind in ((lambda x: x + random.normal(), "random"), (counts, "random"), (writes, "side effect")):
        with pytest.raises(DiscoveryError) as error:
            discover(function, "b c", (2, 3))
        assert error.value.kind == kind
    with pytest.raises(DiscoveryError, match=r"the function fails at shape \(2, 3\); numpy: AxisError"):
        discover(lambda x: np.swapaxes(x, 1, 2), "b c", (2, 3), backend="numpy")


def test_a_minus_one_that_is_right_at_one_size_only_is_a_trap():
    found = discover(lambda x: x.reshape(-1, 320), "b c h w", (2, 20, 4, 4))
    assert found.pattern == "b c h w -> b (c h w)"
    (trap,) = [trap for trap in found.traps if trap.kind == "-1"]
    assert trap.text.startswith("the code is 'b c h w -> b (c h w)' at some sizes only; at shape ")


def test_an_order_that_is_right_for_square_images_only_is_a_trap():
    swapped = discover(lambda x: x.reshape(x.shape[0], x.shape[2], x.shape[1]), "b h w", (2, 4, 4))
    assert swapped.pattern == "b h w -> b h w"
    (trap,) = swapped.traps
    assert trap.kind == "equal sizes"
    assert trap.text == (
        "the code is 'b h w -> b h w' only while h = w; at shape (2, 5, 4) it is no pattern: "
        "the output is cut every 5 elements, but one step along h is 4 elements: the reshape crosses h"
    )
    with pytest.raises(DiscoveryError, match="crosses h"):
        discover(lambda x: x.reshape(x.shape[0], x.shape[2], x.shape[1]), "b h w", (2, 4, 6))


def test_a_split_that_is_right_at_some_multiples_only_is_a_trap():
    # Turned, and then read in the order of before: that is a pattern where 16 divides the features.
    found = discover(
        lambda x: x.reshape(*x.shape[:2], 4, -1).swapaxes(2, 3).reshape(*x.shape[:2], 4, -1), "b n c", (2, 5, 16)
    )
    assert [trap.kind for trap in found.traps] == ["-1"]
    assert "at shape (2, 5, 24) it is no pattern" in found.traps[0].text


def test_windows_that_are_as_large_as_a_part_of_the_image_are_not_taken_for_its_size():
    # Of the smaller images that are tried, one is a single window.
    found = discover(lambda x: windows(x, 8), "b h w c", (2, 32, 32, 49))
    assert dict(found.sizes) == {"h2": 8, "w2": 8}
    assert found.traps == ()


def test_the_function_gets_arrays_in_the_order_of_new_ones():
    def mean(x):
        assert x.flags.c_contiguous
        return x.mean(1)

    assert discover(mean, "b c h", (2, 3, 5)).pattern == "b c h -> b h"


def test_an_input_that_is_not_used_is_named():
    with pytest.raises(DiscoveryError, match="it gives nothing of its input 'b c'") as error:
        discover(lambda x, y: y.T, "b c, i j", ((2, 3), (4, 5)))
    assert error.value.kind == "unused"


def test_axes_that_are_swapped_where_heads_are_as_large_as_their_number_are_a_trap():
    found = discover(lambda x: x.reshape(*x.shape[:2], x.shape[3], x.shape[2]), "b n heads k", (2, 5, 4, 4))
    assert [trap.kind for trap in found.traps] == ["equal sizes"]
    assert found.traps[0].text.startswith(
        "the code is 'b n heads k -> b n heads k' only while heads = k; at shape (2, 5, "
    )


def test_constants_of_the_code_are_told_from_what_follows():
    # The two factors are swapped: right only where both are 4.
    found = discover(lambda x: x.reshape(*x.shape[:2], -1, 4).swapaxes(2, 3), "b n c", (2, 5, 16))
    assert dict(found.equals) == {"c1": "c / 4", "c2": "4"}


def test_sizes_are_constants_or_follow_from_the_input():
    found = discover(shuffle, "b c h w", (2, 12, 5, 7))
    assert dict(found.equals) == {"c1": "3 (groups)", "c2": "c / 3"}
    assert found.code == 'rearrange(x, "b (c1 c2) h w -> b (c2 c1) h w", c1=groups)'
    assert found.inverse == "b (c2 c1) h w -> b (c1 c2) h w"
    assert dict(discover(MOVES["square image"][0], "b c n", (2, 3, 16)).equals)["n1"] == "sqrt(n)"
    by_axis = discover(MOVES["repeat by an axis"][0], "b c", (2, 5))
    assert dict(by_axis.equals) == {"r": "b"}


def test_the_proof_is_at_primes_and_at_powers_of_two():
    shapes = [shape for (shape,) in discover(shuffle, "b c h w", (2, 12, 5, 7)).proven]
    assert shapes[0] == (2, 12, 5, 7)
    assert (2, 9, 5, 7) in shapes
    assert (4, 6, 8, 2) in shapes
    assert len(shapes) == len(set(shapes)) >= 8


@st.composite
def patterns(draw):
    """A pattern of einops with its sizes, without `1`, and the shape of its input."""
    names = [f"a{n}" for n in range(draw(st.integers(1, 5)))]
    sizes = {name: draw(st.integers(2, 4)) for name in names}

    def side(order):
        groups, word = [], []
        for name in order:
            word.append(name)
            if draw(st.booleans()):
                groups.append(word)
                word = []
        return [*groups, *([word] if word else [])]

    left, right = side(names), side(draw(st.permutations(names)))
    text = " -> ".join(" ".join(f"({' '.join(group)})" for group in groups) for groups in (left, right))
    return text, sizes, tuple(math.prod(sizes[name] for name in group) for group in left)


@given(patterns())
def test_patterns_of_einops_come_back(case):
    pattern, sizes, shape = case
    axes = " ".join("ijklm"[: len(shape)])

    def old(x):
        return einops.rearrange(x, pattern, **sizes)

    found = discover(old, axes, shape)
    x = np.arange(math.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(found(x), old(x))
    # Axes that stay side by side are one axis: the pattern found is never longer.
    assert len(set(found.pattern.replace("(", " ").replace(")", " ").split())) <= len(sizes) + 1
    np.testing.assert_array_equal(found.undo(found(x)), x)


@given(patterns(), st.sampled_from(["max", "min", "sum", "mean", "prod"]), st.data())
def test_reductions_of_einops_come_back(case, reduction, data):
    pattern, sizes, shape = case
    left, right = pattern.split(" -> ")
    words = right.replace("(", "( ").replace(")", " )").split()
    plain = {word.strip("()") for word in left.split() if word.startswith("(") and word.endswith(")")}
    gone = data.draw(st.sets(st.sampled_from(sorted(plain)), min_size=1)) if plain else set()
    if not gone:
        return
    shorter = " ".join(word for word in words if word not in gone).replace("( ", "(").replace(" )", ")")
    axes = " ".join("ijklm"[: len(shape)])

    def old(x):
        return einops.reduce(x, f"{left} -> {shorter.replace('()', '')}", reduction, **sizes)

    found = discover(old, axes, shape)
    assert (found.operation, found.reduction) == ("reduce", reduction)
    x = np.random.default_rng(0).integers(1, 9, shape).astype(float)
    np.testing.assert_allclose(found(x), old(x), rtol=1e-12)


def test_products_beyond_the_largest_integer_come_back():
    """Of the random numbers that a function is tried on: three of them multiplied are more than 2**63."""
    found = discover(lambda x: x.prod(1), "i j", (2, 3))
    assert (found.operation, found.reduction) == ("reduce", "prod")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("b c h w -> b (c h w)", "n k i j -> n (k i j)", True),
        ("b c h w -> b (c h w)", "b c h w -> b (h w c)", False),
        ("b (c) -> (b) c", "b c -> b c", True),
        ("b c () -> b c", "b c 1 -> b c", True),
        ("b * h", "b h *", False),
    ],
)
def test_patterns_are_compared_up_to_names(one, other, same):
    assert same_pattern(one, other) is same


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("b 2", (2, 3)), PatternError, "expected axes as names, such as 'b c h w', received '2' in 'b 2'"),
        (("b b", (2, 2)), PatternError, "axis 'b' is there twice in 'b b'; likely fix: 'i j' for 'i i'"),
        (("b c", (2,)), ShapeError, "expected a shape for the axes 'b c', received (2,)"),
        (("b c", {"h": 2}), ShapeError, "sizes are for axes that 'b c' does not have: h"),
        (("b, b", ((2,), (3,))), ShapeError, "axis 'b' of 'b, b' has sizes 2 and 3"),
        (("b c", (2, 0)), ShapeError, "expected sizes of at least 1, received {'b': 2, 'c': 0}"),
        (("b", (2,), "tf"), ConfigError, "backend needs numpy, torch, jax or None, received 'tf'"),
    ],
)
def test_arguments_that_are_wrong(arguments, error, message):
    axes, sizes, *backend = arguments
    with pytest.raises(error) as caught:
        discover(np.sin, axes, sizes, backend=backend[0] if backend else None)
    assert str(caught.value) == f"discover: {message}"


def test_sizes_by_name_are_filled_up_with_primes():
    found = discover(shuffle, "b c h w", {"c": 12})
    assert found.shapes == ((2, 12, 3, 5),)


def test_discover_loads_no_framework_and_the_package_does_not_load_discover():
    assert "torch" not in loaded("import einops_arch; einops_arch.discover(lambda x: x.T, 'i j', (2, 3))")
    statement = "import sys, einops_arch; sys.modules['found_' + str('einops_arch.discovery' in sys.modules)] = sys"
    assert "found_False" in loaded(statement)
    assert einops_arch.discover is discover


def test_a_picture_shows_every_element_before_and_after():
    found = discover(shuffle, "b c h w", (2, 12, 5, 7))
    picture = found.svg()
    assert picture.startswith("<svg ")
    assert picture.count("<rect ") == 2 * 72
    assert picture.count(">17</text>") == 2
    assert "<title>b (c1 c2) h w -&gt; b (c2 c1) h w</title>" in picture
    pooled = discover(REDUCTIONS["mean"][0], "b c h w", (2, 4, 6, 9))
    # The results of a reduction are none of the numbered elements.
    assert pooled.svg().count("<rect ") == 54 + 6
    assert len(re.findall(r">[0-9]+</text>", pooled.svg())) == 54
    joined = discover(lambda x, y: np.stack([x, y]), "b, b", ((2,), (2,)))
    with pytest.raises(ConfigError, match="expected a rearrange, repeat or reduce, received the pack"):
        joined.svg()


def test_a_discovery_reads_well_and_goes_to_json():
    found = discover(shuffle, "b c h w", (2, 12, 5, 7))
    assert str(found).splitlines()[:4] == [
        'rearrange(x, "b (c1 c2) h w -> b (c2 c1) h w", c1=groups)',
        "  c1 = 3 (groups)",
        "  c2 = c / 3",
        "  inverse: b (c2 c1) h w -> b (c1 c2) h w",
    ]
    as_json = found.to_dict()
    assert as_json["sizes"] == {"c1": 3}
    assert as_json["proven"][0] == [[2, 12, 5, 7]]
    assert found.matches("b (g k) h w -> b (k g) h w")
    assert not found.matches("b (g k) h w -> b (g k) h w")
