"""Weights that PyTorch computes when it runs, folded into plain ones: weight norm and spectral norm, in both forms."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from einops_arch.checkpoints.reader import Reader, Wrapper
from einops_arch.checkpoints.tensors import FLOATS, Bits, TensorInfo, carrier, numpy_dtype
from einops_arch.checkpoints.wrappers import Untied
from einops_arch.errors import PortError

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
    """

    def __init__(self, inner: Reader) -> None:
        super().__init__(inner)
        self.changes: dict[str, float] = {}

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
        dtype = numpy_dtype(self.tensors[name].dtype)
        new, old = self.compute(name)
        rounded = new.astype("float32").astype(dtype) if self.tensors[name].dtype != "float64" else new
        self.changes[name] = float(np.abs(new - old).max(initial=0.0))
        return np.ascontiguousarray(rounded).view(carrier(self.tensors[name].dtype))

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
        PortError: there is none to fold, or its parts do not belong together.
    """

    def __init__(self, inner: Reader) -> None:
        super().__init__(Untied(inner) if inner.aliases else inner)
        self._groups = {group.name: group for group in _groups(self.inner.tensors)}
        if not self._groups:
            raise PortError("fold: no weight has a weight norm or a spectral norm")
        gone = {part: group for group in self._groups.values() for part in group.parts}
        self.tensors, self.aliases = {}, {}
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
            with np.errstate(divide="ignore", invalid="ignore"):
                return direction * (size.reshape(norm.shape) / norm), direction
        weight, left, right = map(self.wide, group.parts)
        return weight / (left @ _matrix(name, weight, left, right) @ right), weight

    def _info(self, group: _Group) -> TensorInfo:
        infos = [self.inner.tensors[part] for part in group.parts]
        whole = infos[1] if group.kind == "weight norm" else infos[0]
        if any(info.dtype not in FLOATS for info in infos):
            raise PortError(f"{group.name}: expected floating-point numbers to fold, received {whole.dtype}")
        if group.kind == "weight norm":
            kept = infos[0].shape
            like = len(kept) == len(whole.shape) and all(a in {1, b} for a, b in zip(kept, whole.shape, strict=True))
            if kept and not like:
                raise PortError(f"{group.name}: a norm of shape {kept} does not belong to shape {whole.shape}")
        elif len(infos[1].shape) != 1 or infos[1].size * infos[2].size != whole.size:
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
