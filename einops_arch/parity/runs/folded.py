"""Weights that PyTorch computes of others, as by weight norm, where Flax's layer holds the result.

What was carried to Flax is what PyTorch computes in its own dtype. In float64 PyTorch would compute it anew, with
digits that Flax has never seen; so in copies such a weight is the one that the run of users has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from einops_arch.layouts.rules import find_rule

__all__ = ["fold", "foldable"]

_STEADY = ("_WeightNorm", "WeightNorm")
"""Computed alike in both modes; others, such as spectral norm, change what they compute in training."""


def foldable(torch_modules: Mapping[str, Any], flax_modules: Mapping[str, Any], *, training: bool) -> list[str]:
    """The paths of PyTorch's modules with computed weights whose twins are layers with plain ones."""
    return [
        path
        for path, module in torch_modules.items()
        if (kinds := _kinds(module))
        and (not training or set(kinds) <= set(_STEADY))
        and path in flax_modules
        and find_rule(type(flax_modules[path])) is not None
        and not _computes(flax_modules[path])
    ]


def _computes(flax_module: Any) -> bool:
    """The twin computes its weight from parameters of its own, as PyTorch's does."""
    return any(base.__name__ in ("WeightNorm", "SpectralNorm") for base in type(flax_module).__mro__)


def fold(model: Any, paths: Iterable[str]) -> None:
    """Replace computed weights of a copy, still in its own dtype, by what they are."""
    import torch
    from torch.nn.utils import remove_weight_norm
    from torch.nn.utils.parametrize import is_parametrized

    for path in paths:
        module = model.get_submodule(path)
        if is_parametrized(module):
            # PyTorch's own way takes the weight out of the class, which is the class of the original as well.
            values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
            module.__class__ = type(module).__bases__[0]
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, torch.nn.Parameter(value))
        else:
            for name in _old_norms(module):
                remove_weight_norm(module, name)


def _kinds(module: Any) -> list[str]:
    """The classes by which a module's weights are computed."""
    computed = getattr(module, "parametrizations", None) or {}
    kinds = [type(part).__name__ for parts in computed.values() for part in parts]
    return kinds + ["WeightNorm" for _ in _old_norms(module)]


def _old_norms(module: Any) -> list[str]:
    hooks = getattr(module, "_forward_pre_hooks", {}).values()
    return [hook.name for hook in hooks if type(hook).__name__ == "WeightNorm"]
