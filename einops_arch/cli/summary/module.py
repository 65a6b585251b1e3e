"""What a summary holds: a network, module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Module", "Summary"]


@dataclass
class Module:
    """One module of a network.

    Args:
        path: its dotted path; empty for the network.
        kind: the name of its class.
        stated: the axes that it takes and gives, where its pattern or its documentation says so.
        parameters: how many numbers of it and of what is inside training changes; tied ones count once.
        own: the shapes of parameters that are not inside of another module, by name.
        calls: how often it is called.
        multiply_adds: in all its calls.
        inputs: names and sizes of the axes of what it is first given; a name is None where it is not known.
        outputs: likewise of what it first gives.
    """

    path: str
    kind: str
    stated: tuple[Sequence[str], Sequence[str]] = ((), ())
    parameters: int = 0
    own: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    calls: int = 0
    multiply_adds: int = 0
    inputs: list[list[tuple[str | None, int]]] = field(default_factory=list)
    outputs: list[list[tuple[str | None, int]]] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    """A network, module by module.

    Args:
        framework: whose axes and classes these are.
        modules: in the order of definition; the first is the network.
    """

    framework: str
    modules: list[Module]
