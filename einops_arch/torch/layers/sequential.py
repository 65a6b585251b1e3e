"""`nn.Sequential` by names, for networks that are one chain of layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["Sequential"]


class Sequential(nn.Sequential):
    """Applies modules one after the other: `nn.Sequential`, also as a base class.

    Differs from `nn.Sequential` in its slices: those of a subclass are of this class, as the subclass is built from
    something else than layers. The Flax twin has the same arguments.

    Args:
        modules: the modules in order, or one mapping from names to modules.

    >>> model = Sequential({"fc1": nn.Linear(3, 5), "relu": nn.ReLU(), "fc2": nn.Linear(5, 2)})
    >>> len(model), type(model[1]).__name__, len(model[1:])
    (3, 'ReLU', 2)
    >>> list(model.state_dict())
    ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
    """

    def __init__(self, *modules: nn.Module | Mapping[str, nn.Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            super().__init__(OrderedDict(modules[0]))
        else:
            super().__init__(*modules)

    def __getitem__(self, position: Any) -> Any:
        """One module, or for a slice a `Sequential` of the same modules under the names they have here."""
        if isinstance(position, slice):
            return Sequential(dict(list(self._modules.items())[position]))
        return super().__getitem__(position)
