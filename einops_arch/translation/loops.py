"""Repetition: equal children as comprehensions, lines that repeat for each child as loops."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence

from einops_arch.translation.children import is_attribute
from einops_arch.translation.collected import INDEXED, collected, count_of, source_of_loop, variable_of
from einops_arch.translation.draft import Draft
from einops_arch.translation.drafts import Drafts
from einops_arch.translation.layers import is_sequence

__all__ = ["compact", "loops", "plain_sequential"]


def compact(code: str) -> str:
    """A list of equal children as a comprehension."""
    tree = ast.parse(code, mode="eval").body
    if not isinstance(tree, ast.Call):
        return code
    called = ast.unparse(tree.func)
    if called == "nnx.List" and tree.args and isinstance(tree.args[0], ast.List):
        items = [ast.unparse(item) for item in tree.args[0].elts]
        if len(items) > 1 and len(set(items)) == 1 and items[0] != "Identity()":
            return f"nnx.List([{items[0]} for _ in range({len(items)})])"
    if called == "Sequential" and len(tree.args) > 1:
        items = [ast.unparse(item) for item in tree.args]
        if len(set(items)) == 1:
            return f"Sequential(*({items[0]} for _ in range({len(items)})))"
    return code


def plain_sequential(draft: Draft, drafts: Drafts) -> str | None:
    """The constructor call of a Sequential that only calls its children in turn."""
    module = draft.module
    if not is_sequence(module) or draft.refused or not draft.bodies:
        return None
    names = [name for name, child in module.named_children() if not drafts.vanishes(child)]
    expected = [f"self.{name}" if is_attribute(name) else f"self[{n}]" for n, name in enumerate(names)]
    for body in draft.bodies.values():
        if len(body.lines) != 1 or not body.lines[0].startswith("return "):
            return None
        at: ast.AST = ast.parse(body.lines[0].removeprefix("return "), mode="eval").body
        called = []
        while isinstance(at, ast.Call) and len(at.args) == 1 and not at.keywords:
            called.append(ast.unparse(at.func))
            at = at.args[0]
        if not isinstance(at, ast.Name) or called[::-1] != expected:
            return None
    made = dict(draft.attributes)
    if list(made) != names:
        return None
    if names == [str(n) for n in range(len(names))]:
        return compact(f"Sequential({', '.join(made.values())})")
    inner = ", ".join(f'"{name}": {code}' for name, code in made.items())
    return f"Sequential({{{inner}}})"


def loops(lines: Sequence[str], draft: Draft, looped: Collection[str] = ()) -> list[str]:
    """Lines that repeat for the children of a list, as a loop; results that go into one list, as that list.

    Args:
        lines: of a body.
        draft: whose body it is.
        looped: lists that other drafts of the class have loops over: here also where they have one entry.
    """
    lines = collected(_with_first_turn(_with_last_turn(_with_single_turn(lines, draft, looped))), draft)
    result: list[str] = []
    place = 0
    while place < len(lines):
        for width in range(1, 7):
            turns = _turns(lines, place, width)
            if turns > 1 or (turns == 1 and width == 1 and _is_single(lines[place], draft, looped)):
                result.append(_loop([*result, *lines[place:]], len(result), width, turns, draft))
                place += width * turns
                break
        else:
            result.append(lines[place])
            place += 1
    return result


def looped_lists(draft: Draft) -> set[str]:
    """The lists of modules that a draft has loops over."""
    every = (line for body in draft.bodies.values() for line in loops(body.lines, draft))
    return {match[1] for line in every if (match := re.match(r"for \w+ in self((?:\.\w+)+):", line))}


def _is_single(line: str, draft: Draft, looped: Collection[str]) -> bool:
    """Whether a line is all that happens with a list of one module, which others loop over."""
    entries = INDEXED.findall(line)
    return len(entries) == 1 and entries[0][0] in looped and count_of(entries[0][0], draft) == 1


def _with_single_turn(lines: Sequence[str], draft: Draft, looped: Collection[str]) -> Sequence[str]:
    """What the only module of a list makes of a variable, and is returned, is the one turn of a loop."""
    last = lines[-1].removeprefix("return ") if lines else ""
    match = re.fullmatch(r"self(?:\.\w+)+\[0\]\((\w+)\)", last)
    if match is None or last == lines[-1] or not _is_single(last, draft, looped):
        return lines
    return [*lines[:-1], f"{match[1]} = {last}", f"return {match[1]}"]


def _with_last_turn(lines: Sequence[str]) -> Sequence[str]:
    """What is returned, or part of it, is the last turn of a loop where the line before is the turn before it."""
    target, _, before = lines[-2].partition(" = ") if len(lines) > 1 else ("", "", "")
    last = lines[-1].removeprefix("return ") if lines else ""
    if not target.isidentifier() or not INDEXED.search(last):
        return lines
    for node in ast.walk(ast.parse(last, mode="eval")):
        text = ast.unparse(node) if isinstance(node, ast.Call) else ""
        if not text or last.count(text) != 1 or re.search(rf"\b{target}\b", last.replace(text, "")):
            continue  # what the turn before gave is wanted as well
        if INDEXED.search(text) and INDEXED.sub("", before) == INDEXED.sub("", text):
            return [*lines[:-1], f"{target} = {text}", f"return {last.replace(text, target)}"]
    return lines


def _with_first_turn(lines: Sequence[str]) -> Sequence[str]:
    """What goes into the first of a list of modules has the name of what goes into the second."""
    result: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        first, second = (_called_on_a_name(text) for text in (line, following))
        if first is not None and second is not None and INDEXED.search(first[2]):
            target, name, rest = first
            names = {node.id for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Name)}
            same = INDEXED.sub("", rest) == INDEXED.sub("", second[2])
            if same and second[:2] == (target, target) and target not in (name, *names):
                call = line.removeprefix(f"{target} = ").replace(f"({name}", f"({target}", 1)
                result += [f"{target} = {name}", f"{target} = {call}"]
                continue
        result.append(line)
    return result


def _called_on_a_name(line: str) -> tuple[str, str, str] | None:
    """Of `h = self.layers[0](x, mask)` the target, the first argument, and the call without it."""
    match = re.fullmatch(r"(\w+) = (self(?:\.\w+)+\[\d+\])\((\w+)((?:, .*)?\))", line)
    return (match[1], match[3], f"{match[2]}(_{match[4]}") if match is not None else None


def _turns(lines: Sequence[str], place: int, width: int) -> int:
    """How many times the lines from here repeat with the next child each."""
    head = INDEXED.findall("\n".join(lines[place : place + width]))
    if not head or len({base for base, _ in head}) != 1 or len({index for _, index in head}) != 1:
        return 0
    base, start = head[0][0], int(head[0][1])

    def template(n: int) -> str | None:
        block = lines[place + n * width : place + (n + 1) * width]
        if len(block) < width:
            return None
        text = "\n".join(block)
        indexed = INDEXED.findall(text)
        if not indexed or any(item != (base, str(start + n)) for item in indexed):
            return None
        return INDEXED.sub("_turn_", text)

    first = template(0)
    if first is None or "return" in first:
        return 0
    turns = 1
    while template(turns) == first:
        turns += 1
    return turns


def _loop(lines: Sequence[str], place: int, width: int, turns: int, draft: Draft) -> str:
    block = "\n".join(lines[place : place + width])
    base, start = INDEXED.findall(block)[0][0], int(INDEXED.findall(block)[0][1])
    variable = variable_of(base, lines, draft.arguments)
    body = "\n".join(f"    {line}" for line in INDEXED.sub(variable, block).splitlines())
    return f"for {variable} in {source_of_loop(base, start, turns, draft)}:\n{body}"
