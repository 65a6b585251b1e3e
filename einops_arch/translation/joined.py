"""Which drafts one class can stand for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from einops_arch.translation.draft import Draft, without_children
from einops_arch.translation.holes import parse, skeleton

__all__ = ["joined", "with_defaults"]


def joined(drafts: Sequence[Draft], lines_of: Callable[[Draft], dict[str, list[str]]]) -> list[list[Draft]]:
    """Drafts that one class can stand for: the same steps, attributes made in two ways at the most.

    A child that some of them do not have is `Identity` there, if the others' steps without it are theirs.
    """
    groups: list[list[Draft]] = []
    for draft in sorted(drafts, key=lambda item: -len(item.attributes)):
        for group in groups:
            if _fits(group, draft, lines_of):
                group.append(draft)
                break
        else:
            groups.append([draft])
    return [sorted(group, key=lambda item: item.number) for group in sorted(groups, key=lambda group: group[0].number)]


def _fits(group: Sequence[Draft], draft: Draft, lines_of: Callable[[Draft], dict[str, list[str]]]) -> bool:
    first = group[0]
    names, own = [name for name, _ in first.attributes], [name for name, _ in draft.attributes]
    if first.arguments != draft.arguments or list(first.bodies) != list(draft.bodies):
        return False
    absent = [name for name in names if name not in own]
    if [name for name in names if name in own] != own:
        return False
    if any(draft.module._modules.get(name) is not None or name not in first.module._modules for name in absent):  # noqa: SLF001
        return False
    made = dict(draft.attributes) | dict.fromkeys(absent, "Identity()")
    for n, name in enumerate(names):
        codes = with_defaults([made[name], *(member.attributes[n][1] for member in group)])
        if len(set(map(skeleton, codes))) > 2:
            return False
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


# Arguments that a layer is written without where they have these values.
_DEFAULTS = {
    "strides": "1",
    "padding": "0",
    "output_padding": "0",
    "kernel_dilation": "1",
    "feature_group_count": "1",
    "use_bias": "True",
}
_WITH_DEFAULTS = ("Conv", "ConvTranspose", "Linear")


def with_defaults(codes: Sequence[str]) -> list[str]:
    """The codes with the arguments that others of them have written out, where all make the same layers."""
    trees = [parse(code) for code in codes]
    calls = [[node for node in ast.walk(tree) if isinstance(node, ast.Call)] for tree in trees]
    names = {tuple(ast.unparse(call.func) for call in made) for made in calls}
    if len(names) != 1 or len(set(codes)) == 1:
        return list(codes)
    for same in zip(*calls, strict=True):
        if ast.unparse(same[0].func) not in _WITH_DEFAULTS:
            continue
        wanted = dict.fromkeys(word.arg for call in same for word in call.keywords if word.arg in _DEFAULTS)
        order = [*(name for name in _DEFAULTS if name in wanted)]
        for call in same:
            keywords = {word.arg: word for word in call.keywords}
            for name in order:
                default = ast.parse(_DEFAULTS[name], mode="eval").body
                keywords.setdefault(name, ast.keyword(name, default))
            call.keywords = [*(keywords.pop(name) for name in order), *keywords.values()]
    return [ast.unparse(tree) for tree in trees]
