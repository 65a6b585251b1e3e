"""Stored outputs, gradients and batch statistics of every architecture, against which each framework is tested alone.

Weights and inputs are not stored: `einops_arch.parity.probes` makes them, with the same bits on every machine.
`python tests/golden/make.py` writes the files, from the PyTorch twins in float64.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from einops_arch import architectures
from einops_arch.parity.probes import random_numbers

FOLDER = Path(__file__).parent / "golden"

LIMIT = 1e-12
"""Of the rms. Honest differences between machines and frameworks are below 1e-14; a wrong eps is above 1e-6."""

CASES = [
    (name, preset)
    for name in architectures.names()
    for preset in architectures.get(name).config.PRESETS
    if preset.startswith("tiny")
]


def config_of(name, preset):
    """The preset without dropout, so that the train mode has one answer."""
    config = architectures.get(name).config.preset(preset)
    fields = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, dropout=0.0) if "dropout" in fields else config


def path_of(name, preset):
    return FOLDER / f"{name}.{preset}.npz"


def projection(index, shape):
    """What an output is multiplied with before it is summed up: the loss whose gradients are stored."""
    return random_numbers(f"projection.{index}", shape)


def digest(name, gradient):
    """Two numbers that stand for a gradient: its rms, and a random projection that no permutation leaves as it is."""
    return np.array([_rms(gradient), float((gradient * random_numbers(name, gradient.shape)).sum())])


def assert_golden(name, preset, received):
    """Hold what a framework computed against the stored values, all of them."""
    path = path_of(name, preset)
    assert path.is_file(), f"no golden values for {name}.{preset}: run python tests/golden/make.py"
    with np.load(path) as stored:
        assert sorted(received) == sorted(stored.files)
        largest = max(stored[key][0] for key in stored.files if key.startswith("gradient."))
        for key in stored.files:
            expected, value = stored[key], np.asarray(received[key], np.float64)
            assert value.shape == expected.shape, key
            if key.startswith("gradient."):
                assert_gradient(key, value, expected, largest)
            else:
                assert _rms(value - expected) <= LIMIT * _rms(expected), key


def assert_gradient(key, value, expected, largest):
    if expected[0] < 1e-10 * largest:
        # Nought in exact arithmetic, such as a bias before a norm: rounding noise in both.
        assert value[0] < 1e-10 * largest, key
        return
    assert abs(value[0] - expected[0]) <= LIMIT * expected[0], key
    # The projection sums up as many rounding errors as the gradient has entries, here at most some thousands.
    assert abs(value[1] - expected[1]) <= 100 * LIMIT * expected[0], key


def _rms(array):
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
