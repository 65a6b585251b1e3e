"""Integers that code makes of integers by way of other numbers, kept in float64 as they are in the run of users.

The bucket of a distance, `(log(n / 8) / log(16) * 8).long()`, lies exactly between two buckets for every power of two.
Which it is, the last bit decides, and float64 has another last bit than float32, on each side its own. So what is made
of integers and of numbers in the code alone is computed in the model's own dtype as well, and where it is compared,
rounded or made an integer, that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einops_arch.parity.runs.jaxprs import CALLS, LIFT, bodies, is_wide

__all__ = ["FlaxIntegers", "TorchIntegers", "makes_integers"]

_STEPS = frozenset(
    ("floor", "ceil", "round", "trunc", "sign", "sgn", "frac", "fmod", "remainder", "rem", "floor_divide")
)
"""What jumps, and gives no integers by its dtype."""
_BITS = ("bitcast_convert_type",)
"""What reads bits as another type, as random numbers are drawn: no number is made of one."""
_FRESH = ("lift_fresh", "lift_fresh_copy")
_MOST = 1 << 22
"""Larger tensors are computed once only."""


class TorchIntegers:
    """Computes what a run in float64 makes of integers in the model's own dtype, too.

    Args:
        own: the model's own dtype, PyTorch's.
    """

    def __init__(self, own: Any) -> None:
        import torch

        self._own, self._default = own, torch.get_default_dtype()
        # By identity, each number that is made of integers: the tensor, which so stays alive, and what users have.
        self._narrow: dict[int, tuple[Any, Any]] = {}

    def __call__(self, func: Any, args: Any, kwargs: Any, result: Any) -> Any:
        """The result of an operation, its integers as users have them.

        Args:
            func: the operation.
            args: its arguments.
            kwargs: the same by name, with the dtype that the model asks for.
            result: what it has given in float64.
        """
        from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

        numbers = [leaf for leaf in tree_leaves((args, kwargs)) if _is_number(leaf)]
        results, form = tree_flatten(result)
        # An operation that takes functions, such as a loop, has no schema and is done once.
        if not hasattr(func, "_schema") or (not numbers and not any(map(_is_number, results))):
            return result
        if self._is_known(func, numbers, results):
            return tree_unflatten(self._as_users_have(func, args, kwargs, results), form)
        if func._schema.is_mutable:  # noqa: SLF001 it alone tells what is in place
            self._forget([leaf for leaf in tree_leaves((args[:1], kwargs.get("out"))) if _is_number(leaf)])
        return result

    def _is_known(self, func: Any, numbers: Sequence[Any], results: Sequence[Any]) -> bool:
        """Whether all that goes into an operation is made of integers, and what comes out is small enough."""
        import torch

        if torch.Tag.nondeterministic_seeded in func.tags:
            return False
        if any(isinstance(leaf, torch.Tensor) and leaf.numel() > _MOST for leaf in results):
            return False
        return _name(func) in _FRESH or all(id(number) in self._narrow for number in numbers)

    def _as_users_have(self, func: Any, args: Any, kwargs: Any, results: list[Any]) -> list[Any]:
        """The results, of which integers and what jumps come from the same operation in the model's own dtype."""
        import torch
        from torch.utils._pytree import tree_leaves, tree_map

        def narrow(leaf: Any) -> Any:
            return self._narrow[id(leaf)][1] if id(leaf) in self._narrow else leaf

        is_mutable = func._schema.is_mutable  # noqa: SLF001 it alone tells what is in place
        if kwargs.get("dtype") is torch.float64:
            kwargs = kwargs | {"dtype": self._own}
        if _name(func) == "copy_" and not _is_number(args[0]):
            return [args[0].copy_(narrow(args[1]))]
        default = torch.get_default_dtype()
        torch.set_default_dtype(self._default)
        try:
            others = tree_leaves(func(*tree_map(narrow, args), **tree_map(narrow, kwargs)))
        except RuntimeError:  # some operations have no kernel for half
            return results
        finally:
            torch.set_default_dtype(default)
        for n, (leaf, other) in enumerate(zip(results, others, strict=True)):
            if isinstance(leaf, torch.Tensor) and (not _is_number(leaf) or _name(func).rstrip("_") in _STEPS):
                results[n] = leaf.copy_(other) if is_mutable else other.to(leaf.dtype)
            if _is_number(leaf):
                # What is new is the same tensor in both, and may be worked on in place.
                self._narrow[id(results[n])] = results[n], other.clone() if _name(func) in _FRESH else other
        return results

    def _forget(self, changed: Sequence[Any]) -> None:
        """What has other numbers in it is no longer made of integers, and nothing that shares its memory is."""
        memory = {_address(tensor) for tensor in changed}
        for key in [key for key, (tensor, _) in self._narrow.items() if memory and _address(tensor) in memory]:
            del self._narrow[key]


class FlaxIntegers:
    """A rule for traced programs: what is made of integers is computed in float32 too.

    Args:
        rule: what is done else; None for what the program says.
    """

    def __init__(self, rule: Any = None) -> None:
        self._rule = rule
        self.lifts = rule is LIFT or bool(getattr(rule, "lifts", False))
        self._narrow: dict[int, tuple[Any, Any]] = {}

    def __call__(self, operation: Any, values: Sequence[Any]) -> Sequence[Any] | None:
        """The values that come out of an operation."""
        results = None if self._rule is None else self._rule(operation, values)
        if bodies(operation) or operation.primitive.name in _BITS:
            return results
        if results is None:
            results = _bound(operation, values, operation.params)
        if not any(map(_is_inexact, (*values, *results))) or any(np.size(result) > _MOST for result in results):
            return results
        others = [self._narrowed(value) for value in values]
        if any(other is None for other in others):
            return results
        parameters = {key: _narrow_type(value) for key, value in operation.params.items()}
        changed = list(results)
        for n, (result, other) in enumerate(zip(results, _bound(operation, others, parameters), strict=True)):
            if not _is_inexact(result) or operation.primitive.name in _STEPS:
                changed[n] = other.astype(result.dtype)
            if _is_inexact(result):
                self._narrow[id(changed[n])] = changed[n], other
        return changed

    def keeps(self, body: Any, values: Sequence[Any]) -> bool:
        """Whether a program stays as it is, so that the slope that was written for it can stay too."""
        plain = self._rule is None or (self._rule is LIFT and is_wide(body))
        known = [self._narrowed(value) is not None for value in values]
        return plain and not _makes_integers(getattr(body, "jaxpr", body), known)[0]

    def _narrowed(self, value: Any) -> Any:
        """What users have in the place of a value; None where that is not known."""
        import jax

        if not _is_inexact(value):
            return value
        if id(value) in self._narrow:
            return self._narrow[id(value)][1]
        if np.ndim(value) or isinstance(value, jax.core.Tracer):
            return None
        # A literal may be a number of Python's that knows a dtype.
        return np.asarray(value, np.float32 if value.dtype == np.float64 else value.dtype)


def makes_integers(program: Any) -> bool:
    """Whether a traced program makes integers of integers by way of other numbers."""
    body = getattr(program, "jaxpr", program)
    return _makes_integers(body, [_is_whole(var.aval) for var in body.invars])[0]


def _makes_integers(body: Any, known: Sequence[bool]) -> tuple[bool, list[bool]]:
    """Whether it does, and which of its results are made of integers."""
    made = {var for var, is_known in zip(body.invars, known, strict=True) if is_known}

    def is_made(atom: Any) -> bool:
        return hasattr(atom, "val") or atom in made or _is_whole(atom.aval)

    for operation in body.eqns:
        of_integers = [is_made(atom) for atom in operation.invars]
        inner = bodies(operation)
        if inner and operation.primitive.name in CALLS:
            makes, outs = _makes_integers(getattr(inner[0], "jaxpr", inner[0]), of_integers)
            if makes:
                return True, []
            made |= {var for var, is_known in zip(operation.outvars, outs, strict=True) if is_known}
        elif not inner and all(of_integers) and operation.primitive.name not in _BITS:
            if any(not _is_whole(atom.aval) for atom in operation.invars) and (
                operation.primitive.name in _STEPS or any(_is_whole(var.aval) for var in operation.outvars)
            ):
                return True, []
            made |= set(operation.outvars)
    return False, [is_made(atom) for atom in body.outvars]


def _bound(operation: Any, values: Sequence[Any], parameters: Any) -> Sequence[Any]:
    results = operation.primitive.bind(*values, **parameters)
    return results if operation.primitive.multiple_results else [results]


def _name(func: Any) -> str:
    """PyTorch's name of an operation."""
    return str(func).removeprefix("aten.").split(".")[0]


def _address(tensor: Any) -> int:
    """What tells a tensor's memory from every other."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 its address


def _is_number(value: Any) -> bool:
    """Whether it is a tensor of no integers."""
    import torch

    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _is_inexact(value: Any) -> bool:
    import jax

    return hasattr(value, "dtype") and bool(jax.dtypes.issubdtype(value.dtype, np.inexact))


def _is_whole(kind: Any) -> bool:
    return hasattr(kind, "dtype") and not _is_inexact(kind)


def _narrow_type(value: Any) -> Any:
    if not isinstance(value, np.dtype):
        return value
    return np.dtype({"float64": "float32", "complex128": "complex64"}.get(value.name, value))
