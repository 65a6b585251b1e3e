"""Causes in images that lines of code resize: by repeated pixels, and by neighbours that are looked up."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
import torch.nn.functional as F
from flax import nnx
from proof_faults import corners
from proof_pairs import IMAGE, nets
from torch import nn


def resized(torch_function, flax_function):
    return nets(
        {"conv": nn.Conv2d(3, 5, 3, padding=1), "out": nn.Conv2d(5, 4, 1)},
        {
            "conv": nnx.Conv(3, 5, (3, 3), padding=1, rngs=nnx.Rngs(0)),
            "out": nnx.Conv(5, 4, (1, 1), rngs=nnx.Rngs(0)),
        },
        lambda m, x: m.out(torch_function(m.conv(x))),
        lambda m, x: m.out(flax_function(m.conv(x))),
        IMAGE,
        axes="b c h w",
    ).report(causes=True)


def repeated(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def on_corners(x):
    return corners(x, (2, 16, 20, 5))


@pytest.mark.parametrize(
    ("settings", "flax_function", "words"),
    [
        ({"mode": "bilinear"}, repeated, "bilinear without antialiasing"),
        ({"mode": "bilinear", "align_corners": True}, repeated, "bilinear with align_corners=True"),
        ({"mode": "bilinear"}, on_corners, "bilinear without antialiasing"),
        ({"mode": "nearest"}, on_corners, "nearest, rounded down"),
        ({"mode": "bicubic", "align_corners": True}, on_corners, "bicubic with align_corners=True"),
    ],
)
def test_the_kind_is_named(settings, flax_function, words):
    report = resized(lambda y: F.interpolate(y, scale_factor=2, **settings), flax_function)
    assert not report.passed
    (cause,) = report.causes
    assert cause.startswith("the network: would be explained by ")
    assert f"{words}, the Flax module resizes in another way" in cause


@pytest.mark.parametrize(
    ("settings", "flax_function"),
    [({"mode": "nearest"}, repeated), ({"mode": "bilinear", "align_corners": True}, on_corners)],
)
def test_the_same_kind_passes(settings, flax_function):
    assert resized(lambda y: F.interpolate(y, scale_factor=2, **settings), flax_function).passed


def test_another_factor_is_no_kind_of_resizing():
    report = resized(lambda y: 1.3 * F.interpolate(y, scale_factor=2) ** 2, repeated)
    assert not any("resizes" in cause for cause in report.causes)
