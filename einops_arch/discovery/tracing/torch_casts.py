"""Numbers that are not finite and become integers: what they become differs, so nothing may depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from einops_arch.discovery.tracing.program import Note, Source
from einops_arch.discovery.tracing.torch_state import copy_of_model

__all__ = ["finite_entries", "notes_of_casts"]

_CASTS = frozenset(("to", "type", "type_as", "long", "int", "short", "char", "byte"))
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1


def finite_entries(name: str, args: Sequence[Any], output: Any) -> torch.Tensor | None:
    """Which entries are finite, of a tensor of which some others are cast to integers; None where all is well."""
    if name not in _CASTS or not args or not all(isinstance(item, torch.Tensor) for item in (args[0], output)):
        return None
    if not args[0].is_floating_point() or output.is_floating_point() or output.is_complex():
        return None
    finite = torch.isfinite(args[0])
    return None if output.dtype == torch.bool or finite.all() else finite


def notes_of_casts(
    model: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    casts: Sequence[Source],
    tensors_in: Callable[[Any], Iterable[torch.Tensor]],
) -> list[Note]:
    """Run a model with other integers for what is not finite, and say where its results are others.

    Relative positions are an example: the logarithm of 0 becomes an integer that `torch.where` then leaves out.

    Args:
        model: in the mode of the run; it is copied.
        args: what it is called with.
        kwargs: likewise, by name.
        casts: the statements in which such integers were made.
        tensors_in: gives the tensors of a result.
    """
    if not casts:
        return []

    def outputs(change: Callable[[Any, Any], Any]) -> list[torch.Tensor]:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), _Casts(change):
            torch.manual_seed(0)
            return list(tensors_in(copy_of_model(model)(*args, **kwargs)))

    expected = outputs(lambda tensor, integers: integers)
    for other in (_zeros, _saturated):
        received = outputs(other)
        if not all(torch.equal(left, right) for left, right in zip(expected, received, strict=True)):
            reason = "a number that is not finite becomes an integer, which is another one in JAX"
            return [Note("", source, "to", reason, "leave it out before the cast") for source in dict.fromkeys(casts)]
    return []


def _zeros(tensor: Any, integers: Any) -> Any:
    return torch.where(torch.isfinite(tensor), integers, 0)


def _saturated(tensor: Any, integers: Any) -> Any:
    """As XLA does it with 32 bits."""
    limits = torch.nan_to_num(tensor.double(), nan=0.0, posinf=_HIGHEST, neginf=_LOWEST).to(integers.dtype)
    return torch.where(torch.isfinite(tensor), integers, limits)


class _Casts(TorchFunctionMode):
    def __init__(self, change: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.change = change

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **dict(kwargs or {}))
        finite = finite_entries(getattr(func, "__name__", ""), args, output)
        return output if finite is None else self.change(args[0], output)
