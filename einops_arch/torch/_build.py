"""Build a network from a state, with no random weights on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.torch.state import load_torch_state

__all__ = ["create_model", "from_state", "without_values"]


class _NoDraws(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """Where no value is, none is drawn: PyTorch would import its compiler for it, which takes a second and 70 MB."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_)


def create_model(name: str, **fields: Any) -> Any:
    """The PyTorch network that a name stands for, with random weights.

    Args:
        name: an architecture (`"resnet"`) or a size of one (`"resnet50"`, `"vgg16_bn"`); `list_models` lists them.
        fields: fields of the config that are other than the size has them, such as `classes=10`.

    Raises:
        UnknownArchitectureError: nothing has that name; the nearest one is offered.
        ConfigError: the config has no such field, or a value is out of range.

    >>> create_model("resnet18", classes=10).fc
    Linear(in_features=512, out_features=10, bias=True)
    """
    config = architectures.config_for(name, **fields)
    return architectures.of_config(config).torch_class()(config)


def from_state(config: Config, state: Mapping[str, Any]) -> Any:
    """The PyTorch network of a config, with the weights of a state.

    The same as building the network and calling `load_state_dict`, but no weight is drawn only to be replaced.

    Args:
        config: the config of a registered architecture.
        state: numpy arrays or torch tensors by name; a bfloat16 state makes a bfloat16 network.

    Returns:
        The network, in training mode as every new one.

    Raises:
        PortError: names, shapes or dtypes do not fit.
        UnknownArchitectureError: the config's class is not in the registry.

    >>> from einops_arch.architectures import ConvNetConfig
    >>> from einops_arch.torch.convnet import ConvNet
    >>> state = ConvNet(ConvNetConfig.tiny()).state_dict()
    >>> model = from_state(ConvNetConfig.tiny(), state)
    >>> torch.equal(model.conv1.bias, state["conv1.bias"])
    True
    """
    model = without_values(config)
    # By identity, so that tied parameters stay one.
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            empty = made.setdefault(id(parameter), nn.Parameter(torch.empty_like(parameter, device="cpu")))
            setattr(module, name, empty)
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device="cpu"))
    load_torch_state(model, state)
    return model


def without_values(config: Config) -> Any:
    """The PyTorch network of a config with shapes in the place of values, on the meta device.

    It takes no memory, and no weight is drawn only to be replaced; `einops_arch.checkpoints.load` fills it.

    Args:
        config: the config of a registered architecture.

    Raises:
        UnknownArchitectureError: the config's class is not in the registry.

    >>> from einops_arch.architectures import ConvNetConfig
    >>> without_values(ConvNetConfig()).fc1.weight.is_meta
    True
    """
    with torch.device("meta"), _NoDraws():
        return architectures.of_config(config).torch_class()(config)
