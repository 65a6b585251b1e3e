"""The benchmark's own parts: what it compares with is the same function, and what it says follows from its numbers."""

from __future__ import annotations

import json
import math
import re
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from einops import rearrange, repeat

from benchmarks import keras_moves
from benchmarks.__main__ import main
from benchmarks.case import Bar, Case, Work
from benchmarks.compare import changes
from benchmarks.growth import exponent
from benchmarks.jax_networks import compiled_call
from benchmarks.jax_programs import compile_for, program_text
from benchmarks.measure import Effort, Spread, side_by_side, spread
from benchmarks.moves import MOVES
from benchmarks.networks import NETWORKS, Network
from benchmarks.page import html_page
from benchmarks.plain_nnx import plain
from benchmarks.plain_torch import PLAIN
from benchmarks.table import summary
from benchmarks.torch_networks import twin
from benchmarks.torch_programs import operations
from benchmarks.worker import matches, measured, verdict
from einops_arch import architectures
from einops_arch.parity.probes import example_inputs
from einops_arch.torch import ChannelShuffle

SHORT = Effort(seconds=0.0, rounds=3, sample=1e-4)


def same(a, b):
    return None if a == b else f"{a} is not {b}"


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.name)
def test_every_side_of_a_move_does_the_same(move):
    for (pattern, shape, by_hand), library in ((move.first, torch), (move.last, jnp)):
        numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        x = torch.from_numpy(numbers) if library is torch else jnp.asarray(numbers)
        operation = repeat if move.name == "upsample_nearest" else rearrange
        expected = operation(numbers, pattern, **move.sizes)
        np.testing.assert_array_equal(np.asarray(by_hand(x)), expected)
        split, order, repeats, joined = keras_moves.plan(pattern, shape, tuple(sorted(move.sizes.items())))
        moved = numbers.reshape(split).transpose(order)
        for position, count in repeats:
            moved = np.repeat(np.expand_dims(moved, position), count, axis=position)
        np.testing.assert_array_equal(moved.reshape(joined), expected)


def test_every_architecture_is_measured():
    assert {network.name for network in NETWORKS} == set(architectures.names())
    for network in NETWORKS:
        assert not any(getattr(network.config(), name, 0) for name in ("dropout", "attention_dropout"))


TINY = {"convnet": {}, "super_resolution": {}, "style_transfer": {}, "shuffle_unit": {}, "shufflenet": {}}
TINY |= {"language_model": {}, "sentiment_rnn": {}}


@pytest.mark.parametrize("name", TINY)
def test_the_plain_networks_of_pytorch_are_ours(name):
    config = Network(name, "tiny", {}).config()
    ours = twin(config).double()
    theirs = PLAIN[name](config).double().eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    inputs = [torch.from_numpy(x) for x in example_inputs(config)]
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        received, expected = ours(*inputs), theirs(*inputs)
    torch.testing.assert_close(received, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["convnet", "shufflenet", "sentiment_rnn", "vit"])
def test_the_plain_networks_of_nnx_are_ours(name):
    network = Network(name, "tiny", {"h": 32, "w": 32, "t": 5})
    config = network.config()
    results = {}
    for side, options in {"ours": {}, "plain": {"layers": plain}}.items():
        call, program = compiled_call(network, config, 2, **options)
        results[side] = call(), program_text(program)
    for ours, theirs in zip(results["ours"][0], results["plain"][0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    if name in {"shufflenet", "sentiment_rnn"}:  # the layers with forms of their own
        assert results["ours"][1] != results["plain"][1]


def test_equal_programs_are_told_from_others():
    x = jnp.ones((4, 6))
    one, other = (
        program_text(compile_for(f, (x,))[0]) for f in (lambda x: jnp.sin(x) @ x.T, lambda y: jnp.sin(y) @ y.T)
    )
    assert one == other
    assert one != program_text(compile_for(lambda x: jnp.cos(x) @ x.T, (x,))[0])


def test_the_order_of_what_does_not_depend_on_each_other_is_no_difference():
    def program(order, head="ENTRY %main.1"):
        lines = ["%p.1 = f32[2] parameter(0)", *order, "ROOT %t.9 = (f32[2], f32[2]) tuple(%a.1, %b.2)"]
        return types.SimpleNamespace(as_text=lambda: "\n".join([f"{head} (p: f32[2]) -> f32[2] {{", *lines, "}"]))

    one = ["%a.1 = f32[2] sine(%p.1), metadata={op_name='x'}", "%b.2 = f32[2] cosine(%p.1)"]
    named = ["%a.1 = f32[2] sine(%p.1), metadata={op_name='y'}", "%b.2 = f32[2] cosine(%p.1)"]
    other = ["%a.1 = f32[2] sine(%p.1)", "%b.2 = f32[2] cosine(%a.1)"]
    assert program_text(program(one)) == program_text(program(named[::-1]))
    assert program_text(program(one)) != program_text(program(other))


def test_equal_operations_of_pytorch_are_told_from_others():
    x = torch.randn(2, 6, 4, 4, requires_grad=True)

    def gradient(side):
        return lambda: torch.autograd.grad(side(x).sum(), x)

    shuffled = operations(lambda: torch.nn.functional.channel_shuffle(x, 3))
    assert shuffled == operations(lambda: ChannelShuffle(3)(x))
    assert shuffled != operations(lambda: ChannelShuffle(2)(x))
    assert shuffled != operations(lambda: ChannelShuffle(3)(x.contiguous(memory_format=torch.channels_last)))
    assert shuffled != operations(lambda: ChannelShuffle(3)(x[:1]))
    assert operations(gradient(torch.sin)) == operations(gradient(lambda x: x.sin()))
    assert shuffled == operations(lambda: torch.nn.functional.channel_shuffle(x.mT.mT, 3))
    assert "cos" in operations(gradient(torch.sin))


def test_each_side_is_sampled_once_in_a_round_and_the_order_varies():
    def run():
        calls = []
        samples = side_by_side({name: lambda name=name: calls.append(name) for name in "abc"}, Effort(0.0, 20, 0.0))
        assert {name: len(values) for name, values in samples.items()} == {"a": 20, "b": 20, "c": 20}
        return ["".join(calls[at : at + 3]) for at in range(len(calls) - 60, len(calls), 3)]

    rounds = run()
    assert all(sorted(one) == list("abc") for one in rounds)
    assert len(set(rounds)) == 6
    assert run() == rounds


def test_a_slower_side_has_a_larger_time():
    sides = {"quick": lambda: time.sleep(0.001), "slow": lambda: time.sleep(0.1)}
    samples = side_by_side(sides, SHORT)
    assert spread(samples["quick"]).median < spread(samples["slow"]).median


def test_the_quartiles_are_those_of_numpy():
    values = list(np.random.default_rng(0).random(11))
    found = spread(values)
    np.testing.assert_allclose([found.low, found.median, found.high], np.quantile(values, [0.25, 0.5, 0.75]))
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize("count", [2, 5, 6, 8, 9, 12, 25, 100, 101, 400, 2000])
def test_the_interval_of_the_median_is_that_of_the_sign_test(count):
    found = spread([float(value) for value in np.random.default_rng(1).permutation(count)])
    first = round(found.at_least)
    assert found.at_most == count - 1 - first

    def likely(number):
        """How likely it is that no more of the values than these lie below the median."""
        return sum(math.comb(count, below) for below in range(number + 1)) / 2**count

    assert likely(first) <= 0.025 or first == 0
    assert likely(first + 1 + (count > 100)) > 0.025  # for many values, a rank wider at most


def test_what_is_not_decided_is_measured_for_longer():
    def rounds(undecided):
        sides = {"a": lambda: time.sleep(5e-3), "b": lambda: time.sleep(5e-3)}
        return len(side_by_side(sides, Effort(0.1, 3, 0.0, most=2.0), undecided)["a"])

    decided, open_until_twenty, never = (
        rounds(undecided) for undecided in (lambda _: False, lambda samples: len(samples["a"]) < 20, lambda _: True)
    )
    assert 3 <= decided <= 10
    assert 20 <= open_until_twenty < 30
    assert open_until_twenty < never <= 200


def test_a_slow_side_takes_few_samples_where_they_leave_no_question():
    def rounds(clear, seconds=1e-3):
        sides = {"a": lambda: time.sleep(5e-3)}
        return len(side_by_side(sides, Effort(seconds, 7, 1e-3), clear=clear)["a"])

    assert rounds(lambda samples: True) == 3
    assert rounds(lambda samples: False) == 7
    assert rounds(lambda samples: True, seconds=0.5) >= 7  # there is time for more

    far = Work(lambda: None, {"slow": lambda: time.sleep(5e-3)}, same)
    near = Work(lambda: time.sleep(5e-3), {"quick": lambda: None}, same)
    effort = Effort(1e-3, 7, 1e-3)
    assert measured(Case("x", "numpy", "", "", lambda: far, Bar(1.0)), effort)["rounds"] == 3
    assert measured(Case("x", "numpy", "", "", lambda: near, Bar(1.0)), effort)["rounds"] == 7


def test_what_is_large_is_built_in_several_places():
    built = []

    def build():
        built.append(np.zeros(1000))
        return Work(lambda: time.sleep(1e-3), {"peer": lambda: time.sleep(1e-3)}, same)

    assert measured(Case("x", "numpy", "", "contiguous, eager, large", build), SHORT)["rounds"] == 3
    assert len(built) == 3
    measured(Case("x", "numpy", "", "contiguous, compiled, large", build), SHORT)
    measured(Case("x", "numpy", "", "contiguous, eager, batch 1", build), SHORT)
    assert len(built) == 5


@pytest.mark.parametrize(
    ("median", "at_least", "equal", "limit", "expected"),
    [
        (1.0, 0.9, False, 1.0, "held"),
        (1.1, 0.9, False, 1.0, "level"),
        (1.1, 1.05, False, 1.0, "missed"),
        (1.1, 1.05, True, 1.0, "same program"),
        (0.9, 0.8, True, 0.75, "missed"),
    ],
)
def test_a_verdict_follows_from_the_numbers(median, at_least, equal, limit, expected):
    assert verdict(Bar(limit), {"median": median, "at_least": at_least, "at_most": 2.0}, same=equal) == expected


def test_results_that_differ_are_found_before_any_clock_runs():
    row = measured(Case("x", "numpy", "", "", lambda: Work(lambda: 1, {"peer": lambda: 2}, same), Bar(1.0)), SHORT)
    assert row["verdict"] == "wrong"
    assert row["error"] == "peer: 1 is not 2"
    lost = Work(lambda: 1, {"peer": lambda: 1}, same, check=lambda result: f"{result} lies elsewhere")
    assert measured(Case("x", "numpy", "", "", lambda: lost), SHORT)["error"] == "1 lies elsewhere"


def test_the_quickest_of_the_named_peers_counts():
    peers = {"slow": lambda: time.sleep(0.1), "quick": lambda: None, "named": lambda: time.sleep(0.002)}
    work = Work(lambda: None, peers, same)
    assert measured(Case("x", "numpy", "", "", lambda: work, Bar(1.0, ("slow", "named"))), SHORT)["against"] == "named"
    assert measured(Case("x", "numpy", "", "", lambda: work), SHORT)["against"] == "quick"


def test_names_are_words_of_a_row():
    case = Case("vit", "torch", "vit_tiny", "eager, batch 8, forward", lambda: None)
    assert matches(case, [])
    assert matches(case, ["resnet", "vit batch 8"])
    assert not matches(case, ["vit batch 1"])


def run_of(ratio, name="x"):
    row = {"name": name, "side": "torch", "size": "3", "setting": "eager", "bar": {"limit": 1.0, "against": []}}
    row |= {"seconds": {"ours": 1e-3, "<peer>": 1e-3}, "against": "<peer>", "verdict": "held"}
    row |= {"ratios": {"<peer>": dict(zip(("low", "median", "high"), ratio, strict=True))}}
    grown = {"name": "x", "side": "jax", "size": "b = 1, 2", "setting": "growth with b", "bar": None, "verdict": ""}
    grown |= {"growth": {"axis": "b", "sizes": [1, 2], "seconds": [1.0, 2.0], "expected": "1"}, "exponent": 1.0}
    machine = {"processor": "a & b", "cores": 2, "system": "Linux"}
    options = {"quick": False, "device": "cpu", "threads": 2}
    facts = {"einops_arch": "0", "when": "now", "took": 60.0, "machine": machine, "versions": {"torch": "2"}}
    return facts | {"options": options, "rows": [row, grown]}


def test_only_what_lies_outside_of_the_spread_has_changed():
    old = run_of((0.9, 1.0, 1.1))
    assert changes(old, run_of((1.0, 1.15, 1.3))) == []
    (slower,) = changes(old, run_of((1.2, 1.3, 1.4)))
    (faster,) = changes(old, run_of((0.5, 0.6, 0.7)))
    assert (slower["change"], faster["change"]) == ("slower", "faster")
    assert changes(old, run_of((1.2, 1.3, 1.4), name="another row")) == []


def test_compare_on_the_command_line(tmp_path, capsys):
    old, new, broken = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "broken.json"
    old.write_text(json.dumps(run_of((0.9, 1.0, 1.1))))
    new.write_text(json.dumps(run_of((1.2, 1.3, 1.4))))
    broken.write_text("[]")
    assert main(["compare", str(old), str(new)]) == 1
    assert "slower, times 1.30" in capsys.readouterr().out
    assert main(["compare", str(old), str(old)]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main(["compare", str(old), str(broken)]) == 2
    assert "as `bench --json` writes them" in capsys.readouterr().err
    assert main(["compare", str(old), str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_the_page_shows_every_row_and_lets_nothing_in():
    page = html_page(run_of((0.9, 1.0, 1.1)))
    assert page.count('<i class="bar"') == 1
    assert "&lt;peer&gt;" in page
    assert "<peer>" not in page
    assert "growth with" not in page or "How the time grows" in page
    assert "<script" not in page
    assert "Of 1 comparisons: 0 faster, 1 level, 0 slower than the peer." in page


@pytest.mark.parametrize(("ratio", "kind"), [((0.7, 0.8, 0.9), "faster"), ((1.1, 1.2, 1.3), "slower")])
def test_a_bar_on_the_page_is_a_gain_left_of_1_and_a_loss_right_of_it(ratio, kind):
    page = html_page(run_of(ratio), ("../guides/speed.html", "Speed"))
    assert f'<div class="row {kind}' in page
    left, width = map(float, re.search(r'<i class="bar" style="left:([\d.]+)%;width:([\d.]+)%', page).groups())
    assert (left + width if kind == "faster" else left) == pytest.approx(50, abs=0.01)
    assert f'<input type="radio" name="show" id="show-{kind}"> {kind} (1)' in page
    assert '<a href="../guides/speed.html">&larr; Speed</a>' in page
    assert summary(run_of((0.9, 1.0, 1.1))["rows"]) == "1 bars: 1 held"


def test_without_the_peers_it_says_how_to_get_them(capsys):
    assert main(["--quick", "--json", "no/such/folder/x.json"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["--device", "tpu"]) == 2
    assert "expected one of cpu, cuda" in capsys.readouterr().err


def test_an_exponent_is_the_slope_of_the_logarithms():
    assert exponent([1, 2, 4, 8], [3 * s**1.5 for s in (1, 2, 4, 8)]) == pytest.approx(1.5)
