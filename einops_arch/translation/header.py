"""The docstring of the file: what it was translated from, at which sizes, and what holds for it."""

from __future__ import annotations

import importlib.metadata
import textwrap
from collections.abc import Mapping
from typing import Any

from einops_arch.translation.free_sizes import FreeSizes
from einops_arch.translation.recordings import Recorder

__all__ = ["header"]


def header(
    name: str,
    recorder: Recorder,
    free: FreeSizes,
    sizes: Mapping[str, int],
    literals: Mapping[str, str],
) -> str:
    """The docstring of the file.

    Args:
        name: of the class of the whole model.
        recorder: of the original.
        free: its free axes.
        sizes: the second sizes.
        literals: arguments of the original's constructor that are none here, each with its value.
    """
    kind = type(recorder.model)
    package = kind.__module__.partition(".")[0]
    try:
        version = f" {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        version = ""
    shapes = ", ".join(
        " ".join(
            f"{axis}={size}" if not axis.isdigit() else axis for axis, size in zip(names, tensor.shape, strict=True)
        )
        for names, tensor in zip(recorder.arguments.axes, recorder.arguments.tensors, strict=True)
    )
    others = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
    recorded = (
        f"The original is {kind.__module__}.{kind.__qualname__}, recorded at {shapes}, and at "
        f"{others or 'no other size'}. The weights of the PyTorch model load with "
        "`einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it."
    )
    return (
        f"{name} in Flax NNX, translated by einops_arch from {package}{version}.\n\n"
        f"{textwrap.fill(recorded, 118, break_long_words=False, break_on_hyphens=False)}\n"
        f"{_literals(literals)}{_limits(free)}{_frozen(recorder.model)}{_settled(recorder.settings)}"
        f"{_memories(recorder.memories)}"
    )


def _literals(values: Mapping[str, str]) -> str:
    """Arguments that would not do here what they do in the original."""
    if not values:
        return ""
    numbers = ", ".join(f"{name}={value}" for name, value in values.items())
    text = f"Written for {numbers}: with another number the original's state has other names or shapes than this one's."
    return "\n" + textwrap.fill(text, 118) + "\n"


def _limits(free: FreeSizes) -> str:
    """Why axes that have a letter are fixed all the same."""
    lines = [f"Axis {letter} is fixed: {reason}." for letter, reason in free.fixed.items()]
    lines += [f"Axis {letter} is never 1: {reason}." for letter, reason in free.not_one.items()]
    return "".join("\n" + textwrap.fill(line, 118) + "\n" for line in lines)


def _settled(settings: Mapping[str, tuple[Any, Any]]) -> str:
    """What the first call changed."""
    if not settings:
        return ""

    changes = ", ".join(f"{path} from {old!r} to {new!r}" for path, (old, new) in settings.items())
    return "\n" + textwrap.fill(f"A first call at this size changes {changes}; so it is here.", 118) + "\n"


def _memories(paths: frozenset[str]) -> str:
    """What the original keeps of its last call, which the twin gives to nobody."""
    if not paths:
        return ""

    names = ", ".join(sorted(paths))
    text = f"The original keeps tensors of its last call as {names}; the twin gives its outputs alone."
    return "\n" + textwrap.fill(text, 118) + "\n"


def _frozen(model: Any) -> str:
    """Parameters that PyTorch does not train; the twin has them as any other."""
    names = [name for name, item in model.named_parameters() if not item.requires_grad]
    if not names:
        return ""

    text = f"PyTorch does not train {', '.join(names)} (requires_grad=False); leave them out of the optimizer here."
    return "\n" + textwrap.fill(text, 118) + "\n"
