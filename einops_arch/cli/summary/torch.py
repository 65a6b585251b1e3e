"""One call of the PyTorch twin on the meta device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch.architectures import Architecture, Axes, Config
from einops_arch.cli.models import abstract_torch_model
from einops_arch.cli.summary.module import Module
from einops_arch.layouts.named_axes import Array, Call, stated_axes

__all__ = ["follow"]


def follow(
    architecture: Architecture, config: Config, sized_inputs: Sequence[tuple[Axes, dict[str, int]]]
) -> tuple[dict[str, Module], list[Call], list[Array]]:
    """The modules by path, the calls in the order in which they returned, and the outputs."""
    import torch
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    model = abstract_torch_model(config).eval()
    modules = {
        path: Module(
            path,
            type(module).__name__,
            stated=stated_axes(module),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            own={name: tuple(value.shape) for name, value in module.named_parameters(recurse=False)},
        )
        for path, module in model.named_modules(remove_duplicate=False)
    }
    calls: list[Call] = []
    # All tensors are kept, so that no other one gets the number of one that is gone.
    kept: list[Any] = []

    def arrays(nest: Any) -> list[Array]:
        tensors = [leaf for leaf in tree_leaves(nest) if isinstance(leaf, torch.Tensor)]
        kept.extend(tensors)
        return [Array(id(tensor), tuple(tensor.shape)) for tensor in tensors]

    def listen(path: str, module: Any) -> None:
        def hook(_: Any, inputs: Any, keywords: Any, outputs: Any) -> None:
            calls.append(Call(path, arrays((inputs, keywords)), arrays(outputs)))

        module.register_forward_hook(hook, with_kwargs=True)

    for path, submodule in model.named_modules():
        listen(path, submodule)
    inputs = [
        torch.empty([bound[name] for name in axes.axes.split()], dtype=getattr(torch, axes.dtype), device="meta")
        for axes, bound in sized_inputs
    ]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.device("meta"), counter:
        outputs = model(*inputs)
    for name, operations in counter.get_flop_counts().items():
        path = name.partition(".")[2]
        if name != "Global" and path in modules:
            # PyTorch counts a multiplication and an addition apart.
            modules[path].multiply_adds = sum(operations.values()) // 2
    return modules, calls, arrays(outputs)
