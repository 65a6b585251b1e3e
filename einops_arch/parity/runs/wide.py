"""PyTorch's models and tensors in float64, in which functions are compared."""

from __future__ import annotations

from typing import Any

from einops_arch.parity.runs.casts import as_written_down

__all__ = ["widened", "widened_tensor"]


def widened(model: Any, *, as_written: bool = False) -> Any:
    """In float64; PyTorch's own `double` leaves complex numbers as they are.

    Args:
        model: a copy.
        as_written: single numbers are the decimals of which they are what is left, as literals in the code are.
    """
    import torch

    def widen(tensor: Any) -> Any:
        return widened_tensor(tensor, as_written=as_written)

    if as_written:
        for module in model.modules():
            numbers = {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
            vars(module).update({name: widen(value) for name, value in numbers.items() if value.numel() == 1})
    return model._apply(widen)  # noqa: SLF001 what `double` itself calls


def widened_tensor(tensor: Any, *, as_written: bool = False) -> Any:
    """Floating-point and complex numbers in float64 and complex128; others as they are.

    Args:
        tensor: of PyTorch.
        as_written: a single number is the decimal of which it is what is left.
    """
    import torch

    if tensor.is_complex():
        return tensor.to(torch.complex128)
    if not tensor.is_floating_point():
        return tensor
    return as_written_down(tensor).double() if as_written else tensor.double()
