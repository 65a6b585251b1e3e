"""Weights that PyTorch computes when it runs, folded into plain ones: weight norm and spectral norm, in both forms."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.checkpoints.reader import Reader, Wrapper
from einops_arch.checkpoints.reader_views import Untied
from einops_arch.checkpoints.tensors import FLOATS, Bits, TensorInfo, carrier, numpy_dtype
from einops_arch.errors import DtypeError, PortError
from einops_arch.layouts.state import problems_error

__all__ = ["Computed", "Folded", "is_folded"]

Array = np.ndarray[Any, Any]

_FORMS = (
    ("weight norm", r"(.*)_g", ("{}_g", "{}_v")),
    ("weight norm", r"(.*)parametrizations\.(\w+)\.original0", ("{}.original0", "{}.original1")),
    ("spectral norm", r"(.*)_orig", ("{}_orig", "{}_u", "{}_v")),
    ("spectral norm", r"(.*)parametrizations\.(\w+)\.original", ("{}.original", "{}.0._u", "{}.0._v")),
)
"""What it is, a name of the first of its parts, and the names of all of them."""
_WIDE = 64
"""Bits in which it is computed, before it is rounded to the dtype of the file."""


@dataclass(frozen=True)
class _Group:
    kind: str
    name: str
    parts: tuple[str, ...]


class Computed(Wrapper):
    """A reader in which some tensors are computed from those of another.

    Attributes:
        changes: the largest change of each tensor that was computed so far, from what it replaces.
        untied: names that were tied to others, of which one is computed, each with that under which the tensor was.
    """

    def __init__(self, inner: Reader) -> None:
        super().__init__(inner)
        self.changes: dict[str, float] = {}
        self.untied: Mapping[str, str] = {}

    @cached_property
    def remarks(self) -> dict[str, str]:
        """What is computed, by its name."""
        return {}

    @abstractmethod
    def compute(self, name: str) -> tuple[Array, Array]:
        """The new values in float64, and those that they replace."""

    def bits(self, name: str) -> Bits:
        if name not in self.remarks:
            return self.inner.bits(name)
        dtype = self.tensors[name].dtype
        with np.errstate(all="ignore"):
            new, old = self.compute(name)
            rounded = new.astype("float32").astype(numpy_dtype(dtype)) if dtype != "float64" else new
            kept = rounded.astype("float64")
        lost = int(np.count_nonzero(np.isfinite(old) & ~np.isfinite(kept)))
        if unreal := int(np.count_nonzero(np.isfinite(old) & ~np.isfinite(new))):
            raise DtypeError(
                f"{name}: {self.remarks[name]}: {counted(unreal, 'finite number')} would be infinite or no number in "
                f"whatever dtype; what it is computed from holds NaN or inf, or a norm of 0"
            )
        if lost:
            raise DtypeError(
                f"{name}: {self.remarks[name]}: {counted(lost, 'finite number')} would be infinite or no number in "
                f"{dtype}; likely fix: a file of the weights in a wider dtype, as --dtype float32 (dtype=) writes it"
            )
        self.changes[name] = float(np.abs(kept - old)[np.isfinite(kept)].max(initial=0.0))
        return np.ascontiguousarray(rounded).view(carrier(dtype))

    def blocks(self, name: str) -> Any:
        return Reader.blocks(self, name) if name in self.remarks else self.inner.blocks(name)

    def part(self, name: str, box: Any) -> Bits:
        return Reader.part(self, name, box) if name in self.remarks else self.inner.part(name, box)

    def span(self, name: str) -> Any:
        return None if name in self.remarks else self.inner.span(name)

    def wide(self, name: str) -> Array:
        """A tensor of the source in float64."""
        return self.inner.read(name).astype("float64")


class Folded(Computed):
    """A checkpoint with plain weights in the place of those that PyTorch computes.

    Args:
        inner: the checkpoint.

    Raises:
        PortError: there is none to fold, its parts do not belong together, or its name is taken.
    """

    def __init__(self, inner: Reader) -> None:
        names = dict.fromkeys(inner.names())
        groups = [group for group in _groups(names) if _is_norm(group, inner)]
        if not groups:
            raise PortError("fold: no weight has a weight norm or a spectral norm")
        if problems := _clashes(groups, names):
            raise problems_error("fold", problems)
        self._groups = {group.name: group for group in groups}
        gone = {part: group for group in groups for part in group.parts}
        untied = Untied(inner, gone)
        super().__init__(untied)
        self.untied, self.aliases = untied.untied, untied.aliases
        self.tensors = {}
        for name, info in self.inner.tensors.items():
            if name not in gone:
                self.tensors[name] = info
            elif name == gone[name].parts[0]:
                self.tensors[gone[name].name] = self._info(gone[name])

    @cached_property
    def remarks(self) -> dict[str, str]:
        return {name: f"{group.kind} folded into one weight" for name, group in self._groups.items()}

    def compute(self, name: str) -> tuple[Array, Array]:
        group = self._groups[name]
        if group.kind == "weight norm":
            size, direction = map(self.wide, group.parts)
            axes = tuple(n for n in range(direction.ndim) if n >= size.ndim or size.shape[n] == 1)
            axes = axes if size.ndim else tuple(range(direction.ndim))
            norm = np.sqrt((direction**2).sum(axes, keepdims=True))
            return direction * (size.reshape(norm.shape) / norm), direction
        weight, left, right = map(self.wide, group.parts)
        return weight / (left @ _matrix(name, weight, left, right) @ right), weight

    def _info(self, group: _Group) -> TensorInfo:
        infos = [self.inner.tensors[part] for part in group.parts]
        whole = infos[1] if group.kind == "weight norm" else infos[0]
        if any(info.dtype not in FLOATS for info in infos):
            raise PortError(f"{group.name}: expected floating-point numbers to fold, received {whole.dtype}")
        if group.kind == "weight norm":
            if not _is_size_of(infos[0].shape, whole.shape):
                raise PortError(
                    f"{group.name}: a norm of shape {infos[0].shape} does not belong to shape {whole.shape}"
                )
        elif any(len(info.shape) != 1 for info in infos[1:]) or infos[1].size * infos[2].size != whole.size:
            raise PortError(f"{group.name}: vectors of {infos[1].shape} and {infos[2].shape} for shape {whole.shape}")
        return whole


def is_folded(names: Mapping[str, Any]) -> bool:
    """Whether some weights are those that PyTorch computes.

    >>> is_folded({"fc.weight_g": 0, "fc.weight_v": 0}), is_folded({"fc.weight": 0})
    (True, False)
    """
    return bool(_groups(names))


def _groups(names: Mapping[str, Any]) -> list[_Group]:
    groups = []
    for name in names:
        for kind, pattern, forms in _FORMS:
            match = re.fullmatch(pattern, name)
            if match is None:
                continue
            stem = match[1] if len(match.groups()) == 1 else f"{match[1]}parametrizations.{match[2]}"
            parts = tuple(form.format(stem) for form in forms)
            if all(part in names for part in parts):
                plain = match[1] if len(match.groups()) == 1 else f"{match[1]}{match[2]}"
                groups.append(_Group(kind, plain, parts))
    return groups


def _is_size_of(size: tuple[int, ...], direction: tuple[int, ...]) -> bool:
    """Whether a shape is that of the norms along one axis of another, or that of one norm of all.

    >>> _is_size_of((5, 1), (5, 3)), _is_size_of((), (5, 3)), _is_size_of((5, 3), (5, 3))
    (True, True, False)
    """
    forms = [tuple(n if i == axis else 1 for i, n in enumerate(direction)) for axis in range(len(direction))]
    return size in {(), *forms}


def _is_norm(group: _Group, reader: Reader) -> bool:
    """Whether it is one; names that end with `_g` and `_v` may be anything's where they are no weight's."""
    if group.kind != "weight norm" or "parametrizations." in group.parts[0]:
        return True
    sizes, directions = (reader.info(part).shape for part in group.parts)
    return group.name.rpartition(".")[2].startswith("weight") or _is_size_of(sizes, directions)


def _clashes(groups: Sequence[_Group], names: Collection[str]) -> list[str]:
    """A line for each name that would be there twice, and for what else computes a weight."""
    lines = []
    gone = {part for group in groups for part in group.parts}
    first: dict[str, _Group] = {}
    for group in groups:
        other = first.setdefault(group.name, group)
        if other is not group:
            lines.append(f"{group.name}: made of {other.parts[0]} and of {group.parts[0]}")
        if group.name in names and group.name not in gone:
            lines.append(f"{group.name}: made of {group.parts[0]}, and there already")
        stem, _, _ = group.parts[0].rpartition(".")
        if "parametrizations." in stem:
            more = [name for name in names if name.startswith(f"{stem}.") and name not in gone]
            lines += [f"{name}: computes {group.name} as well, and is no {group.kind}" for name in more]
    return lines


def _matrix(name: str, weight: Array, left: Array, right: Array) -> Array:
    """The weight as the matrix of which the vectors are singular ones: its rows are the outputs.

    A transposed convolution has its outputs on the second axis. Where both have as many, the vectors tell.
    """
    forms = []
    for axis in range(min(2, weight.ndim)):
        if weight.shape[axis] == left.size:
            matrix = np.moveaxis(weight, axis, 0).reshape(left.size, -1)
            along = matrix @ right
            forms.append((float(left @ along) / max(float(np.linalg.norm(along)), 1e-30), matrix))
    if not forms:
        raise PortError(f"{name}: a vector of {left.size} does not belong to shape {weight.shape}")
    forms.sort(key=lambda form: -form[0])
    if len(forms) == 2 and forms[0][0] - forms[1][0] < 1e-2:
        raise PortError(f"{name}: the file does not say which axis of {weight.shape} the spectral norm is along")
    return forms[0][1]
