"""The constructor of an original class as it was written: which expressions of its arguments gave which numbers."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PLAIN_FUNCTIONS", "Constructor", "Environment", "assignments", "constructor_of", "holds_argument"]

PLAIN_FUNCTIONS = {
    name: getattr(builtins, name) for name in ("int", "float", "max", "min", "round", "abs", "len", "bool")
}
_NODES = (
    *(ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.BoolOp, ast.Tuple),
    *(ast.Call, ast.Subscript, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context, ast.keyword),
)
_DEEPEST = 4
_MOST = 200


@dataclass
class Constructor:
    """What `__init__` says.

    Args:
        defaults: each parameter, with its default as code, or None where it has none.
        made: by attribute, what was assigned or appended to it.
        definitions: local names and plain attributes (`"self.size"`) with the one expression that they are.
        tests: conditions, in `if` and in conditional expressions.
        handed: the call of the base's constructor.
        turning: variables of loops.
        names: what the names of classes stand for.
    """

    defaults: dict[str, str | None] = field(default_factory=dict)
    made: dict[str, list[ast.expr]] = field(default_factory=dict)
    definitions: dict[str, ast.expr] = field(default_factory=dict)
    tests: list[ast.expr] = field(default_factory=list)
    handed: ast.Call | None = None
    turning: set[str] = field(default_factory=set)
    names: Mapping[str, Any] = field(default_factory=dict)

    def other_each_turn(self, attribute: str) -> set[str]:
        """Arguments of children that a loop gives other numbers in each turn: `Block(width, 2**n)` for `n in ...`.

        Such a number is none of the constructor's arguments, even where it is the same by chance.
        """
        result: set[str] = set()
        for value in self.made.get(attribute, ()):
            for call in ast.walk(value):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                    continue
                kind = self.names.get(call.func.id)
                named = {word.arg: word.value for word in call.keywords if word.arg is not None}
                if not isinstance(kind, type):
                    continue
                try:
                    bound = inspect.signature(kind).bind_partial(*call.args, **named)
                except (TypeError, ValueError):
                    continue
                for name, node in bound.arguments.items():
                    parts = ast.walk(node) if isinstance(node, ast.expr) else ()
                    if any(isinstance(part, ast.Name) and part.id in self.turning for part in parts):
                        result.add(name)
        return result

    def leaves(self, attribute: str, kept: frozenset[str] = frozenset()) -> list[ast.expr]:
        """Numbers and expressions of arguments in the order in which they stand where an attribute is made.

        Args:
            attribute: its name.
            kept: plain attributes that the twin has as well, which stay as they are.
        """
        expressions: list[ast.expr] = []

        def walk(node: ast.AST) -> None:
            if isinstance(node, ast.Constant):
                expressions.append(node)
                return
            plain = self.resolved(node, kept) if isinstance(node, ast.expr) else None
            if plain is not None:
                expressions.append(plain)
            elif isinstance(node, ast.Call):
                for part in (*node.args, *node.keywords):
                    walk(part)
            elif isinstance(node, ast.Name) and node.id in self.definitions and len(expressions) < _MOST:
                walk(self.definitions[node.id])
            elif isinstance(node, ast.IfExp):
                walk(node.body)
                walk(node.orelse)
            else:
                for part in ast.iter_child_nodes(node):
                    walk(part)

        for value in self.made.get(attribute, ()):
            walk(value)
        return expressions

    def definition(self, attribute: str) -> ast.expr | None:
        """The expression of arguments that a plain attribute is."""
        definition = self.definitions.get(f"self.{attribute}")
        return self.resolved(definition) if definition is not None else None

    def conditions(self) -> Iterator[ast.expr]:
        """Conditions on arguments alone."""
        for test in self.tests:
            plain = self.resolved(test)
            if plain is not None:
                yield plain

    def resolved(self, node: ast.expr, kept: frozenset[str] = frozenset(), depth: int = 0) -> ast.expr | None:
        """The expression with local names replaced by what they are; None where it is of more than arguments."""
        if depth > _DEEPEST or not all(isinstance(part, _NODES) for part in ast.walk(node)):
            return None
        swap = _Resolve(self, kept, depth)
        result = swap.visit(ast.parse(ast.unparse(node), mode="eval").body)
        return result if swap.possible and isinstance(result, ast.expr) else None


class _Resolve(ast.NodeTransformer):
    def __init__(self, constructor: Constructor, kept: frozenset[str], depth: int) -> None:
        self.constructor = constructor
        self.kept = kept
        self.depth = depth
        self.possible = True

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.constructor.definitions:
            return self._swapped(self.constructor.definitions[node.id])
        self.possible = self.possible and node.id in self.constructor.defaults
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        name = ast.unparse(node)
        if name.removeprefix("self.") in self.kept and name.startswith("self."):
            return node
        if name in self.constructor.definitions:
            return self._swapped(self.constructor.definitions[name])
        self.possible = False
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not isinstance(node.func, ast.Name) or node.func.id not in PLAIN_FUNCTIONS:
            self.possible = False
            return node
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def _swapped(self, definition: ast.expr) -> ast.expr:
        result = self.constructor.resolved(definition, self.kept, self.depth + 1)
        self.possible = self.possible and result is not None
        return result if result is not None else definition


@dataclass
class Environment:
    """What the arguments were when a module was made."""

    arguments: Mapping[str, Any]

    def value(self, node: ast.expr) -> Any:
        """What an expression of arguments gave, or None where that is not known."""
        try:
            code = compile(ast.fix_missing_locations(ast.Expression(node)), "<constructor>", "eval")
            return eval(code, {"__builtins__": {}, **PLAIN_FUNCTIONS}, dict(self.arguments))  # noqa: S307 arithmetic only
        except Exception:  # noqa: BLE001 an argument is not known, or no number
            return None


@functools.cache
def constructor_of(kind: type) -> Constructor:
    """The constructor of a class, empty where its source is not at hand."""
    result = Constructor()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind.__init__)))  # type: ignore[misc]
    except (OSError, TypeError, SyntaxError):
        return result
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or kind.__module__.startswith("torch.nn.modules"):
        return result
    result.defaults = dict(_parameters(function.args))
    twice: set[str] = set()
    for node in ast.walk(function):
        for target, value in assignments(node):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                result.made.setdefault(target.attr, []).append(value)
            key = ast.unparse(target)
            if key in result.definitions or key in result.defaults:
                twice.add(key)
            result.definitions[key] = value
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            result.handed = node
        if isinstance(node, (ast.If, ast.IfExp)):
            result.tests.append(node.test)
        if isinstance(node, (ast.For, ast.comprehension)):
            result.turning.update(name.id for name in ast.walk(node.target) if isinstance(name, ast.Name))
        if isinstance(node, ast.AugAssign):
            twice.add(ast.unparse(node.target))
    result.names = getattr(kind.__init__, "__globals__", {})  # type: ignore[misc]
    for key in twice | result.turning:
        result.definitions[key] = ast.Name("__unknown__", ast.Load())
    return result


def holds_argument(kind: Any, name: str) -> bool:
    """Whether the attribute of an argument's name is the argument as it was given: `self.width = width`.

    `self.width = 2 * width` is another number, and so is a width that is changed before. Where the constructor makes no
    such attribute, that of the base class does, which it may hand the argument on to.
    """
    bases = [base for base in kind.__mro__ if "__init__" in vars(base)]
    return bool(bases) and _holds(bases, name, name)


def _holds(kinds: Sequence[Any], attribute: str, name: str) -> bool:
    constructor = constructor_of(kinds[0])
    if name not in constructor.defaults or name in constructor.definitions:
        return False
    definition = constructor.definitions.get(f"self.{attribute}")
    if definition is not None:
        return isinstance(definition, ast.Name) and definition.id == name
    if constructor.handed is None or len(kinds) < 2:
        return False
    named = {word.arg: word.value for word in constructor.handed.keywords if word.arg is not None}
    try:
        bound = inspect.signature(kinds[1].__init__).bind_partial(None, *constructor.handed.args, **named)
    except (TypeError, ValueError):
        return False
    handed = [key for key, node in bound.arguments.items() if isinstance(node, ast.Name) and node.id == name]
    return any(_holds(kinds[1:], attribute, key) for key in handed)


def _parameters(arguments: ast.arguments) -> Iterator[tuple[str, str | None]]:
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    named = [*zip(positional, [*padding, *arguments.defaults], strict=False)]
    named += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for name, default in named:
        yield name.arg, None if default is None else ast.unparse(default)


def assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The targets of a statement, each with what is assigned, appended or registered there."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, (ast.Tuple, ast.List)) and isinstance(node.value, (ast.Tuple, ast.List)):
                yield from zip(target.elts, node.value.elts, strict=False)
            elif isinstance(target, (ast.Name, ast.Attribute)):
                yield target, node.value
            else:
                yield from ((item, ast.Name("__unknown__", ast.Load())) for item in getattr(target, "elts", ()))
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        if node.func.attr in ("add_module", "register_module") and len(node.args) > 1:
            name = _first_text(node.args[0])
            if name:
                base = re.sub(r"%d.*|\d+$", "", name)
                yield ast.Attribute(ast.Name("self", ast.Load()), base, ast.Load()), node.args[1]
        elif node.func.attr == "append" and isinstance(node.func.value, ast.Attribute):
            yield node.func.value, node.args[0]
        elif node.func.attr == "register_buffer" and isinstance(node.args[0], ast.Constant) and len(node.args) > 1:
            yield ast.Attribute(ast.Name("self", ast.Load()), str(node.args[0].value), ast.Load()), node.args[1]


def _first_text(name: ast.expr) -> str:
    """The text with which a name begins that is put together: `"layer%d" % n`, `f"layer{n}"`, `"layer" + str(n)`."""
    first = name.values[0] if isinstance(name, ast.JoinedStr) else name.left if isinstance(name, ast.BinOp) else name
    return str(first.value) if isinstance(first, ast.Constant) else ""
