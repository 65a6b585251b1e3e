"""The file: header, imports and classes, formatted."""

from __future__ import annotations

import ast
import builtins
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from einops_arch.translation.children import is_attribute
from einops_arch.translation.flax_class import FlaxClass
from einops_arch.translation.layout import default_names
from einops_arch.translation.series import NUMBERED, setters

__all__ = ["format_source", "source_of"]

_WIDTH = 120
_STATEMENTS = 50
"""Of a method, beyond which linters ask for two."""


def source_of(
    classes: Sequence[FlaxClass],
    header: str,
    known: Iterable[str],
    *,
    constants: bool,
    stem: str,
    records: str = "",
) -> str:
    """The text of the file, before formatting.

    Args:
        classes: in the order in which they need each other.
        header: the docstring of the file.
        known: imports of which those that are used are kept.
        constants: whether tensors stand in a file beside.
        stem: of that file's name.
        records: dataclasses that the classes take and give, as code.
    """
    imports = {
        "from flax import nnx, struct" if records else "from flax import nnx",
        "from jax import Array",
        "from einops_arch.flax.layers import Sequential",
        *known,
    }
    body = "\n\n\n".join([*([records] if records else []), *(_class_text(item) for item in classes)])
    for line, word in (
        ("import jax.numpy as jnp", "jnp."),
        ("import jax", "jax."),
        ("import math", "math."),
        ("import numpy as np", "np."),
    ):
        imports.discard(line)
        if re.search(rf"\b{re.escape(word)}", body):
            imports.add(line)
    table = ""
    if constants:
        imports |= {"from pathlib import Path", "import numpy as np"}
        table = f'_CONSTANTS = np.load(Path(__file__).with_name("{stem}.npz"))\n\n\n'
    used = [line for line in sorted(imports) if _is_used(line, body + table)]
    text = "\n".join(used)
    root = classes[-1].name
    hidden = {argument.name for item in classes for argument in item.arguments} & set(dir(builtins))
    note = "# ruff: noqa: A002 arguments have the names of the original's\n\n" if hidden else ""
    if _longest(body) > _STATEMENTS:
        note += "# ruff: noqa: PLR0915 a call has the steps of the original's\n\n"
    return (
        f'"""{header}"""\n\n{note}from __future__ import annotations\n\n{text}\n\n__all__ = ["{root}"]\n\n\n'
        f"{table}{body}\n"
    )


def _longest(body: str) -> int:
    """The number of statements of the longest method, as linters count them."""
    methods = [node for node in ast.walk(ast.parse(body)) if isinstance(node, ast.FunctionDef)]
    return max((sum(isinstance(node, ast.stmt) for node in ast.walk(item)) - 1 for item in methods), default=0)


def _is_used(line: str, body: str) -> bool:
    name = line.rpartition(" ")[2]
    return re.search(rf"\b{name}\b", body) is not None


def _class_text(item: FlaxClass) -> str:
    lines = [f"class {item.name}({item.base}):", _indent(f'"""{_docstring(item)}"""'), ""]
    arguments = "".join(f", {argument.code}" for argument in item.arguments)
    lines.append(_indent(f"def __init__(self{arguments}, *, rngs: nnx.Rngs) -> None:"))
    made = [f"self.{name} = {code}" for name, code in item.settings.items()]
    if item.base == "Sequential":
        inner = ", ".join(f'"{name}": {code}' for name, code in item.attributes if not name.startswith("_"))
        made.append(f"super().__init__({{{inner}}})")
    else:
        made += [
            setters(name, code, [argument.name for argument in item.arguments])
            if NUMBERED in name
            else f"{name} = {code}"
            if name.startswith("self.")
            else f"self.{name} = {code}"
            if is_attribute(name)
            else f"setattr(self, {name!r}, {code})"
            for name, code in item.attributes
        ]
    if item.asks_mode:
        made.append("self.deterministic = False")
    lines.append(_indent("\n".join(made) or "pass", 2))
    if item.bodies:
        signature = ", ".join(["self", *(_argument(name, item) for name in item.signature)])
        lines += ["", _indent(f"def __call__({signature}) -> {_result_kind(item)}:")]
        first = next(iter(item.bodies.values()))
        if item.two_ways:
            lines.append(_indent("\n".join(_two_ways(item.bodies["eval"], item.bodies["train"])), 2))
        else:
            lines.append(_indent("\n".join(first) or "pass", 2))
    return "\n".join(lines)


def _two_ways(evaluation: Sequence[str], training: Sequence[str]) -> list[str]:
    """One body for both modes: steps that differ stand under a condition, those before and after them once."""
    shorter = min(len(evaluation), len(training))
    before = next((n for n in range(shorter) if evaluation[n] != training[n]), shorter)
    most = shorter - before
    after = next((n for n in range(most) if evaluation[-1 - n] != training[-1 - n]), most)
    left, right = evaluation[before : len(evaluation) - after], training[before : len(training) - after]
    lines = list(evaluation[:before])
    if not after:
        return [*lines, "if self.deterministic:", _indent("\n".join(left)), *right]
    if left:
        lines += ["if self.deterministic:", _indent("\n".join(left))]
    if right:
        lines += ["else:" if left else "if not self.deterministic:", _indent("\n".join(right))]
    return [*lines, *evaluation[len(evaluation) - after :]]


def _indent(text: str, depth: int = 1) -> str:
    return textwrap.indent(text, "    " * depth)


def _argument(name: str, item: FlaxClass) -> str:
    return f"{name}: {_kind(name, item)}" + (" | None = None" if name in item.optional else "")


def _kind(name: str, item: FlaxClass) -> str:
    for draft in item.drafts:
        if name in draft.kinds:
            return draft.kinds[name]
    text = "\n".join(line for lines in item.bodies.values() for line in lines)
    if re.search(rf"\b{name}\['", text):
        return "dict[str, Array]"
    if f"jnp.concatenate({name}, " in text:
        return "tuple[Array, ...]"
    return "tuple[Array, ...]" if re.search(rf"\b{name}\[\d+\](?!\.at)", text) and _is_nested(name, item) else "Array"


def _is_nested(name: str, item: FlaxClass) -> bool:
    draft = item.drafts[0]
    return len(draft.orders) > len(draft.arguments) and name in draft.arguments


def _result_kind(item: FlaxClass) -> str:
    every = [line.strip() for lines in item.bodies.values() for text in lines for line in text.splitlines()]
    returns = [line for line in every if line.startswith("return ")]
    kinds = {draft.kinds["return"] for draft in item.drafts if "return" in draft.kinds}
    if kinds:
        return " | ".join(sorted(kinds))
    for line in returns:
        value = line.removeprefix("return ")
        kinds.add("tuple[Array, ...]" if value.startswith("(") and "," in value and value.endswith(")") else "Array")
        if value.startswith("{"):
            kinds.add("dict[str, Array]")
            kinds.discard("Array")
    return " | ".join(sorted(kinds)) or "Array"


def _docstring(item: FlaxClass) -> str:
    origin = f"{item.original.__module__}.{item.original.__qualname__}".removeprefix("__main__.")
    draft = max(item.drafts, key=lambda draft: (bool(draft.bodies), len(draft.arguments)))
    body = next(iter(draft.bodies.values()), None)
    if body is None:
        return f"`{origin}`, kept for its weights."
    inputs = [_axes(order, names) for order, names in zip(draft.orders, _padded(draft), strict=False)]
    outputs = [_axes(order, names) for order, names in zip(body.orders, body.names, strict=True) if order is not None]
    axes = f"{', '.join(inputs) or 'nothing'} -> {', '.join(outputs) or 'nothing'}."
    line = f"`{origin}`: {axes}"
    # With the quotes and the indentation of a class.
    if len(line) + 10 <= _WIDTH:
        return line
    origin = origin if len(origin) + 10 <= _WIDTH else origin.rpartition(".")[2]
    return f"`{origin}`.\n\n{textwrap.fill(axes, _WIDTH - 4, break_long_words=False)}\n"


def _padded(draft: object) -> list[list[str]]:
    names = list(getattr(draft, "names", []))
    orders = list(getattr(draft, "orders", []))
    return [names[n] if n < len(names) else default_names(len(order)) for n, order in enumerate(orders)]


def _axes(order: Sequence[int], names: Sequence[str]) -> str:
    names = list(names) if len(names) == len(order) else default_names(len(order))
    return f"`{' '.join(names[n] for n in order)}`" if order else "a number"


def _with_wrapped_messages(source: str) -> str:
    """Messages that are longer than a line, in parts of which the formatter gives each a line."""

    def wrapped(match: re.Match[str]) -> str:
        # The name of the error stands in a line of its own, and the text is one step further in.
        width = _WIDTH - len(match["indent"]) - 4 - len("''")
        text = ast.literal_eval(match["text"])
        if len(repr(text)) <= width:
            return match[0]
        parts = textwrap.wrap(text, width, drop_whitespace=False, break_long_words=False, break_on_hyphens=False)
        return f"{match['indent']}raise {match['error']}({' '.join(map(repr, parts))})"

    return re.sub(
        r"""^(?P<indent> *)raise (?P<error>\w+)\((?P<text>'.*'|".*")\)$""", wrapped, source, flags=re.MULTILINE
    )


def format_source(source: str) -> str:
    """Formatted by ruff where it is installed, with imports in order."""
    source = _with_wrapped_messages(source)
    ruff = Path(sys.executable).with_name("ruff")
    command = str(ruff) if ruff.exists() else shutil.which("ruff")
    if command is None:
        return source
    # The rules that mend themselves: order of imports, quotes, needless parentheses.
    fix = ["check", "--isolated", "--fix", "--quiet", "--exit-zero", "--select", "I,UP,RUF005,RET505,Q,C4,RUF046", "-"]
    options = ["--config", "line-length = 120", "--stdin-filename", "twin.py"]
    for arguments in (fix, ["format", "--isolated", "-"]):
        run = subprocess.run(  # noqa: S603 the formatter, on text of our own
            [command, *arguments[:1], *options, *arguments[1:]],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode == 0 and run.stdout:
            source = run.stdout
    return source
