"""Constants in code: the places where instances of one class differ."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["POSITIONAL", "Holes", "canonical", "parse", "skeleton"]


POSITIONAL: Mapping[str, Sequence[str]] = {
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


def _is_hole(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, (str, bytes))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_hole(node.operand)
    return isinstance(node, ast.Tuple) and bool(node.elts) and all(_is_hole(item) for item in node.elts)


class Holes(ast.NodeTransformer):
    """Numbers every constant, and says under which argument of which call it stands."""

    def __init__(
        self, swap: Sequence[ast.expr] | None = None, positional: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.positional = POSITIONAL if positional is None else positional
        self.nodes: list[ast.AST] = []
        self.slots: list[str] = []
        self.computed: list[bool] = []
        """Whether it is a part of what is computed there, such as the step of a series."""
        self.swap = swap
        self.slot = ""
        self.terms = 0

    def visit(self, node: ast.AST) -> Any:
        if _is_hole(node):
            self.nodes.append(node)
            self.slots.append(self.slot)
            self.computed.append(bool(self.terms))
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
        if isinstance(node, ast.comprehension):
            return self._comprehension(node)
        self.terms += isinstance(node, ast.BinOp)
        visited = super().generic_visit(node)
        self.terms -= isinstance(node, ast.BinOp)
        return visited

    def _comprehension(self, node: ast.comprehension) -> ast.comprehension:
        """What it runs over goes by its variables: a number of children, or a tuple for each variable."""
        if isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "zip":
            targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
            for n, target in enumerate(targets):
                self.slot = f"{_plural(ast.unparse(target))}"
                node.iter.args[n] = self.visit(node.iter.args[n])
        elif not isinstance(node.iter, ast.Call):
            self.slot = _plural(ast.unparse(node.target))
            node.iter = self.visit(node.iter)
        else:
            self.slot = ""
            node.iter = self.visit(node.iter)
        self.slot = ""
        return node


def _plural(variable: str) -> str:
    """The name for the numbers of which a variable takes one in each turn."""
    name = variable.removeprefix("each__")
    return f"all_{name}" if name.endswith("s") else f"{name}s"


def parse(code: str) -> ast.AST:
    """The tree of lines of code."""
    return ast.parse(code)


def skeleton(code: str) -> str:
    """Code with every constant left out."""
    return canonical(ast.unparse(Holes().visit(parse(code))))


class _Letters(ast.NodeTransformer):
    """Numbers the axes of each pattern in the order in which they come."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        pattern = node.args[1] if len(node.args) == 2 and ast.unparse(node.func) in ("rearrange", "repeat") else None
        if isinstance(pattern, ast.Constant) and isinstance(pattern.value, str):
            letters = dict.fromkeys(re.findall(r"[A-Za-z_]\w*", pattern.value))
            numbers = {letter: f"axis{n}" for n, letter in enumerate(letters)}
            pattern.value = re.sub(r"[A-Za-z_]\w*", lambda match: numbers[match[0]], pattern.value)
            for word in node.keywords:
                word.arg = numbers.get(word.arg or "", word.arg)
        return node


@functools.cache
def canonical(code: str) -> str:
    """Code in which the axes of patterns have numbers: the same for patterns that say the same in other letters.

    >>> canonical("rearrange(x, 'b t -> t b')") == canonical("rearrange(x, 'b u -> u b')")
    True
    """
    return ast.unparse(_Letters().visit(parse(code))) if "re" in code else code
