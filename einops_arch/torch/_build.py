"""Build a network from a state, with no random weights on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.port.transfer import load_torch_state

__all__ = ["from_state"]


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
    with torch.device("meta"):
        model = architectures.of_config(config).torch_class()(config)
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
