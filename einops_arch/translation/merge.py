"""Drafts of one original class become one class: constants that differ are arguments of its constructor."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from einops_arch.translation.drafts import Draft, Drafts
from einops_arch.translation.leaves import is_sequence

__all__ = ["FlaxClass", "merge"]

_PLACEHOLDER = re.compile(r"__draft_(\d+)__\(rngs=rngs\)")
_POSITIONAL = {
    "Conv": ("in_features", "out_features", "kernel_size", "strides"),
    "ConvTranspose": ("in_features", "out_features", "kernel_size", "strides"),
    "Linear": ("in_features", "out_features"),
    "Conv1D": ("in_features", "out_features"),
    "Embed": ("num_embeddings", "features"),
    "Dropout": ("rate",),
    "Dropout2d": ("rate",),
    "MaxPool": ("window", "strides", "padding"),
    "AvgPool": ("window", "strides", "padding"),
    "AdaptiveAvgPool": ("output_size",),
    "GroupNorm": ("num_features", "num_groups"),
}


@dataclass
class FlaxClass:
    """A class of the file.

    Args:
        name: its name.
        original: the class of PyTorch that it stands for.
        base: `nnx.Module`, or `Sequential`.
        arguments: of the constructor: name and type.
        attributes: what the constructor makes.
        settings: arguments that are kept as attributes.
        signature: arguments of a call.
        bodies: lines by mode.
        drafts: what was merged.
    """

    name: str
    original: type
    base: str
    arguments: list[tuple[str, str]]
    attributes: list[tuple[str, str]]
    settings: list[str]
    signature: list[str]
    bodies: dict[str, list[str]]
    drafts: list[Draft]
    imports: set[str] = field(default_factory=set)

    @property
    def two_ways(self) -> bool:
        return len(self.bodies) == 2 and self.bodies["eval"] != self.bodies["train"]


def merge(drafts: Drafts, root: Draft, built: Mapping[int, Mapping[str, Any]], root_name: str) -> list[FlaxClass]:
    """Classes in the order in which they need each other, the root's last.

    Args:
        drafts: all of them.
        root: of the whole model.
        built: by id of a module, the arguments that it was constructed with, where that is known.
        root_name: name of the root's class.
    """
    return _Merger(drafts, built, root, root_name).classes()


class _Merger:
    def __init__(self, drafts: Drafts, built: Mapping[int, Mapping[str, Any]], root: Draft, root_name: str) -> None:
        self.drafts = drafts
        self.built = built
        self.root = root
        self.root_name = root_name
        self.by_number = {draft.number: draft for draft in drafts.drafts.values()}
        self.calls: dict[int, str] = {}
        self.result: list[FlaxClass] = []
        self.names: set[str] = set(drafts.records.names)

    def classes(self) -> list[FlaxClass]:
        for group in self._groups():
            self._merge(group)
        return self.result

    def _children(self, draft: Draft) -> Iterator[Draft]:
        for _, code in draft.attributes:
            for match in _PLACEHOLDER.finditer(code):
                yield self.by_number[int(match[1])]

    def _groups(self) -> list[list[Draft]]:
        """Drafts of one class together, after all that they are made of; by height where a class contains itself."""
        heights: dict[int, int] = {}

        def height(draft: Draft) -> int:
            if draft.number not in heights:
                heights[draft.number] = 1 + max((height(child) for child in self._children(draft)), default=0)
            return heights[draft.number]

        used: dict[int, Draft] = {}

        def visit(draft: Draft) -> None:
            if draft.number not in used:
                used[draft.number] = draft
                for child in self._children(draft):
                    visit(child)

        visit(self.root)
        kinds: dict[Any, set[Any]] = {}
        for draft in used.values():
            kinds.setdefault(_kind(draft), set()).update(_kind(child) for child in self._children(draft))
        circular = {kind for kind in kinds if kind in _reachable(kinds, kind)}
        groups: dict[Any, list[Draft]] = {}
        for draft in sorted(used.values(), key=lambda item: item.number):
            kind = _kind(draft)
            key = (kind, height(draft)) if kind in circular else (kind, 0)
            groups.setdefault(key, []).append(draft)
        return self._in_order(list(groups.values()))

    def _in_order(self, groups: Sequence[list[Draft]]) -> list[list[Draft]]:
        """Groups after all that they are made of."""
        done: list[list[Draft]] = []
        placed: set[int] = set()

        def place(members: list[Draft]) -> None:
            if members[0].number in placed:
                return
            placed.update(draft.number for draft in members)
            for draft in members:
                for child in self._children(draft):
                    for others in groups:
                        if child in others:
                            place(others)
            done.append(members)

        for members in groups:
            place(members)
        return done

    def _resolve(self, code: str) -> str:
        return _PLACEHOLDER.sub(lambda match: self.calls[int(match[1])], code)

    def _merge(self, group: Sequence[Draft]) -> None:
        variants: dict[Any, list[Draft]] = {}
        for draft in group:
            draft.attributes = [(name, _compact(self._resolve(code))) for name, code in draft.attributes]
            if (call := _plain_sequential(draft, self.drafts)) is not None:
                draft.imports.add("from einops_arch.flax.layers import Sequential")
                self.calls[draft.number] = call
                continue
            lines = {mode: loops(body.lines, draft, self.drafts) for mode, body in draft.bodies.items()}
            skeleton = (
                tuple((name, _skeleton(code)) for name, code in draft.attributes),
                tuple((mode, tuple(_skeleton_of_line(line) for line in body)) for mode, body in lines.items()),
                tuple(draft.arguments),
            )
            variants.setdefault(skeleton, []).append(draft)
        for members in variants.values():
            self._make(members)

    def _make(self, members: Sequence[Draft]) -> None:
        first = members[0]
        name = self._name(first)
        lines = {mode: loops(body.lines, first, self.drafts) for mode, body in first.bodies.items()}
        merged = _Arguments(members, self.built)
        attributes = []
        for n, (attribute, _) in enumerate(first.attributes):
            attributes.append((attribute, merged.unify([draft.attributes[n][1] for draft in members], attribute)))
        bodies: dict[str, list[str]] = {}
        for mode, body in lines.items():
            others = [loops(draft.bodies[mode].lines, draft, self.drafts) for draft in members]
            bodies[mode] = [merged.unify([other[n] for other in others], "", inside=True) for n in range(len(body))]
        base = "Sequential" if is_sequence(first.module) else "nnx.Module"
        flax_class = FlaxClass(
            name,
            first.original,
            base,
            merged.arguments,
            attributes,
            merged.settings,
            first.arguments,
            bodies,
            list(members),
            set().union(*(draft.imports for draft in members)),
        )
        if base == "Sequential":
            flax_class.imports.add("from einops_arch.flax.layers import Sequential")
        self.result.append(flax_class)
        for position, draft in enumerate(members):
            arguments = [f"{key}={merged.values[key][position]}" for key, _ in merged.arguments]
            self.calls[draft.number] = f"{name}({', '.join([*arguments, 'rngs=rngs'])})"

    def _name(self, draft: Draft) -> str:
        if draft is self.root:
            base = self.root_name
        elif type(draft.module).__name__ in ("Sequential", "ModuleList"):
            base = (
                "".join(part.capitalize() for part in re.split(r"[._\d]+", draft.path)[-1:] or ["Layers"]) or "Layers"
            )
        else:
            base = re.sub(r"\W", "", draft.original.__name__).lstrip("_") or "Module"
        imported = {line.rpartition(" ")[2] for line in set().union(*(d.imports for d in self.by_number.values()))}
        if base in imported or base in ("Array", "Sequential"):
            base = f"{base}Module"
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}{number}"
        self.names.add(name)
        return name


def _kind(draft: Draft) -> Any:
    """Sequentials and idle modules never merge with others than their like."""
    return draft.original if type(draft.module).__name__ != "Sequential" else ("Sequential", draft.number)


def _reachable(graph: Mapping[Any, set[Any]], start: Any) -> set[Any]:
    seen: set[Any] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            waiting += graph.get(kind, ())
    return seen


# Holes: constants in code.


def _is_hole(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, (str, bytes))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_hole(node.operand)
    return isinstance(node, ast.Tuple) and bool(node.elts) and all(_is_hole(item) for item in node.elts)


class _Holes(ast.NodeTransformer):
    """Numbers every constant, and says under which argument of which call it stands."""

    def __init__(self, swap: Sequence[ast.expr] | None = None) -> None:
        self.found: list[ast.AST] = []
        self.slots: list[str] = []
        self.swap = swap
        self.slot = ""

    def visit(self, node: ast.AST) -> Any:
        if _is_hole(node):
            self.found.append(node)
            self.slots.append(self.slot)
            return self.swap[len(self.found) - 1] if self.swap is not None else ast.Name("_hole_", ast.Load())
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            names = _POSITIONAL.get(called, ())
            node.func = self.visit(node.func)
            for n, argument in enumerate(node.args):
                self.slot = names[n] if n < len(names) else ""
                node.args[n] = self.visit(argument)
            for keyword in node.keywords:
                self.slot = keyword.arg or ""
                keyword.value = self.visit(keyword.value)
            self.slot = ""
            return node
        return super().generic_visit(node)


def _parse(code: str) -> ast.AST:
    return ast.parse(code)


def _skeleton(code: str) -> str:
    return ast.unparse(_Holes().visit(_parse(code)))


def _skeleton_of_line(line: str) -> str:
    return _skeleton(line)


class _Arguments:
    """The constructor's arguments of a class that several modules share."""

    def __init__(self, members: Sequence[Draft], built: Mapping[int, Mapping[str, Any]]) -> None:
        self.members = members
        self.known: list[tuple[str, tuple[str, ...]]] = []
        for name in _names_of_settings(members, built):
            vector = tuple(_text(_setting(draft, name, built)) for draft in members)
            self.known.append((name, vector))
        self.arguments: list[tuple[str, str]] = []
        self.settings: list[str] = []
        self.values: dict[str, tuple[str, ...]] = {}

    def unify(self, codes: Sequence[str], attribute: str, *, inside: bool = False) -> str:
        """One code for all, with arguments where they differ."""
        if len(set(codes)) == 1:
            return codes[0]
        collected = []
        for code in codes:
            holes = _Holes()
            holes.visit(_parse(code))
            collected.append(holes)
        swaps: list[ast.expr] = []
        for n in range(len(collected[0].found)):
            vector = tuple(ast.unparse(holes.found[n]) for holes in collected)
            if len(set(vector)) == 1:
                swaps.append(collected[0].found[n])  # type: ignore[arg-type]
            else:
                code = self._argument(vector, collected[0].slots[n], attribute, inside=inside)
                swaps.append(ast.parse(code, mode="eval").body)
        return ast.unparse(_Holes(swaps).visit(_parse(codes[0])))

    def _argument(self, vector: tuple[str, ...], slot: str, attribute: str, *, inside: bool) -> str:
        prefix = "self." if inside else ""
        for name, values in self.values.items():
            if values == vector:
                return self._used(name, prefix)
        named = next((name for name, values in self.known if values == vector), None)
        if named is None:
            derived = self._derived(vector, prefix)
            if derived is not None:
                return derived
            named = slot or attribute or "size"
        name, number = named, 1
        while name in self.values or name in ("rngs", "self"):
            number += 1
            name = f"{attribute}_{slot}" if number == 2 and attribute and slot else f"{named}{number}"
        self.values[name] = vector
        kinds = {type(ast.literal_eval(value)).__name__ for value in vector}
        self.arguments.append((name, _annotation(kinds, vector)))
        return self._used(name, prefix)

    def _used(self, name: str, prefix: str) -> str:
        if prefix and name not in self.settings:
            self.settings.append(name)
        return f"{prefix}{name}"

    def _derived(self, vector: tuple[str, ...], prefix: str) -> str | None:
        """A multiple or a part of an argument that is there."""
        numbers = [ast.literal_eval(value) for value in vector]
        if not all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers):
            return None
        for name, values in self.values.items():
            others = [ast.literal_eval(value) for value in values]
            if not all(isinstance(other, int) and not isinstance(other, bool) and other > 0 for other in others):
                continue
            if len(set(others)) < 2:
                continue
            factors = {number / other for number, other in zip(numbers, others, strict=True)}
            if len(factors) == 1:
                factor = factors.pop()
                if factor.is_integer():
                    return f"{int(factor)} * {self._used(name, prefix)}"
                if (1 / factor).is_integer():
                    return f"{self._used(name, prefix)} // {int(1 / factor)}"
        return None


def _names_of_settings(members: Sequence[Draft], built: Mapping[int, Mapping[str, Any]]) -> list[str]:
    names = [name for name in built.get(id(members[0].module), {}) if name != "self"]
    signature = inspect.signature(type(members[0].module).__init__).parameters
    held = [name for name in vars(members[0].module) if not name.startswith("_") and name != "training"]
    names += [name for name in held if name in signature and name not in names]
    return names + [name for name in held if name not in names]


def _setting(draft: Draft, name: str, built: Mapping[int, Mapping[str, Any]]) -> Any:
    arguments = built.get(id(draft.module), {})
    return arguments[name] if name in arguments else getattr(draft.module, name, None)


def _text(value: Any) -> str:
    if isinstance(value, (bool, int, float, type(None))):
        return repr(value)
    if isinstance(value, (tuple, list)) and all(isinstance(item, (bool, int, float)) for item in value):
        return repr(tuple(value))
    return "?"


def _annotation(kinds: set[str], vector: Sequence[str]) -> str:
    if kinds == {"tuple"}:
        inner = {type(item).__name__ for value in vector for item in ast.literal_eval(value)}
        return f"tuple[{', '.join(sorted(inner))}, ...]" if len(inner) == 1 else "tuple[float, ...]"
    kinds = {"None" if kind == "NoneType" else kind for kind in kinds}
    if kinds == {"int", "float"}:
        return "float"
    return " | ".join(sorted(kinds, key=lambda kind: kind == "None"))


# Repetition


def _compact(code: str) -> str:
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


def _plain_sequential(draft: Draft, drafts: Drafts) -> str | None:
    """The constructor call of a Sequential that only calls its children in turn."""
    module = draft.module
    if not is_sequence(module) or draft.refused or not draft.bodies:
        return None
    names = [name for name, child in module.named_children() if not drafts.vanishes(child)]
    expected = [f"self[{n}]" if name.isdigit() else f"self.{name}" for n, name in enumerate(names)]
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
        return _compact(f"Sequential({', '.join(made.values())})")
    inner = ", ".join(f'"{name}": {code}' for name, code in made.items())
    return f"Sequential({{{inner}}})"


_INDEXED = re.compile(r"self((?:\.\w+)+)\[(\d+)\]")


def loops(lines: Sequence[str], draft: Draft, drafts: Drafts) -> list[str]:
    """Lines that repeat for the children of a list, as a loop."""
    result: list[str] = []
    place = 0
    while place < len(lines):
        for width in range(1, 7):
            turns = _turns(lines, place, width)
            if turns > 1:
                result.append(_loop(lines, place, width, turns, draft))
                place += width * turns
                break
        else:
            result.append(lines[place])
            place += 1
    return result


def _turns(lines: Sequence[str], place: int, width: int) -> int:
    """How many times the lines from here repeat with the next child each."""
    head = _INDEXED.findall("\n".join(lines[place : place + width]))
    if not head or len({base for base, _ in head}) != 1 or len({index for _, index in head}) != 1:
        return 0
    base, start = head[0][0], int(head[0][1])

    def template(n: int) -> str | None:
        block = lines[place + n * width : place + (n + 1) * width]
        if len(block) < width:
            return None
        text = "\n".join(block)
        found = _INDEXED.findall(text)
        if not found or any(item != (base, str(start + n)) for item in found):
            return None
        return _INDEXED.sub("_turn_", text)

    first = template(0)
    if first is None or "return" in first:
        return 0
    turns = 1
    while template(turns) == first:
        turns += 1
    return turns


def _loop(lines: Sequence[str], place: int, width: int, turns: int, draft: Draft) -> str:
    block = "\n".join(lines[place : place + width])
    match = _INDEXED.search(block)
    if match is None:
        raise ValueError("a loop without an index")
    base, start = match[1], int(match[2])
    at = draft.module
    for name in base.strip(".").split("."):
        at = getattr(at, name)
    last = base.rpartition(".")[2]
    variable = last[:-1] if last.endswith("s") and len(last) > 3 else "layer"
    if re.search(rf"\b{variable}\b", block):
        variable = f"{variable}_module"
    inner = _INDEXED.sub(variable, block)
    whole = start == 0 and turns == len(list(at.children()))
    source = f"self{base}" if whole else f"list(self{base})[{start}:{start + turns}]"
    body = "\n".join(f"    {line}" for line in inner.splitlines())
    return f"for {variable} in {source}:\n{body}"
