"""Dataclasses that a model gives or takes: small ones of the same names and fields stand in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Record
from einops_arch.translation.arguments import cap_words

__all__ = ["Records"]


class Records:
    """The dataclasses of a model, as they turn up."""

    def __init__(self) -> None:
        self._names: dict[type, str] = {}
        self._kinds: dict[type, dict[str, set[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    @property
    def names(self) -> Sequence[str]:
        """Of the classes in the file."""
        return tuple(self._names.values())

    def name(self, record: Record) -> str:
        """The name of a record's class, which is known from here on with the fields that hold something."""
        kind = record.kind
        if kind not in self._names:
            base = cap_words(kind.__name__)
            name, number = base, 1
            while name in self._names.values():
                number += 1
                name = f"{base}{number}"
            self._names[kind] = name
        kinds = self._kinds.setdefault(kind, {})
        for field, item in record.items():
            kinds.setdefault(field, set()).add(self.type_of(item))
        return self._names[kind]

    def type_of(self, item: Any) -> str:
        """The type of what a field or an argument holds."""
        if isinstance(item, Record):
            return self.name(item)
        if isinstance(item, Mapping):
            return "dict[str, Array]"
        if isinstance(item, (tuple, list)):
            inner = sorted({self.type_of(part) for part in item})
            return f"tuple[{' | '.join(inner)}, ...]" if inner else "tuple[()]"
        if item is None or isinstance(item, (bool, int, float, str)):
            return type(item).__name__.replace("NoneType", "None")
        return "Array"

    def source(self) -> str:
        """The classes as code, each after those that it holds."""
        return "\n\n\n".join(self._class(kind, name) for kind, name in self._names.items())

    def _class(self, kind: type, name: str) -> str:
        lines = [
            "@struct.dataclass",
            f"class {name}:",
            f'    """{_docstring(f"{kind.__module__}.{kind.__qualname__}")}"""',
            "",
        ]
        optional = False
        for field, kinds in self._kinds[kind].items():
            held = sorted(kinds - {"None"})
            if held:
                # What may be left out cannot stand before what may not.
                optional = optional or "None" in kinds
                suffix = " | None = None" if optional else ""
                lines.append(f"    {field}: {' | '.join(held)}{suffix}")
        return "\n".join(lines)


def _docstring(origin: str) -> str:
    """What the class stands for, in a line that is not too long."""
    texts = (f"`{origin}`, of the fields that hold something.", f"`{origin}`, of fields that hold something.")
    # With the quotes and the indentation of a class.
    return next((text for text in (*texts, f"`{origin}`.") if len(text) + 10 <= 120), f"`{origin.rpartition('.')[2]}`.")
