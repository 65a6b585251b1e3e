"""Train copies of both models with the same optimiser, and compare what they have become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.architectures.config import Config
from einops_arch.errors import ConfigError, ShapeError
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report import limits
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.rows import averaged
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Measure, Pair, Verdict, measure
from einops_arch.parity.runs.axes import Layout, plain, resolve
from einops_arch.parity.runs.inputs import Inputs, prepare
from einops_arch.parity.runs.paths import Paths, rename, torch_paths_of
from einops_arch.parity.runs.values import flatten, rebuild
from einops_arch.parity.session import Options, known_tensors
from einops_arch.port.optimizer.specs import Optimizer

__all__ = ["compare_training"]

_Both: TypeAlias = "Optimizer | tuple[Callable[[Any], Any], Any]"


def compare_training(
    torch_model: Any,
    flax_model: Any,
    inputs: Any,
    optimizer: _Both,
    *,
    axes: str | Sequence[str | None] | Mapping[str, str] | None = None,
    flax_inputs: Any = None,
    layouts: Mapping[str, str] | None = None,
    paths: Paths | None = None,
    steps: int = 5,
    seed: int = 0,
) -> Report:
    """Take steps of an optimiser with copies of both models in float64, and compare parameters and statistics.

    The loss is the mean square of the outputs minus random targets. Dropout is off. A number of a gradient that is
    zero in exact arithmetic, as that of a bias before a batch norm, is rounding on both sides, and Adam and RMSprop
    would divide it by its size: what is below the float64 limit relative to all gradients together is taken as zero.

    Args:
        torch_model: a `torch.nn.Module`.
        flax_model: an `nnx.Module` with the same weights.
        inputs: one batch, as for `compare`; every step takes it.
        optimizer: a description of `einops_arch.port.optimizer.specs`; or your own two: a function that makes PyTorch's
            from its model, and the transformation of optax.
        axes: as for `compare`.
        flax_inputs: as for `compare`.
        layouts: as for `compare`.
        paths: as for `compare`.
        steps: how many.
        seed: of the targets.

    Returns:
        A report whose rows are in `training`: the loss of each step, then each parameter and each buffer.

    Raises:
        ShapeError: the axes of an input are not known or do not fit it, or the outputs do not fit each other.
        PortError: a Flax layer has no layout rule.
        MissingFrameworkError: torch, jax, flax or optax is not installed.

    >>> import numpy, optax, torch
    >>> from flax import nnx
    >>> from einops_arch.port import optimizers, transfer
    >>> ours, theirs = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> transfer(ours, theirs)
    >>> x = numpy.random.default_rng(0).normal(size=(5, 3))
    >>> compare_training(ours, theirs, x, optimizers.AdamW(lr=1e-3)).passed
    True
    >>> stock = (lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3), optax.adamw(1e-3))
    >>> print(compare_training(ours, theirs, x, stock).first_divergence.path)
    loss
    """
    from einops_arch._frameworks import require

    require("torch", "jax", "flax", "optax", extra="all", by="einops_arch.parity")
    from einops_arch.flax.state import named_modules
    from einops_arch.parity.runs.flax_run import FlaxSide
    from einops_arch.parity.runs.torch_run import TorchSide

    if steps < 1:
        raise ConfigError(f"compare_training: expected steps to be at least 1, received {steps}")
    ours = TorchSide(torch_model, training=True)
    names = torch_paths_of(paths, ours.modules, [path for path, _ in named_modules(flax_model)])
    theirs = FlaxSide(flax_model, training=True, paths=names)
    config = getattr(torch_model, "config", None)
    options = Options(config=config if isinstance(config, Config) else None, layouts=layouts or {}, training=True)
    given = prepare(inputs, flax_inputs, axes, options.config, (ours.dtype, theirs.dtype))
    targets = _targets(ours, theirs, given, options, seed)
    losses, state = _train_torch(ours, Inputs.widened(given.torch), targets, optimizer, steps)
    other_losses, others = _train_flax(theirs, Inputs.widened(given.flax), targets, optimizer, steps)
    others = {rename(name, names): value for name, value in others.items()}
    missing = Measure(None, None, None, None, Verdict.MISSING, 0, "no such parameter in Flax")
    found = {"loss": (losses, measure([Pair(losses, other_losses)]))} | {
        name: (array, measure([Pair(array, others[name])], scale=averaged(state, name)) if name in others else missing)
        for name, array in state.items()
    }
    rows = tuple(
        Row(name, "", "", array.shape, one.difference, None, None, None, one.verdict, order, detail=one.detail)
        for order, (name, (array, one)) in enumerate(found.items())
    )
    said = optimizer if isinstance(optimizer, Optimizer) else "the optimisers that were given"
    return Report((), (), mode="train", training=rows, notes=(f"{steps} steps of {said}, in float64",))


def _targets(ours: Any, theirs: Any, given: Inputs, options: Options, seed: int) -> list[tuple[Array, Layout]]:
    """A target for each output, in PyTorch's layout, with the layout of that output."""
    run, trace, tensors = ours.run(*Inputs.widened(given.torch), 1, double=True)
    if run.failure is not None:
        raise ShapeError(f"compare_training: PyTorch's model does not run: {run.failure}") from run.failure.error
    known = resolve(trace, theirs.modules, known_tensors(trace, tensors, given, options))
    return [
        (random_numbers(f"target {n}", array.shape, seed), known.get(("", 0, n), plain(array.ndim)))
        for n, (_, array) in enumerate(run.outputs)
    ]


def _train_torch(
    ours: Any, arguments: Any, targets: Sequence[tuple[Array, Layout]], optimizer: _Both, steps: int
) -> tuple[Array, dict[str, Array]]:
    import torch

    from einops_arch.layouts.arrays import to_numpy
    from einops_arch.port.transfer import model_state

    with torch.enable_grad():
        model = ours._copy(double=True)  # noqa: SLF001 the same package
        device = next((one.device for one in model.parameters()), None)
        args, kwargs = (
            rebuild(nest, lambda _, one: torch.as_tensor(one, device=device), _is_numpy) for nest in arguments
        )
        description = optimizer if isinstance(optimizer, Optimizer) else None
        steppers = [description.torch(model) if description else optimizer[0](model)]  # type: ignore[index]
        if description and description.schedule is not None:
            steppers.append(description.torch_schedule(steppers[0]))
        parameters = list(model.parameters())
        losses = []
        for _ in range(steps):
            model.zero_grad()
            outputs = flatten(model(*args, **kwargs), lambda one: isinstance(one, torch.Tensor))
            terms = [
                torch.mean((output - torch.as_tensor(target, device=output.device)) ** 2)
                for (_, output), (target, _) in zip(outputs, targets, strict=True)
                if output.is_floating_point()
            ]
            loss = torch.stack(terms).sum()
            loss.backward()
            losses.append(float(loss.detach()))
            gradients = [one.grad for one in parameters if one.grad is not None]
            least = limits.FLOAT64 * torch.sqrt(torch.cat([one.reshape(-1) for one in gradients]).square().mean())
            for one in gradients:
                one[one.abs() <= least] = 0
            for stepper in steppers:
                stepper.step()
        state = {name: np.array(to_numpy(value)) for name, value in model_state(model).items()}
    return np.array(losses), state


def _train_flax(
    theirs: Any, arguments: Any, targets: Sequence[tuple[Array, Layout]], optimizer: _Both, steps: int
) -> tuple[Array, dict[str, Array]]:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from einops_arch.flax.state import state_dict
    from einops_arch.parity.runs.flax_run import precise

    with precise(double=True):
        model = theirs.copies(double=True)[""]
        args, kwargs = (rebuild(nest, lambda _, one: jnp.asarray(one), _is_numpy) for nest in arguments)
        moved = [jnp.asarray(np.ascontiguousarray(target.transpose(layout))) for target, layout in targets]
        transformation = optimizer.optax(model) if isinstance(optimizer, Optimizer) else optimizer[1]
        stepper = nnx.Optimizer(model, transformation, wrt=nnx.Param)

        def loss(model: Any, args: Any, kwargs: Any, moved: Any) -> Any:
            outputs = flatten(model(*args, **kwargs), lambda one: isinstance(one, jax.Array))
            shapes = [output.shape for _, output in outputs]
            if shapes != [target.shape for target in moved]:
                raise ShapeError(
                    f"compare_training: expected outputs of shapes {[target.shape for target in moved]} in Flax, "
                    f"received {shapes}; likely fix: layouts="
                )
            terms = [
                jnp.mean((output - target) ** 2)
                for (_, output), target in zip(outputs, moved, strict=True)
                if jnp.issubdtype(output.dtype, jnp.floating)
            ]
            return sum(terms[1:], terms[0])

        @nnx.jit
        def step(model: Any, stepper: Any, args: Any, kwargs: Any, moved: Any) -> Any:
            value, gradients = nnx.value_and_grad(loss)(model, args, kwargs, moved)
            every = jnp.concatenate([one.reshape(-1) for one in jax.tree.leaves(gradients)])
            least = limits.FLOAT64 * jnp.sqrt(jnp.mean(every**2))
            stepper.update(model, jax.tree.map(lambda one: jnp.where(abs(one) <= least, 0, one), gradients))
            return value

        losses = [float(step(model, stepper, args, kwargs, moved)) for _ in range(steps)]
        state = {name: np.array(value) for name, value in state_dict(model).items()}
    return np.array(losses), state


def _is_numpy(value: Any) -> bool:
    return isinstance(value, np.ndarray)
