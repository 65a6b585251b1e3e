"""What a row of the table of layers is, and the search for the row of a module."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NOTHING", "REMADE", "ROWS", "Layer", "changed", "is_sequence", "layer_of", "row", "same_or_each"]


@dataclass(frozen=True)
class Layer:
    """How one layer is written.

    Args:
        name: the class.
        args: by position, as code.
        kwargs: by name, as code.
        axes: `"channels"` (channels last), `"last"` (the last axis), `"any"` (element by element), `"plain"`
            (PyTorch's order), `"embed"` (PyTorch's order and one axis more), `"unfold"`, `"fold"` (rows of windows),
            or `"nothing"`, where the layer does nothing.
        spatial: how many spatial axes it takes, where that is fixed.
        rngs: whether it is built with `rngs=`.
        home: the module that it is imported from.
        parameters: PyTorch's leaf to the attribute, and the order of its axes there.
        imports: what the arguments need.
    """

    name: str
    args: tuple[str, ...] = ()
    kwargs: dict[str, str] = field(default_factory=dict)
    axes: str = "any"
    spatial: int | None = None
    rngs: bool = False
    home: str = "einops_arch.flax.layers"
    parameters: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """The call of the constructor."""
        arguments = [*self.args, *(f"{name}={value}" for name, value in self.kwargs.items())]
        return f"{self.name}({', '.join([*arguments, *(['rngs=rngs'] if self.rngs else [])])})"


Row = Callable[[Any], Layer | None]
ROWS: dict[str, Row] = {}
# What tells how the weight of a layer is made before each call; `weights.py` puts it here.
REMADE: list[Row] = []
NOTHING = Layer("Identity", axes="nothing")


def row(*paths: str) -> Callable[[Row], Row]:
    """Register a function for PyTorch's classes of these qualified names; it gives None where a setting has no twin."""

    def add(function: Row) -> Row:
        for path in paths:
            ROWS[path] = function
        return function

    return add


def layer_of(module: Any, own: dict[type, Any] | None = None) -> Layer | None:
    """The counterpart of a module, or None where it is recorded like any other code.

    A subclass counts where it changes nothing about the call; a module with hooks or parametrized weights does not.

    Args:
        module: of PyTorch.
        own: counterparts of one's own, by PyTorch's class.
    """
    if own:
        for base in type(module).__mro__:
            if base in own:
                return _own(own[base])
    for base in type(module).__mro__:
        function = ROWS.get(f"{base.__module__}.{base.__qualname__}")
        if function is None:
            continue
        if getattr(type(module), "forward", None) is not getattr(base, "forward", None) or "forward" in vars(module):
            return None
        if hasattr(module, "parametrizations") or module._forward_hooks or module._forward_pre_hooks:  # noqa: SLF001 no public name
            return _wrapped(module, function(module))
        if _quantized_or_patched(module):
            return None
        return function(module)
    return None


def _wrapped(module: Any, inner: Layer | None) -> Layer | None:
    """A layer whose weight is made by `weight_norm` or `spectral_norm`; other hooks and weights have no twin."""
    outer = REMADE[0](module) if inner is not None and inner.parameters and REMADE else None
    if inner is None or outer is None:
        return None
    imports = (*inner.imports, f"from {inner.home} import {inner.name}")
    return dataclasses.replace(outer, args=(inner.code,), axes=inner.axes, spatial=inner.spatial, imports=imports)


def is_sequence(module: Any) -> bool:
    """Whether a module is `torch.nn.Sequential` or a subclass, whose children are reached by their number."""
    return any(
        f"{base.__module__}.{base.__name__}" == "torch.nn.modules.container.Sequential" for base in type(module).__mro__
    )


def _quantized_or_patched(module: Any) -> bool:
    """Weights that are no plain parameters (old weight_norm and spectral_norm set them before each call)."""
    for name in ("weight", "bias"):
        weight = getattr(module, name, None)
        is_tensor = hasattr(weight, "detach")
        if is_tensor and name not in module._parameters and name not in module._buffers:  # noqa: SLF001 no public name
            return True
    return False


def _own(flax_class: Any) -> Layer:
    return Layer(flax_class.__name__, axes="plain", rngs=True, home=flax_class.__module__)


def changed(**settings: tuple[Any, Any]) -> dict[str, str]:
    """Arguments that differ from their default, as code: each is a value and the default of the Flax layer."""
    return {name: repr(value) for name, (value, default) in settings.items() if value != default}


def same_or_each(value: Any) -> Any:
    """A number for a tuple of equal ones."""
    if isinstance(value, (tuple, list)) and len(set(value)) == 1:
        return value[0]
    return tuple(value) if isinstance(value, list) else value
