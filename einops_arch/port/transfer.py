"""Carry weights and buffers from one model to another: PyTorch to Flax, Flax to PyTorch, or within one framework."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from einops_arch import architectures
from einops_arch.errors import PortError
from einops_arch.layouts.arrays import to_numpy
from einops_arch.port.settings import setting_differences

__all__ = ["framework_of", "model_state", "tied_names", "to_flax", "to_torch", "transfer"]

_LOG = logging.getLogger("einops_arch")


def to_flax(model: Any, *, rngs: Any = None) -> Any:
    """The Flax twin of a PyTorch model, with its weights, buffers and mode.

    Args:
        model: the PyTorch twin of a registered architecture.
        rngs: random streams of the new model, for dropout; `nnx.Rngs(0)` if left out. No weight is drawn from them.

    Raises:
        PortError: the model is not of a registered architecture; use `transfer` for models of your own.

    >>> import torch
    >>> from einops_arch.torch.convnet import ConvNet
    >>> model = ConvNet()
    >>> type(to_flax(model)).__module__
    'einops_arch.flax.convnet'
    """
    _architecture(model, "torch", "to_flax")
    from einops_arch.flax._build import from_state

    twin = from_state(model.config, model_state(model), rngs=rngs)
    if model.training:
        twin.train()
    else:
        twin.eval()
    return twin


def to_torch(model: Any, *, device: Any = None) -> Any:
    """The PyTorch twin of a Flax model, with its weights and buffers, in evaluation mode if the Flax model is.

    Args:
        model: the Flax twin of a registered architecture.
        device: where the PyTorch model goes.

    Raises:
        PortError: the model is not of a registered architecture; use `transfer` for models of your own.

    >>> from flax import nnx
    >>> from einops_arch.flax.convnet import ConvNet
    >>> model = ConvNet(rngs=nnx.Rngs(0))
    >>> type(to_torch(model)).__module__
    'einops_arch.torch.convnet'
    """
    twin = _architecture(model, "flax", "to_torch").torch_class()(model.config).to(device)
    transfer(model, twin)
    return twin.train(_flax_training(model))


def transfer(source: Any, target: Any) -> None:
    """Carry weights and buffers between two models whose module paths match, of either framework.

    Every value of the source is used, every value of the target filled, and all problems are reported together before
    anything is written. Values keep their dtype and their bits, and go to the target's device. The source is not
    changed.

    Settings that change the function and no shape, such as `num_heads`, `dilation`, `padding` or `eps`, are compared
    where both models have them; those that differ are named in a warning of the logger `einops_arch`.

    Args:
        source: a `torch.nn.Module` or an `nnx.Module`; or a state with PyTorch's names and layout.
        target: a `torch.nn.Module` or an `nnx.Module`, changed in place.

    Raises:
        PortError: names, shapes or dtypes do not match; nothing has been changed then.

    >>> import torch
    >>> from flax import nnx
    >>> source, target = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> transfer(source, target)
    >>> bool((target.kernel[...].T == source.weight.detach().numpy()).all())
    True
    """
    state = source if isinstance(source, Mapping) else model_state(source)
    if framework_of(target) == "torch":
        from einops_arch.torch.state import load_torch_state

        load_torch_state(target, state)
    else:
        from einops_arch.flax.state import load_state_dict

        load_state_dict(target, state)
    differences = [] if isinstance(source, Mapping) else setting_differences(source, target)
    if differences:
        _LOG.warning("the models compute different things:\n  %s", "\n  ".join(differences))


def model_state(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The canonical state of a model of either framework: PyTorch's names and layout, numpy arrays.

    For a PyTorch model on the CPU the arrays share its memory; treat them as read-only.
    """
    if framework_of(model) == "torch":
        return {name: to_numpy(value) for name, value in model.state_dict().items()}
    from einops_arch.flax.state import state_dict

    return state_dict(model)


def tied_names(model: Any) -> list[list[str]]:
    """Groups of PyTorch's names that are one array in a model of either framework."""
    if framework_of(model) == "torch":
        from einops_arch.torch.state import tied_names as torch_names

        state = model.state_dict(keep_vars=True)
        return torch_names({name: value for name, value in state.items() if hasattr(value, "shape")})
    from einops_arch.flax.state import port_steps
    from einops_arch.flax.state import tied_names as flax_names

    return flax_names(port_steps(model))


def framework_of(model: Any) -> str:
    """`"torch"` or `"flax"`.

    Raises:
        PortError: the model is of neither framework.
    """
    torch, nnx = sys.modules.get("torch"), sys.modules.get("flax.nnx")
    if torch is not None and isinstance(model, torch.nn.Module):
        return "torch"
    if nnx is not None and isinstance(model, nnx.Module):
        return "flax"
    raise PortError(f"expected a torch.nn.Module or a flax.nnx.Module, received {type(model).__name__}")


def _architecture(model: Any, framework: str, function: str) -> architectures.Architecture:
    received = framework_of(model)
    if received != framework:
        raise PortError(f"{function}: expected a {framework} model, received a {received} model")
    config = getattr(model, "config", None)
    if not isinstance(config, architectures.Config):
        raise PortError(
            f"{function}: expected a model of a registered architecture ({', '.join(architectures.names())}), received "
            f"{type(model).__name__}; likely fix: build the other model yourself and use transfer(source, target)"
        )
    return architectures.of_config(config)


def _flax_training(model: Any) -> bool:
    """A Flax model has no mode of its own; its layers that behave differently have."""
    from einops_arch.flax.state import named_modules

    for _, module in named_modules(model):
        for attribute in ("deterministic", "use_running_average"):
            if getattr(module, attribute, None) is True:
                return False
    return True
