"""A checkpoint whose tensors are packed, split or stacked on the way, by patterns between names and axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from einops_arch.checkpoints.reader import Reader, Span, Traced, Wrapper
from einops_arch.checkpoints.reader_views import Untied
from einops_arch.checkpoints.tensors import Bits, TensorInfo
from einops_arch.errors import ShapeError
from einops_arch.layouts.boxes import Box
from einops_arch.layouts.packing import Packed, Packing, Shape
from einops_arch.layouts.state import problems_error

__all__ = ["PackedReader", "packing_groups"]


class PackedReader(Wrapper):
    """The tensors of a reader, some of them put together or taken apart.

    Args:
        inner: the reader.
        packing: the pattern.
        expected: the shapes that tensors of these names should have, where they are known.

    Attributes:
        untied: names that were tied to others, of which one is packed, each with that under which the tensor was.

    Raises:
        PortError: the pattern does not fit the names and shapes; all problems are in the message.
        PatternError: the pattern does not parse.
    """

    def __init__(self, inner: Reader, packing: str | Packing, expected: Mapping[str, Shape] | None = None) -> None:
        self._expected = dict(expected or {})
        shapes = {name: inner.info(name).shape for name in inner.names()}
        dtypes = {name: inner.info(name).dtype for name in inner.names()}
        groups = packing_groups(packing, shapes, dtypes, self._expected)
        taken = {name for group, _ in groups for name in group.names}
        untied = Untied(inner, taken)
        super().__init__(untied)
        self.untied = untied.untied
        self.tensors = {name: info for name, info in untied.tensors.items() if name not in taken}
        self._groups: dict[str, Packed] = {}
        self._layers: dict[str, tuple[int, int]] = {}
        """Of each, the number of its pattern and of its layer."""
        for group, made in groups:
            layers = len(made) // len(group.targets)
            for number, (name, shape) in enumerate(made.items()):
                self._groups[name] = group
                self._layers[name] = number // layers, number % layers
                self.tensors[name] = TensorInfo(shape, dtypes[group.names[0]])
        self.remarks = {
            name: f"packed from {_listed(group.names)}: {group.packing}" for name, group in self._groups.items()
        }

    def bits(self, name: str) -> Bits:
        if name not in self._groups:
            return self.inner.bits(name)
        group = self._groups[name]
        axes = _layer_axes(group, {source: self.inner.info(source).shape for source in group.names})
        if axes is None:
            return group.make({source: self.inner.bits(source) for source in group.names}, self._expected)[name]
        target, layer = self._layers[name]
        parts = {source: self._layer(source, axis, layer) for source, axis in axes.items()}
        return group.make(parts, self._expected)[group.targets[target].replace("{}", "0")]

    def _layer(self, source: str, axis: int, layer: int) -> Bits:
        """What a stack has of one layer, and no more."""
        box = [(0, size) for size in self.inner.info(source).shape]
        box[axis] = layer, layer + 1
        return self.inner.part(source, tuple(box))

    def blocks(self, name: str) -> Iterator[Bits]:
        return Reader.blocks(self, name) if name in self._groups else self.inner.blocks(name)

    def part(self, name: str, box: Box) -> Bits:
        return Reader.part(self, name, box) if name in self._groups else self.inner.part(name, box)

    def span(self, name: str) -> Span | None:
        return None if name in self._groups else self.inner.span(name)

    def traced(self, name: str) -> Traced:
        if name not in self._groups:
            return self.inner.traced(name)
        names, patterns = self.traced_together(self._groups[name].names)
        return names, (*patterns, str(self._groups[name].packing))


def _layer_axes(group: Packed, shapes: Mapping[str, Shape]) -> dict[str, int] | None:
    """The axis of the layers in each tensor that is taken apart by layers; None where it is not an axis by itself."""
    packing = group.packing
    if not packing.stacks_right:
        return None
    (layer,) = packing.right[0].items[0]
    if layer in packing.sizes:
        return None
    axes: dict[str, int] = {}
    for pattern, (source,) in zip(packing.left, group.sources, strict=True):
        items = pattern.written_out(len(shapes[source]) - pattern.count).items
        if (layer,) not in items:
            return None
        axes[source] = items.index((layer,))
    return axes


def packing_groups(
    packing: str | Packing, shapes: Mapping[str, Shape], dtypes: Mapping[str, str], expected: Mapping[str, Shape]
) -> list[tuple[Packed, dict[str, Shape]]]:
    """What a pattern makes of some tensors, with the shapes of what is made.

    Args:
        packing: the pattern.
        shapes: of the tensors, by name.
        dtypes: of the tensors, by name; those that are packed together must have one, since nothing is rounded.
        expected: the shapes that tensors of these names should have, where they are known.

    Raises:
        PortError: names are missing, two become one, or shapes or dtypes do not fit; all problems are in the message.
    """
    packing = Packing.parse(packing) if isinstance(packing, str) else packing
    groups, problems = packing.match(shapes)
    taken = Counter(name for group in groups for name in group.names)
    made: list[tuple[Packed, dict[str, Shape]]] = []
    new: set[str] = set()
    misfits: dict[str, list[str]] = {}
    for group in groups:
        try:
            forms = group.shapes(shapes, expected)
        except ShapeError as error:
            misfits.setdefault(str(error), []).append(group.names[0])
            continue
        kinds = sorted({dtypes[name] for name in group.names})
        if len(kinds) > 1:
            problems.append(f"{', '.join(group.names)}: expected one dtype, received {', '.join(kinds)}")
        clashes = [name for name in forms if name in new or (name in shapes and name not in taken)]
        problems += [f"{name}: made by {packing}, and there already" for name in clashes]
        new.update(forms)
        made.append((group, forms))
    problems += [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in misfits.items()
    ]
    problems += [f"{name}: taken twice by {packing}" for name, count in sorted(taken.items()) if count > 1]
    if problems:
        raise problems_error("packing", problems)
    return made


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{names[0]} to {names[-1]} ({len(names)})"
