"""Carry weights and buffers from one model to another: PyTorch to Flax, Flax to PyTorch, or within one framework."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch import architectures
from einops_arch._log import LOG, Lines
from einops_arch._text import counted
from einops_arch.checkpoints.reader_views import checked_patterns, renamed, texts
from einops_arch.errors import PortError
from einops_arch.layouts.arrays import no_values, to_numpy
from einops_arch.layouts.state import problems_error, state_arrays
from einops_arch.port.expected import expected_shapes
from einops_arch.port.packed import packing_groups
from einops_arch.port.settings import setting_differences
from einops_arch.port.suggested import same_network, told_what_fits
from einops_arch.port.ties import needless_names, same_arrays, untied_lines
from einops_arch.port.unwrap import without_wrapper

__all__ = ["framework_of", "model_state", "tied_names", "to_flax", "to_torch", "transfer"]


def to_flax(model: Any, *, rngs: Any = None) -> Any:
    """The Flax twin of a PyTorch model, with its weights, buffers and mode.

    Args:
        model: the PyTorch twin of a registered architecture.
        rngs: random streams of the new model, for dropout; `nnx.Rngs(0)` if left out. No weight is drawn from them.

    Raises:
        PortError: the model is not of a registered architecture; use `transfer` for models of your own.

    >>> import torch
    >>> from einops_arch.torch.convnet import ConvNet
    >>> model = ConvNet()
    >>> type(to_flax(model)).__module__
    'einops_arch.flax.convnet'
    """
    _architecture(model, "torch", "to_flax")
    from einops_arch.flax._build import from_state

    twin = from_state(model.config, model_state(model), rngs=rngs)
    if model.training:
        twin.train()
    else:
        twin.eval()
    return twin


def to_torch(model: Any, *, device: Any = None) -> Any:
    """The PyTorch twin of a Flax model, with its weights and buffers, in evaluation mode if the Flax model is.

    Args:
        model: the Flax twin of a registered architecture.
        device: where the PyTorch model goes.

    Raises:
        PortError: the model is not of a registered architecture; use `transfer` for models of your own.

    >>> from flax import nnx
    >>> from einops_arch.flax.convnet import ConvNet
    >>> model = ConvNet(rngs=nnx.Rngs(0))
    >>> type(to_torch(model)).__module__
    'einops_arch.torch.convnet'
    """
    twin = _architecture(model, "flax", "to_torch").torch_class()(model.config).to(device)
    transfer(model, twin)
    return twin.train(_flax_training(model))


def transfer(
    source: Any,
    target: Any,
    *,
    rename: Sequence[tuple[str, str]] = (),
    ignore: Sequence[str] = (),
    paths: Mapping[str, str] | None = None,
    packing: Sequence[str] = (),
) -> None:
    """Carry weights and buffers between two models whose module paths match, of either framework.

    Every value of the source is used, every value of the target filled, and all problems are reported together before
    anything is written. Values keep their dtype and their bits, and go to the target's device. The source is not
    changed.

    Settings that change the function and no shape, such as `num_heads`, `dilation`, `padding` or `eps`, are compared
    where both models have them; those that differ are named in a warning of the logger `einops_arch`.

    Args:
        source: a `torch.nn.Module` or an `nnx.Module`; or a state with PyTorch's names and layout.
        target: a `torch.nn.Module` or an `nnx.Module`, changed in place.
        rename: pairs of a regular expression and its replacement, applied to the source's names, which are PyTorch's.
        ignore: regular expressions; what has such a name in the source is left out, after `rename`.
        paths: the path of a module in the target by its path in the source; two may change places.
        packing: patterns between names and axes of tensors that one model keeps apart and the other in one, such as
            `"q.* k.* v.* -> qkv.*: q ..., k ..., v ... -> (q + k + v) ..."`; see `Packing.parse`. They speak of the
            names after `rename` and `paths`.

    Raises:
        PortError: names, shapes or dtypes do not match; nothing has been changed then.
        PatternError: a packing does not parse.

    >>> import torch
    >>> from flax import nnx
    >>> source, target = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> transfer(source, target)
    >>> bool((target.kernel[...].T == source.weight.detach().numpy()).all())
    True
    """
    state = source if isinstance(source, Mapping) else model_state(source)
    state = _adapted(state, target, rename, ignore, paths or {}, packing)
    try:
        _load(target, state)
    except PortError as error:
        config = getattr(target, "config", None)
        shapes = {name: tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}
        own = config if isinstance(config, architectures.Config) and "flax" in sys.modules else None
        raise told_what_fits(error, shapes, "torch", own) from error
    differences = [] if isinstance(source, Mapping) else setting_differences(source, target)
    if differences:
        LOG.warning("the models compute different things:%s", Lines(differences))


def _load(target: Any, state: Mapping[str, Any]) -> None:
    if framework_of(target) == "torch":
        from einops_arch.torch.state import load_torch_state

        load_torch_state(target, state)
    else:
        from einops_arch.flax.state import load_state_dict

        load_state_dict(target, state)


def _adapted(
    state: Mapping[str, Any],
    target: Any,
    rename: Sequence[tuple[str, str]],
    ignore: Sequence[str],
    paths: Mapping[str, str],
    packing: Sequence[str],
) -> Mapping[str, Any]:
    """The state under the names of the target."""
    changed = {name: name for name in state}
    if rename:
        changed = renamed(state, rename)
    changed = _at_paths(changed, paths)
    ignore = checked_patterns(ignore)
    dropped = {name for name, now in changed.items() if any(re.search(text, now) for text in ignore)}
    for text in ignore:
        if not any(re.search(text, now) for now in changed.values()):
            raise PortError(f"ignore {text}: matches none of the {counted(len(changed), 'name')}")
    olds: dict[str, list[str]] = {}
    for name, now in changed.items():
        if name not in dropped:
            olds.setdefault(now, []).append(name)
    left = {name: state[name] for name, now in changed.items() if name not in dropped}
    if odd := [f"{name}: {reason}" for name, value in left.items() if (reason := no_values(value))]:
        raise problems_error("transfer", odd)
    # Two names of one tensor may become one.
    clashes = [
        f"{now}: the new name of {' and of '.join(names)}"
        for now, names in olds.items()
        if len(names) > 1 and same_arrays({name: state[name] for name in names}) != [names]
    ]
    if clashes:
        raise problems_error("transfer", clashes)
    moved: dict[str, Any] = {now: state[names[0]] for now, names in olds.items()}
    expected, tied = _expected(target)
    for text in texts(packing):
        moved = _packed(moved, text, expected)
    moved = _unwrapped(moved, expected, tied)
    groups = same_arrays(moved)
    for line in untied_lines(groups, tied, expected):
        LOG.warning("%s", line)
    needless = needless_names(groups, expected)
    return {name: value for name, value in moved.items() if name not in needless}


def _at_paths(names: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """The names with the paths of modules exchanged, all at once; of paths inside each other the longest counts.

    >>> _at_paths({"x": "a.weight", "y": "b.weight"}, {"a": "b", "b": "a"})
    {'x': 'b.weight', 'y': 'a.weight'}
    """
    changed, used = dict(names), set()
    for name, now in names.items():
        inside = [path for path in paths if now == path or now.startswith(f"{path}.") or not path]
        used.update(inside)
        if inside:
            path = max(inside, key=len)
            changed[name] = ".".join(part for part in (paths[path], now[len(path) :].lstrip(".")) if part)
    for path in paths:
        if path not in used:
            raise PortError(f"paths: the source has nothing at {path!r}")
    return changed


def _packed(state: dict[str, Any], text: str, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    arrays, odd = state_arrays(state)
    if odd:
        raise problems_error("transfer", odd)
    shapes = {name: array.shape for name, array in arrays.items()}
    groups = packing_groups(text, shapes, {name: array.dtype.name for name, array in arrays.items()}, expected)
    made = {name: array for group, _ in groups for name, array in group.make(arrays, expected).items()}
    gone = {name for group, _ in groups for name in group.names}
    return {**{name: value for name, value in state.items() if name not in gone}, **made}


def _unwrapped(
    state: dict[str, Any], expected: Mapping[str, tuple[int, ...]], tied: Sequence[Sequence[str]]
) -> dict[str, Any]:
    shapes = {name: tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}
    if len(shapes) < len(state):
        return state
    new, remark = without_wrapper(shapes, expected, tied, names_alone=True)
    if remark:
        counters = [f"{name}: left out: a counter of the wrapper" for name in state if name not in new]
        LOG.warning("%s%s", remark, Lines(counters))
    return {now: state[name] for name, now in new.items()}


def _expected(model: Any) -> tuple[dict[str, tuple[int, ...]], Sequence[Sequence[str]]]:
    """PyTorch's names and shapes in a model of either framework, and the groups of names that are one tensor."""
    if framework_of(model) == "torch":
        state = model.state_dict(keep_vars=True)
        return {name: tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}, tied_names(model)
    return expected_shapes(model, "torch")


def model_state(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The canonical state of a model of either framework: PyTorch's names and layout, numpy arrays.

    For a PyTorch model on the CPU the arrays share its memory; treat them as read-only.
    """
    if framework_of(model) == "torch":
        return {name: _named_numpy(name, value) for name, value in model.state_dict().items()}
    from einops_arch.flax.state import state_dict

    return state_dict(model)


def _named_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        return to_numpy(value)
    except PortError as error:
        raise PortError(f"{name}: {error}") from None


def tied_names(model: Any) -> list[list[str]]:
    """Groups of PyTorch's names that are one array in a model of either framework."""
    if framework_of(model) == "torch":
        from einops_arch.torch.state import tied_names as torch_names

        state = model.state_dict(keep_vars=True)
        return torch_names({name: value for name, value in state.items() if hasattr(value, "shape")})
    from einops_arch.flax.state import port_steps
    from einops_arch.flax.state import tied_names as flax_names

    return flax_names(port_steps(model))


def framework_of(model: Any) -> str:
    """`"torch"` or `"flax"`.

    Raises:
        PortError: the model is of neither framework.
    """
    torch, nnx = sys.modules.get("torch"), sys.modules.get("flax.nnx")
    if torch is not None and isinstance(model, torch.nn.Module):
        return "torch"
    if nnx is not None and isinstance(model, nnx.Module):
        return "flax"
    raise PortError(f"expected a torch.nn.Module or a flax.nnx.Module, received {type(model).__name__}")


def _architecture(model: Any, framework: str, function: str) -> architectures.Architecture:
    received = framework_of(model)
    if received != framework:
        raise PortError(f"{function}: expected a {framework} model, received a {received} model")
    config = getattr(model, "config", None)
    if not isinstance(config, architectures.Config):
        raise PortError(
            f"{function}: expected a model of a registered architecture ({', '.join(architectures.names())}), received "
            f"{type(model).__name__}; likely fix: {_fix_for(model, framework)}"
        )
    return architectures.of_config(config)


def _fix_for(model: Any, framework: str) -> str:
    """What makes the twin of a model that is not registered."""
    if framework == "flax":
        return "build the other model yourself and use transfer(source, target)"
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if hasattr(value, "shape")}
    network = same_network(shapes)
    if network is not None:
        return f"einops_arch.flax.from_state({network}, model.state_dict()), as the names and shapes are those of it"
    return (
        "einops_arch.translate(model, inputs), which writes the Flax model, or build it yourself and use "
        "transfer(source, target)"
    )


def _flax_training(model: Any) -> bool:
    """A Flax model has no mode of its own; its layers that behave differently have."""
    from einops_arch.flax.state import named_modules

    for _, module in named_modules(model):
        for attribute in ("deterministic", "use_running_average"):
            if getattr(module, attribute, None) is True:
                return False
    return True
