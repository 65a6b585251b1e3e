"""From the file of a training to an optimizer: PyTorch's to one of Flax without PyTorch, optax's to one of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._text import counted
from einops_arch.architectures import Config
from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.formats.torch_optimizer import OptimizerReader
from einops_arch.errors import PortError
from einops_arch.port.expected import expected_shapes
from einops_arch.port.optimizer.optax_files import holds_optax, stored_optax
from einops_arch.port.optimizer.settings import OFFSETS, Settings, setting_problems
from einops_arch.port.optimizer.state import TORCH_BUFFERS, OptimizerState
from einops_arch.port.optimizer.torch import kinds_of, only_torch
from einops_arch.port.optimizer.transfer import carry_problems, settings_of, transfer_optimizer
from einops_arch.port.transfer import framework_of, tied_names
from einops_arch.port.unwrap import without_wrapper

__all__ = ["load_optimizer"]


def load_optimizer(
    path: str | Path,
    model: Any,
    optimizer: Any,
    *,
    key: str | None = None,
    names: Sequence[str] | None = None,
    position: int | None = None,
    source_model: Any = None,
    schedule: Any = None,
    allow_settings: bool = False,
) -> Any:
    """Put what an optimizer had kept into another optimizer, from the file of a training.

    Of `torch.optim` it comes from a `.pt` file, into the optimizer of a Flax model; PyTorch is not needed, and nothing
    in the file is run. A state dict of an optimizer has numbers in the place of names: the parameters in the order of
    its groups. Of one group they are those of the weights in the file; several need `names`, unless the optimizer was
    made of `named_parameters()`.

    Of optax it comes from an Orbax folder or a Flax `.msgpack`, into the optimizer of a model of either framework. The
    file has the moments and counts, and no settings but those of `optax.inject_hyperparams`, which are compared.

    Args:
        path: a `.pt` file with the weights and the optimizer's `state_dict()`, or a folder or file with a state of
            optax, such as a `TrainState` or `nnx.state` of an `nnx.Optimizer`.
        model: the model whose optimizer it is, with the weights of the same file, as `load` takes them.
        optimizer: an `nnx.Optimizer` or one of `torch.optim`, changed in place, or a bare state of optax.
        key: the entry of the optimizer; found by itself if there is one.
        names: PyTorch's names of the parameters in the order in which the optimizer of a `.pt` file was given them.
        position: where the schedule of a `.pt` file's learning rate stands, if there is one.
        source_model: the Flax model of a state of optax, which may be abstract, where `model` is one of PyTorch; it is
            made by itself for the networks of this package.
        schedule: PyTorch's scheduler of the learning rate, where the optimizer is one of `torch.optim`.
        allow_settings: go on where learning rates, betas and other settings differ, as `transfer_optimizer` does.

    Returns:
        The optimizer; a new state in the place of a bare state of optax.

    Raises:
        CheckpointError: the file cannot be read, or has no state of an optimizer.
        PortError: the two keep different things, or parameters, shapes, dtypes or settings differ; nothing has been
            changed.
    """
    if holds_optax(Path(path)):
        if names is not None or position is not None:
            raise PortError("load_optimizer: names= and position= are for .pt files, received a file of optax")
        source = _source_model(model) if source_model is None else source_model
        stored = stored_optax(Path(path), key)
        options = {"target_schedule": schedule, "allow_settings": allow_settings}
        return transfer_optimizer(source, stored, model, optimizer, **options)
    if framework_of(model) != "flax":
        raise PortError(
            "load_optimizer: expected a Flax model for the optimizer of a .pt file; a PyTorch one has "
            "optimizer.load_state_dict"
        )
    return _load_torch(Path(path), model, optimizer, key, names, position, allow_settings=allow_settings)


def _source_model(model: Any) -> Any:
    """The Flax model whose layers say how the moments in a file lie."""
    if framework_of(model) == "flax":
        return model
    config = getattr(model, "config", None)
    if not isinstance(config, Config):
        raise PortError(
            f"load_optimizer: expected source_model=, the Flax model of the state of optax, for the "
            f"{type(model).__name__} of PyTorch"
        )
    from einops_arch.flax._build import abstract_model

    return abstract_model(config)


def _load_torch(
    path: Path,
    model: Any,
    optimizer: Any,
    key: str | None,
    names: Sequence[str] | None,
    position: int | None,
    *,
    allow_settings: bool,
) -> Any:
    from einops_arch.port.optimizer.optax import expected_by_flax, trained_steps, write_flax

    expected = expected_by_flax(model, optimizer)
    trained = {name for step, paths in trained_steps(model) if paths for name in step.expected}
    shapes = _weights(path, model)
    with OptimizerReader(path, key) as reader:
        ordered = _ordered(reader.groups, names, [name for name in shapes if name in trained])
        state = _state(reader, ordered, shapes, position)
        settings = _settings(reader.groups, ordered, state)
    for group in tied_names(model):
        known = [name for name in group if name in state.names]
        for name in group if known else ():
            if name not in state.names:
                state.names.append(name)
                settings[name] = settings[known[0]]
                for arrays in state.moments.values():
                    arrays[name] = arrays[known[0]]
    problems = carry_problems(state, expected, into_torch=False)
    if not problems and not allow_settings:
        problems = setting_problems(settings, settings_of(model, optimizer, None, expected, state), state)
    if problems:
        head = f"load_optimizer into {type(model).__name__}: {counted(len(problems), 'problem')}, nothing was changed"
        raise PortError(head, *problems)
    if expected.schedule is not None and state.schedule is None:
        state.schedule = state.steps
    return write_flax(model, optimizer, state)


def _weights(path: str | Path, model: Any) -> dict[str, tuple[int, ...]]:
    """The weights of the file under the model's names, in their order; a tied tensor once."""
    wanted, tied = expected_shapes(model, "torch")
    with open_checkpoint(path) as reader:
        shapes = {name: info.shape for name, info in reader.tensors.items()}
        new, _ = without_wrapper({name: reader.info(name).shape for name in reader.names()}, wanted, tied)
    return {new[name]: shape for name, shape in shapes.items() if name in new}


def _ordered(
    groups: Sequence[Mapping[str, Any]], names: Sequence[str] | None, trained: Sequence[str]
) -> dict[int, str]:
    """The name of each parameter by its number."""
    numbers = [number for group in groups for number in group["params"]]
    told = [name for group in groups for name in group.get("param_names") or ()]
    if names is None and len(told) == len(numbers):
        names = told
    if names is None and len(groups) > 1:
        raise PortError(
            f"load_optimizer: expected one group of parameters, whose order is that of the weights, received "
            f"{len(groups)}; likely fix: names= in the order in which the optimizer was given the parameters"
        )
    ordered = list(trained if names is None else names)
    if len(ordered) != len(numbers):
        whose = "weights that the Flax model trains" if names is None else "names"
        raise PortError(
            f"load_optimizer: expected {counted(len(numbers), 'parameter')} as the optimizer has, received "
            f"{len(ordered)} {whose}; likely fix: names="
        )
    return dict(zip(numbers, ordered, strict=True))


def _family(group: Mapping[str, Any]) -> str:
    """Which optimizer writes such settings. NAdam, RAdam and Adamax have betas too, and no `amsgrad`."""
    marks = {"Adam": {"betas", "amsgrad"}, "SGD": {"nesterov", "dampening"}, "RMSprop": {"alpha", "centered"}}
    return next((family for family, names in marks.items() if names <= set(group)), "")


def _state(
    reader: OptimizerReader, ordered: Mapping[int, str], shapes: Mapping[str, tuple[int, ...]], position: int | None
) -> OptimizerState:
    families = {_family(group) for group in reader.groups}
    family = families.pop() if len(families) == 1 else ""
    if not family:
        problem = "optimizer: expected the settings of SGD, Adam, AdamW or RMSprop of torch.optim"
        return OptimizerState("another optimizer", {}, [], problems=[problem])
    kept = [kinds_of(family, group) for group in reader.groups]
    problems = [
        f"group {n}: expected {sorted(kept[0])} as in group 0" for n, kinds in enumerate(kept) if kinds != kept[0]
    ]
    problems += [f"group {n}: {line}" for n, group in enumerate(reader.groups) for line in only_torch(group)]
    problems += [f"{name}: not among the weights of the file" for name in ordered.values() if name not in shapes]
    state = OptimizerState(family, {kind: {} for kind in kept[0]}, list(ordered.values()), problems=problems)
    if problems:
        return state
    counts = set()
    for number, name in ordered.items():
        for kind, arrays in state.moments.items():
            stored = f"{number}.{TORCH_BUFFERS[family][kind]}"
            arrays[name] = reader.read(stored) if reader.has(stored) else np.zeros(shapes[name], np.float32)
        step = f"{number}.step"
        if step in reader.numbers or reader.has(step):
            counts.add(int(reader.numbers[step] if step in reader.numbers else reader.read(step)))
    if len(counts) > 1:
        state.problems.append(f"step: expected one count for all parameters, received {sorted(counts)}")
    state.steps = max(counts, default=0 if family == "Adam" else None)
    state.schedule = position
    if position is None and any("initial_lr" in group for group in reader.groups):
        state.problems.append("learning rate: a scheduler has set it; likely fix: position=, its last_epoch")
    return state


def _settings(
    groups: Sequence[Mapping[str, Any]], ordered: Mapping[int, str], state: OptimizerState
) -> dict[str, Settings]:
    """How the optimizer would have gone on, as far as its groups say it."""
    settings = {}
    for group in groups:
        rates = (float(group["lr"]),) * len(OFFSETS) if state.schedule is None and "lr" in group else ()
        names = {
            "Adam": ("eps",),
            "RMSprop": ("alpha", "eps", "momentum"),
            "SGD": ("momentum", "nesterov"),
        }.get(state.family, ())
        values: dict[str, Any] = {name: group[name] for name in names if name in group}
        if state.family == "Adam":
            values["beta1"], values["beta2"] = map(float, group["betas"])
        decay, decoupled = float(group.get("weight_decay") or 0), group.get("decoupled_weight_decay")
        # Before PyTorch 2.7 nothing in the file tells AdamW from Adam.
        if not decay or decoupled is not None or state.family != "Adam":
            values["weight_decay of the gradient"] = 0.0 if decoupled else decay
            values["weight_decay of the parameter"] = decay if decoupled else 0.0
        for number in group["params"]:
            settings[ordered[number]] = Settings(state.family, trained=True, rates=rates, values=values)
    return settings
