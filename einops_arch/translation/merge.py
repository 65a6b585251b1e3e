"""Drafts of one original class become one class: constants that differ are arguments of its constructor."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from einops_arch.translation.constructors import Constructor, Environment, constructor_of
from einops_arch.translation.drafts import Draft, Drafts, without_children
from einops_arch.translation.layers import is_sequence

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


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor: its name, its type as code, and its default as code, None without one."""

    name: str
    kind: str
    default: str | None = None

    @property
    def code(self) -> str:
        """As it stands in the signature."""
        return f"{self.name}: {self.kind}" + ("" if self.default is None else f" = {self.default}")


@dataclass
class FlaxClass:
    """A class of the file.

    Args:
        name: its name.
        original: the class of PyTorch that it stands for.
        base: `nnx.Module`, or `Sequential`.
        arguments: of the constructor.
        attributes: what the constructor makes.
        settings: plain attributes: name and code.
        signature: arguments of a call.
        bodies: lines by mode.
        drafts: what was merged.
    """

    name: str
    original: type
    base: str
    arguments: list[Argument]
    attributes: list[tuple[str, str]]
    settings: dict[str, str]
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
        self.positional: dict[str, Sequence[str]] = dict(_POSITIONAL)

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
        kept: list[Draft] = []
        for draft in group:
            draft.attributes = [(name, _compact(self._resolve(code))) for name, code in draft.attributes]
            if (call := _plain_sequential(draft, self.drafts)) is not None:
                draft.imports.add("from einops_arch.flax.layers import Sequential")
                self.calls[draft.number] = call
                continue
            kept.append(draft)
        for members in _joined(kept, self._lines):
            self._make(members)

    def _lines(self, draft: Draft) -> dict[str, list[str]]:
        return {mode: loops(body.lines, draft, self.drafts) for mode, body in draft.bodies.items()}

    def _make(self, members: Sequence[Draft]) -> None:
        first = members[0]
        name = self._name(first)
        merged = _Arguments(members, self.built, self.positional)
        attributes = []
        for n, (attribute, _) in enumerate(first.attributes):
            code = merged.choice([draft.attributes[n][1] for draft in members], attribute)
            if code is None:
                raise ValueError(f"{attribute} is made in more than two ways")
            attributes.append((attribute, code))
        bodies: dict[str, list[str]] = {}
        every = [self._lines(draft) for draft in members]
        for mode, body in every[0].items():
            bodies[mode] = [
                merged.unify([lines[mode][n] for lines in every], "", inside=True) for n in range(len(body))
            ]
        merged.fields()
        arguments = merged.arguments(root=first is self.root)
        base = "Sequential" if is_sequence(first.module) else "nnx.Module"
        flax_class = FlaxClass(
            name,
            first.original,
            base,
            arguments,
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
        self.positional[name] = [item.name for item in arguments]
        for position, draft in enumerate(members):
            passed = _passed(arguments, {key: vector[position] for key, vector in merged.values.items()})
            self.calls[draft.number] = f"{name}({', '.join([*passed, 'rngs=rngs'])})"

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


def _joined(drafts: Sequence[Draft], lines_of: Callable[[Draft], dict[str, list[str]]]) -> list[list[Draft]]:
    """Drafts that one class can stand for: the same steps, attributes made in two ways at the most.

    A child that some of them do not have is `Identity` there, if the others' steps without it are theirs.
    """
    groups: list[list[Draft]] = []
    for draft in sorted(drafts, key=lambda item: -len(item.attributes)):
        for group in groups:
            if _fits(group, draft, lines_of):
                group.append(draft)
                break
        else:
            groups.append([draft])
    return [sorted(group, key=lambda item: item.number) for group in sorted(groups, key=lambda group: group[0].number)]


def _fits(group: Sequence[Draft], draft: Draft, lines_of: Callable[[Draft], dict[str, list[str]]]) -> bool:
    first = group[0]
    names, own = [name for name, _ in first.attributes], [name for name, _ in draft.attributes]
    if first.arguments != draft.arguments or list(first.bodies) != list(draft.bodies):
        return False
    absent = [name for name in names if name not in own]
    if [name for name in names if name in own] != own:
        return False
    if any(draft.module._modules.get(name) is not None or name not in first.module._modules for name in absent):  # noqa: SLF001
        return False
    made = dict(draft.attributes) | dict.fromkeys(absent, "Identity()")
    for n, name in enumerate(names):
        codes = _with_defaults([made[name], *(member.attributes[n][1] for member in group)])
        if len(set(map(_skeleton, codes))) > 2:
            return False
    if absent:
        if any(without_children(body, absent) != draft.bodies[mode].lines for mode, body in first.bodies.items()):
            return False
        draft.attributes = [(name, made[name]) for name in names]
        draft.imports.add("from einops_arch.flax.layers import Identity")
        for mode, body in first.bodies.items():
            draft.bodies[mode].lines = body.lines
        return True
    left, right = lines_of(first), lines_of(draft)
    return all([_skeleton(line) for line in left[mode]] == [_skeleton(line) for line in right[mode]] for mode in left)


# Arguments that a layer is written without where they have these values.
_DEFAULTS = {
    "strides": "1",
    "padding": "0",
    "output_padding": "0",
    "kernel_dilation": "1",
    "feature_group_count": "1",
    "use_bias": "True",
}
_WITH_DEFAULTS = ("Conv", "ConvTranspose", "Linear")


def _with_defaults(codes: Sequence[str]) -> list[str]:
    """The codes with the arguments that others of them have written out, where all make the same layers."""
    trees = [_parse(code) for code in codes]
    calls = [[node for node in ast.walk(tree) if isinstance(node, ast.Call)] for tree in trees]
    names = {tuple(ast.unparse(call.func) for call in made) for made in calls}
    if len(names) != 1 or len(set(codes)) == 1:
        return list(codes)
    for same in zip(*calls, strict=True):
        if ast.unparse(same[0].func) not in _WITH_DEFAULTS:
            continue
        wanted = dict.fromkeys(word.arg for call in same for word in call.keywords if word.arg in _DEFAULTS)
        order = [*(name for name in _DEFAULTS if name in wanted)]
        for call in same:
            keywords = {word.arg: word for word in call.keywords}
            for name in order:
                default = ast.parse(_DEFAULTS[name], mode="eval").body
                keywords.setdefault(name, ast.keyword(name, default))
            call.keywords = [*(keywords.pop(name) for name in order), *keywords.values()]
    return [ast.unparse(tree) for tree in trees]


def _passed(arguments: Sequence[Argument], values: Mapping[str, str]) -> list[str]:
    """Arguments of a call: numbers in their place where they have no default, the rest by name."""
    passed: list[str] = []
    for item in arguments:
        if item.default == values[item.name]:
            continue
        in_place = item.default is None and item.kind in ("int", "float")
        passed.append(
            values[item.name]
            if in_place and all("=" not in text for text in passed)
            else f"{item.name}={values[item.name]}"
        )
    return passed


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

    def __init__(
        self, swap: Sequence[ast.expr] | None = None, positional: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.positional = _POSITIONAL if positional is None else positional
        self.nodes: list[ast.AST] = []
        self.slots: list[str] = []
        self.swap = swap
        self.slot = ""

    def visit(self, node: ast.AST) -> Any:
        if _is_hole(node):
            self.nodes.append(node)
            self.slots.append(self.slot)
            return self.swap[len(self.nodes) - 1] if self.swap is not None else ast.Name("_hole_", ast.Load())
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            names = self.positional.get(called, ())
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


class _Arguments:
    """The constructor's arguments of a class that several modules share."""

    def __init__(
        self,
        members: Sequence[Draft],
        built: Mapping[int, Mapping[str, Any]],
        positional: Mapping[str, Sequence[str]],
    ) -> None:
        self.members = members
        self.positional = positional
        self.constructor = constructor_of(members[0].original)
        self.kept = frozenset(name for draft in members for name in draft.fields)
        self.environments = [_environment(draft, self.constructor, built) for draft in members]
        self.known: list[tuple[str, tuple[str, ...]]] = []
        for name in _names_of_settings(members, built):
            vector = tuple(_text(_setting(draft, name, built)) for draft in members)
            self.known.append((name, vector))
        self.kinds: dict[str, str] = {}
        self.constructor_defaults: dict[str, str | None] = dict(self.constructor.defaults)
        self.settings: dict[str, str] = {}
        self.values: dict[str, tuple[str, ...]] = {}

    def arguments(self, *, root: bool) -> list[Argument]:
        """Name, type and default of each, in the original's order; those without a default first."""
        own = list(self.constructor.defaults)
        names = sorted(self.values, key=lambda name: own.index(name) if name in own else len(own))
        result = []
        for name in names:
            default = self.values[name][0] if root else self.constructor_defaults.get(name)
            if default is not None and not _is_literal(default):
                default = None
            result.append(Argument(name, self.kinds[name], default))
        return sorted(result, key=lambda item: item.default is not None)

    def fields(self) -> None:
        """Plain attributes that bodies read, made as in the original."""
        # In the order of the bodies: a set has another order in every process.
        names = dict.fromkeys(name for draft in self.members for name in draft.fields)
        for name in sorted(names, key=lambda item: f"self.{item}" not in self.constructor.definitions):
            vector = tuple(repr(draft.fields.get(name, getattr(draft.module, name, None))) for draft in self.members)
            plain = self.constructor.definition(name)
            code = self._from_arguments(plain, vector) if plain is not None else None
            if code is None and len(set(vector)) == 1:
                code = vector[0]
            self.settings[name] = code if code is not None else self._argument(vector, "", name, inside=False)

    def unify(
        self, codes: Sequence[str], attribute: str, *, inside: bool = False, rows: Sequence[int] | None = None
    ) -> str:
        """One code for all, with arguments where they differ, and where the original has them.

        Args:
            codes: of each member.
            attribute: that is made.
            inside: of a call, and not of the constructor.
            rows: the members that these are the codes of, all if left out.
        """
        rows = range(len(self.members)) if rows is None else rows
        collected = []
        for code in codes:
            holes = _Holes(positional=self.positional)
            holes.visit(_parse(code))
            collected.append(holes)
        vectors = [tuple(ast.unparse(holes.nodes[n]) for holes in collected) for n in range(len(collected[0].nodes))]
        originals = {} if inside else self._originals(attribute, vectors, rows)
        swaps: list[ast.expr] = []
        for n, vector in enumerate(vectors):
            if n in originals:
                swaps.append(ast.parse(originals[n], mode="eval").body)
            elif len(set(vector)) == 1:
                swaps.append(collected[0].nodes[n])  # type: ignore[arg-type]
            else:
                code = self._argument(vector, collected[0].slots[n], attribute, inside=inside, rows=rows)
                swaps.append(ast.parse(code, mode="eval").body)
        return ast.unparse(_Holes(swaps).visit(_parse(codes[0])))

    def choice(self, codes: Sequence[str], attribute: str) -> str | None:
        """One code where members make an attribute in two ways; None where there are more."""
        codes = _with_defaults(codes)
        groups: dict[str, list[int]] = {}
        for n, code in enumerate(codes):
            groups.setdefault(_skeleton(code), []).append(n)
        if len(groups) == 1:
            return self.unify(codes, attribute)
        if len(groups) != 2:
            return None
        first, second = groups.values()
        if codes[first[0]] == "Identity()":
            first, second = second, first
        condition = self._condition(first, second, attribute)
        sides = [self.unify([codes[n] for n in rows], attribute, rows=rows) for rows in (first, second)]
        return f"{sides[0]} if {condition} else {sides[1]}"

    def _condition(self, first: Sequence[int], second: Sequence[int], attribute: str) -> str:
        """What tells the members apart: a condition of the original's constructor, or an argument of its own."""
        for test in self.constructor.conditions():
            answers = [self.environments[n].value(test) for n in range(len(self.members))]
            for code, yes, no in ((ast.unparse(test), first, second), (f"not ({ast.unparse(test)})", second, first)):
                told = all(bool(answers[n]) for n in yes) and not any(bool(answers[n]) for n in no)
                if told and None not in answers and self._from_arguments(test, tuple(map(repr, answers))):
                    return code
        vector = tuple(repr(n in first) for n in range(len(self.members)))
        if attribute in self.constructor.defaults and attribute not in self.values:
            # The original is given the child itself; the twin makes it, and is told whether.
            self._add(attribute, vector)
            self.constructor_defaults[attribute] = "False"
            return attribute
        return self._argument(vector, f"has_{attribute}", f"has_{attribute}", inside=False)

    def _originals(self, attribute: str, vectors: Sequence[tuple[str, ...]], rows: Sequence[int]) -> dict[int, str]:
        """By number of the hole, the expression of arguments that stands in its place in the original."""
        leaves = self.constructor.leaves(attribute, self.kept)
        environments = [self.environments[n] for n in rows]
        values = [tuple(repr(_plain(env.value(leaf))) for env in environments) for leaf in leaves]
        if not any(not isinstance(leaf, ast.Constant) for leaf in leaves):
            return {}
        result: dict[int, str] = {}
        decided: set[int] = set()
        numbers = [_spread(vector) or vector for vector in vectors]
        for number in dict.fromkeys(numbers):
            places = [n for n, other in enumerate(numbers) if other == number]
            there = [n for n, other in enumerate(values) if other == number]
            decided.update(places if there else ())
            if len(there) != len(places) and any(isinstance(leaves[n], ast.Constant) for n in there):
                continue
            matched = there if len(there) == len(places) else there[:1] * len(places)
            for place, leaf in zip(places, matched, strict=False):
                if isinstance(leaves[leaf], ast.Constant):
                    continue
                code = self._from_arguments(leaves[leaf], number, rows)
                if code is not None:
                    count = len(ast.literal_eval(vectors[place][0])) if numbers[place] != vectors[place] else 0
                    result[place] = _tuple([code] * count) if count else code
        for place, vector in enumerate(vectors):
            if place not in decided and (code := self._from_parts(vector, leaves, rows)) is not None:
                result[place] = code
        return result

    def _from_parts(self, vector: tuple[str, ...], leaves: Sequence[ast.expr], rows: Sequence[int]) -> str | None:
        """A shape of which entries are arguments."""
        shapes = [ast.literal_eval(item) for item in vector]
        if not all(isinstance(shape, tuple) and len(shape) > 1 for shape in shapes) or len({*map(len, shapes)}) != 1:
            return None
        parts, known = [], False
        for entries in zip(*shapes, strict=True):
            wanted = tuple(repr(entry) for entry in entries)
            codes = (self._from_arguments(leaf, wanted, rows) for leaf in leaves if not isinstance(leaf, ast.Constant))
            code = next((code for code in codes if code is not None), None) if entries[0] != 1 else None
            if code is None and len(set(wanted)) != 1:
                return None
            known = known or code is not None
            parts.append(code or wanted[0])
        return _tuple(parts) if known else None

    def _from_arguments(
        self, expression: ast.expr, vector: tuple[str, ...], rows: Sequence[int] | None = None
    ) -> str | None:
        """The code of an expression that gives these values, once its arguments are arguments of the twin's class."""
        environments = self.environments if rows is None else [self.environments[n] for n in rows]
        if tuple(repr(_plain(env.value(expression))) for env in environments) != vector:
            return None
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)} - {"self", *_CALLS}
        vectors = {name: tuple(_text(env.arguments.get(name)) for env in self.environments) for name in names}
        if any("?" in item or (name in self.values and self.values[name] != item) for name, item in vectors.items()):
            return None
        for name, item in vectors.items():
            self._add(name, item)
        return ast.unparse(expression)

    def _add(self, name: str, vector: tuple[str, ...]) -> None:
        self.values[name] = vector
        self.kinds[name] = _annotation({type(ast.literal_eval(value)).__name__ for value in vector}, vector)

    def _argument(
        self, vector: tuple[str, ...], slot: str, attribute: str, *, inside: bool, rows: Sequence[int] | None = None
    ) -> str:
        """An argument that has these values for the members in rows; one that is there, or a new one."""
        prefix = "self." if inside else ""
        rows = range(len(self.members)) if rows is None else rows
        for name, values in self.values.items():
            if tuple(values[n] for n in rows) == vector:
                return self._used(name, prefix)
        named, whole = None, tuple(vector[rows.index(n)] if n in rows else vector[0] for n in range(len(self.members)))
        for name, values in self.known:
            if tuple(values[n] for n in rows) == vector and "?" not in values and name not in self.values:
                named, whole = name, values
                break
        if named is None:
            derived = self._derived(whole, prefix) if len(rows) == len(self.members) else None
            if derived is not None:
                return derived
            named = slot or attribute or "size"
        name, number = named, 1
        while name in self.values or name in ("rngs", "self"):
            number += 1
            name = f"{attribute}_{slot}" if number == 2 and attribute and slot else f"{named}{number}"
        self._add(name, whole)
        return self._used(name, prefix)

    def _used(self, name: str, prefix: str) -> str:
        if prefix:
            self.settings.setdefault(name, name)
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


_CALLS = ("int", "float", "max", "min", "round", "abs", "len", "bool")


def _environment(draft: Draft, constructor: Constructor, built: Mapping[int, Mapping[str, Any]]) -> Environment:
    known = built.get(id(draft.module), {})
    arguments = {
        name: known[name] if name in known else getattr(draft.module, name)
        for name in constructor.defaults
        if name in known or hasattr(draft.module, name)
    }
    return Environment({**arguments, "self": SimpleNamespace(**draft.fields)})


def _tuple(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _spread(vector: tuple[str, ...]) -> tuple[str, ...] | None:
    """Numbers of which the tuples of a vector are made, where all entries of each are the same."""
    values = [ast.literal_eval(item) for item in vector]
    if all(isinstance(value, tuple) and value and len(set(value)) == 1 for value in values):
        return tuple(repr(value[0]) for value in values)
    return None


def _is_literal(code: str) -> bool:
    try:
        ast.literal_eval(code)
    except (ValueError, SyntaxError):
        return False
    return True


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
    if isinstance(value, (bool, int, float, str, type(None))):
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
    lines = _with_last_turn(lines)
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


def _with_last_turn(lines: Sequence[str]) -> Sequence[str]:
    """What is returned is the last turn of a loop where the line before is the turn before it."""
    target, _, before = lines[-2].partition(" = ") if len(lines) > 1 else ("", "", "")
    last = lines[-1].removeprefix("return ") if lines else ""
    if not target.isidentifier() or not _INDEXED.search(last) or _INDEXED.sub("", before) != _INDEXED.sub("", last):
        return lines
    return [*lines[:-1], f"{target} = {last}", f"return {target}"]


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
        indexed = _INDEXED.findall(text)
        if not indexed or any(item != (base, str(start + n)) for item in indexed):
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
