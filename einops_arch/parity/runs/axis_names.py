"""Names for the axes of what modules give, so that a report says `b=2 c=16 h=8 w=8` and not four numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from einops_arch.layouts.named_axes import Array, Call, Names, name_axes, stated_axes
from einops_arch.parity.runs.axes import TraceCall

__all__ = ["axis_names"]


@dataclass
class _Module:
    """What is said of a module, and what is written down of its first call."""

    stated: tuple[Sequence[str], Sequence[str]]
    kind: str = ""
    calls: int = 0
    inputs: list[list[tuple[str | None, int]]] = field(default_factory=list)
    outputs: list[list[tuple[str | None, int]]] = field(default_factory=list)


def axis_names(
    trace: Sequence[TraceCall], inputs: Sequence[tuple[str, Any]], stated: Mapping[str, str]
) -> dict[str, tuple[str | None, ...]]:
    """The names of PyTorch's axes of the first output of each module's first call; None for an axis without one.

    Args:
        trace: the calls, in the order in which they returned.
        inputs: the network's input tensors, by place.
        stated: the axes that were said of them, by place.
    """
    if not all(hasattr(tensor, "shape") for call in trace for tensor in (*call.inputs, *call.outputs)):
        # A capture keeps which tensors are the same, and not their sizes.
        return {}
    modules = {call.path: _Module(stated_axes(call.module)) for call in trace}
    calls = [Call(call.path, _arrays(call.inputs), _arrays(call.outputs)) for call in trace]
    known: dict[int, Names] = {}
    for place, tensor in inputs:
        names: Names = [name if name.isidentifier() else None for name in stated.get(place, "").split()]
        if names and len(names) == tensor.ndim:
            known[id(tensor)] = names
    name_axes(modules, calls, known, channels_last=False)
    return {
        path: tuple(name for name, _ in module.outputs[0])
        for path, module in modules.items()
        if module.outputs and any(name for name, _ in module.outputs[0])
    }


def _arrays(tensors: Sequence[Any]) -> list[Array]:
    return [Array(id(tensor), tuple(tensor.shape)) for tensor in tensors]
