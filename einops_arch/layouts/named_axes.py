"""Names for the axes of every array that goes through a network.

Those of the inputs and outputs of the network are stated by its config, and a pattern names its own. What other layers
take and give stands in `layouts/layer_axes.py`; those that are not there keep the names that they are given, but for
the axis that they make. A sum has the names of another array of its shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from einops_arch.layouts.layer_axes import is_image, layer_axes

__all__ = ["Array", "Call", "Names", "name_axes", "stated_axes"]

# A name is None where it is not known.
Names: TypeAlias = list[str | None]


@dataclass(frozen=True)
class Array:
    """One array that goes through the network.

    Args:
        key: the same for the same array, whoever gives or takes it.
        shape: its shape.
    """

    key: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Args:
        path: the module's dotted path.
        inputs: the arrays that it was given.
        outputs: the arrays that it gave.
    """

    path: str
    inputs: Sequence[Array]
    outputs: Sequence[Array]


class _Module(Protocol):
    kind: str
    stated: tuple[Sequence[str], Sequence[str]]
    calls: int
    inputs: list[list[tuple[str | None, int]]]
    outputs: list[list[tuple[str | None, int]]]


_IMAGE = {3: "b c w", 4: "b c h w", 5: "b c d h w"}


def stated_axes(module: Any) -> tuple[Sequence[str], Sequence[str]]:
    """The axes that a module takes and gives, one text for each array, as far as it says so.

    >>> class Mean:
    ...     pattern = "b c h w -> b c"
    >>> stated_axes(Mean()), stated_axes(object())
    ((['b c h w'], ['b c']), ((), ()))
    """
    left, arrow, right = str(getattr(module, "pattern", "")).partition("->")
    if arrow:
        return [left.strip()], [right.strip()]
    sides = layer_axes(type(module)) or ((), ())
    if getattr(module, "batch_first", False):
        return _batch_first(sides[0]), _batch_first(sides[1])
    return sides


def _batch_first(sides: Sequence[str]) -> tuple[str, ...]:
    """What has the batch second by default, with the batch first."""
    return tuple(re.sub(r"^(\w+) b\b", r"b \1", side) for side in sides)


def name_axes(
    modules: Mapping[str, Any], calls: Sequence[Call], known: dict[int, Names], *, channels_last: bool
) -> None:
    """Write down for each module the names and sizes of the axes of its first call.

    Args:
        modules: those of the network, by path.
        calls: in the order in which they returned.
        known: names by the key of an array: those of the network's inputs and outputs; more are put in.
        channels_last: whether images are so.
    """
    around = {path.rpartition(".")[0] for path in modules if path}
    leaves = [call for call in calls if call.path not in around]
    for group in (leaves, [call for call in calls if call.path in around and call.path]):
        for call in group:
            for arrays, sides in zip((call.inputs, call.outputs), modules[call.path].stated, strict=True):
                for array, side in zip(arrays, sides, strict=False):
                    names = _of_side(side, array, None)
                    if names is not None and None not in names:
                        known.setdefault(array.key, names)
    seen: dict[tuple[int, ...], Names] = {}
    for call in leaves:
        module = modules[call.path]
        for names_of in (_taken, _given):
            for array, names in names_of(module, call, known, seen, last=channels_last):
                known[array.key] = seen[array.shape] = names
    for call in calls:
        module = modules[call.path]
        module.calls += 1
        if module.calls == 1:
            module.inputs, module.outputs = (
                [_with_sizes(known.get(array.key) or seen.get(array.shape), array.shape) for array in arrays]
                for arrays in (call.inputs, call.outputs)
            )


def _taken(
    module: _Module, call: Call, known: Mapping[int, Names], seen: Mapping[tuple[int, ...], Names], *, last: bool
) -> list[tuple[Array, Names]]:
    """Names of what a module is given, where they can be told."""
    inputs = []
    left, _ = module.stated
    for n, array in enumerate(call.inputs):
        side = left[n] if n < len(left) else ""
        names = known.get(array.key) or seen.get(array.shape) or (_image(array, last=last) if is_image(side) else None)
        if names is None and _makes_features(module) and call.outputs:
            made = known.get(call.outputs[0].key)
            names = [*made[:-1], "i"] if made and len(made) == len(array.shape) else None
        if names is None and side:
            # What is reshaped with its channels is an image.
            names = _of_side(side, array, _image(array, last=last) if "(" in side and "..." in side else None)
        if names is not None:
            inputs.append((array, names))
    return inputs


def _given(
    module: _Module, call: Call, known: Mapping[int, Names], seen: Mapping[tuple[int, ...], Names], *, last: bool
) -> list[tuple[Array, Names]]:
    """Names of what a module gives, where they can be told."""
    outputs = []
    taken = known.get(call.inputs[0].key) if call.inputs else None
    for n, array in enumerate(call.outputs):
        names = known.get(array.key) or _made(module, n, array, taken, seen.get(array.shape), last=last)
        if names is None or None in names:
            names = seen.get(array.shape) or names
        if names is not None:
            outputs.append((array, names))
    return outputs


def _made(
    module: _Module, n: int, array: Array, taken: Names | None, alike: Names | None, *, last: bool
) -> Names | None:
    """Names that follow from the kind of the module and from what it takes."""
    (left, right), same_rank = module.stated, taken is not None and len(taken) == len(array.shape)
    if n < len(right) and right[n] in left and is_image(right[n]):
        return _image(array, last=last) or (taken if same_rank else None)
    if _makes_features(module) and taken and same_rank:
        # What comes back to the size that it had, as a perceptron does, is called what it was.
        return alike if alike and alike[:-1] == taken[:-1] else [*taken[:-1], "o"]
    if n < len(right) and right[n] not in left:
        return _of_side(right[n], array, taken)
    return taken if same_rank else None


def _makes_features(module: _Module) -> bool:
    """Whether the last axis of what it gives is new: a linear layer."""
    return [side.split()[-1:] for side in module.stated[1]] in ([["o"]], [["token"]])


def _with_sizes(names: Names | None, shape: Sequence[int]) -> list[tuple[str | None, int]]:
    names = names if names and len(names) == len(shape) else [None] * len(shape)
    return list(zip(names, shape, strict=True))


def _image(array: Array, *, last: bool) -> Names | None:
    axes = _IMAGE.get(len(array.shape))
    if axes is None:
        return None
    names = axes.split()
    return [*(name for name in names if name != "c"), "c"] if last else list(names)


def _of_side(side: str, array: Array, stated: Names | None) -> Names | None:
    """The axes of one side of a pattern, a composed one in brackets; None where their number is another.

    Dots stand for names of what is given, from the end where they are the last, and else from the second on.
    """
    names: Names = list(re.findall(r"\([^)]*\)|\S+", side))
    if "..." in names:
        count, at = len(array.shape) - len(names) + 1, names.index("...")
        more: Names = [None] * count
        if stated is not None and len(stated) == len(array.shape):
            more = stated[at : at + count]
        elif stated is not None and len(stated) == count:
            more = stated
        names[at : at + 1] = more
    elif stated is not None and (inside := [n for n, name in enumerate(names) if name and "..." in name]):
        rest = " ".join(str(name) for name in stated if name not in ("b", "c"))
        names[inside[0]] = str(names[inside[0]]).replace("...", rest)
    return names if len(names) == len(array.shape) else None
