"""One description of an optimiser, from which both frameworks make theirs: the same steps, whatever their defaults.

Where `torch.optim` and optax differ:

| | torch.optim | optax | here |
|---|---|---|---|
| SGD, weight decay | added to the gradient, before the momentum | no argument | before the momentum |
| SGD, dampening | has it | does not | left out |
| Adam, weight decay | added to the gradient | no argument | added to the gradient |
| Adam, eps | after the root | after it; `eps_root` in it | after it, `eps_root` 0 |
| AdamW, weight decay | 1e-2 | 1e-4 | 1e-2 |
| RMSprop, smoothing | `alpha` 0.99 | `decay` 0.9 | 0.99 |
| RMSprop, eps | after the root | in the root | after it |
| RMSprop, momentum | before the learning rate | after it | before it |
| biases and norms | decayed like the rest | decayed like the rest | as `decay` says |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from einops_arch._text import without_addresses

__all__ = ["SGD", "Adam", "AdamW", "Decayed", "Optimizer", "RMSprop", "Schedule", "matrices"]

Schedule: TypeAlias = Callable[[Any], Any]
"""A factor of the learning rate by the number of steps taken. It is given an int in PyTorch and a floating-point
array in optax, so it is written with operators alone."""

Decayed: TypeAlias = Callable[[str, tuple[int, ...]], bool]
"""Whether weight decay is for a parameter, by PyTorch's name and shape."""


def matrices(name: str, shape: tuple[int, ...]) -> bool:
    """Weight decay for weights alone: not for biases and not for the scales of norms, which have one axis.

    >>> matrices("fc.weight", (2, 3)), matrices("fc.bias", (2,))
    (True, False)
    """
    del name
    return len(shape) > 1


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """What all descriptions have; use one of its children.

    Args:
        lr: the learning rate.
        weight_decay: how much of a parameter is taken away.
        decay: which parameters that is for; all if left out.
        schedule: a factor of the learning rate.
    """

    lr: float
    weight_decay: float = 0.0
    decay: Decayed | None = None
    schedule: Schedule | None = None

    def __repr__(self) -> str:
        """With functions by their names, as in the call that made it, and not by their places in memory."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        words = ", ".join(
            f"{name}={getattr(value, '__name__', without_addresses(repr(value)))}" for name, value in values.items()
        )
        return f"{type(self).__name__}({words})"

    def torch(self, model: Any) -> Any:
        """The optimiser of `torch.optim` for every parameter of a model that wants a gradient."""
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        if self.decay is None or not self.weight_decay:
            return self._torch([parameter for _, parameter in named])
        sides: dict[bool, list[Any]] = {True: [], False: []}
        for name, parameter in named:
            sides[self.decay(name, tuple(parameter.shape))].append(parameter)
        groups: list[dict[str, Any]] = [{"params": sides[True]}, {"params": sides[False], "weight_decay": 0.0}]
        return self._torch([group for group in groups if group["params"]])

    def torch_schedule(self, optimizer: Any) -> Any:
        """PyTorch's scheduler: call its `step` after each step of the optimiser; None without a schedule."""
        import torch

        return None if self.schedule is None else torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)

    def optax(self, model: Any) -> Any:
        """The transformation of optax; the model says which parameters `decay` means."""
        import jax.numpy as jnp
        import optax

        schedule = self.schedule
        if schedule is None:
            rate = optax.scale_by_learning_rate(self.lr)
        else:
            # As a float: jax divides two int32 in float32, even where float64 is on.
            rate = optax.scale_by_learning_rate(lambda count: self.lr * schedule(jnp.asarray(count, float)))
        return optax.chain(*self._optax(model), rate)

    def flax(self, model: Any) -> Any:
        """An `nnx.Optimizer` of every `nnx.Param` of a model."""
        from flax import nnx

        return nnx.Optimizer(model, self.optax(model), wrt=nnx.Param)

    @abstractmethod
    def _torch(self, parameters: Any) -> Any:
        """The optimiser of `torch.optim` for these parameters or groups."""

    @abstractmethod
    def _optax(self, model: Any) -> list[Any]:
        """The transformations of optax before the learning rate."""

    def _decayed(self, model: Any) -> list[Any]:
        import optax

        if not self.weight_decay:
            return []
        mask = None if self.decay is None else _mask(model, self.decay)
        return [optax.add_decayed_weights(self.weight_decay, mask=mask)]


@dataclass(frozen=True, kw_only=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent.

    Args:
        momentum: how much of the last step's direction is kept; none at 0.
        nesterov: Nesterov's momentum, in the form that both frameworks have: `g + momentum * buffer`.

    >>> import torch
    >>> SGD(lr=0.1, momentum=0.9).torch(torch.nn.Linear(3, 2)).defaults["dampening"]
    0
    """

    momentum: float = 0.0
    nesterov: bool = False

    def _torch(self, parameters: Any) -> Any:
        import torch

        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            dampening=0,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )

    def _optax(self, model: Any) -> list[Any]:
        import optax

        trace = [optax.trace(self.momentum, nesterov=self.nesterov)] if self.momentum else []
        return [*self._decayed(model), *trace]


@dataclass(frozen=True, kw_only=True, repr=False)
class Adam(Optimizer):
    """Adam; weight decay is added to the gradient, as PyTorch's `Adam` does.

    Args:
        b1: smoothing of the mean.
        b2: smoothing of the square.
        eps: added after the root.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def _torch(self, parameters: Any) -> Any:
        import torch

        return torch.optim.Adam(parameters, **self._settings())

    def _settings(self) -> dict[str, Any]:
        betas = (self.b1, self.b2)
        return {"lr": self.lr, "betas": betas, "eps": self.eps, "weight_decay": self.weight_decay, "amsgrad": False}

    def _optax(self, model: Any) -> list[Any]:
        return [*self._decayed(model), self._scale()]

    def _scale(self) -> Any:
        import optax

        return optax.scale_by_adam(self.b1, self.b2, self.eps, eps_root=0.0, nesterov=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class AdamW(Adam):
    """Adam with weight decay that does not pass through the moments; PyTorch's default of it."""

    weight_decay: float = 1e-2

    def _torch(self, parameters: Any) -> Any:
        import torch

        return torch.optim.AdamW(parameters, **self._settings())

    def _optax(self, model: Any) -> list[Any]:
        return [self._scale(), *self._decayed(model)]


@dataclass(frozen=True, kw_only=True, repr=False)
class RMSprop(Optimizer):
    """RMSprop with PyTorch's meaning.

    Args:
        alpha: smoothing of the square.
        eps: added after the root.
        momentum: how much of the last step's direction is kept; none at 0.
        centered: take the square of the mean off the mean of the squares.
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def _torch(self, parameters: Any) -> Any:
        import torch

        return torch.optim.RMSprop(
            parameters,
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            weight_decay=self.weight_decay,
        )

    def _optax(self, model: Any) -> list[Any]:
        import optax

        scale = optax.scale_by_stddev if self.centered else optax.scale_by_rms
        trace = [optax.trace(self.momentum)] if self.momentum else []
        settings = {"decay": self.alpha, "eps": self.eps, "initial_scale": 0.0, "eps_in_sqrt": False}
        return [*self._decayed(model), scale(**settings), *trace]


def _mask(model: Any, decay: Decayed) -> Callable[[Any], Any]:
    """For optax: the same choice, by the place of a parameter in the state of a Flax model."""
    from einops_arch.port.optimizer.optax import trained_steps

    chosen = {path: _choice(step.expected, decay) for step, paths in trained_steps(model) for path in paths}

    def mask(tree: Any) -> Any:
        from einops_arch.port.optimizer.optax import map_leaves

        return map_leaves(tree, lambda path, leaf: chosen[path])

    return mask


def _choice(expected: Any, decay: Decayed) -> bool:
    return any(decay(name, shape) for name, (shape, _) in expected.items())
