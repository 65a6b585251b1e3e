"""Results of children that go into one list: a comprehension, or a list that grows from turn to turn."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from einops_arch.translation.draft import Draft
from einops_arch.translation.series import NUMBERED

__all__ = ["INDEXED", "collected", "count_of", "source_of_loop", "variable_of"]

INDEXED = re.compile(r"self((?:\.\w+)+)\[(\d+)\]")
"""An entry of a list of modules."""


def variable_of(base: str, lines: Sequence[str], arguments: Sequence[str]) -> str:
    """The variable of a loop over a list: `block` for `blocks`, unless that is the name of something else.

    Args:
        base: the list, such as `.blocks`.
        lines: of the whole body; what other loops call their variable is free.
        arguments: that the call takes.
    """
    last = base.rpartition(".")[2].partition(NUMBERED)[0]
    variable = last[:-1] if last.endswith("s") and len(last) > 3 else last if NUMBERED in base else "layer"
    trees = [ast.parse(line) for line in lines]
    turns = [node for tree in trees for node in ast.walk(tree) if isinstance(node, (ast.For, ast.comprehension))]
    of_loops = {id(name): name for turn in turns for name in ast.walk(turn.target) if isinstance(name, ast.Name)}
    in_loops = {name.id for name in of_loops.values()}
    names = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in of_loops
    ]
    taken = {node.id for node in names if isinstance(node.ctx, ast.Store) or node.id not in in_loops} | set(arguments)
    options = (variable, f"{variable}_module", *(f"{variable}_module{n}" for n in range(2, len(taken) + 3)))
    return next(option for option in options if option not in taken)


def count_of(base: str, draft: Draft) -> int:
    """How many modules a list has."""
    name = base.rpartition(".")[2]
    if name in draft.series:
        return draft.series[name]
    at = draft.module
    for part in base.strip(".").split("."):
        at = getattr(at, part)
    return len(list(at.children()))


def source_of_loop(base: str, start: int, turns: int, draft: Draft) -> str:
    """What a loop over a list runs over."""
    whole = start == 0 and turns == count_of(base, draft)
    if NUMBERED in base and whole:
        name, _, first = base.strip(".").partition(NUMBERED)
        number = f"{{n + {first}}}" if int(first) else "{n}"
        return f'(getattr(self, f"{name}{number}") for n in range({turns}))'
    return f"self{base}" if whole else f"list(self{base})[{start}:{start + turns}]"


@dataclass
class _Run:
    """Lines `target = code`, one for each child in turn, whose targets stand in one list afterwards."""

    base: str
    start: int
    targets: list[str]
    template: str
    before: list[str] | None
    written: str = ""


def collected(lines: Sequence[str], draft: Draft) -> list[str]:
    """Lines in which such runs are a comprehension or a loop that appends.

    Args:
        lines: of a body.
        draft: whose body it is.
    """
    lines = list(lines)
    place = 0
    while place < len(lines):
        run = _run(lines, place)
        if run is not None and (len(run.targets) > 2 or len(run.targets) == count_of(run.base, draft)):
            rest = lines[place + len(run.targets) :]
            name = _name(run, lines, draft)
            swapped = _swapped(rest, run, name)
            if swapped is not None:
                made = _lines_of(run, name, lines, draft)
                lines[place:] = [*made, *swapped]
                place += len(made) - 1
        place += 1
    return lines


def _assigned(line: str) -> tuple[str, ast.expr] | None:
    tree = ast.parse(line).body
    node = tree[0] if len(tree) == 1 else None
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    return None


def _run(lines: Sequence[str], place: int) -> _Run | None:
    """The longest run from here: of results that do not depend on each other, or of a list that grows."""
    first = _turn(lines, place)
    if first is None:
        return None
    _, code, base, start = first
    choices: list[tuple[list[str] | None, str]] = [(None, "")]
    choices += [
        ([ast.unparse(item) for item in node.elts], "tuple" if isinstance(node, ast.Tuple) else "list")
        for node in ast.walk(code)
        if isinstance(node, (ast.List, ast.Tuple)) and node.elts
    ]
    best: _Run | None = None
    for before, written in choices:
        run = _Run(base, start, [], _template(code, before), before, written)
        while (turn := _turn(lines, place + len(run.targets))) is not None:
            grown = None if before is None else [*before, *run.targets]
            names = {node.id for node in ast.walk(turn[1]) if isinstance(node, ast.Name)}
            if turn[2:] != (base, start + len(run.targets)) or turn[0] in run.targets:
                break
            if _template(turn[1], grown) != run.template or (before is None and names & set(run.targets)):
                break
            run.targets.append(turn[0])
        if len(run.targets) > 1 and (best is None or len(run.targets) > len(best.targets)):
            best = run
    return best


def _turn(lines: Sequence[str], place: int) -> tuple[str, ast.expr, str, int] | None:
    """A line that calls one entry of a list of modules: target, code, list and number."""
    line = lines[place] if place < len(lines) else ""
    entries = set(INDEXED.findall(line))
    assigned = _assigned(line) if len(entries) == 1 and "\n" not in line else None
    if assigned is None:
        return None
    base, index = entries.pop()
    return *assigned, base, int(index)


class _Swap(ast.NodeTransformer):
    """A name in the place of lists with these entries."""

    def __init__(self, entries: Sequence[str], name: str) -> None:
        self.entries = list(entries)
        self.name = name

    def visit_List(self, node: ast.List) -> ast.AST:
        return self._visited(node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return self._visited(node)

    def _visited(self, node: ast.List | ast.Tuple) -> ast.AST:
        if [ast.unparse(item) for item in node.elts] == self.entries:
            return ast.Name(self.name, ast.Load())
        return self.generic_visit(node)


def _template(code: ast.expr, entries: Sequence[str] | None) -> str:
    """The code with the entry of the list, and the list of results so far, left out."""
    text = ast.unparse(code)
    if entries is not None:
        text = ast.unparse(_Swap(entries, "_results_").visit(ast.parse(text, mode="eval").body))
    return INDEXED.sub("_turn_", text)


def _swapped(rest: Sequence[str], run: _Run, name: str) -> list[str] | None:
    """The lines after a run; None where they need a result by itself."""
    entries = [*(run.before or []), *run.targets]
    swapped = []
    for line in rest:
        tree = _Swap(entries, "_results_").visit(ast.parse(line))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if names & set(run.targets):
            return None
        swapped.append(re.sub(r"\b_results_\b", name, ast.unparse(tree)) if "_results_" in names else line)
    return swapped if any(left != right for left, right in zip(rest, swapped, strict=True)) else None


def _name(run: _Run, lines: Sequence[str], draft: Draft) -> str:
    """The list goes by the name of its first result, without the `new_` that accumulating code has."""
    if run.before is None:
        return run.targets[0]
    taken = {node.id for line in lines for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)}
    plain = run.targets[0].removeprefix("new_")
    options = (plain, plain if plain.endswith("s") else f"{plain}s", f"all_{plain}", f"{plain}_list")
    return next((name for name in options if name not in taken and name not in draft.arguments), f"{plain}_results")


def _lines_of(run: _Run, name: str, lines: Sequence[str], draft: Draft) -> list[str]:
    variable = variable_of(run.base, [*lines, name], draft.arguments)
    source = source_of_loop(run.base, run.start, len(run.targets), draft)
    results = f"tuple({name})" if run.written == "tuple" else name
    code = run.template.replace("_turn_", variable).replace("_results_", results)
    if run.before is None:
        return [f"{name} = [{code} for {variable} in {source}]"]
    return [f"{name} = [{', '.join(run.before)}]", f"for {variable} in {source}:\n    {name}.append({code})"]
