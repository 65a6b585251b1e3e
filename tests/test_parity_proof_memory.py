"""Pairs about what is kept from call to call, and where values are dropped: wrong ones fail, honest ones pass."""

from __future__ import annotations

import pytest
from proof_memory import HONEST, WRONG
from proof_pairs import outcome


def named(case):
    return f"{case.kind}: {case.name}"


@pytest.mark.parametrize("case", WRONG, ids=named)
def test_a_wrong_pair_does_not_pass(case):
    result = outcome(case)
    assert not result.passed, result.verdict


@pytest.mark.parametrize("case", HONEST, ids=named)
def test_an_honest_pair_passes(case):
    result = outcome(case)
    assert result.passed, (result.verdict, result.words)
