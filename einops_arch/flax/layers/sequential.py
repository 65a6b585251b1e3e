"""One module after the other, under the names that PyTorch gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, overload

import jax
from flax import nnx

from einops_arch.errors import ConfigError, IndexRangeError

__all__ = ["Rematerialized", "Sequential", "rematerialized"]


class Sequential(nnx.Module):
    """Applies modules one after the other: `torch.nn.Sequential`.

    Differs from `nnx.Sequential`, which keeps its modules in a list below `layers`: here each is an attribute, named
    "0", "1", ... or as given, so that the path of every parameter is the one in PyTorch. Only modules are taken,
    and only one value goes from one to the next.

    Args:
        modules: the modules in order, or one mapping from names to modules.

    Raises:
        ConfigError: something is no module, or a name cannot be an attribute.
        IndexError: when indexed beyond its end.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Sequential.html

    >>> from flax import nnx
    >>> from einops_arch.flax.layers.basic import Linear, ReLU
    >>> rngs = nnx.Rngs(0)
    >>> model = Sequential(Linear(3, 5, rngs=rngs), ReLU(), Linear(5, 2, rngs=rngs))
    >>> len(model), type(model[1]).__name__, len(model[1:])
    (3, 'ReLU', 2)
    >>> sorted(".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model)))
    ['0.bias', '0.kernel', '2.bias', '2.kernel']
    """

    def __init__(self, *modules: nnx.Module | Mapping[str, nnx.Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named: dict[str, Any] = dict(modules[0])
        else:
            named = {str(position): module for position, module in enumerate(modules)}
        for name, module in named.items():
            _check(name, module)
            setattr(self, name, module)
        self._names = tuple(named)

    def __call__(self, x: jax.Array) -> Any:
        """What the last module makes of what the others made of x; x itself where there is no module."""
        for module in self:
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, name) for name in self._names])

    @overload
    def __getitem__(self, position: int) -> Any: ...

    @overload
    def __getitem__(self, position: slice) -> Sequential: ...

    def __getitem__(self, position: int | slice) -> Any:
        """One module, or for a slice a `Sequential` of the same modules under the names they have here."""
        if isinstance(position, slice):
            return Sequential({name: getattr(self, name) for name in self._names[position]})
        if not -len(self) <= position < len(self):
            raise IndexRangeError(f"Sequential: expected a position below {len(self)}, received {position}")
        return getattr(self, self._names[position])


class Rematerialized(Sequential):
    """A `Sequential` whose modules are computed again in the backward pass: only their inputs are kept for it.

    Outputs and gradients are those of `Sequential`; the backward pass takes the time of one more forward pass.

    Args:
        modules: as `Sequential` has them.

    Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174; `torch.utils.checkpoint`.

    >>> from flax import nnx
    >>> from einops_arch.flax.layers.basic import ReLU
    >>> Rematerialized(ReLU(), ReLU())(jax.numpy.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, x: jax.Array) -> Any:
        """What the last module makes of what the others made of x; x itself where there is no module."""
        for module in self:
            x = rematerialized(module, x)
        return x


@nnx.remat
def rematerialized(module: Any, *arguments: Any) -> Any:
    """Call a module, and call it again in the backward pass."""
    return module(*arguments)


def _check(name: Any, module: Any) -> None:
    if not isinstance(name, str) or not name or "." in name or name == "_names" or hasattr(Sequential, name):
        raise ConfigError(
            f"Sequential: expected names that can be attributes (no dot, no method of the module), received {name!r}"
        )
    if not isinstance(module, nnx.Module):
        what = getattr(module, "__name__", type(module).__name__)
        raise ConfigError(
            f"Sequential: expected an nnx.Module at {name!r}, received {what}; "
            "likely fix: its module, such as ReLU() for a function, or a small nnx.Module that calls it"
        )
