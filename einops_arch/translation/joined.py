"""Which drafts one class can stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from einops_arch.translation.defaults import with_defaults
from einops_arch.translation.draft import Draft, without_children
from einops_arch.translation.holes import skeleton
from einops_arch.translation.series import common_series

__all__ = ["joined"]

Lines = Callable[[Draft], dict[str, list[str]]]
Defaults = Mapping[str, Mapping[str, str]]


def joined(drafts: Sequence[Draft], lines_of: Lines, defaults: Defaults) -> list[list[Draft]]:
    """Drafts that one class can stand for: the same steps, attributes made in two ways at the most.

    A child that some of them do not have is `Identity` there, if the others' steps without it are theirs.

    Args:
        drafts: of one class of the original.
        lines_of: the lines of a draft by mode, with its loops.
        defaults: arguments of the generated classes that have a default.
    """
    groups: list[list[Draft]] = []
    for draft in sorted(drafts, key=lambda item: -len(item.attributes)):
        for group in groups:
            if _fits(group, draft, lines_of, defaults):
                group.append(draft)
                break
        else:
            groups.append([draft])
    return [sorted(group, key=lambda item: item.number) for group in sorted(groups, key=lambda group: group[0].number)]


def _fits(group: Sequence[Draft], draft: Draft, lines_of: Lines, defaults: Defaults) -> bool:
    first = next((member for member in group if member.bodies), group[0])
    names, own = [name for name, _ in first.attributes], [name for name, _ in draft.attributes]
    # What is never called has the class of those that are.
    idle = not draft.bodies or not first.bodies
    if not idle and (first.arguments != draft.arguments or list(first.bodies) != list(draft.bodies)):
        return False
    absent = [name for name in names if name not in own]
    if [name for name in names if name in own] != own:
        return False
    if any(draft.module._modules.get(name) is not None or name not in first.module._modules for name in absent):  # noqa: SLF001
        return False
    made = dict(draft.attributes) | dict.fromkeys(absent, "Identity()")
    for n, name in enumerate(names):
        codes = with_defaults([made[name], *(member.attributes[n][1] for member in group)], defaults)
        if len(set(map(skeleton, codes))) > 2 and common_series(codes, defaults) is None:
            return False
    if idle:
        return not absent
    if absent:
        if any(without_children(body, absent) != draft.bodies[mode].lines for mode, body in first.bodies.items()):
            return False
        draft.attributes = [(name, made[name]) for name in names]
        draft.imports.add("from einops_arch.flax.layers import Identity")
        for mode, body in first.bodies.items():
            draft.bodies[mode].lines = body.lines
        return True
    left, right = lines_of(first), lines_of(draft)
    return all([skeleton(line) for line in left[mode]] == [skeleton(line) for line in right[mode]] for mode in left)
