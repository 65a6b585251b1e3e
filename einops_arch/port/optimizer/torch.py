"""Read and write the state of an optimiser of `torch.optim`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from einops_arch.layouts.arrays import to_numpy, to_tensor
from einops_arch.port.optimizer.settings import OFFSETS, Settings
from einops_arch.port.optimizer.state import TORCH_BUFFERS, OptimizerState

__all__ = ["expected_by_torch", "kinds_of", "only_torch", "read_torch", "torch_settings", "write_torch"]


def read_torch(model: Any, optimizer: Any, schedule: Any = None) -> OptimizerState:
    """The state of an optimiser, in arrays that share PyTorch's memory on the CPU.

    Parameters without a state, because no gradient has reached them, have moments of zeros once others have a state.

    Args:
        model: the model whose parameters it changes.
        optimizer: `SGD`, `Adam`, `AdamW` or `RMSprop`.
        schedule: the scheduler of its learning rate.
    """
    state = _described(model, optimizer)
    named, counts = _named(model), set()
    for kind in state.moments:
        buffer = TORCH_BUFFERS[state.family][kind]
        for name in state.names:
            value = optimizer.state.get(named[name], {}).get(buffer)
            state.moments[kind][name] = (
                np.zeros(tuple(named[name].shape), _dtype(named[name])) if value is None else to_numpy(value)
            )
    for name in state.names:
        if "step" in (kept := optimizer.state.get(named[name], {})):
            counts.add(int(kept["step"]))
    if len(counts) > 1:
        state.problems.append(f"step: expected one count for all parameters, received {sorted(counts)}")
    state.steps = max(counts, default=0 if state.family == "Adam" else None)
    if schedule is not None:
        state.schedule = int(schedule.last_epoch)
    elif any("initial_lr" in group for group in optimizer.param_groups):
        state.problems.append(
            "learning rate: a scheduler has set it, and its position is not known; likely fix: source_schedule="
        )
    return state


def expected_by_torch(model: Any, optimizer: Any, schedule: Any = None) -> OptimizerState:
    """The same without values: what the optimiser can take."""
    state = _described(model, optimizer)
    state.schedule = None if schedule is None else int(schedule.last_epoch)
    if schedule is None and any("initial_lr" in group for group in optimizer.param_groups):
        state.problems.append("learning rate: a scheduler sets it; likely fix: target_schedule=")
    named = _named(model)
    for kind in state.moments:
        state.moments[kind] = {
            name: np.broadcast_to(np.zeros((), _dtype(named[name])), tuple(named[name].shape)) for name in state.names
        }
    return state


def write_torch(model: Any, optimizer: Any, state: OptimizerState, schedule: Any = None) -> None:
    """Put a state, already checked, into an optimiser and its scheduler."""
    import torch

    named = _named(model)
    buffers = TORCH_BUFFERS[state.family]
    counted = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    for name in state.names:
        parameter = named[name]
        kept: dict[str, Any] = {}
        if state.family != "SGD":
            kept["step"] = torch.tensor(float(state.steps or 0), dtype=counted)
        group = next(
            settings for settings in optimizer.param_groups if any(member is parameter for member in settings["params"])
        )
        if state.family != "SGD" and (group.get("capturable") or group.get("fused")):
            kept["step"] = kept["step"].to(parameter.device)
        for kind, arrays in state.moments.items():
            kept[buffers[kind]] = to_tensor(arrays[name], parameter.device).to(parameter.dtype)
        if kept:
            optimizer.state[parameter] = kept
    if schedule is not None and state.schedule is not None:
        with warnings.catch_warnings():
            # The optimiser's steps were taken in the other framework.
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step")
            for _ in range(state.schedule - int(schedule.last_epoch)):
                schedule.step()


def torch_settings(model: Any, optimizer: Any, schedule: Any, position: int | None) -> dict[str, Settings]:
    """How an optimizer of `torch.optim` changes each parameter.

    Args:
        model: the model whose parameters it changes.
        optimizer: `SGD`, `Adam`, `AdamW` or `RMSprop`.
        schedule: the scheduler of its learning rate.
        position: where the schedule will stand.
    """
    import torch

    family = _family(optimizer)
    rates = list(zip(*_rates(optimizer, schedule, position), strict=True))
    settings = {}
    names: dict[int, list[str]] = {}
    for name, parameter in _named(model).items():
        names.setdefault(id(parameter), []).append(name)
    for group, of_group in zip(optimizer.param_groups, rates, strict=True):
        decay = float(group["weight_decay"])
        decoupled = isinstance(optimizer, torch.optim.AdamW) or bool(group.get("decoupled_weight_decay"))
        values: dict[str, Any] = {
            "weight_decay of the gradient": 0.0 if decoupled else decay,
            "weight_decay of the parameter": decay if decoupled else 0.0,
        }
        if family == "Adam":
            values |= {"beta1": float(group["betas"][0]), "beta2": float(group["betas"][1]), "eps": group["eps"]}
        elif family == "RMSprop":
            values |= {"alpha": group["alpha"], "eps": group["eps"], "momentum": group["momentum"]}
        else:
            values |= {"momentum": group["momentum"], "nesterov": bool(group["nesterov"])}
        for parameter in group["params"]:
            for name in names.get(id(parameter), []):
                settings[name] = Settings(family, bool(parameter.requires_grad), of_group, values)
    return settings


def _rates(optimizer: Any, schedule: Any, position: int | None) -> Iterator[list[float]]:
    """The learning rates of all groups after each of `OFFSETS`, as far as a copy of the schedule can tell."""
    if schedule is None:
        for _ in OFFSETS:
            yield [float(group["lr"]) for group in optimizer.param_groups]
        return
    # The parameters and what is kept of them are not copied.
    memo: dict[int, Any] = {
        id(parameter): parameter for group in optimizer.param_groups for parameter in group["params"]
    }
    later = copy.deepcopy(schedule, memo | {id(optimizer.state): {}})
    start = int(later.last_epoch) if position is None else position
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for offset in OFFSETS:
            try:
                while later.last_epoch < start + offset:
                    later.step()
            except TypeError:  # this one wants to know how well the training goes
                return
            yield [float(group["lr"]) for group in later.optimizer.param_groups]


def _family(optimizer: Any) -> str:
    import torch

    families = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "RMSprop": torch.optim.RMSprop}
    # AdamW does not inherit from Adam in every version of PyTorch.
    kinds = {**{kind: name for name, kind in families.items()}, torch.optim.AdamW: "Adam"}
    return next((name for kind, name in kinds.items() if isinstance(optimizer, kind)), "")


def _described(model: Any, optimizer: Any) -> OptimizerState:
    family = _family(optimizer)
    if not family:
        name = type(optimizer).__name__
        problem = f"optimizer: expected SGD, Adam, AdamW or RMSprop of torch.optim, received {name}"
        return OptimizerState(name, {}, [], problems=[problem])
    state = OptimizerState(family, {}, [])
    owners: dict[int, list[str]] = {}
    for name, parameter in _named(model).items():
        owners.setdefault(id(parameter), []).append(name)
    kept = [kinds_of(family, group) for group in optimizer.param_groups]
    for n, group in enumerate(optimizer.param_groups):
        if kept[n] != kept[0]:
            state.problems.append(f"group {n}: expected {sorted(kept[0])} as in group 0, received {sorted(kept[n])}")
        state.problems += [f"group {n}: {problem}" for problem in only_torch(group)]
        for m, parameter in enumerate(group["params"]):
            if id(parameter) in owners:
                state.names += owners[id(parameter)]
                state.frozen += owners[id(parameter)] if not parameter.requires_grad else []
            else:
                shape = tuple(parameter.shape)
                state.problems.append(f"group {n}, parameter {m} of shape {shape}: not a parameter of the model")
    state.moments = {kind: {} for kind in kept[0]}
    return state


def kinds_of(family: str, group: Mapping[str, Any]) -> set[str]:
    """The kinds of moments that a group of these settings keeps."""
    if family == "Adam":
        return {"mean", "square"}
    kinds = {"momentum"} if group["momentum"] else set()
    if family == "RMSprop":
        kinds |= {"square"} | ({"mean"} if group["centered"] else set())
    return kinds


def only_torch(group: Mapping[str, Any]) -> list[str]:
    """Settings with which torch.optim computes what optax does not."""
    return [
        f"{name}={group[name]!r} has no counterpart in optax"
        for name in ("amsgrad", "maximize", "dampening")
        if group.get(name)
    ]


def _named(model: Any) -> dict[str, Any]:
    return dict(model.named_parameters(remove_duplicate=False))


def _dtype(parameter: Any) -> np.dtype[Any]:
    import torch

    dtype: np.dtype[Any] = to_numpy(torch.zeros((), dtype=parameter.dtype)).dtype
    return dtype
