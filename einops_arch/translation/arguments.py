"""The arguments of a merged constructor: by the original's names, from what the original's constructor says."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from einops_arch.translation.constructors import Constructor, Environment, constructor_of, holds_argument
from einops_arch.translation.defaults import with_defaults
from einops_arch.translation.draft import Draft
from einops_arch.translation.expressions import negated, plainly
from einops_arch.translation.flax_class import Argument
from einops_arch.translation.holes import Holes, parse, skeleton
from einops_arch.translation.series import NUMBERED, common_series

__all__ = ["Arguments", "cap_words", "small_letters"]


class Arguments:
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
        self.open: dict[str, set[int]] = {}
        """By argument, the members in which nothing reads it, so that it may be what others need."""

    def arguments(self, *, root: bool) -> list[Argument]:
        """Name, type and default of each, in the original's order; those without a default first."""
        own = list(self.constructor.defaults)
        names = sorted(self.values, key=lambda name: own.index(name) if name in own else len(own))
        result = []
        for name in names:
            default = self.values[name][0] if root else self.constructor_defaults.get(name)
            if default is not None and not _is_literal(default):
                default = None
            # What the original puts in the place of None is written for what was given alone.
            if default == "None" and "None" not in self.kinds[name]:
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
            holes = Holes(positional=self.positional)
            holes.visit(parse(code))
            collected.append(holes)
        vectors = [tuple(ast.unparse(holes.nodes[n]) for holes in collected) for n in range(len(collected[0].nodes))]
        originals = {} if inside else self._originals(attribute, vectors, collected[0], rows)
        swaps: list[ast.expr] = []
        for n, vector in enumerate(vectors):
            if n in originals:
                swaps.append(ast.parse(originals[n], mode="eval").body)
            elif len(set(vector)) == 1:
                swaps.append(collected[0].nodes[n])  # type: ignore[arg-type]
            else:
                code = self._argument(vector, collected[0].slots[n], attribute, inside=inside, rows=rows)
                swaps.append(ast.parse(code, mode="eval").body)
        return ast.unparse(Holes(swaps).visit(parse(codes[0])))

    def choice(self, codes: Sequence[str], attribute: str, defaults: Mapping[str, Mapping[str, str]]) -> str | None:
        """One code where members make an attribute in two ways, or lists of other lengths; None where there are more.

        Args:
            codes: of each member.
            attribute: that is made.
            defaults: arguments of the generated classes that have a default.
        """
        codes = with_defaults(codes, defaults)
        groups: dict[str, list[int]] = {}
        for n, code in enumerate(codes):
            groups.setdefault(skeleton(code), []).append(n)
        numbered = NUMBERED in attribute
        attribute = attribute.partition(NUMBERED)[0]
        if len(groups) > 1 or numbered:
            series = common_series(codes, defaults, self.positional)
            if series is not None:
                return self.unify(series, attribute)
        if len(groups) == 1:
            return self.unify(codes, attribute)
        if len(groups) != 2:
            return None
        first, second = groups.values()
        if codes[first[0]] in ("Identity()", "None"):
            first, second = second, first
        condition = self._condition(first, second, attribute)
        sides = [self.unify([codes[n] for n in rows], attribute, rows=rows) for rows in (first, second)]
        return f"{sides[0]} if {condition} else {sides[1]}"

    def _condition(self, first: Sequence[int], second: Sequence[int], attribute: str) -> str:
        """What tells the members apart: a condition of the original's constructor, or an argument of its own."""
        for test in self.constructor.conditions():
            answers = [self.environments[n].value(test) for n in range(len(self.members))]
            for code, yes, no in ((plainly(test), first, second), (negated(test), second, first)):
                told = all(bool(answers[n]) for n in yes) and not any(bool(answers[n]) for n in no)
                if told and None not in answers and self._from_arguments(test, tuple(map(repr, answers))):
                    return code
        vector = tuple(repr(n in first) for n in range(len(self.members)))
        if attribute in self.constructor.defaults and attribute not in self.values:
            # The original is given the child itself; the twin makes it, and is told whether.
            self._add(attribute, vector)
            self.constructor_defaults[attribute] = "False"
            return attribute
        for name, values in self.known:
            if attribute in self.constructor.defaults or name.startswith("_") or set(values) != {"True", "False"}:
                continue
            if values == vector:
                return self._argument(vector, name, name, inside=False)
            if all(left != right for left, right in zip(values, vector, strict=True)):
                return f"not {self._argument(values, name, name, inside=False)}"
        name = f"has_{re.sub(r'(?<=[a-z])(?=[A-Z])', '_', attribute).lower()}"
        return self._argument(vector, name, name, inside=False)

    def _originals(
        self, attribute: str, vectors: Sequence[tuple[str, ...]], holes: Holes, rows: Sequence[int]
    ) -> dict[int, str]:
        """By number of the hole, the expression of arguments that stands in its place in the original."""
        leaves = self.constructor.leaves(attribute, self.kept)
        environments = [self.environments[n] for n in rows]
        values = [tuple(repr(_plain(env.value(leaf))) for env in environments) for leaf in leaves]
        if not any(not isinstance(leaf, ast.Constant) for leaf in leaves):
            return {}
        result: dict[int, str] = {}
        turning = self.constructor.other_each_turn(attribute)
        # The start and the step of a series are numbers that the loop does not change.
        decided = {n for n, slot in enumerate(holes.slots) if slot in turning and not holes.computed[n]}
        turned = set(decided)
        numbers = [_spread(vector) or vector for vector in vectors]
        for number in dict.fromkeys(numbers):
            places = [n for n, other in enumerate(numbers) if other == number and n not in turned]
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
        return plainly(expression)

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
            free = self.open.get(name, set())
            if all(values[n] == wanted for n, wanted in zip(rows, vector, strict=True)) and not free & {*rows}:
                return self._used(name, prefix)
            if name == slot and all(n in free or values[n] == item for n, item in zip(rows, vector, strict=True)):
                needed = dict(zip(rows, vector, strict=True))
                self._add(name, tuple(needed.get(n, value) for n, value in enumerate(values)))
                free.difference_update(rows)
                return self._used(name, prefix)
        named: str | None = None
        filled = True
        whole = tuple(vector[rows.index(n)] if n in rows else vector[0] for n in range(len(self.members)))
        for name, values in self.known:
            if tuple(values[n] for n in rows) == vector and "?" not in values and name not in self.values:
                named, whole, filled = name, values, False
                break
        if named is None:
            derived = self._derived(whole, prefix) if len(rows) == len(self.members) else None
            if derived is not None:
                return derived
            named = small_letters(slot or attribute or "size")
            if self._says_other(named, attribute):
                named = f"{attribute}_{slot}" if attribute and slot else f"{named}_size"
        name, number = named, 1
        while name in self.values or name in ("rngs", "self"):
            number += 1
            name = f"{attribute}_{slot}" if number == 2 and attribute and slot else f"{named}{number}"
        self._add(name, whole)
        if filled:
            self.open[name] = set(range(len(self.members))) - set(rows)
        return self._used(name, prefix)

    def _says_other(self, name: str, attribute: str) -> bool:
        """Whether an argument of the original has this name, which as far as is known is another number."""
        leaves = self.constructor.leaves(attribute, self.kept)
        return name in self.constructor.defaults and not any(ast.unparse(leaf) == name for leaf in leaves)

    def _used(self, name: str, prefix: str) -> str:
        if not prefix:
            return name
        held = [getattr(draft.module, name, None) for draft in self.members if hasattr(draft.module, name)]
        # The original's attribute of this name may be another number, or a child.
        other = bool(held) and tuple(map(_text, held)) != self.values[name]
        attribute = f"{name}_argument" if other else name
        self.settings.setdefault(attribute, name)
        return f"{prefix}{attribute}"

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
        if name in known or (holds_argument(draft.original, name) and hasattr(draft.module, name))
    }
    return Environment({**arguments, "self": SimpleNamespace(**draft.fields)})


def small_letters(name: str) -> str:
    """A name of arguments in small letters: `has_SelfAttention` is `has_self_attention`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def cap_words(name: str) -> str:
    """A name of a class without underscores, as classes are named in Python: `Mixed_5b` is `Mixed5b`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


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
    held = [
        name
        for name in vars(members[0].module)
        # An attribute that is made of the argument of its name is not the argument.
        if not name.startswith("_")
        and name != "training"
        and (name not in signature or holds_argument(members[0].original, name))
    ]
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
