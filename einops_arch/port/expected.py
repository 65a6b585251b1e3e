"""What a Flax model has, by the names of either framework."""

from __future__ import annotations

from typing import Any

__all__ = ["expected_shapes"]


def expected_shapes(model: Any, framework: str) -> tuple[dict[str, tuple[int, ...]], list[list[str]]]:
    """The names and shapes of a Flax model in either framework, and the groups of names that are one tensor."""
    from einops_arch.flax.state import port_steps, tied_names

    steps = port_steps(model)
    if framework == "torch":
        named = {name: tuple(shape) for step, _ in steps for name, (shape, _) in step.expected.items()}
        return named, tied_names(steps)
    groups: dict[int, list[str]] = {}
    for step, variables in steps:
        for leaf, variable in zip(step.leaves, variables, strict=True):
            groups.setdefault(id(variable), []).append(leaf.path)
    shapes = {leaf.path: leaf.shape for step, _ in steps for leaf in step.leaves}
    return shapes, [names for names in groups.values() if len(names) > 1]
