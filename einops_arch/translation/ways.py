"""What tells the ways of one class apart: questions about its settings, its children and what it is called with."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from einops_arch.translation.defaults import with_defaults
from einops_arch.translation.draft import Draft
from einops_arch.translation.expressions import negated
from einops_arch.translation.holes import skeleton
from einops_arch.translation.layers import is_sequence
from einops_arch.translation.series import NUMBERED, common_series

__all__ = ["Question", "apart", "decided", "give", "questions_of"]

Defaults = Mapping[str, Mapping[str, str]]
_PARTS = (ast.Attribute, ast.Name, ast.Constant, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.cmpop, ast.boolop)


@dataclass(frozen=True)
class Question:
    """A question that a body asks when it is called.

    Args:
        test: as code.
        opposite: the question whose answer is the other one.
        yes: numbers of the drafts, or of the ways of a class, in which its answer is yes.
        unknown: those of which the one answer does not hold for all that go this way.
        fields: attributes of the original that it reads.
        argument: of the call that it asks for, empty where it asks for something else.
    """

    test: str
    opposite: str
    yes: frozenset[int]
    fields: tuple[str, ...] = ()
    argument: str = ""
    unknown: frozenset[int] = frozenset()

    def splits(self, rows: frozenset[int]) -> bool:
        """Whether it has an answer for each of these, and both answers."""
        return not rows & self.unknown and 0 < len(rows & self.yes) < len(rows)


def apart(groups: Sequence[Sequence[Draft]], defaults: Defaults) -> list[str] | None:
    """The attributes of one class for groups that questions tell apart; None where they do not.

    Args:
        groups: of drafts of one original class, each of which is one class by itself.
        defaults: arguments of the generated classes that have a default.
    """
    firsts = [next((draft for draft in group if draft.bodies), group[0]) for group in groups]
    if is_sequence(firsts[0].module) or any(not _same_borders(*pair) for pair in itertools.combinations(firsts, 2)):
        return None
    questions = questions_of(groups)
    told = decided(frozenset(first.number for first in firsts), questions)
    names = _in_one_order([[name for name, _ in first.attributes] for first in firsts])
    if not told or names is None:
        return None
    made = [_made(draft, names) for group in groups for draft in group]
    for name in names:
        codes = with_defaults([attributes[name] for attributes in made], defaults)
        if len(set(map(skeleton, codes))) > 2 and common_series(codes, defaults) is None:
            return None
    return names


def give(drafts: Sequence[Draft], names: Sequence[str]) -> None:
    """Give all drafts these attributes, None where they have none."""
    for draft in drafts:
        draft.attributes = list(_made(draft, names).items())


def _made(draft: Draft, names: Sequence[str]) -> dict[str, str]:
    own = dict(draft.attributes)
    return {name: own.get(name, "None") for name in names}


def _same_borders(left: Draft, right: Draft) -> bool:
    """Whether what both take lies in the same way in both."""
    shared = [name for name in left.arguments if name in right.arguments]
    return (
        all(left.borders.get(name) == right.borders.get(name) for name in shared)
        and all(left.kinds.get(name) == right.kinds.get(name) for name in shared)
        and bool(left.bodies)
        and list(left.bodies) == list(right.bodies)
        and not left.refused
        and not right.refused
    )


def _in_one_order(lists: Sequence[Sequence[str]]) -> list[str] | None:
    """All names, in an order that each list keeps; None where there is none, or where lists are made for a time."""
    result: list[str] = []
    for names in lists:
        if any(NUMBERED in name for name in names) and list(names) != list(lists[0]):
            return None
        place = 0
        for name in names:
            if name in result:
                if result.index(name) < place:
                    return None
                place = result.index(name) + 1
            else:
                result.insert(place, name)
                place += 1
    return result


def questions_of(groups: Sequence[Sequence[Draft]]) -> list[Question]:
    """The questions whose answer is not the same in all groups; the original's own first."""
    groups = [[draft for draft in group if draft.bodies] for group in groups]
    every = [draft for group in groups for draft in group]
    if not every:
        return []
    result = [*_about_arguments(every), *_about_settings(every), *_about_children(every), *_about_values(every)]
    numbers = [frozenset(draft.number for draft in group) for group in groups]
    asked = []
    for question in result:
        mixed = [group for group in numbers if group & question.yes and group - question.yes]
        unknown = frozenset[int]().union(*mixed)
        if question.splits(frozenset(draft.number for draft in every) - unknown):
            asked.append(replace(question, unknown=unknown))
    return asked


def decided(rows: frozenset[int], questions: Sequence[Question]) -> bool:
    """Whether, in whatever order questions that split are asked, each row is alone in the end."""
    waiting, seen = [rows], {rows}
    while waiting:
        here = waiting.pop()
        splitting = [question for question in questions if question.splits(here)]
        if len(here) > 1 and not splitting:
            return False
        parts = {part for question in splitting for part in (here & question.yes, here - question.yes)} - seen
        seen |= parts
        waiting += parts
    return True


def _about_arguments(drafts: Sequence[Draft]) -> list[Question]:
    names = dict.fromkeys(name for draft in drafts for name in draft.arguments)
    return [
        Question(
            f"{name} is not None",
            f"{name} is None",
            frozenset(draft.number for draft in drafts if name in draft.arguments),
            argument=name,
        )
        for name in names
    ]


def _about_settings(drafts: Sequence[Draft]) -> list[Question]:
    """What the original's forward asks."""
    result = []
    for test in _questions(drafts[0].original):
        answers = [_answer(test, draft.module) for draft in drafts]
        if None not in answers:
            yes = frozenset(draft.number for draft, answer in zip(drafts, answers, strict=True) if answer)
            result.append(Question(ast.unparse(test), negated(test), yes, tuple(_attributes(test))))
    return result


def _about_children(drafts: Sequence[Draft]) -> list[Question]:
    names = dict.fromkeys(name for draft in drafts for name, _ in draft.attributes)
    held = [{name for name, code in draft.attributes if code != "None"} for draft in drafts]
    return [
        Question(
            f"self.{name} is not None",
            f"self.{name} is None",
            frozenset(draft.number for draft, own in zip(drafts, held, strict=True) if name in own),
        )
        for name in names
        if name.isidentifier()
    ]


def _about_values(drafts: Sequence[Draft]) -> list[Question]:
    """Settings that are true or false, there or not, nothing or some, or words, whoever asks for them."""
    result = []
    for name in vars(drafts[0].module):
        values = [vars(draft.module).get(name, ...) for draft in drafts]
        if name.startswith("_") or name == "training" or not name.isidentifier():
            continue
        for test, opposite, answers in _asked_of(f"self.{name}", values):
            yes = frozenset(draft.number for draft, answer in zip(drafts, answers, strict=True) if answer)
            result.append(Question(test, opposite, yes, (name,)))
    return result


def _asked_of(code: str, values: Sequence[Any]) -> Iterator[tuple[str, str, list[bool]]]:
    """Questions about a setting, the opposite of each, and the answers."""
    if all(isinstance(value, bool) for value in values):
        yield code, f"not {code}", list(values)
    elif any(value is None for value in values) and all(
        value is None or isinstance(value, (bool, int, float, str)) for value in values
    ):
        yield f"{code} is not None", f"{code} is None", [value is not None for value in values]
    elif all(isinstance(value, int) and value >= 0 for value in values):
        least = min(values)
        if least in (0, 1):
            yield f"{code} > {least}", f"{code} == {least}", [value > least for value in values]
    elif all(isinstance(value, str) for value in values):
        for word in sorted(set(values)):
            yield f"{code} == {word!r}", f"{code} != {word!r}", [value == word for value in values]


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
