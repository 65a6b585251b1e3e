"""Tensors with two names in a source: one is enough where the model has one, and it is said where it has two."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.wrappers import Selected

__all__ = ["OnceTied", "needless_names", "once_tied", "same_arrays", "untied_lines"]


class OnceTied(Selected):
    """A reader without names of tied tensors that the model has under another name."""

    def __init__(self, inner: Reader, needless: Mapping[str, str]) -> None:
        super().__init__(inner, None, [f"^{re.escape(name)}$" for name in needless])
        reasons = {name: f"tied to {other}, under which the model has it" for name, other in needless.items()}
        self.left_out = {**inner.left_out, **reasons}


def once_tied(reader: Reader, expected: Collection[str]) -> Reader:
    """The reader, without names of tied tensors that the model has not.

    Args:
        reader: the checkpoint.
        expected: the names of the model.
    """
    groups: dict[str, list[str]] = {}
    for name, target in reader.aliases.items():
        groups.setdefault(target, [target]).append(name)
    needless = needless_names(groups.values(), expected)
    return OnceTied(reader, needless) if needless else reader


def needless_names(groups: Collection[Sequence[str]], expected: Collection[str]) -> dict[str, str]:
    """The names that a model has not, of tensors that it has under another name, which is given with each.

    >>> needless_names([["wte.weight", "lm_head.weight"]], {"wte.weight"})
    {'lm_head.weight': 'wte.weight'}
    """
    needless: dict[str, str] = {}
    for group in groups:
        known = [name for name in group if name in expected]
        needless |= {name: known[0] for name in group if known and name not in expected}
    return needless


def untied_lines(
    groups: Collection[Sequence[str]], tied: Collection[Sequence[str]], names: Collection[str]
) -> list[str]:
    """A line for each tensor of a source that a model keeps twice, so that both go their own ways in training.

    >>> untied_lines([["a", "b"]], [], {"a", "b"})
    ['a and b: one tensor in the source, and several in the model']
    """
    own = [set(group) for group in tied]
    lines = []
    for group in groups:
        kept = [name for name in group if name in names]
        if len(kept) > 1 and not any(set(kept) <= other for other in own):
            lines.append(f"{' and '.join(kept)}: one tensor in the source, and several in the model")
    return lines


def same_arrays(state: Mapping[str, Any]) -> list[list[str]]:
    """Groups of names whose arrays are the same memory.

    >>> ones = np.ones(3)
    >>> same_arrays({"a": ones, "b": ones, "c": np.ones(3)})
    [['a', 'b']]
    """
    groups: dict[Any, list[str]] = {}
    for name, value in state.items():
        if hasattr(value, "data_ptr"):
            place: Any = (value.data_ptr(), tuple(value.shape), value.stride()) if value.numel() else id(value)
        elif isinstance(value, np.ndarray) and value.size:
            place = (value.__array_interface__["data"][0], value.shape, value.strides)
        else:
            place = id(value)
        groups.setdefault(place, []).append(name)
    return [names for names in groups.values() if len(names) > 1]
