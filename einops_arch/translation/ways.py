"""Two bodies of one class become one that asks a setting, as the original's forward does: `if self.use_shortcut:`."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch.translation.defaults import with_defaults
from einops_arch.translation.draft import Draft
from einops_arch.translation.expressions import negated
from einops_arch.translation.holes import skeleton
from einops_arch.translation.layers import is_sequence
from einops_arch.translation.series import NUMBERED, common_series

__all__ = ["Way", "branched", "by_settings"]

Defaults = Mapping[str, Mapping[str, str]]
_PARTS = (ast.Attribute, ast.Name, ast.Constant, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.cmpop, ast.boolop)


@dataclass(frozen=True)
class Way:
    """A question about settings, and the numbers of the drafts in which its answer is yes."""

    test: str
    yes: frozenset[int]


def by_settings(groups: Sequence[list[Draft]], defaults: Defaults) -> list[tuple[list[Draft], Way | None]]:
    """Pairs of groups that a question of the original's forward tells apart, as one; the others as they are.

    Args:
        groups: of drafts of one original class, each of which is one class by itself.
        defaults: arguments of the generated classes that have a default.
    """
    result: list[tuple[list[Draft], Way | None]] = []
    waiting = list(groups)
    while waiting:
        first = waiting.pop(0)
        way = None
        for other in waiting:
            way = _way(first, other, defaults)
            if way is not None:
                waiting.remove(other)
                first = sorted([*first, *other], key=lambda draft: draft.number)
                break
        result.append((first, way))
    return result


def branched(test: str, yes: Sequence[str], no: Sequence[str]) -> list[str]:
    """The lines of both bodies, under the question where they differ."""
    shorter = min(len(yes), len(no))
    before = next((n for n in range(shorter) if yes[n] != no[n]), shorter)
    most = shorter - before
    after = next((n for n in range(most) if yes[-1 - n] != no[-1 - n]), most)
    left, right = yes[before : len(yes) - after], no[before : len(no) - after]
    end = list(yes[len(yes) - after :])
    chosen = _chosen(test, left, right)
    if chosen is not None:
        return [*yes[:before], chosen, *end]
    block = _block(f"if {test}:", left) if left else _block(f"if {negated(ast.parse(test, mode='eval').body)}:", right)
    if left and right and not end:
        return [*yes[:before], block, *right]
    if left and right:
        block = f"{block}\n{_block('else:', right)}"
    return [*yes[:before], block, *end]


def _chosen(test: str, left: Sequence[str], right: Sequence[str]) -> str | None:
    """One assignment of a conditional expression, where both do nothing but assign to one variable."""
    if len(left) != 1 or len(right) != 1:
        return None
    target, sign, first = left[0].partition(" = ")
    other, _, second = right[0].partition(" = ")
    if not sign or target != other or not target.isidentifier() or "\n" in left[0] + right[0]:
        return None
    return f"{target} = {first} if {test} else {second}"


def _block(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *(textwrap.indent(line, "    ") for line in lines)])


def _way(first: Sequence[Draft], other: Sequence[Draft], defaults: Defaults) -> Way | None:
    """What tells two groups apart; the attributes of both are those of one class then."""
    left, right = first[0], other[0]
    if is_sequence(left.module) or not _same_borders(left, right):
        return None
    for test in _questions(left.original):
        answers = [[_answer(test, draft.module) for draft in group] for group in (first, other)]
        for yes, no in ((0, 1), (1, 0)):
            if all(item is True for item in answers[yes]) and all(item is False for item in answers[no]):
                names = _names(left, right)
                if names is None or not _makes(names, [*first, *other], defaults):
                    return None
                for draft in (*first, *other):
                    draft.fields |= {name: getattr(draft.module, name) for name in _attributes(test)}
                return Way(ast.unparse(test), frozenset(draft.number for draft in (first, other)[yes]))
    return None


def _same_borders(left: Draft, right: Draft) -> bool:
    return (
        left.arguments == right.arguments
        and left.orders == right.orders
        and list(left.bodies) == list(right.bodies)
        and all(left.bodies[mode].orders == right.bodies[mode].orders for mode in left.bodies)
        and not left.refused
        and not right.refused
    )


def _names(left: Draft, right: Draft) -> list[str] | None:
    """The attributes of the one that has more, if it has all that the other has, in their order."""
    names, own = sorted(([name for name, _ in draft.attributes] for draft in (left, right)), key=len, reverse=True)
    shared = [name for name in names if name in own]
    return names if shared == own and not any(NUMBERED in name for name in names) else None


def _makes(names: Sequence[str], drafts: Sequence[Draft], defaults: Defaults) -> bool:
    """Give all drafts these attributes, `Identity` where they have none, if that is two ways of each at the most."""
    made = [dict.fromkeys(names, "Identity()") | dict(draft.attributes) for draft in drafts]
    for name in names:
        codes = with_defaults([attributes[name] for attributes in made], defaults)
        if len(set(map(skeleton, codes))) > 2 and common_series(codes, defaults) is None:
            return False
    for draft, attributes in zip(drafts, made, strict=True):
        if len(draft.attributes) < len(names):
            draft.imports.add("from einops_arch.flax.layers import Identity")
        draft.attributes = [(name, attributes[name]) for name in names]
    return True


@functools.cache
def _questions(kind: type) -> list[ast.expr]:
    """The questions of a class's forward that are of attributes and numbers alone."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind.forward)))  # type: ignore[attr-defined]
    except (OSError, TypeError, SyntaxError, AttributeError):
        return []
    tests = [node.test for node in ast.walk(tree) if isinstance(node, (ast.If, ast.IfExp))]
    return [test for test in tests if _attributes(test) and _is_of_settings(test)]


def _is_of_settings(test: ast.expr) -> bool:
    allowed = (*_PARTS, ast.unaryop, ast.expr_context)
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    return names == {"self"} and all(isinstance(node, allowed) for node in ast.walk(test))


def _attributes(test: ast.expr) -> list[str]:
    return [node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute)]


def _answer(test: ast.expr, module: Any) -> bool | None:
    """What the question gives for a module; None where it asks for more than plain settings."""
    held = vars(module)
    if not all(isinstance(held.get(name), (bool, int, float, str)) and name in held for name in _attributes(test)):
        return None
    if "training" in _attributes(test) or ast.unparse(test).count("self.") != len(_attributes(test)):
        return None
    code = compile(ast.fix_missing_locations(ast.Expression(test)), "<forward>", "eval")
    return bool(eval(code, {"__builtins__": {}}, {"self": module}))  # noqa: S307 a question about settings
