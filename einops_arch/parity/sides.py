"""The two models of a comparison: which is which, and clear words where they are something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einops_arch.errors import ConfigError, ParityError, PatternError

__all__ = ["check_settings", "two_models"]


def two_models(first: Any, second: Any, by: str) -> tuple[Any, Any]:
    """Sort two models into PyTorch's and Flax's, and unwrap PyTorch's.

    Args:
        first: a model.
        second: the other.
        by: the function that was called, for the message.

    Raises:
        ParityError: they are not one model of each framework.
    """
    if first is second:
        raise ParityError(f"{by}: expected a PyTorch model and a Flax model, received the same {_kind(first)} twice")
    kinds = [_framework(first), _framework(second)]
    if sorted(map(str, kinds)) != ["flax", "torch"]:
        raise ParityError(
            f"{by}: expected a torch.nn.Module and a flax.nnx.Module, received {_kind(first)} and {_kind(second)}"
            + "".join(f"; likely fix: {words}" for words in dict.fromkeys(map(_fix, (first, second))) if words)
        )
    torch_model, flax_model = (first, second) if kinds[0] == "torch" else (second, first)
    from torch.nn.parameter import is_lazy

    tensors = (*torch_model.named_parameters(), *torch_model.named_buffers())
    if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
        shown = ", ".join(lazy[:3])
        raise ParityError(
            f"{by}: expected a model with weights, received one with {len(lazy)} that were never made: {shown}; likely "
            "fix: call it once, then carry the weights"
        )
    return _unwrapped(torch_model), flax_model


def check_settings(by: str, mode: str, steps: int, layouts: Any) -> None:
    """Check mode, steps and layouts.

    Raises:
        ConfigError: mode or steps are not.
        PatternError: a layout is no pattern.
    """
    if mode not in ("eval", "train"):
        raise ConfigError(f"{by}: expected mode to be 'eval' or 'train', received {mode!r}")
    if steps < 1:
        raise ConfigError(f"{by}: expected steps to be at least 1, received {steps}")
    if layouts is not None and not isinstance(layouts, Mapping):
        raise PatternError(f"{by}: expected layouts by module path, received {type(layouts).__name__}")
    for path, pattern in (layouts or {}).items():
        if not isinstance(pattern, str):
            raise PatternError(
                f"{by}: expected the layout of {path!r} as PyTorch's axes and Flax's, such as 'b c t -> b t c', "
                f"received {pattern!r}"
            )


def _framework(model: Any) -> str:
    from flax import nnx
    from torch import nn

    if isinstance(model, nn.Module):
        return "torch"
    return "flax" if isinstance(model, nnx.Module) else ""


def _kind(model: Any) -> str:
    if model is None:
        return "None"
    kind = type(model)
    base = next((base.__module__.partition(".")[0] for base in kind.__mro__ if _is_known(base.__module__)), "")
    if base == "equinox":
        return f"an Equinox module ({kind.__name__})"
    if any(base.__module__.startswith("flax.linen") for base in kind.__mro__):
        return f"a Linen module ({kind.__name__})"
    if isinstance(model, type):
        return f"the class {model.__name__} and no model"
    if callable(model) and not _framework(model):
        return f"a function ({getattr(model, '__name__', kind.__name__)})"
    return {"torch": f"PyTorch's {kind.__name__}", "flax": f"Flax's {kind.__name__}"}.get(
        _framework(model), f"{'an' if kind.__name__[0].lower() in 'aeiou' else 'a'} {kind.__name__}"
    )


def _is_known(module: str) -> bool:
    return module.partition(".")[0] in ("equinox", "flax", "torch")


def _fix(model: Any) -> str:
    kind = _kind(model)
    if kind.startswith("a Linen"):
        return "nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)) and nnx.bridge.lazy_init of it with an input"
    if kind.startswith(("an Equinox", "a function")):
        return "an nnx.Module whose __call__ calls it"
    return "make an instance of it" if kind.startswith("the class") else ""


def _unwrapped(model: Any) -> Any:
    """The model inside of `torch.compile` and `DataParallel`."""
    for name, wrappers in (
        ("_orig_mod", ("OptimizedModule",)),
        ("module", ("DataParallel", "DistributedDataParallel")),
    ):
        if type(model).__name__ in wrappers:
            return _unwrapped(getattr(model, name))
    return model
