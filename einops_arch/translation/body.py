"""From statements in single assignment to the body that a person would write: inlined, named, nothing unused."""

from __future__ import annotations

import ast
import builtins
import keyword
from collections.abc import Sequence
from dataclasses import dataclass

from einops_arch.discovery.tracing.program import Source
from einops_arch.translation.expressions import negated
from einops_arch.translation.writer import CHOICE, Statement

__all__ = ["finish"]

_TAKEN = frozenset(
    (
        *("jnp", "jax", "nnx", "np", "math", "self", "rngs", "rearrange", "repeat", "einops", "Array", "ShapeError"),
        *keyword.kwlist,
        *(name for name in dir(builtins) if not name.startswith("_")),
    )
)


@dataclass
class _Line:
    targets: list[str]
    code: ast.expr
    source: Source
    call: bool
    guard: bool = False
    parts: int = 0
    reason: str = ""


def finish(
    statements: Sequence[Statement],
    result: str,
    inputs: Sequence[str],
    source: Source,
    choices: Sequence[Sequence[str]] = (),
) -> list[str]:
    """The lines of a body.

    Args:
        statements: in single assignment; a statement without a target stands as it is.
        result: what is returned, as code.
        inputs: names of the arguments.
        source: of the return.
        choices: lists of variables, of which any may stand where the number of the list does.
    """
    lines = [
        _Line(
            [statement.target] if statement.target else [],
            ast.parse(statement.code, mode="eval").body,
            statement.source,
            statement.call,
            guard=not statement.target,
            reason=statement.reason,
            parts=statement.parts,
        )
        for statement in statements
    ]
    lines.append(_Line(["return"], ast.parse(result, mode="eval").body, source, call=True))
    _choose(lines, inputs, choices)
    lines, preferred = _without_aliases(_unpacked(lines))
    lines = _without_unused(lines)
    lines = _inlined(lines)
    return _named(lines, inputs, preferred)


def _choose(lines: list[_Line], inputs: Sequence[str], choices: Sequence[Sequence[str]]) -> None:
    """Put a variable for each choice: one that is there anyway, so that no other line has to stay for it."""
    if not choices:
        return
    kept = _without_unused(lines)
    for n, line in enumerate(lines):
        for name in {use for use in _uses(line.code) if use.startswith(CHOICE)}:
            options = choices[int(name.removeprefix(CHOICE))]
            here = _uses(line.code)
            later = {use for other in lines[n + 1 :] if other in kept for use in _uses(other.code)}
            lasting = {option for option in options if not _goes_at_once(option, lines)}
            chosen = next(
                (
                    option
                    for option in reversed(options)
                    if (option in here or option in later) and (option in inputs or option in lasting)
                ),
                options[-1],
            )
            line.code = _Replace({name: ast.Name(chosen, ast.Load())}).visit(line.code)


def _goes_at_once(name: str, lines: Sequence[_Line]) -> bool:
    """Whether a variable may go as it is used once, by the statement of the original that makes it."""
    made = next((line for line in lines if name in line.targets), None)
    users = [line for line in lines if name in _uses(line.code)]
    return made is not None and len(users) == 1 and _same_statement(made, users[0])


def _uses(node: ast.expr) -> list[str]:
    return [item.id for item in ast.walk(node) if isinstance(item, ast.Name)]


class _Replace(ast.NodeTransformer):
    def __init__(self, codes: dict[str, ast.expr]) -> None:
        self.codes = codes

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.codes.get(node.id, node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        key = ast.unparse(node)
        return self.codes[key] if key in self.codes else self.generic_visit(node)


def _unpacked(lines: list[_Line]) -> list[_Line]:
    """A tuple of which every entry is used by its number is assigned to names at once."""
    for line in lines:
        if len(line.targets) != 1 or line.targets[0] == "return":
            continue
        name = line.targets[0]
        places, whole = _subscripts(lines, name)
        if whole or not places or sorted(places) != list(range(len(places))):
            continue
        if len(places) == 1 or _is_array(line.code) or line.parts > len(places):
            continue
        line.targets = [f"{name}_{n}" for n in range(len(places))]
        swap = _Replace({f"{name}[{n}]": ast.Name(f"{name}_{n}", ast.Load()) for n in places})
        for other in lines:
            other.code = swap.visit(other.code)
    return lines


def _without_aliases(lines: list[_Line]) -> tuple[list[_Line], dict[str, str]]:
    """A variable that is another one goes; its name in the original is the better one for both."""
    swap: dict[str, ast.expr] = {}
    preferred: dict[str, str] = {}
    places: dict[tuple[str, tuple[int, int]], int] = {}
    kept = []
    for line in lines:
        line.code = _Replace(swap).visit(line.code)
        if isinstance(line.code, ast.Name) and line.targets and line.targets[0] != "return":
            swap[line.targets[0]] = line.code
            if len(line.source.targets) >= 1 and line.code.id.startswith("v__"):
                preferred.setdefault(line.code.id, _hints(line, {}, places)[0])
        else:
            kept.append(line)
    return kept, preferred


def _is_array(code: ast.expr) -> bool:
    """Entries of an array that are looked up one by one: assigned at once where all are there; einops' result is."""
    text = ast.unparse(code)
    return not text.startswith(("jnp.split(", "jnp.meshgrid(", "rearrange(", "jax.lax.top_k(", "self."))


def _subscripts(lines: Sequence[_Line], name: str) -> tuple[set[int], bool]:
    places: set[int] = set()
    count = 0
    total = 0
    for line in lines:
        for node in ast.walk(line.code):
            if isinstance(node, ast.Name) and node.id == name:
                total += 1
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Name)
                and node.value.id == name
                and isinstance(node.slice, ast.Constant)
                and isinstance(node.slice.value, int)
            ):
                places.add(node.slice.value)
                count += 1
    return places, count != total


def _without_unused(lines: list[_Line]) -> list[_Line]:
    while True:
        used = {name for line in lines for name in _uses(line.code)}
        kept = [
            line
            for line in lines
            if line.call or line.guard or any(target in used or target == "return" for target in line.targets)
        ]
        if len(kept) == len(lines):
            return kept
        lines = kept


def _inlined(lines: list[_Line]) -> list[_Line]:
    """What is used once, by the same statement of the original or right after, stands where it is used."""
    place = 0
    while place < len(lines):
        line = lines[place]
        if len(line.targets) == 1 and line.targets[0] != "return" and not line.guard:
            name = line.targets[0]
            users = [n for n, other in enumerate(lines) if name in _uses(other.code)]
            if len(users) == 1 and _uses(lines[users[0]].code).count(name) == 1:
                user = users[0]
                between = lines[place + 1 : user]
                # What is left out between the two, such as dropout at no rate, leaves a name that nothing needs.
                returned = user == place + 1 and lines[user].targets == ["return"]
                together = _same_statement(line, lines[user]) or (returned and isinstance(lines[user].code, ast.Name))
                moves = not line.call or not any(other.call or other.guard for other in between)
                if together and moves and not lines[user].guard:
                    lines[user].code = _Replace({name: line.code}).visit(lines[user].code)
                    lines[user].call = lines[user].call or line.call
                    del lines[place]
                    place = max(0, place - 1)
                    continue
        place += 1
    return lines


def _same_statement(first: _Line, second: _Line) -> bool:
    return first.source.file == second.source.file and (
        first.source.statement == second.source.statement != (0, 0) and first.source.turn == second.source.turn
    )


def _named(lines: list[_Line], inputs: Sequence[str], preferred: dict[str, str]) -> list[str]:
    """Names of the original, but where what they hold is still needed."""
    last: dict[str, int] = {}
    for n, line in enumerate(lines):
        for name in _uses(line.code):
            last[name] = n
    names = {name: name for name in inputs}
    holder = {name: name for name in inputs}
    text: list[str] = []
    places: dict[tuple[str, tuple[int, int]], int] = {}
    for n, line in enumerate(lines):
        code = _Replace({name: ast.Name(new, ast.Load()) for name, new in names.items()}).visit(line.code)
        written = ast.unparse(code)
        if line.guard and isinstance(code, ast.Call):
            text.append(written)
            continue
        if line.guard and _is_always_true(code):
            continue
        if line.guard:
            question = f"if {negated(code)}:\n"
            if not any(earlier.startswith(question) for earlier in text):
                text.append(f"{question}    raise ShapeError({_expected(written, line.reason)!r})")
            continue
        if line.targets == ["return"]:
            text.append(f"return {written}")
            continue
        hints = [
            preferred.get(target, hint) for target, hint in zip(line.targets, _hints(line, names, places), strict=True)
        ]
        chosen = []
        for target, hint in zip(line.targets, hints, strict=True):
            name, number = hint, 1
            while name in _TAKEN or name in chosen or (name in holder and last.get(holder[name], -1) > n):
                number += 1
                name = f"{hint}{number}"
            chosen.append(name)
            holder[name] = target
            names[target] = name
            last.setdefault(target, n)
        if any(target in last and last[target] > n for target in line.targets):
            text.append(f"{', '.join(chosen)} = {written}")
        else:
            text.append(written)
    return text


def _is_always_true(code: ast.expr) -> bool:
    """Whether a question asks a size whether it is itself, or a multiple of one."""
    if ast.unparse(code).endswith(" % 1 == 0"):
        return isinstance(code, ast.Compare) and isinstance(code.left, ast.BinOp)
    return (
        isinstance(code, ast.Compare)
        and isinstance(code.ops[0], (ast.Eq, ast.LtE, ast.GtE))
        and ast.unparse(code.left) == ast.unparse(code.comparators[0])
    )


def _expected(condition: str, reason: str) -> str:
    text = f"expected {condition}, as at the sizes that this was translated at"
    return f"{text}: {reason}" if reason else text


def _hints(line: _Line, names: dict[str, str], places: dict[tuple[str, tuple[int, int]], int]) -> list[str]:
    targets = [target for target in line.source.targets if target]
    if len(targets) == len(line.targets) and len(targets) == len(line.source.targets):
        return [_clean(target) for target in targets]
    before = [names[name] for name in _uses(line.code) if name in names]
    if len(line.targets) > 1:
        base = targets[0] if targets else "part"
        return [f"{_clean(base)}{n + 1}" for n in range(len(line.targets))]
    if len(targets) > 1:
        # `cos, sin = a, b`: one after the other.
        key = (line.source.file, line.source.statement)
        place = places.get(key, 0)
        places[key] = place + 1
        return [_clean(targets[place % len(targets)])]
    return [_clean(targets[0]) if len(targets) == 1 else before[0] if before else "x"]


def _clean(name: str) -> str:
    name = name.strip("_").lower() or "x"
    return f"{name}_" if name in _TAKEN else name
