"""What was found: the pattern, what its sizes equal, and code to paste."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import einops

from einops_arch.discovery.picture import draw
from einops_arch.discovery.solving.naming import same_pattern
from einops_arch.errors import ConfigError

__all__ = ["Discovery", "Trap"]


@dataclass(frozen=True)
class Trap:
    """Something about the old code that a reader should know.

    Args:
        kind: `"-1"` the code is another thing at another size; `"equal sizes"` it is right only while two sizes are
            equal; `"fails"` it stops at sizes that the pattern takes; `"contiguous"` a copy is needed, or is not.
        text: one sentence, with a shape.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Discovery:
    """A pattern that does what the old code does, proven on random values.

    It can be called: it does with einops what the function did.

    Args:
        operation: `"rearrange"`, `"reduce"`, `"repeat"`, `"pack"`, `"unpack"` or `"einsum"`.
        pattern: for einops.
        sizes: what the call has to say, at the shape that was asked about.
        equals: for each axis that is no whole axis of the input, its size: `"3"` is a constant of the code, `"c / 3"`
            follows from the input.
        shapes: of the inputs that were asked about.
        proven: shapes at which the pattern gave exactly what the code gave.
        code: to paste; inputs are called `x` (and `y`).
        reduction: `"mean"`, `"sum"`, `"max"`, `"min"` or `"prod"` of a `reduce`.
        packed: the packed shapes of an `unpack`.
        scale: a number that the result of an `einsum` is multiplied with.
        before: for an `einsum`, the pattern and sizes of a `rearrange` of each input, None where there is none.
        after: the pattern and sizes of a `rearrange` of the result.
        split: the code gives a tuple, and the pattern one array with the members along its first axis.
        inverse: the pattern of the way back, None if information is lost.
        inverse_sizes: what its call has to say, at the shape that was asked about.
        traps: what is fragile in the old code.
        backend: whose arrays the function took.
    """

    operation: str
    pattern: str
    sizes: Mapping[str, int]
    equals: Mapping[str, str]
    shapes: tuple[tuple[int, ...], ...]
    proven: tuple[tuple[tuple[int, ...], ...], ...]
    code: str
    reduction: str | None = None
    packed: tuple[tuple[int, ...], ...] = ()
    scale: float = 1.0
    before: tuple[tuple[str, Mapping[str, int]] | None, ...] = ()
    after: tuple[str, Mapping[str, int]] | None = None
    split: bool = False
    inverse: str | None = None
    inverse_sizes: Mapping[str, int] = field(default_factory=dict)
    traps: tuple[Trap, ...] = ()
    backend: str = "numpy"

    def __call__(self, *arrays: Any) -> Any:
        """Do with einops what the function did."""
        first = arrays[0]
        if self.operation == "reduce":
            return einops.reduce(first, self.pattern, self.reduction, **self.sizes)  # type: ignore[arg-type]
        if self.operation == "repeat":
            return einops.repeat(first, self.pattern, **self.sizes)
        if self.operation == "pack":
            return einops.pack(list(arrays), self.pattern)[0]
        if self.operation == "unpack":
            return einops.unpack(first, [list(shape) for shape in self.packed], self.pattern)
        if self.operation == "einsum":
            return self._contract(arrays)
        return einops.rearrange(first, self.pattern, **self.sizes)

    def undo(self, array: Any) -> Any:
        """The way back of a `rearrange`, at the shape that was asked about.

        Raises:
            ConfigError: the operation loses information, or has no pattern for its way back.
        """
        if self.operation != "rearrange" or self.inverse is None:
            raise ConfigError(f"undo: expected a rearrange, received the {self.operation} '{self.pattern}'")
        return einops.rearrange(array, self.inverse, **self.inverse_sizes)

    def _contract(self, arrays: tuple[Any, ...]) -> Any:
        # One array may be there twice, as in a gram matrix.
        arrays = arrays * len(self.before) if len(arrays) == 1 else arrays
        prepared = [
            array if step is None else einops.rearrange(array, step[0], **step[1])
            for array, step in zip(arrays, self.before, strict=True)
        ]
        result = einops.einsum(*prepared, self.pattern)  # type: ignore[call-overload]
        if self.after is not None:
            result = einops.rearrange(result, self.after[0], **self.after[1])
        return result if self.scale == 1 else result * self.scale

    def matches(self, pattern: str) -> bool:
        """Whether this is the same pattern up to the names of its axes."""
        return same_pattern(self.pattern, pattern)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "operation": self.operation,
            "pattern": self.pattern,
            "sizes": dict(self.sizes),
            "equals": dict(self.equals),
            "reduction": self.reduction,
            "packed": [list(shape) for shape in self.packed],
            "scale": self.scale,
            "code": self.code,
            "inverse": self.inverse,
            "inverse_sizes": dict(self.inverse_sizes),
            "shapes": [list(shape) for shape in self.shapes],
            "proven": [[list(shape) for shape in shapes] for shapes in self.proven],
            "traps": [{"kind": trap.kind, "text": trap.text} for trap in self.traps],
            "backend": self.backend,
        }

    def __str__(self) -> str:
        lines = [self.code]
        lines += [f"  {name} = {text}" for name, text in self.equals.items()]
        if self.inverse is not None:
            lines.append(f"  inverse: {self.inverse}")
        shapes = ", ".join(" and ".join(map(str, shapes_of_run)) for shapes_of_run in self.proven)
        lines.append(f"  proven at {shapes}")
        lines += [f"  trap ({trap.kind}): {trap.text}" for trap in self.traps]
        return "\n".join(lines)

    def svg(self) -> str:
        """A picture of the elements before and after, coloured by axis; for a `rearrange` or `repeat`."""
        return draw(self.operation, self.pattern)
