"""Chains of shape operations that a model runs, and the pattern of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import einops
import numpy as np

from einops_arch.discovery.result import Discovery
from einops_arch.discovery.solving.moves import index_map, moved
from einops_arch.discovery.solving.naming import name_axes
from einops_arch.discovery.solving.refusals import explain
from einops_arch.discovery.solving.search import Solution
from einops_arch.discovery.solving.sizes import find_rules
from einops_arch.discovery.solving.structure import NoPatternError, decompose
from einops_arch.discovery.solving.values import counted, scattered

__all__ = ["Chain", "RawChain", "Step", "axis_names", "resolve"]


@dataclass(frozen=True)
class Step:
    """One operation of a chain and the line that calls it.

    Args:
        operation: its name.
        file: of the code that calls it.
        line: likewise.
        function: likewise.
        sizes: of a view or reshape, those of its result, one for each argument; of others their whole numbers.
    """

    operation: str
    file: str
    line: int
    function: str
    sizes: tuple[int, ...] = ()


@dataclass
class RawChain:
    """What was recorded of a chain.

    Args:
        kind: `"move"` of one array, `"pack"` or `"unpack"`.
        module: the dotted path of the module that runs it.
        steps: in order.
        shapes: of its inputs.
        names: of the axes of its first input.
        replay: does the same on other arrays, numpy in and out.
        key: two chains of one key do the same.
        values: what went in and came out in the model, None if it was overwritten since.
        axis: of a pack or unpack.
        order: when its last operation ran.
        pure: every operation moves or repeats elements, and keeps them all.
        part: the chain of some of its operations, from one to before another.
    """

    kind: str
    module: str
    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    replay: Callable[[Sequence[Any]], list[Any]]
    key: Hashable
    values: Callable[[], tuple[list[Any], list[Any]] | None]
    axis: int = 0
    order: int = 0
    pure: bool = True
    part: Callable[[int, int], RawChain] | None = None


@dataclass(frozen=True)
class Chain:
    """A chain and its pattern, or the reason why it has none.

    Args:
        module: the dotted path of the module that runs it.
        steps: the operations with their lines.
        shapes: of its inputs.
        discovery: the pattern, None if there is none.
        reason: why there is none.
        kind: `"move"`, `"pack"`, `"unpack"`, or what it is that has no pattern, such as `"slice"` or `"roll"`.
        pure: every operation moves or repeats elements, and keeps them all.
        recorded: the pattern gave what the model's own values gave, beside random ones.
    """

    module: str
    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]
    discovery: Discovery | None
    reason: str
    kind: str
    pure: bool
    recorded: bool = False

    @property
    def operations(self) -> str:
        """The names of the operations."""
        return " ".join(step.operation for step in self.steps)

    @property
    def place(self) -> str:
        """File and lines."""
        lines = sorted({step.line for step in self.steps})
        many = f"{lines[0]}-{lines[-1]}" if len(lines) > 1 else str(lines[0])
        return f"{self.steps[0].file}:{many}"

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "module": self.module,
            "operations": [
                {"name": step.operation, "file": step.file, "line": step.line, "function": step.function}
                for step in self.steps
            ],
            "shapes": [list(shape) for shape in self.shapes],
            "kind": self.kind,
            "pure": self.pure,
            "discovery": self.discovery.to_dict() if self.discovery else None,
            "reason": self.reason,
            "recorded": self.recorded,
        }


@dataclass
class _Answer:
    discovery: Discovery | None
    reason: str
    kind: str
    sizes: Mapping[str, int] = field(default_factory=dict)


def resolve(raw: RawChain, cache: dict[Hashable, Any], backend: str) -> list[Chain]:
    """Find the pattern of a chain, and hold it against random values and those of the model.

    A chain that is two patterns one after the other, such as windows put together and a grid taken apart, is given as
    two chains.
    """
    whole = _resolve(raw, cache, backend)
    if whole.discovery is None and whole.pure and raw.part is not None:
        for cut in range(len(raw.steps) - 1, 0, -1):
            parts = [_resolve(part, cache, backend) for part in (raw.part(0, cut), raw.part(cut, len(raw.steps)))]
            if all(part.discovery is not None for part in parts):
                return parts
    return [whole]


def _resolve(raw: RawChain, cache: dict[Hashable, Any], backend: str) -> Chain:
    key = (raw.kind, raw.key, raw.shapes, raw.names, raw.axis)
    if key not in cache:
        cache[key] = {"move": _move, "pack": _pack, "unpack": _unpack}[raw.kind](raw, backend)
    answer: _Answer = cache[key]
    discovery, recorded = answer.discovery, False
    if discovery is not None and (values := raw.values()) is not None:
        before, after = values
        recorded = _same(_listed(discovery(*before)), after)
        if not recorded:
            return Chain(
                raw.module,
                raw.steps,
                raw.shapes,
                None,
                "the pattern does not give what the model gave",
                "wrong",
                raw.pure,
            )
    return Chain(raw.module, raw.steps, raw.shapes, discovery, answer.reason, answer.kind, raw.pure, recorded)


def _move(raw: RawChain, backend: str) -> _Answer:
    (shape,) = raw.shapes
    total = math.prod(shape)
    if not total:
        return _Answer(None, "it moves nothing: an axis has size 0", "empty")
    (output,) = raw.replay(counted([shape]))
    try:
        origin = index_map(np.asarray(output, np.float64), total)
    except NoPatternError as error:
        return _Answer(None, str(error), error.kind)
    counts = np.bincount(np.maximum(origin, 0).reshape(-1), minlength=total)
    try:
        if not counts.all() or (origin < 0).any():
            raise NoPatternError("slice", "a part of the input is left out")
        structure = decompose(origin, shape)
    except NoPatternError as error:
        better = explain(origin, shape, raw.names, error)
        return _Answer(None, str(better), better.kind)
    base = dict(zip(raw.names, shape, strict=True))
    inputs = (raw.names,)
    solution = Solution(
        structure, find_rules(structure, [(base, structure)], inputs), name_axes(structure, inputs), inputs
    )
    operation = "repeat" if structure.new else "rearrange"
    bound = solution.stated(base)
    words = "".join(f", {name}={size}" for name, size in bound.items())
    discovery = Discovery(
        operation=operation,
        pattern=solution.pattern,
        sizes=bound,
        equals=solution.equals,
        shapes=(shape,),
        proven=((shape,),),
        code=f'{operation}(x, "{solution.pattern}"{words})',
        inverse=solution.inverse,
        inverse_sizes=solution.inverse_sizes(base),
        backend=backend,
    )
    (values,) = scattered([shape], seed=9)
    if not _same([discovery(values)], [moved([values], origin)]):
        return _Answer(None, "the pattern does not give what the chain gives", "wrong")
    return _Answer(discovery, "", "move")


def _pack(raw: RawChain, backend: str) -> _Answer:
    names = [*raw.names[: raw.axis], "*", *raw.names[raw.axis + (len(raw.shapes[0]) == len(raw.names)) :]]
    if raw.steps[0].operation == "stack":
        names = [*raw.names[: raw.axis], "*", *raw.names[raw.axis :]]
    pattern = " ".join(names)
    values = scattered(raw.shapes, seed=9)
    letters = ", ".join(f"x{place}" for place in range(len(raw.shapes)))
    code = f'packed, shapes = pack([{letters}], "{pattern}")'
    discovery = Discovery("pack", pattern, {}, {}, raw.shapes, (raw.shapes,), code, inverse=pattern, backend=backend)
    try:
        right = _same([discovery(*values)], raw.replay(values))
    except einops.EinopsError:
        right = False
    return _Answer(discovery, "", "pack") if right else _Answer(None, "it is no pack", "wrong")


def _unpack(raw: RawChain, backend: str) -> _Answer:
    (shape,) = raw.shapes
    names = [*raw.names[: raw.axis], "*", *raw.names[raw.axis + 1 :]]
    pattern = " ".join(names)
    values = scattered([shape], seed=9)
    outputs = raw.replay(values)
    after = len(shape) - raw.axis - 1
    packed = tuple(output.shape[raw.axis : output.ndim - after] for output in outputs)
    letters = ", ".join(f"x{place}" for place in range(len(outputs)))
    code = f'{letters} = unpack(x, {[list(middle) for middle in packed]}, "{pattern}")'
    discovery = Discovery(
        "unpack", pattern, {}, {}, (shape,), ((shape,),), code, packed=packed, inverse=pattern, backend=backend
    )
    try:
        right = _same(list(discovery(*values)), outputs)
    except einops.EinopsError:
        right = False
    return _Answer(discovery, "", "unpack") if right else _Answer(None, "it is no unpack", "wrong")


def _listed(output: Any) -> list[Any]:
    return list(output) if isinstance(output, list | tuple) else [output]


def _same(received: Sequence[Any], expected: Sequence[Any]) -> bool:
    return len(received) == len(expected) and all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")
        for a, b in zip(received, expected, strict=True)
    )


_LAYOUTS = {
    "first": {2: "b c", 3: "b c n", 4: "b c h w", 5: "b c d h w"},
    "last": {2: "b c", 3: "b n c", 4: "b h w c", 5: "b d h w c"},
    "heads": {2: "n k", 3: "b n k", 4: "b heads n k"},
}


def axis_names(rank: int, layout: str) -> tuple[str, ...]:
    """Names for the axes of an array in a model, of which nobody says what they are.

    >>> axis_names(4, "last")
    ('b', 'h', 'w', 'c')
    >>> axis_names(6, "last")
    ('a', 'b', 'c', 'd', 'e', 'f')
    """
    known = {0: "", 1: "c", **_LAYOUTS[layout]}
    return tuple(known[rank].split()) if rank in known else tuple("abcdefghijklmnop"[:rank])
