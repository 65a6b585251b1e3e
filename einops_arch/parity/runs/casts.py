"""Casts to a narrower type inside a run that should be all float64, and ways to see them and to lift them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.runs.choices import Choices
from einops_arch.parity.runs.constants import keeps_rounding, noted, written
from einops_arch.parity.runs.integers import TorchIntegers
from einops_arch.parity.runs.jaxprs import BODIES, operations

__all__ = ["SCOPE", "Cast", "as_written_down", "flax_casts", "line_of", "same_casts", "torch_watch", "wide_by_default"]

_HELPERS = ("/einops/", "/einops_arch/parity/")
"""What runs between a model's line and an operation."""
_FRAMES = 12
"""As deep as einops calls itself, and more."""

# What a scope's name begins with when it is a module's path.
SCOPE = "module:"
_COMPUTES = frozenset(
    (
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "integer_pow",
        "exp",
        "log",
        "sin",
        "cos",
        "sqrt",
        "rsqrt",
        "tanh",
        "dot_general",
    )
)


@dataclass(frozen=True)
class Cast:
    """An operation that takes float64 or complex128 and gives less.

    Args:
        path: the module in which it happens.
        operation: PyTorch's or jax's name of the operation.
        dtype: what it gives.
        where: the line of code, where it is known.
    """

    path: str
    operation: str
    dtype: str
    where: str = ""

    def __str__(self) -> str:
        at = f" at {self.where}" if self.where else ""
        return f"{self.operation} to {self.dtype} in {self.path or 'the network'}{at}"


def flax_casts(program: Any) -> list[Cast]:
    """The operations of a traced program that take float64 and give a narrower floating-point type.

    Where there are none, those that compute in less on constants, which are as wide as they were written down.
    """
    casts, computed = [], []
    for operation, scopes in operations(program):
        if any(name in operation.params for name in (*BODIES, "branches")):
            continue
        narrow = next((kind for var in operation.outvars if (kind := _narrow_float(var.aval)) is not None), None)
        if narrow is None:
            continue
        path = next((name[len(SCOPE) :] for name in reversed(scopes) if name.startswith(SCOPE)), "")
        if any(map(_is_wide, operation.invars)):
            casts.append(Cast(path, operation.primitive.name, narrow, line_of(operation)))
        elif operation.primitive.name in _COMPUTES:
            computed.append(Cast(path, operation.primitive.name, narrow, line_of(operation)))
    return casts or computed


def same_casts(torch: Sequence[Cast], flax: Sequence[Cast]) -> bool:
    """Both sides cast in the same modules, to the same types; by which operations is their own affair."""
    return {(cast.path, cast.dtype) for cast in torch} == {(cast.path, cast.dtype) for cast in flax}


def torch_watch(
    module_path: Callable[[], str],
    casts: list[Cast],
    *,
    lift: bool,
    own: Any = None,
    choices: Choices | None = None,
) -> Any:
    """A context in which PyTorch's narrowing operations are written down, and done in float64 if they are lifted.

    Args:
        module_path: tells which module is running.
        casts: where they are written down.
        lift: do them in float64.
        own: the model's own dtype, which decides on integers that are made of integers; None where it does not.
        choices: told of each operation, to see which sides of selections are taken.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    wide = dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64)
    narrow = wide | dict.fromkeys((torch.complex64, torch.complex32), torch.complex128)
    integers = None if own in (None, torch.float64) else TorchIntegers(own)

    def is_wide(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128)

    def constant(value: Any) -> Any:
        """A number in the code as it was written down; so is one of float32, which no input or weight is here."""
        if type(value) is float:
            return noted(value)
        return as_written_down(value) if isinstance(value, torch.Tensor) and value.dtype in wide else value

    class Watch(TorchDispatchMode):  # type: ignore[misc,unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            kwargs = kwargs or {}
            asked, wanted = kwargs.get("dtype"), kwargs
            if choices is not None:
                choices.watch(module_path(), str(func), args, kwargs)
            if lift and asked in narrow:
                kwargs = kwargs | {"dtype": narrow[asked]}
            if lift and not func._schema.is_mutable:  # noqa: SLF001 it alone tells what is in place
                args, kwargs = tree_map(constant, args), tree_map(constant, kwargs)
            result = func(*args, **kwargs)
            if lift and str(func).startswith("aten.lift_fresh"):
                result = as_written_down(result)
            if integers is not None:
                result = integers(func, args, wanted, result)
            if any(map(is_wide, tree_leaves((args, kwargs)))):
                kinds = [asked, *(leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))]
                if (kind := next((kind for kind in kinds if kind in narrow), None)) is not None:
                    name = str(func).removeprefix("aten.").rpartition(".")[0]
                    casts.append(Cast(module_path(), name, str(kind).removeprefix("torch.")))
            return result

    return _watched(Watch()) if lift else Watch()


@contextlib.contextmanager
def _watched(watch: Any) -> Iterator[None]:
    with wide_by_default(), watch:
        yield


@contextlib.contextmanager
def wide_by_default() -> Iterator[None]:
    """A context in which PyTorch makes float64 of integers and of numbers in the code, as jax does with x64."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def as_written_down(tensor: Any) -> Any:
    """A number in float64 as somebody wrote it down, and an array that it fills; all else is returned as it is.

    A weight may be one number by training, and so may be that of the other side beside more of them in one array.
    """
    import torch

    if not tensor.is_floating_point() or tensor.dtype is torch.float64 or keeps_rounding():
        return tensor
    first = tensor.detach().reshape(-1)[:1]
    if tensor.numel() != 1 and (isinstance(tensor, torch.nn.Parameter) or not first.numel() or (tensor != first).any()):
        return tensor
    number = written(to_numpy(first)[0])
    return torch.full(tensor.shape, number, dtype=torch.float64, device=tensor.device)


def _is_wide(atom: Any) -> bool:
    return str(getattr(atom.aval, "dtype", "")) in ("float64", "complex128")


def _narrow_float(kind: Any) -> str | None:
    import jax
    import jax.numpy as jnp

    dtype = getattr(kind, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jnp.inexact):
        return None
    return str(dtype) if dtype.itemsize < (16 if jax.dtypes.issubdtype(dtype, jnp.complexfloating) else 8) else None


def line_of(operation: Any) -> str:
    """The line of code that an operation comes from, without folders; empty where it is not known."""
    try:
        from jax._src import source_info_util
    except ImportError:  # private, and so may move
        return ""
    # The innermost last; what einops does for a model is the model's line.
    lines = str(source_info_util.summarize(operation.source_info, num_frames=_FRAMES)).splitlines()[::-1]
    text = next((line for line in lines if not any(folder in line for folder in _HELPERS)), "unknown")
    return "" if text == "unknown" else text.rsplit("/", 1)[-1]
