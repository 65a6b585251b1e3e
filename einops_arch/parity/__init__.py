"""Parity: the evidence that a PyTorch model and a Flax model compute the same function.

`compare` runs both in float64 and in their own dtype and gives a report with one row for each module. Importing this
package imports no framework; `compare` needs both.
"""

from einops_arch.parity.captures.capture import capture
from einops_arch.parity.captures.compare import compare_captures
from einops_arch.parity.captures.files import read_capture
from einops_arch.parity.compare import compare
from einops_arch.parity.mutate import Fault, Mutant, catch_mutants, mutate
from einops_arch.parity.probes import example_inputs, random_state, randomize
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Verdict
from einops_arch.parity.training import compare_training

__all__ = [
    "Fault",
    "Mutant",
    "Report",
    "Row",
    "Verdict",
    "capture",
    "catch_mutants",
    "compare",
    "compare_captures",
    "compare_training",
    "example_inputs",
    "mutate",
    "random_state",
    "randomize",
    "read_capture",
]
