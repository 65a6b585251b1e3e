"""Several bodies of one class as one: lines that all share stand once, the others under a question."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from einops_arch.translation.holes import canonical
from einops_arch.translation.ways import Question

__all__ = ["one_body"]


@dataclass
class _Entry:
    """A line, and the numbers of the bodies that it stands in."""

    text: str
    key: str
    rows: frozenset[int]


def one_body(bodies: Sequence[Sequence[str]], questions: Sequence[Question]) -> tuple[list[str], list[Question]]:
    """The lines of all bodies, each under the questions that lead to it.

    Args:
        bodies: lines of each.
        questions: that tell each two of the bodies apart; `yes` has numbers of bodies.

    Returns:
        The lines, and the questions that they ask.
    """
    entries: list[_Entry] = []
    for number, lines in enumerate(bodies):
        entries = _with(entries, [_Entry(line, canonical(line), frozenset((number,))) for line in lines])
    rows = frozenset(range(len(bodies)))
    writer = _Writer(questions)
    lines = writer.lines(entries, rows)
    if not writer.late:
        return lines, writer.asked
    # What is asked of an argument after it has another value is asked before all else.
    noted = [
        replace(item, test=f"has_{item.argument}", opposite=f"not has_{item.argument}")
        if item.argument in writer.late
        else item
        for item in questions
    ]
    writer = _Writer(noted)
    lines = writer.lines(entries, rows)
    heads = [f"has_{name} = {name} is not None" for name in writer.late]
    return [*heads, *lines], writer.asked


def _with(entries: Sequence[_Entry], others: Sequence[_Entry]) -> list[_Entry]:
    """Both sequences as one, in which what they share stands once: as much as can be."""
    longest = [[0] * (len(others) + 1) for _ in range(len(entries) + 1)]
    for n in range(len(entries) - 1, -1, -1):
        for k in range(len(others) - 1, -1, -1):
            same = entries[n].key == others[k].key
            longest[n][k] = 1 + longest[n + 1][k + 1] if same else max(longest[n + 1][k], longest[n][k + 1])
    result: list[_Entry] = []
    n = k = 0
    while n < len(entries) and k < len(others):
        if entries[n].key == others[k].key:
            result.append(replace(entries[n], rows=entries[n].rows | others[k].rows))
            n, k = n + 1, k + 1
        elif longest[n + 1][k] >= longest[n][k + 1]:
            result.append(entries[n])
            n += 1
        else:
            result.append(others[k])
            k += 1
    return [*result, *entries[n:], *others[k:]]


class _Writer:
    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.asked: list[Question] = []
        self.assigned: set[str] = set()
        self.late: dict[str, None] = {}

    def lines(self, entries: Sequence[_Entry], rows: frozenset[int]) -> list[str]:
        """The lines of some of the bodies.

        Args:
            entries: none of which is of other bodies alone.
            rows: numbers of the bodies.
        """
        result: list[str] = []
        waiting = list(entries)
        while waiting:
            if waiting[0].rows >= rows:
                result.append(waiting.pop(0).text)
                self.assigned |= _assigned(result[-1])
                continue
            question, count = self._best(waiting, rows)
            if not count:
                # No question has all bodies of this line on one side: it stands on both.
                first = waiting.pop(0)
                question = next(q for q in self.questions if 0 < len(first.rows & q.yes) < len(first.rows))
                waiting[:0] = [
                    replace(first, rows=first.rows & question.yes),
                    replace(first, rows=first.rows - question.yes),
                ]
                continue
            run, waiting = waiting[:count], waiting[count:]
            if question not in self.asked:
                self.asked.append(question)
            if question.argument in self.assigned:
                self.late[question.argument] = None
            yes = self.lines([entry for entry in run if entry.rows & question.yes], rows & question.yes)
            no = self.lines([entry for entry in run if not entry.rows & question.yes], rows - question.yes)
            result += _either(question, yes, no, last=not waiting)
        return result

    def _best(self, entries: Sequence[_Entry], rows: frozenset[int]) -> tuple[Question, int]:
        """The question under which the most lines from here on stand, and how many these are."""
        best, most = self.questions[0], 0
        for question in self.questions:
            if not 0 < len(rows & question.yes) < len(rows):
                continue
            count = 0
            for entry in entries:
                if entry.rows >= rows or (entry.rows & question.yes and entry.rows - question.yes):
                    break
                count += 1
            if count > most:
                best, most = question, count
        return best, most


def _either(question: Question, yes: Sequence[str], no: Sequence[str], *, last: bool) -> list[str]:
    """Lines for both answers."""
    chosen = _chosen(question.test, yes, no)
    if chosen is not None:
        return [chosen]
    if not yes:
        return [_block(f"if {question.opposite}:", no)]
    block = _block(f"if {question.test}:", yes)
    if not no:
        return [block]
    if last and yes[-1].startswith("return "):
        return [block, *no]
    return [f"{block}\n{_block('else:', no)}"]


def _chosen(test: str, left: Sequence[str], right: Sequence[str]) -> str | None:
    """One assignment of a conditional expression, where both do nothing but assign to one variable."""
    if len(left) != 1 or len(right) != 1:
        return None
    target, sign, first = left[0].partition(" = ")
    other, _, second = right[0].partition(" = ")
    if not sign or target != other or not target.isidentifier() or "\n" in left[0] + right[0]:
        return None
    return f"{target} = {first} if {test} else {second}"


def _assigned(text: str) -> set[str]:
    nodes = ast.walk(ast.parse(text.replace("return", "_ =", 1) if text.startswith("return") else text))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _block(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *(textwrap.indent(line, "    ") for line in lines)])
