"""Where PyTorch's axes stand in Flax: known from the types of the layers, never from shapes.

A layout is a permutation: axis n of Flax's array is axis `layout[n]` of PyTorch's. How that of an output is known:

1. Layers with a channel axis (convolutions, batch, instance and group norm, pooling, padding, dropout of whole
   channels, upsampling, pixel shuffle, and our wrappers with `data_format`) have it where `layouts/layer_axes.py` says
   `c`, and Flax has it last. The same holds for what they are given. Layers that make something else of the axes
   (patterns, recurrent layers, attention, embedding) have the same axes in both frameworks; where two patterns name
   their axes, the names decide. Users tell the axes of their own layers with `register_axes`.
2. A tensor that several modules give or take is one tensor and has one layout.
3. Any other module whose output has as many axes as its first tensor input, at least three, has that one's layout; and,
   where only the output's is known, the input has it. A layer that works on the last axis (Linear, LayerNorm) has its
   features last in both frameworks when nothing is known of its input.
4. Where none of this tells, the tensor has the layout of what the module around it was given if it has as many axes,
   and else the same axes in both frameworks.

The inputs of the network have theirs from the declared axes, the outputs of our twins from their config. What the
rules cannot know is said with `layouts=`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from einops_arch.errors import PatternError
from einops_arch.layouts.layer_axes import channel_place, layer_axes, may_hold_channels, works_on_last_axis

__all__ = [
    "Layout",
    "TraceCall",
    "channels_last",
    "from_axes",
    "from_pattern",
    "guessed",
    "plain",
    "resolve",
    "resolve_inputs",
]

Layout: TypeAlias = tuple[int, ...]

_PATTERNS = ("Rearrange", "Reduce", "Repeat", "EinMix")


@dataclass(frozen=True)
class TraceCall:
    """One call of a module in PyTorch: which, what went in first, what came out, the call around it, all inputs."""

    path: str
    index: int
    module: Any
    input: Any
    outputs: Sequence[Any]
    parent: int | None
    place: int
    inputs: Sequence[Any] = ()


def plain(rank: int) -> Layout:
    """The same axes in both frameworks."""
    return tuple(range(rank))


def channels_last(rank: int, axis: int) -> Layout:
    """One axis moves to the end.

    >>> channels_last(4, 1)
    (0, 2, 3, 1)
    """
    return (*(n for n in range(rank) if n != axis), axis)


def from_axes(axes: str) -> Layout:
    """The channels `c` move to the end.

    >>> from_axes("b c h w")
    (0, 2, 3, 1)
    """
    names = axes.split()
    return channels_last(len(names), names.index("c")) if "c" in names else plain(len(names))


def from_pattern(pattern: str) -> Layout:
    """From PyTorch's axes to Flax's, by name.

    Raises:
        PatternError: the two sides do not have the same names, once each.

    >>> from_pattern("b c h w -> b h w c")
    (0, 2, 3, 1)
    """
    left, arrow, right = pattern.partition("->")
    layout = _by_names(left.split(), right.split())
    if not arrow or layout is None:
        raise PatternError(
            f"layouts: expected PyTorch's axes, '->' and the same axes as Flax has them, received {pattern!r}"
        )
    return layout


def resolve(
    calls: Sequence[TraceCall], flax_modules: Mapping[str, Any], known_layouts: Sequence[tuple[Any, Layout]]
) -> dict[tuple[str, int, int], Layout]:
    """The layout of every output of every call.

    Args:
        calls: in the order in which they returned.
        flax_modules: Flax's modules by path.
        known_layouts: tensors whose layout is known: the network's inputs and outputs, and what `layouts=` said.

    Returns:
        By path, number of the call, and number of the output.
    """
    known = _known(calls, flax_modules, known_layouts)
    return {(call.path, call.index, n): known[id(tensor)] for call in calls for n, tensor in enumerate(call.outputs)}


def guessed(
    calls: Sequence[TraceCall], flax_modules: Mapping[str, Any], known_layouts: Sequence[tuple[Any, Layout]]
) -> frozenset[tuple[str, int, int]]:
    """The outputs whose layout is a guess, by rules 3 and 4 alone."""
    firm = _by_type([call for call in calls if _kind(call.module) != "own axes"], flax_modules, known_layouts)
    return frozenset(
        (call.path, call.index, n)
        for call in calls
        for n, tensor in enumerate(call.outputs)
        if id(tensor) not in firm and tensor.ndim > 1
    )


def resolve_inputs(
    calls: Sequence[TraceCall],
    flax_modules: Mapping[str, Any],
    known_layouts: Sequence[tuple[Any, Layout]],
    outputs: Mapping[tuple[str, int, int], Layout],
) -> dict[tuple[str, int], list[tuple[Layout, ...]]]:
    """The layouts that each array may have that goes into a call, by path and number of the call.

    It is one layout where rules 1 to 3 tell it. Else they are those that are likely, the likeliest first: that of the
    module which gave it, that of what the call gives, that of what the module around it was given, the same axes.

    Args:
        calls: in the order in which they returned.
        flax_modules: Flax's modules by path.
        known_layouts: tensors whose layout is known.
        outputs: the layouts of the outputs, by path, number of the call and of the output.
    """
    firm = _told(calls, flax_modules, known_layouts)
    around = {call.place: call for call in calls}
    source = {
        id(tensor): outputs[call.path, call.index, n]
        for call in reversed(calls)
        for n, tensor in enumerate(call.outputs)
        if (call.path, call.index, n) in outputs
    }

    def likely(call: TraceCall, tensor: Any) -> tuple[Layout, ...]:
        if (layout := firm.get(id(tensor))) is not None:
            return (layout,)
        if tensor.ndim < 3:
            return (plain(tensor.ndim),)
        outer = around.get(call.parent) if call.parent is not None else None
        guesses = [
            source.get(id(tensor)),
            outputs.get((call.path, call.index, 0)) if _kind(call.module) != "own axes" else None,
            firm.get(id(outer.input)) if outer is not None else None,
            plain(tensor.ndim),
        ]
        return tuple(dict.fromkeys(guess for guess in guesses if guess is not None and len(guess) == tensor.ndim))

    return {(call.path, call.index): [likely(call, tensor) for tensor in call.inputs] for call in calls}


def _known(
    calls: Sequence[TraceCall], flax_modules: Mapping[str, Any], known_layouts: Sequence[tuple[Any, Layout]]
) -> dict[int, Layout]:
    """The layouts of all tensors of which anything is known, and of every output, by the tensor's identity."""
    known = _told(calls, flax_modules, known_layouts)
    around = {call.place: call for call in calls}
    for call in sorted(calls, key=lambda call: call.place):
        for tensor in call.outputs:
            if id(tensor) not in known:
                outer = around.get(call.parent) if call.parent is not None else None
                layout = known.get(id(outer.input)) if outer is not None else None
                fits = layout is not None and len(layout) == tensor.ndim and _kind(call.module) != "own axes"
                known[id(tensor)] = layout if fits and layout is not None else plain(tensor.ndim)
    return known


def _told(
    calls: Sequence[TraceCall], flax_modules: Mapping[str, Any], known_layouts: Sequence[tuple[Any, Layout]]
) -> dict[int, Layout]:
    """The layouts that rules 1 to 3 tell, by the tensor's identity."""
    known = _by_type(calls, flax_modules, known_layouts)
    _spread(calls, known)
    for call in calls:
        if _kind(call.module) == "last axis":
            for tensor in (call.input, *call.outputs):
                if tensor is not None:
                    known.setdefault(id(tensor), plain(tensor.ndim))
    _spread(calls, known)
    return known


def _by_type(
    calls: Sequence[TraceCall], flax_modules: Mapping[str, Any], known_layouts: Sequence[tuple[Any, Layout]]
) -> dict[int, Layout]:
    """The layouts that are stated, and those that the types of layers tell."""
    known = {id(tensor): layout for tensor, layout in known_layouts}
    for call in calls:
        other = flax_modules.get(call.path)
        for tensor in call.outputs:
            if (layout := _given_by_type(call.module, other, tensor)) is not None:
                known.setdefault(id(tensor), layout)
        if call.input is not None and (layout := _taken_by_type(call.module, other, call.input)) is not None:
            known.setdefault(id(call.input), layout)
    return known


def _spread(calls: Sequence[TraceCall], known: dict[int, Layout]) -> None:
    """Apply rule 3 until nothing new is learned."""
    before = -1
    while before != len(known):
        before = len(known)
        for call in calls:
            if call.input is None or _kind(call.module) == "own axes":
                continue
            for tensor in call.outputs:
                if tensor.ndim != call.input.ndim or tensor.ndim < 3:
                    continue
                if (layout := known.get(id(call.input))) is not None:
                    known.setdefault(id(tensor), layout)
                elif (layout := known.get(id(tensor))) is not None:
                    known.setdefault(id(call.input), layout)


def _kind(module: Any) -> str:
    """What the table says of a layer: "channels", "own axes" or "last axis"; "other" where it has nothing."""
    sides = layer_axes(type(module))
    if _known_name(module) in _PATTERNS:
        return "own axes"
    if sides is None:
        return "other"
    if works_on_last_axis(sides):
        return "last axis"
    if hasattr(module, "data_format"):
        return "channels" if may_hold_channels(sides[0][0]) and may_hold_channels(sides[1][0]) else "own axes"
    return "channels" if any("c" in side.split() for group in sides for side in group) else "own axes"


def _given_by_type(module: Any, other: Any, tensor: Any) -> Layout | None:
    kind, sides = _kind(module), layer_axes(type(module))
    if _known_name(module) in _PATTERNS:
        return _pattern_layout(module, other) or plain(tensor.ndim)
    if sides is None or kind == "last axis":
        return None
    if getattr(module, "drop_channel", False):
        return plain(tensor.ndim)
    return _of_side(sides[1][0], module, other, tensor.ndim) or (plain(tensor.ndim) if kind == "own axes" else None)


def _taken_by_type(module: Any, other: Any, tensor: Any) -> Layout | None:
    sides = layer_axes(type(module))
    return None if sides is None else _of_side(sides[0][0], module, other, tensor.ndim)


def _of_side(side: str, module: Any, other: Any, rank: int) -> Layout | None:
    """How an array of one side lies in Flax, where the names of its axes tell the channels."""
    if hasattr(module, "data_format"):
        return _wrapper_layout(module, other, rank) if may_hold_channels(side) else None
    place = None if side.startswith("... ") and side.endswith(" c") else channel_place(side, rank)
    return None if place is None else channels_last(rank, place)


def _wrapper_layout(module: Any, other: Any, rank: int) -> Layout:
    formats = module.data_format, getattr(other, "data_format", "channels_last")
    moves = formats == ("channels_first", "channels_last") and rank >= 2
    return channels_last(rank, 1) if moves else plain(rank)


def _pattern_layout(module: Any, other: Any) -> Layout | None:
    sides = [getattr(side, "pattern", "").partition("->")[2] for side in (module, other)]
    torch_axes, flax_axes = (re.findall(r"\([^)]*\)|\S+", side) for side in sides)
    return _by_names(torch_axes, flax_axes)


def _by_names(left: Sequence[str], right: Sequence[str]) -> Layout | None:
    if not left or len(set(left)) != len(left) or sorted(left) != sorted(right) or "..." in left:
        return None
    return tuple(left.index(name) for name in right)


def _known_name(module: Any) -> str:
    """The name of the first class that is PyTorch's, einops' or ours."""
    for base in type(module).__mro__:
        if base.__module__.partition(".")[0] in ("torch", "einops", "einops_arch"):
            return base.__name__
    return ""
