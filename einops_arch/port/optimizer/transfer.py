"""Carry the state of an optimiser between torch.optim and optax, so that training goes on in the other framework."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from einops_arch.errors import PortError
from einops_arch.layouts.arrays import dtype_kind
from einops_arch.port.optimizer.settings import Settings, setting_problems
from einops_arch.port.optimizer.state import OptimizerState

__all__ = ["carry_problems", "settings_of", "transfer_optimizer"]


def transfer_optimizer(
    source_model: Any,
    source_optimizer: Any,
    target_model: Any,
    target_optimizer: Any,
    *,
    source_schedule: Any = None,
    target_schedule: Any = None,
    allow_settings: bool = False,
) -> Any:
    """Carry momentum buffers, Adam's moments, the count of steps and the schedule's position to another optimiser.

    Moments lie as their parameters do, so the layout rules of the model carry them; weights and batch statistics are
    carried by `transfer`. Settings, such as the learning rate, are not, but they are compared: PyTorch's as they stand
    in its groups, those of an `nnx.Optimizer` as a step on small arrays shows them (of a bare state of optax, what
    `optax.inject_hyperparams` keeps in it). Clipping of gradients cannot be seen in PyTorch, and is not compared.
    `einops_arch.port.optimizer.specs` makes both optimizers from one description. All problems are reported together
    before anything is written.

    Args:
        source_model: a `torch.nn.Module` or an `nnx.Module`.
        source_optimizer: its optimiser: SGD, Adam, AdamW or RMSprop of `torch.optim`, an `nnx.Optimizer`, or the bare
            state of an optax transformation.
        target_model: the model to which the state goes.
        target_optimizer: its optimiser, as for the source; changed in place, but for a bare state of optax.
        source_schedule: PyTorch's scheduler of the learning rate; optax has the position in its state.
        target_schedule: the same of the target; it must not stand beyond the source's position.
        allow_settings: go on where the two have different settings: the algorithm, learning rates, betas, eps, weight
            decay, momentum, or which parameters are frozen.

    Returns:
        The target's optimiser; a new state in the place of a bare state of optax.

    Raises:
        PortError: the two keep different things, parameters, shapes or dtypes do not fit, or settings differ; nothing
            has been changed.

    >>> import optax, torch
    >>> from flax import nnx
    >>> from einops_arch.port import transfer
    >>> source, target = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> ours = torch.optim.Adam(source.parameters(), lr=1e-3)
    >>> theirs = nnx.Optimizer(target, optax.adam(1e-3), wrt=nnx.Param)
    >>> source(torch.ones(3)).sum().backward()
    >>> ours.step()
    >>> transfer(source, target)
    >>> _ = transfer_optimizer(source, ours, target, theirs)
    >>> int(theirs.opt_state[0].count[...])
    1
    >>> moment = ours.state[source.weight]["exp_avg"]
    >>> bool((theirs.opt_state[0].mu["kernel"][...].T == moment.numpy()).all())
    True
    """
    from einops_arch.port.optimizer.optax import expected_by_flax, read_flax, write_flax
    from einops_arch.port.optimizer.torch import expected_by_torch, read_torch, write_torch
    from einops_arch.port.transfer import framework_of

    from_torch, into_torch = framework_of(source_model) == "torch", framework_of(target_model) == "torch"
    if from_torch:
        state = read_torch(source_model, source_optimizer, source_schedule)
    else:
        state = read_flax(source_model, source_optimizer)
    if into_torch:
        expected = expected_by_torch(target_model, target_optimizer, target_schedule)
    else:
        expected = expected_by_flax(target_model, target_optimizer)
    problems = carry_problems(state, expected, into_torch=into_torch)
    if not problems:
        problems = _tied(state, source_model, target_model)
    if not problems and not allow_settings:
        source = settings_of(source_model, source_optimizer, source_schedule, state, state)
        target = settings_of(target_model, target_optimizer, target_schedule, expected, state)
        problems = setting_problems(source, target, state)
    if problems:
        count = f"{len(problems)} problem" + "s" * (len(problems) != 1)
        head = f"transfer_optimizer into {type(target_model).__name__}: {count}, nothing was changed"
        raise PortError(head, *problems)
    if expected.schedule is not None and state.schedule is None:
        state.schedule = state.steps
    if into_torch:
        write_torch(target_model, target_optimizer, state, target_schedule)
        return target_optimizer
    return write_flax(target_model, target_optimizer, state)


def settings_of(
    model: Any, optimizer: Any, schedule: Any, own: OptimizerState, state: OptimizerState
) -> dict[str, Settings]:
    """How an optimizer will change each parameter once it has the state, by PyTorch's names."""
    from einops_arch.port.optimizer.measured import flax_settings
    from einops_arch.port.optimizer.torch import torch_settings
    from einops_arch.port.transfer import framework_of

    position = state.schedule if state.schedule is not None else state.steps
    if framework_of(model) == "torch":
        return torch_settings(model, optimizer, schedule, position)
    at = position if own.schedule is not None else None
    return flax_settings(model, optimizer, dataclasses.replace(own, steps=state.steps, schedule=at))


def carry_problems(state: OptimizerState, expected: OptimizerState, *, into_torch: bool) -> list[str]:
    """What of a state another optimizer cannot take, a line each."""
    problems = [f"source, {problem}" for problem in state.problems] + [
        f"target, {problem}" for problem in expected.problems
    ]
    if problems:
        return problems
    if (state.family, set(state.moments)) != (expected.family, set(expected.moments)):
        return [f"optimizer: expected {expected.kinds}, as the target has, received {state.kinds}"]
    # A frozen parameter may be left out on the other side, which says the same.
    lost, new = (
        set(state.names) - {*expected.names, *state.frozen},
        set(expected.names) - {*state.names, *expected.frozen},
    )
    problems = [f"{name}: not trained in the target" for name in state.names if name in lost]
    problems += [f"{name}: not trained in the source" for name in expected.names if name in new]
    for kind, arrays in expected.moments.items():
        for name, spec in arrays.items():
            if name in state.moments[kind]:
                problems += _misfit(f"{name} ({kind})", state.moments[kind][name], spec)
    if expected.family == "Adam" and state.steps is None:
        problems.append("steps: expected a count, received none")
    return problems + _schedule_problems(state, expected, into_torch=into_torch)


def _schedule_problems(state: OptimizerState, expected: OptimizerState, *, into_torch: bool) -> list[str]:
    position = state.schedule if state.schedule is not None else state.steps
    if expected.schedule is None:
        if state.schedule is None:
            return []
        fix = "target_schedule=" if into_torch else "optax.scale_by_schedule"
        return [f"schedule: the source's stands at step {state.schedule}, the target has none; likely fix: {fix}"]
    if position is None:
        return ["schedule: the source does not count its steps; likely fix: source_schedule="]
    if into_torch and expected.schedule > position:
        received = f"received step {expected.schedule}; likely fix: make a new one"
        return [f"schedule: expected target_schedule at step {position} or before, {received}"]
    return []


def _misfit(where: str, array: np.ndarray[Any, Any], spec: np.ndarray[Any, Any]) -> list[str]:
    if array.shape != spec.shape:
        return [f"{where}: expected shape {spec.shape}, received {array.shape}"]
    if dtype_kind(array.dtype) != dtype_kind(spec.dtype):
        return [f"{where}: expected {dtype_kind(spec.dtype)} numbers, received {array.dtype}"]
    # NaN is not equal to itself, and stays NaN in any dtype.
    if array.dtype != spec.dtype and not np.array_equal(array.astype(spec.dtype), array, equal_nan=True):
        return [f"{where}: expected numbers that {spec.dtype} holds, received {array.dtype} with more digits"]
    return []


def _tied(state: OptimizerState, source_model: Any, target_model: Any) -> list[str]:
    """What is one parameter on one side, trained once, must be one on the other."""
    in_source, in_target = (_ties(model, state.names) for model in (source_model, target_model))
    return [
        f"{', '.join(names)}: one parameter in the {here}, several in the {there}"
        for here, there, ties, other in (
            ("source", "target", in_source, in_target),
            ("target", "source", in_target, in_source),
        )
        for names in ties
        if names not in other
    ]


def _ties(model: Any, names: list[str]) -> list[list[str]]:
    from einops_arch.port.transfer import tied_names

    return [sorted(group) for group in tied_names(model) if any(name in names for name in group)]
