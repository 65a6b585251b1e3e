"""`torch.autograd.Function`: where its gradient is that of its forward, the forward stands for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

__all__ = ["forward_of", "has_own_gradient"]

# Of inputs and of the gradients that come back: a gradient that is clipped or rounded differs at some of them.
_SCALES = ((1.0, 1.0), (30.0, 1.0), (1e-3, 1.0), (1.0, 1e4), (1.0, 1e-4))


class _Context:
    """Takes what a forward saves for its backward, which is not called here."""

    def __init__(self, args: Sequence[Any]) -> None:
        self.needs_input_grad = tuple(isinstance(item, torch.Tensor) and item.requires_grad for item in args)

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        self.saved_tensors = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Is asked of gradients only."""


def forward_of(function: Any, args: Sequence[Any]) -> Any:
    """What the forward of a function gives, with PyTorch's own gradient of its operations."""
    if function.setup_context is not torch.autograd.Function.setup_context:
        return function.forward(*args)
    return function.forward(_Context(args), *args)


def has_own_gradient(function: Any, args: Sequence[Any]) -> bool:
    """Whether a function has another gradient than the operations of its forward, as far as can be seen.

    Args:
        function: the class.
        args: what it is called with; it is tried at other numbers of these shapes.
    """
    if not any(_floats(item) for item in args):
        return True
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.enable_grad():
            return not all(_agrees(function, args, *scales, generator) for scales in _SCALES)
    except Exception:  # noqa: BLE001 what cannot be tried is not known
        return True


def _agrees(function: Any, args: Sequence[Any], scale: float, back: float, generator: torch.Generator) -> bool:
    drawn = [
        scale * torch.randn(item.shape, generator=generator).to(item.dtype) if _floats(item) else item for item in args
    ]
    gradients = []
    for call in (function.apply, lambda *inputs: forward_of(function, inputs)):
        inputs = [item.clone().requires_grad_() if _floats(item) else item for item in drawn]
        # Leaves cannot be overwritten; a forward that does so is seen by the tensor that was passed.
        outputs = list(_tensors(call(*(item.clone() if _floats(item) else item for item in inputs))))
        generator.manual_seed(1)
        weights = [back * torch.randn(item.shape, generator=generator).to(item.dtype) for item in outputs]
        wanted = [item for item in inputs if _floats(item)]
        gradients.append([*outputs, *torch.autograd.grad(outputs, wanted, weights, allow_unused=True)])
    return all(_close(left, right) for left, right in zip(*gradients, strict=True))


def _close(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    return bool(torch.allclose(left, right, rtol=1e-4, atol=1e-5 * _rms(left, right)))


def _floats(item: Any) -> bool:
    return isinstance(item, torch.Tensor) and item.is_floating_point()


def _rms(*tensors: torch.Tensor) -> float:
    return max(float(tensor.detach().double().square().mean().sqrt()) for tensor in tensors)


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _tensors(item)
