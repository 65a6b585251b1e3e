"""Calls of every core that moves numbers, each with the oracle that says what it means."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy_oracles as oracles

from einops_arch import functional

FORMATS = ("channels_first", "channels_last")
# Pairwise different within a case, so that no axis can stand for another.
SPACES = {1: (7,), 2: (5, 7), 3: (2, 7, 3)}
FACTORS = {1: (3,), 2: (3, 2), 3: (2, 1, 3)}


@dataclass(frozen=True)
class Case:
    """One call: the core by name, the shape that goes in, the call and its oracle."""

    core: str
    label: str
    shape: tuple[int, ...]
    call: Callable[[Any], Any]
    oracle: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        return f"{self.core}-{self.label}" if self.label else self.core

    @functools.cached_property
    def source(self) -> np.ndarray:
        """For each number of the result, which number of the input it is, as the oracle says."""
        return self.oracle(np.arange(math.prod(self.shape)).reshape(self.shape))

    def expected(self, x: np.ndarray) -> np.ndarray:
        return x.ravel()[self.source]


def _shape(b: int, c: int, space: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    return (b, c, *space) if data_format == "channels_first" else (b, *space, c)


def _case(
    core: str,
    label: str,
    shape: tuple[int, ...],
    *args: Any,
    oracle_args: tuple[Any, ...] | None = None,
    **options: Any,
) -> Case:
    told = args if oracle_args is None else oracle_args
    oracle_options = {key: value for key, value in options.items() if key not in ("t", "b", "batch_first")}
    return Case(
        core,
        label,
        shape,
        lambda x: getattr(functional, core)(x, *args, **options),
        lambda x: getattr(oracles, core)(x, *told, **oracle_options),
    )


def spatial_cases(
    b: int,
    c: int,
    groups: int,
    space: tuple[int, ...],
    factor: tuple[int, ...],
    formats: tuple[str, ...] = FORMATS,
) -> list[Case]:
    """The cores that know channels from space, in both formats."""
    cell = math.prod(factor)
    fine = tuple(size * f for size, f in zip(space, factor, strict=True))
    features = (b, c * math.prod(space))
    tokens = (b, math.prod(space), c * cell)
    cases = []
    for data_format in formats:
        rest = {"data_format": data_format}
        label = f"{len(space)}d-{data_format.removeprefix('channels_')}"
        grouped, image = _shape(b, c * groups, space, data_format), _shape(b, c, space, data_format)
        deep, large = _shape(b, c * cell, space, data_format), _shape(b, c, fine, data_format)
        cases += [
            _case("channel_shuffle", label, grouped, groups, **rest),
            _case("channel_unshuffle", label, grouped, groups, **rest),
            _case("depth_to_space", f"{label}-CRD", deep, factor, order="CRD", **rest),
            _case("depth_to_space", f"{label}-DCR", deep, factor, order="DCR", **rest),
            _case(
                "depth_to_space",
                f"{label}-drop",
                _shape(b, cell, space, data_format),
                factor,
                order="CRD",
                drop_channel=True,
                **rest,
            ),
            _case("space_to_depth", f"{label}-CRD", large, factor, order="CRD", **rest),
            _case("space_to_depth", f"{label}-DCR", large, factor, order="DCR", **rest),
            _case("upsample_nearest", label, image, factor, **rest),
            _case("flatten_features", label, image, **rest),
            _case("unflatten_features", label, features, c, space, **rest),
            _case("patchify", label, large, factor, **rest),
            _case("unpatchify", label, tokens, factor, space, **rest),
        ]
    image = _shape(b, c, space, "channels_first")
    label = f"{len(space)}d"
    return [
        *cases,
        _case("to_channels_last", label, image),
        _case("to_channels_first", label, _shape(b, c, space, "channels_last")),
    ]


def sequence_cases(b: int, t: int, d: int, heads: int, directions: int) -> list[Case]:
    """The cores of sequences, attention and recurrent states."""
    rows, inner = (t * b, d), {"oracle_args": (t, b)}
    return [
        _case("flatten_sequence", "time-major", (t, b, d)),
        _case("flatten_sequence", "batch-major", (b, t, d), batch_first=True),
        _case("unflatten_sequence", "t-and-b", rows, t=t, b=b, **inner),
        _case("unflatten_sequence", "t", rows, t=t, **inner),
        _case("unflatten_sequence", "batch-major", rows, t=t, batch_first=True, oracle_args=(b, t)),
        _case("split_heads", "", (b, t, heads * d), heads),
        _case("merge_heads", "", (b, heads, t, d)),
        _case("split_directions", "", (t * directions, b, d), directions),
        _case("merge_directions", "", (t, directions, b, d)),
    ]


MOVES = [
    *(case for n in SPACES for case in spatial_cases(2, 5, 3, SPACES[n], FACTORS[n])),
    *sequence_cases(b=3, t=5, d=7, heads=2, directions=2),
    # Without a spatial axis, and with more of them than have names.
    _case("channel_shuffle", "0d", (2, 15), 3, data_format="channels_first"),
    _case("flatten_features", "0d", (2, 5), data_format="channels_last"),
    _case("unflatten_features", "0d", (2, 5), 5, (), data_format="channels_last"),
    _case("flatten_features", "4d", (2, 3, 1, 2, 4, 3), data_format="channels_last"),
    _case("flatten_sequence", "indices", (5, 3)),
    _case("unflatten_sequence", "b", (15, 2, 4), b=3, oracle_args=(5, 3)),
]
EMPTY = [
    *spatial_cases(0, 5, 3, SPACES[2], FACTORS[2]),
    *sequence_cases(b=0, t=5, d=7, heads=2, directions=2),
]
ONES = [
    *(case for n in SPACES for case in spatial_cases(1, 1, 1, (1,) * n, (1,) * n, FORMATS[:1])),
    *sequence_cases(b=1, t=1, d=1, heads=1, directions=1),
]
# One of each core, small, two axes, for what has to be tried many times.
SMALL = list(
    {
        case.core: case
        for case in reversed(
            spatial_cases(2, 3, 2, (1, 2), (3, 2), FORMATS[:1]) + sequence_cases(b=2, t=3, d=5, heads=2, directions=2)
        )
    }.values()
)
