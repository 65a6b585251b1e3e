"""`nn.Sequential` for networks that are one chain of named layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["NamedSequential"]


class NamedSequential(nn.Sequential):
    """`nn.Sequential` by names, as a base class: a slice of a network is a plain `nn.Sequential`.

    Args:
        layers: the layers by name, in order.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(layers))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            # The class of nn.Sequential's own slice is the subclass, whose constructor takes a config.
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def run(self, x: Tensor) -> Tensor:
        """What `forward` of `nn.Sequential` does, for a subclass that has checked x.

        Not by `super()`, nor by the iterator: torch.compile would look for both in every base class at every call.

        Args:
            x: what the first layer takes.
        """
        for layer in self._modules.values():
            x = layer(x)
        return x
