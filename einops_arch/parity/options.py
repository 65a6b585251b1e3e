"""What `compare` was asked for, and what that says of layouts."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from einops_arch.architectures.config import Config
from einops_arch.errors import PatternError
from einops_arch.parity.runs.axes import Layout, TraceCall, from_axes, from_pattern
from einops_arch.parity.runs.inputs import Inputs
from einops_arch.parity.waiting import silent

__all__ = ["Options", "known_tensors", "stated_outputs"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What `compare` was asked for, apart from the models and the inputs."""

    config: Config | None = None
    layouts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    training: bool = False
    gradients: bool = False
    steps: int = 1
    seed: int = 0
    teacher: bool = False
    lift_casts: bool | None = None
    own_dtype: bool = True
    causes: bool = True
    say: Callable[[str], None] = silent

    @property
    def mode(self) -> str:
        """The name of the mode, as `compare` takes it."""
        return "train" if self.training else "eval"


def known_tensors(
    trace: Sequence[TraceCall],
    tensors: Sequence[tuple[str, Any]],
    inputs: Inputs,
    options: Options,
    *,
    complete: bool = True,
) -> list[tuple[Any, Layout]]:
    """The tensors whose layout is said: inputs, outputs of our twins, and what `layouts=` names; the last counts.

    A run that did not come to its end is not `complete`: it may not have reached what `layouts=` names.
    """
    known: list[tuple[Any, Layout]] = []
    used: set[str] = set()
    for stated_path, layout, call, places in _statements(trace, options.layouts):
        used.add(stated_path)
        known += [(call.outputs[n], layout) for n in places]
    if complete and (unknown := sorted(set(options.layouts) - used)):
        raise PatternError(f"layouts: no module was called at {', '.join(map(repr, unknown))}")
    outputs = next((call.outputs for call in trace if call.path == ""), ())
    stated = [from_axes(output.axes) for output in options.config.outputs()] if options.config else []
    if len(stated) == len(outputs):
        known += [pair for pair in zip(outputs, stated, strict=True) if pair[0].ndim == len(pair[1])]
    known += [(tensor, inputs.layouts[place]) for place, tensor in tensors if place in inputs.layouts]
    # What was said first counts.
    return known[::-1]


def stated_outputs(trace: Sequence[TraceCall], layouts: Mapping[str, str]) -> dict[tuple[str, int, int], Layout]:
    """What `layouts=` says of single calls, by path, number of the call and number of the output.

    A module and the last one inside of it may give one tensor, which lies otherwise in each of Flax's.
    """
    return {
        (call.path, call.index, n): layout for _, layout, call, places in _statements(trace, layouts) for n in places
    }


def _statements(
    trace: Sequence[TraceCall], layouts: Mapping[str, str]
) -> Iterator[tuple[str, Layout, TraceCall, list[int]]]:
    """Each key of `layouts=` with its layout, the calls that it names, and the numbers of the outputs that it fits."""
    # A translated model names the layout of every module: looking through all calls for each would be quadratic.
    calls_at: dict[str, list[TraceCall]] = {}
    for call in trace:
        calls_at.setdefault(call.path, []).append(call)
    # The last counts: what names a module more than wildcards do, what names one of its outputs most.
    for path in sorted(layouts, key=lambda path: (not _is_wild(path), path not in calls_at)):
        layout = from_pattern(layouts[path])
        if _is_wild(path) or path in calls_at:
            calls = [call for call in trace if _names(path, call.path)] if _is_wild(path) else calls_at[path]
            named = [(call, range(len(call.outputs))) for call in calls]
        else:
            module, _, number = path.rpartition(".")
            outputs = range(int(number), int(number) + 1) if number.isdecimal() else range(0)
            named = [(call, outputs) for call in calls_at.get(module, []) if outputs and outputs[0] < len(call.outputs)]
        for call, places in named:
            yield path, layout, call, [n for n in places if call.outputs[n].ndim == len(layout)]


def _is_wild(path: str) -> bool:
    return path.endswith(".") or any(sign in path for sign in "*?[")


def _names(stated: str, path: str) -> bool:
    """A path of `layouts=` speaks for a module: it is the module's, begins it, or has wildcards that fit."""
    if stated.endswith("."):
        return path.startswith(stated) or path == stated[:-1]
    return path == stated or (_is_wild(stated) and fnmatch.fnmatchcase(path, stated))
