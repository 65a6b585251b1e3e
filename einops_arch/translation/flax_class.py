"""A class of the file, and the arguments of its constructor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from einops_arch.translation.draft import Draft

__all__ = ["Argument", "FlaxClass"]


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor: its name, its type as code, and its default as code, None without one."""

    name: str
    kind: str
    default: str | None = None

    @property
    def code(self) -> str:
        """As it stands in the signature."""
        optional = " | None" if self.default == "None" and "None" not in self.kind else ""
        return f"{self.name}: {self.kind}{optional}" + ("" if self.default is None else f" = {self.default}")


@dataclass
class FlaxClass:
    """A class of the file.

    Args:
        name: its name.
        original: the class of PyTorch that it stands for.
        base: `nnx.Module`, or `Sequential`.
        arguments: of the constructor.
        attributes: what the constructor makes.
        settings: plain attributes: name and code.
        signature: arguments of a call.
        bodies: lines by mode.
        drafts: what was merged.
        optional: arguments of a call that some leave out.
    """

    name: str
    original: type
    base: str
    arguments: list[Argument]
    attributes: list[tuple[str, str]]
    settings: dict[str, str]
    signature: list[str]
    bodies: Mapping[str, Sequence[str]]
    drafts: list[Draft]
    imports: set[str] = field(default_factory=set)
    optional: frozenset[str] = frozenset()

    @property
    def two_ways(self) -> bool:
        """Whether the modes have a body each."""
        return len(self.bodies) == 2 and self.bodies["eval"] != self.bodies["train"]

    @property
    def asks_mode(self) -> bool:
        """Whether it asks in which mode it is."""
        return self.two_ways or any("self.deterministic" in line for body in self.bodies.values() for line in body)
