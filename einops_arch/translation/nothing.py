"""Arguments that some calls leave out: handed on as None, and the variable that the original goes on with instead."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from einops_arch.translation.draft import Draft
from einops_arch.translation.holes import canonical

__all__ = ["Known", "chosen_names", "handed_on"]

Bodies = Mapping[str, Sequence[str]]


@dataclass
class Known:
    """The classes that there are.

    Args:
        defaults: by class, the arguments of its constructor that have a default.
        signatures: by class, the arguments of a call, and those that may be left out.
    """

    defaults: dict[str, dict[str, str]] = field(default_factory=dict)
    signatures: dict[str, tuple[Sequence[str], frozenset[str]]] = field(default_factory=dict)


def handed_on(
    sides: Sequence[Bodies],
    groups: Sequence[Sequence[Draft]],
    signatures: Mapping[str, tuple[Sequence[str], frozenset[str]]],
) -> list[Bodies]:
    """The bodies with arguments that they do not have handed on, as None, where other bodies hand them on.

    Args:
        sides: the lines of each body by mode.
        groups: the drafts whose bodies they are; those of one group may hold children of several classes.
        signatures: by class, the arguments of a call, and those that may be left out.
    """
    drafts = [next((draft for draft in group if draft.bodies), group[0]) for group in groups]
    optional = {
        name for draft in drafts for name in draft.arguments if any(name not in other.arguments for other in drafts)
    }
    calls: dict[str, ast.Call] = {}
    for side in sides:
        for node in _calls(side):
            if _handed(node) & optional:
                known = calls.setdefault(ast.unparse(node.func), node)
                if len(_handed(node) & optional) > len(_handed(known) & optional):
                    calls[ast.unparse(node.func)] = node
    written = {canonical(line) for side in sides for lines in side.values() for line in lines}

    def changed(line: str, draft: Draft, group: Sequence[Draft]) -> str:
        """A line that is one of another body then, as it is otherwise."""
        new = _with_none(line, optional - set(draft.arguments), group, calls, signatures)
        return new if canonical(new) in written else line

    return [
        {mode: [changed(line, draft, group) for line in lines] for mode, lines in side.items()}
        if calls and not optional <= set(draft.arguments)
        else side
        for side, draft, group in zip(sides, drafts, groups, strict=True)
    ]


def _calls(side: Bodies) -> list[ast.Call]:
    trees = [ast.parse(f"def body():\n{textwrap.indent(line, '    ')}") for lines in side.values() for line in lines]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func).startswith("self.")]


def _handed(node: ast.Call) -> set[str]:
    return {item.id for item in (*node.args, *(word.value for word in node.keywords)) if isinstance(item, ast.Name)}


def _with_none(
    line: str,
    missing: set[str],
    group: Sequence[Draft],
    calls: Mapping[str, ast.Call],
    signatures: Mapping[str, tuple[Sequence[str], frozenset[str]]],
) -> str:
    function = ast.parse(f"def body():\n{textwrap.indent(line, '    ')}").body[0]
    changed = False
    for node in ast.walk(function):
        model = calls.get(ast.unparse(node.func)) if isinstance(node, ast.Call) else None
        if model is None or not isinstance(node, ast.Call):
            continue
        called = dict.fromkeys(_class_of(ast.unparse(node.func), draft) for draft in group)
        taken = [signatures.get(name, ((), frozenset[str]())) for name in called]
        names = min((names for names, _ in taken), key=len)
        free = frozenset.intersection(*(optional for _, optional in taken))
        for place, item in enumerate(model.args):
            fits = isinstance(item, ast.Name) and item.id in missing and place == len(node.args) < len(names)
            here = {other[place] for other, _ in taken} if fits else set()
            if here and here <= free and not here & {word.arg for word in node.keywords}:
                node.args.append(item)
                changed = True
        own = {word.arg: word for word in node.keywords}
        for word in model.keywords:
            if isinstance(word.value, ast.Name) and word.value.id in missing and word.arg in free:
                changed = changed or word.arg not in own
                own.setdefault(word.arg, word)
        order = [word.arg for word in model.keywords]
        node.keywords = sorted(own.values(), key=lambda word: order.index(word.arg) if word.arg in order else -1)
    if not changed or not isinstance(function, ast.FunctionDef):
        return line
    return "\n".join(ast.unparse(statement) for statement in function.body)


def _class_of(path: str, draft: Draft) -> str:
    """The class of the child that is called as `self.attention` or `self.layer[0]`, empty where that is not plain."""
    match = re.fullmatch(r"self\.(\w+)(?:\[(\d+)\])?", path)
    code = dict(draft.attributes).get(match[1]) if match is not None else None
    if match is None or code is None:
        return ""
    node: ast.expr = ast.parse(code, mode="eval").body
    if match[2] is not None:
        inner = node.args[0] if isinstance(node, ast.Call) and ast.unparse(node.func) == "nnx.List" else None
        if isinstance(inner, ast.List) and int(match[2]) < len(inner.elts):
            node = inner.elts[int(match[2])]
        elif isinstance(inner, ast.ListComp):
            node = inner.elt
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


@functools.cache
def chosen_names(kind: type) -> dict[frozenset[str], str]:
    """By two variables, the name that the original's forward gives the one that it goes on with.

    `current = context if is_cross_attention else hidden` gives `{context, hidden}: current`.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind.forward)))  # type: ignore[attr-defined]
    except (OSError, TypeError, SyntaxError, AttributeError):
        return {}
    result = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp) and isinstance(node.targets[0], ast.Name):
            sides = (node.value.body, node.value.orelse)
            if all(isinstance(side, ast.Name) for side in sides):
                pair = frozenset(ast.unparse(side).lower() for side in sides)
                if len(pair) == 2 and node.targets[0].id.lower() not in pair:
                    result[pair] = node.targets[0].id.lower()
    return result
