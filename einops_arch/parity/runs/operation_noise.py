"""Noise of a few roundoffs on what each operation of a PyTorch model gives that rounds.

A norm of numbers far from zero magnifies the rounding of its inputs and of the operations before it, which no noise on
whole layers shows where they are lines of code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_tensor
from einops_arch.parity.report import limits
from einops_arch.parity.report.verdicts import Array
from einops_arch.parity.runs.torch_hooks import own_array
from einops_arch.parity.runs.values import flatten

__all__ = ["Fixed", "operation_noise"]


def operation_noise(seed: int = 0) -> Any:
    """A context in which what operations in float64 give is off by a few roundoffs, if they round at all.

    Args:
        seed: of the noise.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    generator = np.random.default_rng(seed)

    def is_wide(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128)

    def narrowed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        # A copy, as an operation may work in place.
        return _rounded(value) if is_wide(value) else value.clone()

    def rounds(func: Any, args: Any, kwargs: Any) -> bool:
        """Given numbers of float32, what it gives is not of float32. A choice or a copy never does that."""
        try:
            results = tree_leaves(func(*tree_map(narrowed, args), **tree_map(narrowed, kwargs)))
        except Exception:  # noqa: BLE001 whatever it is, what cannot be looked at is no excuse
            return False
        return any(is_wide(result) and not _same(_rounded(result), result) for result in results)

    class Noisy(TorchDispatchMode):  # type: ignore[misc,unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            kwargs = kwargs or {}
            mutable = func._schema.is_mutable  # noqa: SLF001 it alone tells what is in place
            is_view = not mutable and any(value.alias_info is not None for value in func._schema.returns)  # noqa: SLF001
            is_random = torch.Tag.nondeterministic_seeded in func.tags
            may_round = not is_view and not is_random and rounds(func, args, kwargs)
            result = func(*args, **kwargs)
            if may_round:
                for tensor in tree_leaves(result):
                    if is_wide(tensor):
                        noise = to_tensor(np.asarray(generator.normal(size=tuple(tensor.shape))), tensor.device)
                        tensor.mul_(1 + limits.NOISE * noise)
            return result

    return Noisy()


class Fixed:
    """Modules that give in one run what they gave in another.

    Args:
        paths: of the modules.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._outputs: dict[str, list[Any]] = {}
        self._received: dict[str, list[Array]] = {}

    @property
    def received(self) -> list[Array]:
        """What went into them in the last run, module by module."""
        return [array for path in self._paths for array in self._received[path]]

    def record(self, model: Any) -> None:
        """Keep what they give in the next run of a model."""

        def keep(path: str, output: Any) -> Any:
            self._outputs.setdefault(path, []).append(output)
            return output

        self._hook(model, keep)

    def replay(self, model: Any) -> None:
        """Let them give the same in the next run of a model."""
        rest = {path: iter(outputs) for path, outputs in self._outputs.items()}
        self._hook(model, lambda path, output: next(rest[path], output))

    def _hook(self, model: Any, outputs: Callable[[str, Any], Any]) -> None:
        import torch

        self._received = {path: [] for path in self._paths}

        def receive(path: str, args: Any, kwargs: Any) -> None:
            tensors = flatten((args, list(kwargs.values())), lambda value: isinstance(value, torch.Tensor))
            self._received[path] += [own_array(tensor) for _, tensor in tensors]

        for path in self._paths:
            module = model.get_submodule(path)
            module.register_forward_pre_hook(
                lambda module, args, kwargs, path=path: receive(path, args, kwargs), with_kwargs=True
            )
            module.register_forward_hook(lambda module, args, output, path=path: outputs(path, output))


def _rounded(tensor: Any) -> Any:
    import torch

    return tensor.to(torch.complex64 if tensor.is_complex() else torch.float32).to(tensor.dtype)


def _same(tensor: Any, other: Any) -> bool:
    return bool(((tensor == other) | (tensor.isnan() & other.isnan())).all())
