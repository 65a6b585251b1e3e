"""Drafts of one original class become one class: constants that differ are arguments of its constructor."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from einops_arch.translation.arguments import Arguments, cap_words, small_letters
from einops_arch.translation.draft import Draft
from einops_arch.translation.drafts import Drafts
from einops_arch.translation.flax_class import Argument, FlaxClass
from einops_arch.translation.holes import POSITIONAL
from einops_arch.translation.joined import joined
from einops_arch.translation.layers import is_sequence
from einops_arch.translation.loops import compact, looped_lists, loops, plain_sequential
from einops_arch.translation.nothing import Known
from einops_arch.translation.series import NUMBERED, numbered_series, shortened
from einops_arch.translation.variants import as_one, by_questions
from einops_arch.translation.ways import Question, questions_of

__all__ = ["merge"]


_PLACEHOLDER = re.compile(r"__draft_(\d+)__\(rngs=rngs\)")


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
        self.positional: dict[str, Sequence[str]] = dict(POSITIONAL)
        self.known = Known()
        self.defaults = self.known.defaults
        self.looped: set[str] = set()

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
            draft.attributes = [(name, compact(self._resolve(code))) for name, code in draft.attributes]
            if (call := plain_sequential(draft, self.drafts)) is not None:
                draft.imports.add("from einops_arch.flax.layers import Sequential")
                self.calls[draft.number] = call
                continue
            kept.append(draft)
        self._number(kept)
        self.looped = {base for draft in kept for base in looped_lists(draft)}
        for groups in by_questions(joined(kept, self._lines, self.defaults), self._lines, self.known):
            self._make(groups)

    def _number(self, kept: Sequence[Draft]) -> None:
        """Children with numbers in their names, of which some drafts have more than others, are a list for now."""
        if len(kept) < 2 or is_sequence(kept[0].module):
            return
        series = numbered_series([draft.attributes for draft in kept])
        if series is None:
            return
        base, first = series
        numbered = re.compile(rf"self\.{base}(\d+)\b")
        listed = f"{base}{NUMBERED}{first}"
        changed: list[tuple[Draft, dict[str, list[str]]]] = []
        for draft in kept:
            draft.series[listed] = sum(bool(re.fullmatch(rf"{base}\d+", name)) for name, _ in draft.attributes)
            bodies = {
                mode: [numbered.sub(lambda at: f"self.{listed}[{int(at[1]) - first}]", line) for line in body.lines]
                for mode, body in draft.bodies.items()
            }
            if any(f"{listed}[" in line for lines in bodies.values() for line in loops(lines, draft)):
                return
            changed.append((draft, bodies))
        for draft, bodies in changed:
            for mode, lines in bodies.items():
                draft.bodies[mode].lines = lines
            codes = [code for name, code in draft.attributes if re.fullmatch(rf"{base}\d+", name)]
            place = next(n for n, (name, _) in enumerate(draft.attributes) if re.fullmatch(rf"{base}\d+", name))
            rest = [item for item in draft.attributes if not re.fullmatch(rf"{base}\d+", item[0])]
            draft.attributes = [*rest[:place], (listed, f"nnx.List([{', '.join(codes)}])"), *rest[place:]]

    def _lines(self, draft: Draft) -> dict[str, list[str]]:
        return {mode: loops(body.lines, draft, self.looped) for mode, body in draft.bodies.items()}

    def _make(self, groups: Sequence[Sequence[Draft]]) -> None:
        members = sorted((draft for group in groups for draft in group), key=lambda draft: draft.number)
        first = members[0]
        name = self._name(first)
        every = [self._lines(draft) for draft in members]
        rows = [[n for n, draft in enumerate(members) if draft in group and draft.bodies] for group in groups]
        questions = questions_of(groups)
        self._keep_fields(members, as_one([every[row[0]] for row in rows if row], groups, questions, self.known)[1])
        merged = Arguments(members, self.built, self.positional)
        attributes = []
        for n, (attribute, _) in enumerate(first.attributes):
            code = merged.choice([draft.attributes[n][1] for draft in members], attribute, self.defaults)
            if code is None:
                raise ValueError(f"{attribute} is made in more than two ways")
            attributes.append((attribute, code))
        sides = [
            {
                mode: [
                    merged.unify([every[n][mode][place] for n in row], "", inside=True, rows=row)
                    for place in range(len(every[row[0]][mode]))
                ]
                for mode in every[row[0]]
            }
            for row in rows
            if row
        ]
        bodies, asked = as_one(sides, groups, questions, self.known)
        self._keep_fields(members, asked)
        merged.fields()
        arguments, small = _in_small_letters(merged.arguments(root=first is self.root))
        attributes = [(attribute, small(code)) for attribute, code in attributes]
        settings = {attribute: small(code) for attribute, code in merged.settings.items()}
        values = {small(key): vector for key, vector in merged.values.items()}
        taken = [item.name for item in arguments]
        attributes = [(attribute, shortened(code, taken, self.positional)) for attribute, code in attributes]
        base = "Sequential" if is_sequence(first.module) else "nnx.Module"
        signature, optional = _signature(members)
        flax_class = FlaxClass(
            name,
            first.original,
            base,
            arguments,
            attributes,
            settings,
            signature,
            bodies,
            list(members),
            set().union(*(draft.imports for draft in members)),
            optional,
        )
        if base == "Sequential":
            flax_class.imports.add("from einops_arch.flax.layers import Sequential")
        self.result.append(flax_class)
        self.known.signatures[name] = (signature, optional)
        self.positional[name] = [item.name for item in arguments]
        self.defaults[name] = {item.name: item.default for item in arguments if item.default is not None}
        for position, draft in enumerate(members):
            passed = _passed(arguments, {key: vector[position] for key, vector in values.items()})
            self.calls[draft.number] = f"{name}({', '.join([*passed, 'rngs=rngs'])})"

    def _keep_fields(self, members: Sequence[Draft], questions: Sequence[Question]) -> None:
        for draft in members:
            draft.fields |= {name: getattr(draft.module, name) for item in questions for name in item.fields}

    def _name(self, draft: Draft) -> str:
        if draft is self.root:
            base = self.root_name
        elif type(draft.module).__name__ in ("Sequential", "ModuleList"):
            base = (
                "".join(part.capitalize() for part in re.split(r"[._\d]+", draft.path)[-1:] or ["Layers"]) or "Layers"
            )
        else:
            base = cap_words(re.sub(r"\W", "", draft.original.__name__)) or "Module"
        imported = {line.rpartition(" ")[2] for line in set().union(*(d.imports for d in self.by_number.values()))}
        if base in imported or base in ("Array", "Sequential"):
            base = f"{base}Module"
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}{number}"
        self.names.add(name)
        return name


def _signature(members: Sequence[Draft]) -> tuple[list[str], frozenset[str]]:
    """The arguments of a call in the original's order, and those that may be left out."""
    called = [draft for draft in members if draft.bodies]
    names = list(dict.fromkeys(name for draft in called for name in draft.arguments))
    if len({tuple(draft.arguments) for draft in called}) > 1:
        own = [name.lower() for name in inspect.signature(type(called[0].module).forward).parameters]
        names = sorted(names, key=lambda name: own.index(name.lower()) if name.lower() in own else len(own))
    missing = [n for n, name in enumerate(names) if any(name not in draft.arguments for draft in called)]
    return names, frozenset(names[min(missing) :] if missing else ())


def _in_small_letters(arguments: Sequence[Argument]) -> tuple[list[Argument], Callable[[str], str]]:
    """The arguments with names in small letters, and what writes those names in the code of a constructor."""
    names = {item.name for item in arguments}
    small = {name: small_letters(name) for name in names if small_letters(name) not in names}
    pattern = re.compile(rf"(?<![\w.\"'])(?:{'|'.join(map(re.escape, small)) or '(?!)'})\b(?!\s*=[^=])")

    def written(code: str) -> str:
        return pattern.sub(lambda match: small[match[0]], code)

    return [replace(item, name=small.get(item.name, item.name)) for item in arguments], written


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
