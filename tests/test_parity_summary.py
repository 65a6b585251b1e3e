"""What a report says first: exceptions, verdict, place, causes and answers; then what is wrong by itself."""

from __future__ import annotations

import io
import warnings

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from typer.testing import CliRunner

from einops_arch.cli.app import app
from einops_arch.cli.output import Page
from einops_arch.cli.reports import Rows, print_reports
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.parity import Report, Row, Verdict, compare
from einops_arch.parity.report.summary import answer, own_faults
from einops_arch.parity.runs.casts import line_of
from einops_arch.port import transfer

ROWS = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")


def norms(*epsilons):
    """Norms with a layer between them; PyTorch's have an eps of 1e-5."""
    torch_model = torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
    first, last = (nnx.LayerNorm(8, epsilon=eps, use_fast_variance=False, rngs=nnx.Rngs(0)) for eps in epsilons)
    flax_model = nnx.Sequential(first, nnx.Linear(8, 8, rngs=nnx.Rngs(1)), last)
    transfer(torch_model, flax_model)
    return torch_model, flax_model


@pytest.fixture(scope="module")
def wrong_twice():
    return compare(*norms(1e-4, 1e-3), ROWS, axes="b t c")


def test_only_what_is_wrong_by_itself_is_shown(wrong_twice):
    """The layer between the norms differs, because what goes into it does."""
    assert [row.path for row in wrong_twice.rows if not row.verdict.passed] == ["0", "1", "2", ""]
    assert wrong_twice.faults == ("0", "2")
    assert {name: [row.path for row in rows] for name, rows in own_faults(wrong_twice).items()} == {
        "modules": ["0", "2"]
    }
    lines = str(wrong_twice).splitlines()
    assert lines[0].startswith(
        "verdict: semantic difference; first divergence at 0 (LayerNorm and LayerNorm): expected"
    )
    assert lines[1] == "0: would be explained by epsilon=1e-5, the Flax module has 0.0001"
    assert lines[2] == "2: would be explained by epsilon=1e-5, the Flax module has 0.001"
    assert "over a limit as well: 2 modules, 1 output" in lines
    assert "modules (eval mode)" not in lines


def test_the_table_is_there_where_it_is_asked_for(wrong_twice):
    text = wrong_twice.to_text(rows="all")
    assert text.startswith("verdict: semantic difference")
    assert "modules (eval mode)" in text
    with pytest.raises(ConfigError, match="'wrong', 'all', received 'some'"):
        wrong_twice.to_text(rows="some")


@pytest.mark.parametrize("rows", list(Rows))
def test_it_reads_on_a_narrow_screen(wrong_twice, rows):
    screen = io.StringIO()
    print_reports(Page(file=screen, width=60, highlight=False), [("eval mode", wrong_twice)], rows)
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("eval mode: semantic difference; first divergence")
    # No word is cut.
    words = screen.getvalue().split()
    assert {"difference;", "epsilon=1e-5,"} <= set(words)


@pytest.mark.parametrize(
    ("verdict", "argument", "option"),
    [
        (Verdict.MISSING, "paths=", "--path "),
        (Verdict.SHAPE, "layouts=", "--layout "),
        (Verdict.HIDDEN_CAST, "lift_casts=True", "--lift-casts"),
        (Verdict.NAN, "randomize", "--randomize"),
        (Verdict.ROUNDING, "teacher=True", "narrower dtype"),
    ],
)
def test_a_verdict_names_the_argument_that_answers_it(verdict, argument, option):
    report = Report((Row("fc", "Linear", "Linear", (3, 2), None, None, None, None, verdict),), ())
    assert argument in answer(report)
    assert option in answer(report, options=True)
    assert f"likely fix: {answer(report)}" in str(report)


def test_what_a_model_raises_comes_first():
    class Fails(nnx.Module):
        def __init__(self):
            self.layers = nnx.List([nnx.LayerNorm(8, rngs=nnx.Rngs(0))])

        def __call__(self, x):
            raise RuntimeError("the mask has shape (7,)\nand more")

    torch_model = torch.nn.Sequential(torch.nn.LayerNorm(8))
    report = compare(torch_model, Fails(), ROWS, axes="b t c")
    assert str(report).startswith("RuntimeError in the network: the mask has shape (7,) (raised by Flax's model)\n")
    assert not report.passed
    assert "likely fix" not in str(report)


@pytest.mark.parametrize("axes", ["N C L", "b c c"])
def test_axes_that_cannot_be_meant_are_refused(axes):
    with pytest.raises(ShapeError, match=f"received '{axes}'"):
        compare(*norms(1e-5, 1e-5), ROWS, axes=axes)


def test_teacher_forcing_keeps_the_same_account_and_lifts_the_same_casts():
    """Flax's attention casts to its own float32, which is no difference."""

    class Torch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    class Flax(nnx.Module):
        def __init__(self):
            self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.attention(x)

    models = Torch(), Flax()
    transfer(*models)
    report = compare(*models, ROWS, axes="b t c", teacher=True)
    assert report.passed, str(report)
    assert (report.seen.outputs, report.seen.numbers, report.seen.evidence) == (1, ROWS.size, ("output",))
    assert any("not given PyTorch's inputs" in words for words in report.seen.not_seen)


@pytest.mark.parametrize("norm", [torch.nn.utils.parametrizations.weight_norm, torch.nn.utils.weight_norm])
def test_a_weight_that_pytorch_computes_is_the_one_that_was_carried(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch_model = torch.nn.Sequential(norm(torch.nn.Linear(8, 8)))
    flax_model = nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(0)))
    weight = torch_model[0].weight.detach().numpy()
    flax_model.layers[0].kernel.set_value(jnp.asarray(weight.T))
    flax_model.layers[0].bias.set_value(jnp.asarray(torch_model[0].bias.detach().numpy()))
    report = compare(torch_model, flax_model, ROWS, axes="b t c", gradients=True)
    assert report.passed, str(report)
    # Only copies were changed, and another weight is another.
    assert np.array_equal(torch_model[0].weight.detach().numpy(), weight)
    flax_model.layers[0].kernel.set_value(jnp.asarray(weight.T).at[0, 1].add(1e-6))
    assert compare(torch_model, flax_model, ROWS, axes="b t c", causes=False).verdict is Verdict.SEMANTIC


def test_the_line_that_is_named_is_the_models_and_not_that_of_einops():
    def model(x):
        return einops.rearrange(x, "a b -> b a")

    (operation,) = jax.make_jaxpr(model)(jnp.ones((2, 3))).eqns
    assert line_of(operation).startswith("test_parity_summary.py:")


BROKEN = {
    "syntax.py": "x = (1 +\n",
    "stops.py": "raise SystemExit(1)\n",
    "divides.py": "1 / 0\n",
    "makes.py": "def model():\n    raise KeyError('no weights')\n\n\nnumber = 5\n",
}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("syntax:Model", "SyntaxError"),
        ("stops:Model", "SystemExit: 1 (at stops.py:1)"),
        ("divides:Model", "ZeroDivisionError: division by zero (at divides.py:1)"),
        ("absent_module:Model", "No module named 'absent_module'"),
        ("makes:model()", "KeyError: 'no weights' (at makes.py:2)"),
        ("makes:number", "an int"),
        ("makes:number()", "expected something that can be called, received int"),
    ],
)
def test_what_cannot_be_imported_or_made_is_one_sentence_and_exit_code_2(target, words, tmp_path, monkeypatch):
    for name, text in BROKEN.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(app, ["verify", target, "--against", "makes:number", "-i", "b c=2,3"])
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
