"""What a comparison finds in every architecture, honest and with each fault; computed once for all tests."""

from __future__ import annotations

import functools

from einops_arch import architectures
from einops_arch.parity import compare, example_inputs, randomize
from einops_arch.parity.mutate import catch_mutants
from einops_arch.port import to_flax

# With one colour both orders of depth-to-space are one function, and no fault.
PRESETS = {"super_resolution": "tiny_rgb"}


@functools.cache
def measured(name):
    """The largest difference of the honest pair in float64, and what became of the mutants."""
    architecture = architectures.get(name)
    model = architecture.torch_class()(architecture.config.preset(PRESETS.get(name, "tiny"))).double()
    randomize(model)
    twin = to_flax(model)
    inputs = example_inputs(model.config)
    report = compare(model, twin, inputs, jit=False)
    report.assert_same_function()
    return max(row.difference for row in report.rows), catch_mutants(model, twin, inputs)
