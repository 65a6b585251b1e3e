"""Causes in what a module is given: a mask is read the other way round, in whatever form it comes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from einops_arch.parity.causes.case import Case, Hypothesis
from einops_arch.parity.report.verdicts import Array

__all__ = ["mask_hypotheses"]

# What is added to logits to shut a position out: minus infinity, or a number that is as good.
_SHUT = -1e3


def mask_hypotheses(case: Case) -> Iterator[Hypothesis]:
    """Every argument that is a mask, the other way round; and bits that are packed, in the other order."""
    for n, (place, value) in enumerate(case.places):
        for words, other in _others(value):
            turned = [other if k == n else array for k, array in enumerate(case.inputs)]
            yield f"the mask in argument {place} {words}", functools.partial(case.run, case.clone(), turned)


def _others(value: Array) -> Iterator[tuple[str, Any]]:
    if value.dtype == np.bool_:
        yield "the other way round: what is True here is False in PyTorch", ~value
        return
    if not value.size or value.dtype.kind not in "iuf":
        return
    values = set(np.unique(value).tolist()) if value.size < 1 << 20 else set()
    if values and values <= {0, 1}:
        yield "the other way round: what is 1 here is 0 in PyTorch", (1 - value).astype(value.dtype)
    elif value.dtype.kind == "f" and len(values) == 2 and max(values) == 0 and min(values) <= _SHUT:
        shut = np.asarray(min(values), value.dtype)
        yield (
            "the other way round: what is shut out here is open in PyTorch",
            np.where(value == 0, shut, np.zeros_like(shut)),
        )
    if value.dtype == np.uint8:
        yield (
            "with its packed bits in the other order",
            np.packbits(np.unpackbits(value[..., None], -1)[..., ::-1], -1)[..., 0],
        )
        yield "with its packed bits the other way round: what is 1 here is 0 in PyTorch", ~value
