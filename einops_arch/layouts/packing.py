"""Patterns between names and axes of tensors that one library keeps apart and another in one: packed, stacked, split.

`"q.weight k.weight v.weight -> qkv.weight: q i, k i, v i -> (q + k + v) i"` says the names, then the axes. `+` stands
for one after the other, as in einx; all else is einops. Read from right to left it is the way back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from einops_arch._text import counted
from einops_arch.errors import PatternError, ShapeError
from einops_arch.layouts.packing_axes import Axes, Side, axes_text, parse_side, solve
from einops_arch.layouts.packing_names import LAYER, bind

__all__ = ["Packed", "Packing"]

Shape: TypeAlias = tuple[int, ...]

_SIZE = re.compile(r"([A-Za-z]\w*)\s*=\s*(\d{1,18})")


@dataclass(frozen=True)
class Packed:
    """Some tensors, and those that are made of them.

    Args:
        sources: the names for each pattern of the left side: one, or those of the layers that are stacked.
        targets: a name for each pattern of the right side; with `{}` where the layers of one tensor are taken apart.
        packing: where they come from.
    """

    sources: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...]
    packing: Packing

    @property
    def names(self) -> list[str]:
        """All names of the left side."""
        return [name for names in self.sources for name in names]

    def shapes(self, shapes: Mapping[str, Shape], expected: Mapping[str, Shape] | None = None) -> dict[str, Shape]:
        """The names and shapes of what is made.

        Args:
            shapes: those of the sources, by name.
            expected: those that the targets should have, where they are known; sizes that the sources do not tell
                are taken from them.

        Raises:
            ShapeError: the sources do not fit the pattern, or their sizes do not say how to split.
        """
        _, right, sizes = self._solved(shapes, expected or {})
        made: dict[str, Shape] = {}
        for target, axes in zip(self.targets, right, strict=True):
            shape = axes.shape(sizes)
            split = self.packing.stacks_right
            made |= dict.fromkeys(self._layers(target, shape[0]), shape[1:]) if split else {target: shape}
        return made

    def make(
        self, arrays: Mapping[str, np.ndarray[Any, Any]], expected: Mapping[str, Shape] | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The targets, made of the sources; elements are moved, and nothing is computed.

        Raises:
            ShapeError: as for `shapes`.
        """
        shapes = {name: tuple(arrays[name].shape) for name in self.names}
        left, right, sizes = self._solved(shapes, expected or {})
        blocks: dict[tuple[int, frozenset[str]], tuple[tuple[str, ...], np.ndarray[Any, Any]]] = {}
        paired = self.packing.paired
        for number, (names, axes) in enumerate(zip(self.sources, left, strict=True)):
            whole = np.stack([arrays[name] for name in names]) if self.packing.stacks_left else arrays[names[0]]
            for order, block in axes.split(whole, sizes):
                key = number if paired else 0, frozenset(order)
                if key in blocks:
                    raise ShapeError(f"packing {str(self.packing)!r}: two tensors have the axes '{' '.join(order)}'")
                blocks[key] = order, block
        made: dict[str, np.ndarray[Any, Any]] = {}
        for number, (target, axes) in enumerate(zip(self.targets, right, strict=True)):
            own = {axes: block for (place, axes), block in blocks.items() if place == (number if paired else 0)}
            whole = axes.join(own, sizes)
            if self.packing.stacks_right:
                made |= dict(zip(self._layers(target, len(whole)), whole, strict=True))
            else:
                made[target] = whole
        return made

    def _layers(self, target: str, count: int) -> list[str]:
        return [target.replace("{}", str(number)) for number in range(count)]

    def _solved(
        self, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]
    ) -> tuple[list[Axes], list[Axes], dict[str, int]]:
        packing = self.packing
        rank = self._rank(shapes)
        left, right = ([axes.written_out(rank) for axes in side] for side in (packing.left, packing.right))
        known: list[tuple[Axes, Shape]] = []
        for axes, names in zip(left, self.sources, strict=True):
            layers = {shapes[name] for name in names}
            if len(layers) > 1:
                raise ShapeError(f"{names[0]}: expected one shape of all layers, received {sorted(layers)}")
            shape = layers.pop()
            known.append((axes, (len(names), *shape) if packing.stacks_left else shape))
        for axes, target in zip(right, self.targets, strict=True):
            name = target.replace("{}", "0") if packing.stacks_right else target
            if name in expected and len(expected[name]) == len(axes.items) - packing.stacks_right:
                known.append((Axes(axes.items[1:]) if packing.stacks_right else axes, expected[name]))
        return left, right, solve(known, packing.sizes, str(packing), [*left, *right])

    def _rank(self, shapes: Mapping[str, Shape]) -> int:
        for axes, names in zip(self.packing.left, self.sources, strict=True):
            if axes.has_dots:
                return max(0, len(shapes[names[0]]) + self.packing.stacks_left - axes.count)
        return 0


@dataclass(frozen=True)
class Packing:
    """One pattern between names and axes. Made by `Packing.parse`."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    left: Side
    right: Side
    sizes: Mapping[str, int] = field(default_factory=dict)
    stacks_left: bool = False
    stacks_right: bool = False

    @staticmethod
    def parse(text: str) -> Packing:
        """Parse a pattern such as `"a.weight b.weight -> c.weight: a i, b i -> (a + b) i"`.

        In names, `*` is one part, `{}` a number and `**` one or more parts; the first `{}` of a name stands for the
        same as the first `{}` of every other, and so on: `"layers.{}.*.w -> *.{}.w"`. A side with one wildcard more is
        that of single layers, and the other side has an axis more, along which they are stacked:
        `"layers.*.weight -> layers.weight: ... -> l ..."`. Sizes that shapes do not tell stand behind the pattern:
        `"q.weight -> q.weight: (h half two) i -> (h two half) i, two=2, h=12"`.

        Raises:
            PatternError: it does not parse, an axis is on one side only, or two tensors have the same axes.

        >>> packing = Packing.parse("a.* b.* -> c.*: a ..., b ... -> (a + b) ...")
        >>> str(packing.inverse())
        'c.* -> a.* b.*: (a + b) ... -> a ..., b ...'
        """
        names, colon, patterns = text.partition(":")
        sources, targets = (tuple(side.split()) for side in _halves(names, text))
        if not sources or not targets:
            raise PatternError(f"packing {text!r}: expected names on both sides of '->'")
        if not colon:
            patterns = "... -> ..."
        *_, right_text = _halves(patterns, text)
        sizes: dict[str, int] = {}
        parts = [part.strip() for part in right_text.split(",")]
        while parts and (match := _SIZE.fullmatch(parts[-1])):
            if match[1] in sizes:
                raise PatternError(f"packing {text!r}: the size of {match[1]} is there twice")
            sizes = {match[1]: int(match[2]), **sizes}
            parts.pop()
        left = parse_side(_halves(patterns, text)[0].split(","), text)
        right = parse_side(parts, text)
        for side, of in ((left, sources), (right, targets)):
            if len(side) != len(of):
                raise PatternError(
                    f"packing {text!r}: expected a pattern for each of {len(of)} names, received {len(side)}"
                )
        unknown = [name for name in sizes if not any(name in axes.names for axes in (*left, *right))]
        if unknown:
            raise PatternError(f"packing {text!r}: no tensor has the axis {unknown[0]}, whose size is given")
        *_, more = bind(sources, targets, text)
        return _checked(Packing(sources, targets, left, right, sizes, more == 1, more == -1), text)

    @property
    def paired(self) -> bool:
        """Whether each tensor of the left side becomes the one in the same place of the right."""
        return [_pieces([axes]) for axes in self.left] == [_pieces([axes]) for axes in self.right]

    def inverse(self) -> Packing:
        """The same pattern read from right to left."""
        return Packing(
            self.targets, self.sources, self.right, self.left, self.sizes, self.stacks_right, self.stacks_left
        )

    def __str__(self) -> str:
        left = ", ".join(axes_text(axes, without_first=self.stacks_left) for axes in self.left)
        right = ", ".join(axes_text(axes, without_first=self.stacks_right) for axes in self.right)
        sizes = "".join(f", {name}={size}" for name, size in self.sizes.items())
        return f"{' '.join(self.sources)} -> {' '.join(self.targets)}: {left} -> {right}{sizes}"

    def match(self, names: Collection[str]) -> tuple[list[Packed], list[str]]:
        """What the pattern stands for among some names, and what is wrong, a line each.

        >>> packing = Packing.parse("*.q *.k -> *.qk: q, k -> (q + k)")
        >>> packed, problems = packing.match(["a.q", "a.k", "b.q"])
        >>> packed[0].sources, packed[0].targets, problems
        ((('a.q',), ('a.k',)), ('a.qk',), ['b.k: missing, and packed with b.q by *.q *.k -> *.qk: q, k -> (q + k)'])
        """
        sources, targets, _ = bind(self.sources, self.targets, str(self))
        groups: dict[tuple[tuple[str, str], ...], dict[str, None]] = {}
        problems: list[str] = []
        for name in names:
            for source in sources:
                values = source.values(name)
                if values is not None:
                    layer = values.pop(LAYER, "") if self.stacks_left else ""
                    groups.setdefault(tuple(sorted(values.items())), {})[layer] = None
        packed = []
        for rest, layers in groups.items():
            numbers = _layers(layers) if self.stacks_left else [""]
            if numbers is None:
                problems.append(f"{self}: expected layers 0, 1, ..., received {', '.join(layers)}")
                continue
            old = tuple(tuple(source.filled({**dict(rest), LAYER: number}) for number in numbers) for source in sources)
            missing = [name for side in old for name in side if name not in names]
            problems += [f"{name}: missing, and packed with {_other(old, missing)} by {self}" for name in missing]
            if not missing:
                new = tuple(target.filled({**dict(rest), LAYER: "{}"}) for target in targets)
                packed.append(Packed(old, new, self))
        if not groups:
            problems.append(f"{self}: matches none of the {counted(len(names), 'name')}")
        return packed, problems


def _checked(packing: Packing, text: str) -> Packing:
    """With the axis of the layers in front of a side of single layers, and the axes of both sides the same."""
    left, right = ({name for axes in side for name in axes.names} for side in (packing.left, packing.right))
    if packing.stacks_left or packing.stacks_right:
        extra = sorted(right - left if packing.stacks_left else left - right)
        if len(extra) != 1:
            raise PatternError(
                f"packing {text!r}: expected one axis more for the layers, received {', '.join(extra) or 'none'}"
            )
        sides = [tuple(axes.led_by(extra[0]) for axes in side) for side in (packing.left, packing.right)]
        new_left = sides[0] if packing.stacks_left else packing.left
        new_right = sides[1] if packing.stacks_right else packing.right
        packing = Packing(
            packing.sources,
            packing.targets,
            new_left,
            new_right,
            packing.sizes,
            packing.stacks_left,
            packing.stacks_right,
        )
    blocks = [_pieces(side) for side in (packing.left, packing.right)]
    own = [_pieces([axes]) for axes in (*packing.left, *packing.right)]
    for pieces in own if packing.paired else blocks:
        twice = next((block for block in pieces if pieces.count(block) > 1), None)
        if twice is not None:
            written = next(
                order
                for axes in (*packing.left, *packing.right)
                for order in axes.blocks
                if tuple(sorted(order)) == twice
            )
            raise PatternError(
                f"packing {text!r}: two tensors have the same axes '{' '.join(written) or '1'}'; likely fix: a name of "
                "its own for an axis of each: q i, k i -> (q + k) i"
            )
    if blocks[0] != blocks[1]:
        only = [block for block in blocks[0] + blocks[1] if (block in blocks[0]) != (block in blocks[1])]
        shown = " and ".join(" ".join(block) or "nothing" for block in only[:2]) or "an axis"
        raise PatternError(f"packing {text!r}: expected the same tensors on both sides, received {shown} on one only")
    return packing


def _halves(text: str, whole: str) -> tuple[str, str]:
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        raise PatternError(
            f"packing {whole!r}: expected 'names -> names: axes -> axes', such as 'q.* k.* -> qk.*: q ..., k ... -> "
            "(q + k) ...'"
        )
    return left, right


def _layers(values: Iterable[str]) -> list[str] | None:
    """The numbers of layers in order, None where they are not 0 and so on."""
    numbers = sorted(values, key=lambda value: (len(value), value))
    return numbers if numbers == [str(n) for n in range(len(numbers))] else None


def _pieces(side: Sequence[Axes]) -> list[tuple[str, ...]]:
    """The axes of each piece of some tensors, in any order."""
    return sorted(tuple(sorted(block)) for axes in side for block in axes.blocks)


def _other(sources: tuple[tuple[str, ...], ...], missing: Collection[str]) -> str:
    return next((name for side in sources for name in side if name not in missing), "them")
