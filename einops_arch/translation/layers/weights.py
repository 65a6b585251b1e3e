"""Layers whose weight is made by `weight_norm` or `spectral_norm` of PyTorch, in both of their forms."""

from __future__ import annotations

from typing import Any

from einops_arch.translation.layers.table import REMADE, Layer, changed

__all__ = ["remade_weight"]


def remade_weight(module: Any) -> Layer | None:
    """How the weight of a module is wrapped: a row without the layer itself, or None where nothing known does it."""
    parametrizations = getattr(module, "parametrizations", None)
    if parametrizations is not None:
        if list(parametrizations) != ["weight"] or len(parametrizations["weight"]) != 1 or _hooks(module):
            return None
        return _parametrized(parametrizations["weight"][0], module)
    hooks = _hooks(module)
    return _hooked(hooks[0], module) if len(hooks) == 1 else None


def _hooks(module: Any) -> list[Any]:
    return [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]  # noqa: SLF001 no public name


def _parametrized(made: Any, module: Any) -> Layer | None:
    kind = f"{type(made).__module__}.{type(made).__qualname__}"
    if kind == "torch.nn.utils.parametrizations._WeightNorm":
        return Layer("WeightNorm", kwargs=changed(dim=(_dim(made.dim), 0)))
    if kind == "torch.nn.utils.parametrizations._SpectralNorm":
        return Layer("SpectralNorm", kwargs=_spectral(made, module), rngs=True)
    return None


def _hooked(hook: Any, module: Any) -> Layer | None:
    """The older form, which sets the weight before each call."""
    if getattr(hook, "name", "weight") != "weight" or module._forward_hooks:  # noqa: SLF001 no public name
        return None
    kind = f"{type(hook).__module__}.{type(hook).__qualname__}"
    if kind == "torch.nn.utils.weight_norm.WeightNorm":
        return Layer("WeightNorm", kwargs=changed(dim=(_dim(hook.dim), 0), legacy=(True, False)))
    if kind == "torch.nn.utils.spectral_norm.SpectralNorm":
        return Layer("SpectralNorm", kwargs=_spectral(hook, module) | {"legacy": "True"}, rngs=True)
    return None


def _dim(dim: int | None) -> int | None:
    return None if dim == -1 else dim


def _spectral(made: Any, module: Any) -> dict[str, str]:
    own = 1 if "ConvTranspose" in "".join(base.__name__ for base in type(module).__mro__) else 0
    return changed(
        n_power_iterations=(made.n_power_iterations, 1),
        epsilon=(made.eps, 1e-12),
        dim=(made.dim, own),
    )


REMADE.append(remade_weight)
