"""Tensors with two names in a source: one is enough where the model has one, and it is said where it has two."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Without

__all__ = ["OnceTied", "needless_names", "once_tied", "same_arrays", "untied_lines"]


class OnceTied(Without):
    """A reader without names of tied tensors that the model has under another name."""

    def __init__(self, inner: Reader, needless: Mapping[str, str]) -> None:
        reasons = {name: f"tied to {other}, under which the model has it" for name, other in needless.items()}
        super().__init__(inner, reasons)


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
    """Groups of names whose arrays are the same memory, read in the same way.

    >>> ones = np.ones(3)
    >>> same_arrays({"a": ones, "b": ones, "c": np.ones(3), "d": ones.view("i8")})
    [['a', 'b']]
    """
    groups: dict[Any, list[str]] = {}
    for name, value in state.items():
        groups.setdefault(_place(value), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _place(value: Any) -> Any:
    """What two values share that are one array: those without memory are one only if they are one object."""
    if isinstance(value, np.ndarray) and value.size:
        return value.__array_interface__["data"][0], value.shape, value.strides, value.dtype
    # Other layouts than the strided one have no address, and tensors on the meta device have all the same.
    if hasattr(value, "data_ptr") and str(value.layout) == "torch.strided" and value.numel() and value.data_ptr():
        signs = value.is_conj(), value.is_neg()
        return value.data_ptr(), tuple(value.shape), value.stride(), value.dtype, value.device, signs
    return id(value)
