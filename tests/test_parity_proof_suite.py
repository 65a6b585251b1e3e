"""A fixed tenth of the suite of the proof, and that what the pages show of the whole is of this suite and holds."""

from __future__ import annotations

import importlib.util
import json

import jax
import pytest
from proof_cases import HONEST, WRONG
from proof_faults import FAULTS
from proof_pairs import outcome
from proof_suite import CALLED_DIFFERENT, EXPLAINED, FILE, LEAST, fault_table, pair_table, tenth


@pytest.fixture(autouse=True)
def _as_users_have_jax():
    """As the whole suite is run: with float64 on, a Flax model of another dtype than PyTorch's would be made."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


def named(case):
    return f"{case.kind}: {case.name}"


@pytest.mark.parametrize("case", tenth(WRONG), ids=named)
def test_a_wrong_pair_does_not_pass(case):
    result = outcome(case)
    assert not result.passed, result.verdict


@pytest.mark.parametrize("case", tenth(HONEST), ids=named)
def test_an_honest_pair_passes(case):
    result = outcome(case)
    assert result.passed or case.name in CALLED_DIFFERENT, (result.verdict, result.words)


def test_the_suite_is_as_large_as_it_is_said_to_be_and_each_pair_has_a_name_of_its_own():
    assert len(WRONG) >= LEAST["wrong"]
    assert len(HONEST) >= LEAST["honest"]
    assert len(FAULTS) == LEAST["faults"]
    for cases in (WRONG, HONEST):
        assert len({(case.kind, case.name) for case in cases}) == len(cases)
    assert len(CALLED_DIFFERENT) <= 2
    assert {case.name for case in HONEST} >= set(CALLED_DIFFERENT)
    # A pattern that fits any sentence would call every cause right.
    assert not [fault.name for fault in FAULTS if fault.right in ("", ".", ".*")]


STORED = json.loads(FILE.read_text(encoding="utf-8"))


def test_the_counts_of_pairs_that_are_shown_are_of_this_suite_and_hold():
    counts = STORED["pairs"]
    for section, cases in (("wrong", WRONG), ("honest", HONEST)):
        kinds = {row["kind"]: row["pairs"] for row in counts[section]}
        assert kinds == {kind: sum(case.kind == kind for case in cases) for kind in {case.kind for case in cases}}
    assert sum(row["passed"] for row in counts["wrong"]) == 0
    assert {pair["name"] for pair in counts["called_different"]} <= set(CALLED_DIFFERENT)
    assert "| **all honest ones** |" in pair_table(counts)


def test_the_counts_of_faults_that_are_shown_hold():
    if "faults" not in STORED:  # then none are shown: what was not counted has no row
        assert "faults in" not in page()
        return
    rows = STORED["faults"]["networks"]
    totals = {name: sum(row[name] for row in rows) for name in ("faults", "caught", "located", "right", "wrong")}
    assert totals["faults"] == totals["caught"] == totals["located"] == len(FAULTS)
    assert totals["right"] >= EXPLAINED
    assert totals["wrong"] == 0
    assert "| **all** |" in fault_table(STORED["faults"])
    assert f"| all | {len(FAULTS)} |" in page()


def page():
    """What the page of the guide shows."""
    hook = FILE.parents[1] / "hooks" / "proof_pages.py"
    spec = importlib.util.spec_from_file_location("proof_pages", hook)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.counts()
