"""Tensors in the arguments, results and attributes of modules."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from einops_arch.discovery.tracing.program import Record
from einops_arch.discovery.tracing.sizes import Axis, Size

__all__ = [
    "argument_names",
    "is_plain_index",
    "leaves_in",
    "memory_of",
    "name_of",
    "opened",
    "own_size",
    "tensor_attributes",
    "tensors_in",
    "with_gradient",
]


def with_gradient(item: Any) -> Any:
    """A tensor that has a gradient, and may be overwritten."""
    if isinstance(item, torch.Tensor) and item.is_floating_point():
        return item.detach().requires_grad_().clone()
    return item


def opened(tree: Any) -> Any:
    """Dataclasses, such as the `ModelOutput` of transformers, as records of what they hold; all else as it is."""
    if is_dataclass(tree) and not isinstance(tree, type):
        return Record(type(tree), {item.name: opened(getattr(tree, item.name)) for item in fields(tree)})
    if type(tree) in (tuple, list):
        return type(tree)(opened(item) for item in tree)
    return tree


def is_plain_index(index: Any) -> bool:
    """Whether an index is made of numbers, slices and an ellipsis, so that it gives a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is Ellipsis or (isinstance(part, (int, slice)) and not isinstance(part, bool)) for part in parts)


def own_size(leaf: Any) -> Any:
    """A size that enters another module call is an argument there."""
    return Size(int.__int__(leaf), Axis(leaf, None)) if isinstance(leaf, Size) else leaf


def argument_names(module: torch.nn.Module, args: Any, kwargs: Any) -> list[str]:
    """The names that positional arguments have in `forward`."""
    names: list[str] = []
    forward = module.forward
    bound = getattr(forward, "__func__", None)
    for parameter in _parameters(forward) if bound is None else _parameters(bound)[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}.{n}" for n in range(len(args) - len(names))]
            break
        names.append(parameter.name)
    return names + [f"argument_{n}" for n in range(len(names), len(args))]


@functools.lru_cache(256)
def _parameters(function: Any) -> list[Any]:
    import inspect

    return list(inspect.signature(function).parameters.values())


def leaves_in(tree: Any) -> Iterator[Any]:
    """What nested containers, dataclasses and slices hold, in their order."""
    tree = opened(tree)
    if isinstance(tree, Mapping):
        for item in tree.values():
            yield from leaves_in(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from leaves_in(item)
    elif isinstance(tree, slice):
        yield from leaves_in((tree.start, tree.stop, tree.step))
    else:
        yield tree


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors of nested containers and dataclasses, in their order."""
    return (leaf for leaf in leaves_in(tree) if isinstance(leaf, torch.Tensor))


def memory_of(tensor: torch.Tensor) -> int | None:
    """The address of its storage; None where it has none."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def tensor_attributes(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Tensors that modules hold as plain attributes or as buffers that are not saved."""
    held: dict[str, torch.Tensor] = {}
    for path, child in module.named_modules():
        for name, item in {**vars(child), **child._buffers, **child._parameters}.items():
            if isinstance(item, torch.Tensor):
                held[f"{path}.{name}" if path else name] = item
    return held


def name_of(func: Any) -> str:
    """The name of a torch function; of a property, that of the property."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", name))
    return name
