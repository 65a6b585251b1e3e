"""Lines of code, without blanks, comments and docstrings, of generated classes and of those that they stand for."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from typing import Any

__all__ = ["class_lines", "code_lines", "original_classes", "original_lines"]

# Bases that hold a framework's saving, loading and generating beside the network.
_FRAMES = ("torch.", "transformers.modeling_utils", "transformers.generation", "transformers.integrations")
_IDLE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def code_lines(source: str) -> int:
    r"""Lines that hold code.

    >>> code_lines("'text'\n\n# a comment\nx = (\n    1\n)\n")
    3
    """
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _IDLE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


def class_lines(source: str) -> int:
    r"""Lines that hold code of the classes in a file, with their decorators: what is counted of the original as well.

    >>> class_lines("import math\n\n\n@final\nclass A:\n    'text'\n\n    x = math.pi\n")
    3
    """
    lines = source.splitlines()
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    starts = [min([node.lineno, *(part.lineno for part in node.decorator_list)]) for node in classes]
    return sum(
        code_lines("\n".join(lines[start - 1 : node.end_lineno]) + "\n")
        for start, node in zip(starts, classes, strict=True)
    )


def original_classes(model: Any, call: Any) -> list[type]:
    """The classes, but for PyTorch's own, of the modules that a call runs.

    Args:
        model: of PyTorch.
        call: runs it.
    """
    kinds: dict[type, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda module, _: kinds.update({type(module): None}))
        for module in model.modules()
    ]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return [kind for kind in kinds if not _is_frame(kind)]


def original_lines(kinds: list[type]) -> int:
    """Lines of these classes, with the bases in which their `__init__` or `forward` stands."""
    counted: dict[type, None] = {}
    for kind in kinds:
        counted[kind] = None
        for base in kind.__mro__[1:]:
            if not _is_frame(base) and {"__init__", "forward"} & set(vars(base)):
                counted[base] = None
    return sum(code_lines(textwrap.dedent(inspect.getsource(kind))) for kind in counted)


def _is_frame(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(_FRAMES) or kind is object
