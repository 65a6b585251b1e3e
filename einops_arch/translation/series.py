"""Children that repeat with other numbers: lists whose lengths differ are made from what the constructor is given."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from einops_arch.translation.defaults import with_defaults
from einops_arch.translation.holes import POSITIONAL, Holes, parse, skeleton

__all__ = ["NUMBERED", "common_series", "numbered_series", "setters", "shortened"]

Positional = Mapping[str, Sequence[str]]
_LISTS = ("nnx.List", "Sequential")
_MOST = 3
NUMBERED = "__numbered_"
"""Between the name and the first number of children that are attributes: `denselayer1`, `denselayer2`."""


@dataclass(frozen=True)
class _Items:
    """The items of a list of modules, and the call that they stand in."""

    called: str
    codes: list[str]

    def comprehension(self, item: str, source: str) -> str:
        if self.called == "Sequential":
            return f"Sequential(*({item} {source}))"
        return f"nnx.List([{item} {source}])"


def _items_of(code: str) -> _Items | None:
    """The items of `nnx.List([...])` or `Sequential(...)`, equal ones written out; None for any other code."""
    tree = ast.parse(code, mode="eval").body
    if not isinstance(tree, ast.Call) or ast.unparse(tree.func) not in _LISTS or tree.keywords or not tree.args:
        return None
    called = ast.unparse(tree.func)
    inner: ast.expr | Sequence[ast.expr] = tree.args[0] if called == "nnx.List" else tree.args
    if not isinstance(inner, ast.expr) and len(inner) == 1 and isinstance(inner[0], ast.Starred):
        inner = inner[0].value
    if isinstance(inner, (ast.ListComp, ast.GeneratorExp)):
        source = inner.generators[0].iter
        if not (isinstance(source, ast.Call) and len(source.args) == 1 and isinstance(source.args[0], ast.Constant)):
            return None
        if ast.unparse(inner.generators[0].target) != "_":
            return None
        return _Items(called, [ast.unparse(inner.elt)] * int(str(source.args[0].value)))
    elements = inner.elts if isinstance(inner, ast.List) else inner if not isinstance(inner, ast.expr) else None
    if elements is None or any(isinstance(item, ast.Dict) for item in elements):
        return None
    return _Items(called, [ast.unparse(item) for item in elements])


def _vectors(codes: Sequence[str], positional: Positional = POSITIONAL) -> tuple[list[list[str]], list[str]]:
    """For each hole, what stands in it in each of the codes; and the name of its argument."""
    collected = []
    for code in codes:
        holes = Holes(positional=positional)
        holes.visit(parse(code))
        collected.append(holes)
    count = len(collected[0].nodes)
    return [[ast.unparse(holes.nodes[n]) for holes in collected] for n in range(count)], collected[0].slots


def common_series(
    codes: Sequence[str], defaults: Mapping[str, Mapping[str, str]], positional: Positional = POSITIONAL
) -> list[str] | None:
    """Lists of several members as comprehensions of one form, whatever their lengths; None where that cannot be.

    Args:
        codes: of each member, such as `nnx.List([Block(3, 5), Block(5, 5)])`.
        defaults: of the generated classes, by name: arguments that calls leave out.
        positional: names of arguments that calls pass in their place.
    """
    lists = [_items_of(code) for code in codes]
    known = [item for item in lists if item is not None]
    if len(known) != len(codes) or len({item.called for item in known}) != 1 or not all(item.codes for item in known):
        return None
    flat = with_defaults([code for item in known for code in item.codes], defaults)
    if len(set(map(skeleton, flat))) != 1:
        return None
    places, start = [], 0
    for item in known:
        places.append(range(start, start + len(item.codes)))
        start += len(item.codes)
    vectors, slots = _vectors(flat, positional)
    varying = [n for n, vector in enumerate(vectors) if any(len({vector[k] for k in rows}) > 1 for rows in places)]
    if len(varying) > _MOST:
        return None
    steps = {n: step for n in varying if (step := _step(vectors[n], places)) is not None}
    straight = bool(varying) and len(steps) == len(varying)
    result = []
    for item, rows in zip(known, places, strict=True):
        swaps = [ast.parse(vector[rows[0]], mode="eval").body for vector in vectors]
        names: dict[int, str] = {}
        for n in varying:
            if straight:
                first = vectors[n][rows[0]]
                swaps[n] = ast.parse(f"{first} + each__place * {steps[n]}", mode="eval").body
            else:
                names[n] = _variable(slots[n], names.values())
                swaps[n] = ast.Name(names[n], ast.Load())
        body = ast.unparse(Holes(swaps).visit(ast.parse(flat[rows[0]])))
        result.append(item.comprehension(body, _source(names, vectors, rows, straight=straight)))
    return result if len(set(map(skeleton, result))) == 1 else None


def _source(names: Mapping[int, str], vectors: Sequence[Sequence[str]], rows: range, *, straight: bool) -> str:
    if not names:
        return f"for {'each__place' if straight else '_'} in range({len(rows)})"
    columns = [_tuple([vectors[n][k] for k in rows]) for n in names]
    if len(columns) == 1:
        return f"for {next(iter(names.values()))} in {columns[0]}"
    return f"for {', '.join(names.values())} in zip({', '.join(columns)}, strict=True)"


def _tuple(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _variable(slot: str, taken: Sequence[str] | object) -> str:
    base = f"each__{slot or 'item'}"
    name, number = base, 1
    while name in taken:  # type: ignore[operator]
        number += 1
        name = f"{base}{number}"
    return name


def _step(vector: Sequence[str], places: Sequence[range]) -> int | None:
    """By how much a whole number grows from item to item, the same everywhere."""
    steps: set[int] = set()
    for rows in places:
        numbers = [ast.literal_eval(vector[k]) for k in rows]
        if not all(type(number) is int for number in numbers):
            return None
        steps.update(right - left for left, right in itertools.pairwise(numbers))
    return steps.pop() if len(steps) == 1 else None


def shortened(code: str, taken: Sequence[str], positional: Positional = POSITIONAL) -> str:
    """Code of an attribute as a person writes it: three and more items that differ in numbers, and plain variables.

    Args:
        code: what the constructor makes.
        taken: names of the constructor's arguments.
        positional: names of arguments that calls pass in their place.
    """
    items = _items_of(code)
    if items is not None and len(items.codes) > 2 and len(set(items.codes)) > 1:
        codes = with_defaults(items.codes, {})
        vectors, slots = _vectors(codes, positional) if len(set(map(skeleton, codes))) == 1 else ([], [])
        varying = [n for n, vector in enumerate(vectors) if len(set(vector)) > 1]
        if vectors and 0 < len(varying) < _MOST and _are_arguments(varying, slots):
            swaps = [ast.parse(vector[0], mode="eval").body for vector in vectors]
            names: dict[int, str] = {}
            columns = [list(vector) for vector in vectors]
            for n in varying:
                names[n] = _variable(slots[n], names.values())
                swaps[n] = ast.Name(names[n], ast.Load())
                if all(re.fullmatch(r"\(\S+,\)", text) for text in columns[n]):
                    columns[n] = [text[1:-2] for text in columns[n]]
                    swaps[n] = ast.Tuple([swaps[n]], ast.Load())
            body = ast.unparse(Holes(swaps).visit(ast.parse(codes[0])))
            source = _source(names, columns, range(len(codes)), straight=False)
            code = items.comprehension(body, source)
    names_in = {node.id for node in ast.walk(parse(code)) if isinstance(node, ast.Name)} | set(taken)
    for variable in sorted({name for name in names_in if name.startswith("each__")}):
        plain = {"each__place": "n"}.get(variable, variable.removeprefix("each__"))
        plain = plain if plain not in names_in else variable.replace("__", "_")
        code = re.sub(rf"\b{variable}\b", plain, code)
    return code


def _are_arguments(places: Sequence[int], slots: Sequence[str]) -> bool:
    """Whether each of the numbers is an argument of its own, which a variable can be named after."""
    return all(slots[n] for n in places) and len({slots[n] for n in places}) == len(places)


def numbered_series(attributes: Sequence[Sequence[tuple[str, str]]]) -> tuple[str, int] | None:
    """The name and the first number of children that some members have more of than others.

    Args:
        attributes: of each member: name and code.
    """
    runs = [_runs(member) for member in attributes]
    for base, numbers in runs[0].items():
        others = [run.get(base, []) for run in runs]
        if any(not other or other != list(range(numbers[0], numbers[0] + len(other))) for other in others):
            continue
        if len({len(other) for other in others}) > 1:
            return base, numbers[0]
    return None


def _runs(attributes: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    runs: dict[str, list[int]] = {}
    for name, _ in attributes:
        if (match := re.fullmatch(r"(\w*?[A-Za-z_])(\d+)", name)) is not None:
            runs.setdefault(match[1], []).append(int(match[2]))
    return runs


def setters(name: str, code: str, taken: Sequence[str] = ()) -> str:
    """The lines that make numbered children, from their comprehension.

    Args:
        name: of the list that they were for a time.
        code: the comprehension.
        taken: names of the constructor's arguments.
    """
    base, _, first = name.partition(NUMBERED)
    tree = ast.parse(code, mode="eval").body
    inner = tree.args[0] if isinstance(tree, ast.Call) else None
    if not isinstance(inner, ast.ListComp):
        items = _items_of(code)
        return "\n".join(f"self.{base}{int(first) + n} = {item}" for n, item in enumerate(items.codes if items else ()))
    target, source = ast.unparse(inner.generators[0].target), ast.unparse(inner.generators[0].iter)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | set(taken)
    n = next(free for free in ("n", "index", "number", *(f"n{k}" for k in range(len(names) + 1))) if free not in names)
    if source.startswith("range("):
        variable = n if target == "_" else target
        number = f"{{{variable} + {first}}}" if int(first) else f"{{{variable}}}"
    else:
        start = f", start={first}" if int(first) else ""
        number, variable, source = (
            f"{{{n}}}",
            f"{n}, ({target})" if "," in target else f"{n}, {target}",
            f"enumerate({source}{start})",
        )
    return f'for {variable} in {source}:\n    setattr(self, f"{base}{number}", {ast.unparse(inner.elt)})'
