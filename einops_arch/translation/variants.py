"""Several bodies of one class as one: lines that all share stand once, the others under a question."""

from __future__ import annotations

import ast
import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from einops_arch.translation.draft import Draft
from einops_arch.translation.holes import canonical
from einops_arch.translation.nothing import Known, chosen_names, handed_on
from einops_arch.translation.ways import Question, apart, give, questions_of

__all__ = ["as_one", "by_questions"]

Bodies = Mapping[str, Sequence[str]]
_MOST_BRANCHES = 11  # what linters let a function have
_MOST_STATEMENTS = 45


_LONGEST = 100


@dataclass
class _Entry:
    """A line, and the numbers of the bodies that it stands in."""

    text: str
    key: str
    rows: frozenset[int]


def by_questions(
    groups: Sequence[list[Draft]], lines_of: Callable[[Draft], Bodies], known: Known
) -> list[list[list[Draft]]]:
    """Groups that questions tell apart, together; each list is of one class of the twin.

    Those that share the most go together first, as long as a reader can follow the class that comes of it.

    Args:
        groups: of drafts of one original class, each of which is one class by itself.
        lines_of: the lines of a draft by mode.
        known: the classes that there are.
    """
    defaults = known.defaults
    result = [[group] for group in groups]
    bodies = {id(group): lines_of(_called(group)) for group in groups}
    refused: set[tuple[int, ...]] = set()

    def saved(first: list[list[Draft]], second: list[list[Draft]]) -> int | None:
        both = [*first, *second]
        key = tuple(sorted(map(id, both)))
        if key in refused:
            return None
        refused.add(key)
        if apart(both, defaults) is None:
            return None
        lines = [_written([bodies[id(group)] for group in part], part, known) for part in (both, first, second)]
        if max(_branches(lines[0])) > max(*_branches(lines[1]), *_branches(lines[2]), _MOST_BRANCHES):
            return None
        if _statements(lines[0]) > max(_statements(lines[1]), _statements(lines[2]), _MOST_STATEMENTS):
            return None
        refused.discard(key)
        return _statements(lines[1]) + _statements(lines[2]) - _statements(lines[0])

    while len(result) > 1:
        pairs = [(saved(*pair), pair) for pair in itertools.combinations(result, 2)]
        possible = [(least, pair) for least, pair in pairs if least is not None]
        if not possible:
            return result
        _, (first, second) = max(possible, key=lambda item: item[0])
        first += second
        result.remove(second)
        names = apart(first, defaults)
        give([draft for group in first for draft in group], names or [])
    return result


def _called(group: Sequence[Draft]) -> Draft:
    return next((draft for draft in group if draft.bodies), group[0])


def _written(sides: Sequence[Bodies], groups: Sequence[Sequence[Draft]], known: Known) -> Sequence[str]:
    """The lines of one body that has both modes in it."""
    if len(sides) == 1:
        evaluation = Question("self.deterministic", "not self.deterministic", frozenset((0,)))
        return one_body(list(sides[0].values()), [evaluation])[0] if sides[0] else []
    return next(iter(as_one(sides, groups, questions_of(groups), known)[0].values()))


def _branches(lines: Sequence[str]) -> tuple[int, int]:
    """The complexity of a body as linters count it, and three quarters of its branches."""
    nodes = [node for line in lines for node in ast.walk(_parsed(line))]
    ways = sum(isinstance(node, (ast.If, ast.For, ast.While)) for node in nodes)
    ends = sum(
        isinstance(node, ast.If) and bool(node.orelse) and not isinstance(node.orelse[0], ast.If) for node in nodes
    )
    return ways, (ways + ends) * 3 // 4


def _statements(lines: Sequence[str]) -> int:
    return sum(isinstance(node, ast.stmt) for line in lines for node in ast.walk(_parsed(line)))


def _parsed(line: str) -> ast.Module:
    return ast.parse("\n".join(["def body():", textwrap.indent(line, "    ")]))


def as_one(
    sides: Sequence[Bodies], groups: Sequence[Sequence[Draft]], questions: Sequence[Question], known: Known
) -> tuple[Bodies, list[Question]]:
    """One body for all groups and both modes, and the questions that it asks.

    Args:
        sides: the lines of each group by mode.
        groups: of drafts.
        questions: that tell them apart.
        known: the classes that there are.
    """
    if len(sides) < 2:
        return (sides[0] if sides else {}), []
    sides = handed_on(sides, groups, known.signatures)
    ways = [(n, mode) for n, side in enumerate(sides) for mode in side]
    firsts = [_called(group).number for group in groups]
    numbered = [
        replace(
            question,
            yes=frozenset(k for k, (n, _) in enumerate(ways) if firsts[n] in question.yes),
            unknown=frozenset(k for k, (n, _) in enumerate(ways) if firsts[n] in question.unknown),
        )
        for question in questions
    ]
    evaluation = frozenset(k for k, (_, mode) in enumerate(ways) if mode == "eval")
    numbered.append(Question("self.deterministic", "not self.deterministic", evaluation))
    names = chosen_names(_called(groups[0]).original)
    lines, asked = one_body([sides[n][mode] for n, mode in ways], numbered, names)
    return dict.fromkeys(sides[0], lines), asked


def one_body(
    bodies: Sequence[Sequence[str]], questions: Sequence[Question], names: Mapping[frozenset[str], str] | None = None
) -> tuple[list[str], list[Question]]:
    """The lines of all bodies, each under the questions that lead to it.

    Args:
        bodies: lines of each.
        questions: that tell each two of the bodies apart; `yes` has numbers of bodies.
        names: what the original calls the one of two variables that it goes on with.

    Returns:
        The lines, and the questions that they ask.
    """
    entries: list[_Entry] = []
    for number, lines in enumerate(bodies):
        entries = _with(entries, [_Entry(line, canonical(line), frozenset((number,))) for line in lines])
    rows = frozenset(range(len(bodies)))
    used = set[str]().union(*(_names(entry.text) for entry in entries))
    names = {pair: name for pair, name in (names or {}).items() if name not in used}
    writer = _Writer(questions, names)
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
    writer = _Writer(noted, names)
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
    def __init__(self, questions: Sequence[Question], names: Mapping[frozenset[str], str]) -> None:
        self.questions = questions
        self.names = names
        self.asked: list[Question] = []
        self.assigned: set[str] = set()
        self.late: dict[str, None] = {}

    def lines(self, entries: Sequence[_Entry], rows: frozenset[int], *, end: bool = True) -> list[str]:
        """The lines of some of the bodies.

        Args:
            entries: none of which is of other bodies alone.
            rows: numbers of the bodies.
            end: whether nothing follows.
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
                question = next(q for q in self.questions if q.splits(rows) and q.splits(first.rows))
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
            sides = (
                [entry for entry in run if entry.rows & question.yes],
                [entry for entry in run if not entry.rows & question.yes],
            )
            last = end and not waiting
            yes = self.lines(sides[0], rows & question.yes, end=last)
            no = self.lines(sides[1], rows - question.yes, end=last)
            shared = self._shared(question, yes, no)
            result += shared
            rest = max(0, len(shared) - 1)
            if yes[rest:] or no[rest:]:
                result += _either(question, yes[rest:], no[rest:], last=last)
        return result

    def _shared(self, question: Question, yes: Sequence[str], no: Sequence[str]) -> list[str]:
        """Lines that differ in one variable alone, for which the original has a name, and the line that chooses it."""
        for pair, name in self.names.items():
            for left, right in itertools.permutations(pair):
                lines = []
                for first, second in zip(yes, no, strict=False):
                    line = _renamed(first, left, name)
                    if (
                        line == first
                        or line != _renamed(second, right, name)
                        or name in _assigned(line) | {left, right}
                    ):
                        break
                    lines.append(line)
                if len(lines) > 1 or (lines and len(yes) == len(no) == 1):
                    return [f"{name} = {left} if {question.test} else {right}", *lines]
        return []

    def _best(self, entries: Sequence[_Entry], rows: frozenset[int]) -> tuple[Question, int]:
        """The question under which the most lines from here on stand, and how many these are."""
        best, most = self.questions[0], 0
        for question in self.questions:
            if not question.splits(rows):
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
    if last and (not yes or not no) and (yes or no)[-1].startswith("return "):
        return list(yes or no)  # all others have returned before
    if not yes or not no:
        return [_under(question.test if yes else question.opposite, yes or no)]
    block = _block(f"if {question.test}:", yes)
    if last and yes[-1].startswith("return "):
        return [block, *no]
    if len(no) == 1 and no[0].startswith("if "):
        return [f"{block}\nel{no[0]}"]
    return [f"{block}\n{_block('else:', no)}"]


def _under(test: str, lines: Sequence[str]) -> str:
    """Lines under a question; one that they ask themselves is asked with it."""
    inner = ast.parse(lines[0]).body if len(lines) == 1 and lines[0].startswith("if ") else []
    if len(inner) == 1 and isinstance(inner[0], ast.If) and not inner[0].orelse and " or " not in test + lines[0]:
        head, _, rest = lines[0].partition("\n")
        return f"if {test} and {head.removeprefix('if ')}\n{rest}"
    return _block(f"if {test}:", lines)


def _chosen(test: str, left: Sequence[str], right: Sequence[str]) -> str | None:
    """One assignment of a conditional expression, where both do nothing but assign to one variable."""
    if len(left) != 1 or len(right) != 1:
        return None
    target, sign, first = left[0].partition(" = ")
    other, _, second = right[0].partition(" = ")
    if not sign or target != other or not target.isidentifier() or "\n" in left[0] + right[0]:
        return None
    line = f"{target} = {first} if {test} else {second}"
    # One question in a line; of more the reader would have to sort out which belongs to which.
    plain = " if " not in first + second + test and len(line) <= _LONGEST
    return line if plain else None


class _Rename(ast.NodeTransformer):
    def __init__(self, name: str, new: str) -> None:
        self.name = name
        self.new = new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.new, node.ctx) if node.id == self.name else node


def _renamed(line: str, name: str, new: str) -> str:
    function = _Rename(name, new).visit(_parsed(line)).body[0]
    return "\n".join(map(ast.unparse, function.body))


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name)}


def _assigned(text: str) -> set[str]:
    nodes = ast.walk(_parsed(text))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _block(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *(textwrap.indent(line, "    ") for line in lines)])
