"""A fixed tenth of the suite of faults: each is caught, located, and explained by what it is."""

from __future__ import annotations

import pytest
from proof_faults import FAULTS, outcome

SAMPLE = (
    "eps of a batch norm",
    "norm over two axes by hand",
    "scale of attention left out",
    "softmax over the other axis",
    "eps outside of the root",
    "sign of the rotation",
    "GELU in the gate",
    "norms after the sums",
    "causal mask missing",
    "order of a skip",
)


def test_the_suite_is_a_hundred_faults_of_four_networks():
    assert len(FAULTS) == 100
    assert {sum(one.network == fault.network for one in FAULTS) for fault in FAULTS} == {25}
    assert len({(fault.network, fault.name) for fault in FAULTS}) == 100


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_is_caught_located_and_explained(name):
    fault = next(fault for fault in FAULTS if fault.name == name)
    result = outcome(fault)
    assert (result.caught, result.located, result.right) == (True, True, True), result.causes
