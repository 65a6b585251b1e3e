"""Find a recorded chain in its source: calls on one another, in one expression or in assignments in a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import libcst as cst
from libcst import matchers as m
from libcst.metadata import (
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
    ScopeProvider,
)

from einops_arch.discovery.solving.chains import Chain

__all__ = ["Link", "Site", "Source", "UnsureError", "nodes", "target"]

_FRAMEWORKS = {"torch", "numpy", "jax", "einops"}
_WRITTEN = {
    "transpose": {"swapaxes", "moveaxis", "T", "mT", "matrix_transpose", "permute_dims"},
    "reshape": {"ravel", "flatten"},
}
"""The words for jax's primitives, beside their own names."""
_INPUTS = {"input", "a", "x", "arr", "array"}
"""What the functions call the array that they take."""


class UnsureError(Exception):
    """Why a chain is left as it is."""


@dataclass(frozen=True)
class Link:
    """One operation in the source.

    Args:
        node: the whole expression.
        receiver: what it moves.
        arguments: the others, in order; those of a shape that is given as one tuple are its members.
        step: which step of the chain it is.
        word: what the source calls it.
    """

    node: cst.BaseExpression
    receiver: cst.BaseExpression
    arguments: tuple[cst.BaseExpression, ...]
    step: int
    word: str


@dataclass(frozen=True)
class Site:
    """Where a chain stands.

    Args:
        links: its operations, in order.
        lines: the statements that it reaches over, in order; the last one keeps its place.
    """

    links: tuple[Link, ...]
    lines: tuple[cst.SimpleStatementLine, ...]

    @property
    def between(self) -> set[str]:
        """The names of the values in between."""
        return {target(line) or "" for line in self.lines[:-1]}


@dataclass
class Source:
    """The source of one file, parsed.

    Args:
        module: the syntax tree.
    """

    module: cst.Module
    _metadata: Mapping[Any, Mapping[cst.CSTNode, Any]] = field(init=False)
    _expressions: list[cst.BaseExpression] = field(init=False)

    def __post_init__(self) -> None:
        wrapper = MetadataWrapper(self.module, unsafe_skip_copy=True)
        providers = [PositionProvider, ParentNodeProvider, QualifiedNameProvider, ScopeProvider]
        self._metadata = wrapper.resolve_many(providers)
        matches = m.findall(
            self.module, m.Call(func=m.Attribute() | m.Name()) | m.Attribute(attr=m.Name("T") | m.Name("mT"))
        )
        self._expressions = [cast("cst.BaseExpression", node) for node in matches]

    def find(self, chain: Chain) -> Site:
        """The one place where a chain stands.

        Raises:
            UnsureError: there is none, or there are several.
        """
        sites = [site for node in self._expressions if (site := self._site(node, chain)) is not None]
        if not sites:
            raise UnsureError("the source is no chain of calls on one another, in one block of statements")
        if len(sites) > 1:
            raise UnsureError("the lines have several such chains")
        return sites[0]

    def knows(self, node: cst.CSTNode, name: str) -> bool | None:
        """Whether `rearrange` or `einops` is einops' own at a node; None if nothing has that name there."""
        scope = self._metadata[ScopeProvider].get(node)
        assignments = list(scope[name]) if scope is not None else []
        wanted = {"rearrange": "einops.rearrange", "einops": "einops"}[name]
        return (
            all(
                any(full.name == wanted for full in assignment.get_qualified_names_for(name))
                for assignment in assignments
                if isinstance(assignment, ImportAssignment)
            )
            and all(isinstance(assignment, ImportAssignment) for assignment in assignments)
            if assignments
            else None
        )

    def declares(self, names: set[str]) -> bool:
        """Whether the file says `global` or `nonlocal` of one of the names."""
        statements = m.findall(self.module, m.Global() | m.Nonlocal())
        return any(item.name.value in names for statement in statements for item in cast("cst.Global", statement).names)

    def code(self, node: cst.CSTNode) -> str:
        """The text of a node."""
        return self.module.code_for_node(node)

    def block(self, line: cst.CSTNode) -> Sequence[cst.CSTNode]:
        """The statements beside one."""
        body = getattr(self.parent(line), "body", ())
        return body if isinstance(body, list | tuple) else ()

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The node that a node is a part of."""
        return self._metadata[ParentNodeProvider].get(node)

    def quoted(self, node: cst.CSTNode) -> bool:
        """Whether a node is inside of an f-string."""
        at: cst.CSTNode | None = node
        while at is not None and not isinstance(at, cst.FormattedString):
            at = self.parent(at)
        return at is not None

    def line(self, node: cst.CSTNode) -> cst.SimpleStatementLine | None:
        """The line of statements that an expression is in; None in the head of a block or a scope of its own."""
        inner = m.Lambda() | m.CompFor() | m.GeneratorExp() | m.ListComp() | m.SetComp() | m.DictComp()
        at: cst.CSTNode | None = node
        while at is not None and not isinstance(at, cst.SimpleStatementLine):
            if isinstance(at, cst.BaseCompoundStatement) or m.matches(at, inner):
                return None
            at = self.parent(at)
        return at

    def _site(self, top: cst.BaseExpression, chain: Chain) -> Site | None:
        links: list[Link] = []
        lines = [line] if (line := self.line(top)) is not None else []
        node: cst.BaseExpression = top
        place = len(chain.steps) - 1
        while place >= 0:
            step = chain.steps[place]
            words = {step.operation, *_WRITTEN.get(step.operation, ())}
            link = self._link(node, words, place)
            if link is not None and self._covers(node, step.line):
                links.append(link)
                place -= 1
                node = link.receiver
            elif links and (copy := self._link(node, {"contiguous"}, place)) is not None:
                node = copy.receiver  # it copied nothing, and is no step
            elif (before := self._assigned(node, lines)) is not None:
                lines.insert(0, before)
                node = cast("cst.Assign", before.body[0]).value
            else:
                return None
        return Site(tuple(reversed(links)), tuple(lines))

    def _covers(self, node: cst.CSTNode, line: int) -> bool:
        place = self._metadata[PositionProvider][node]
        return bool(place.start.line <= line <= place.end.line)

    def _assigned(
        self, node: cst.BaseExpression, lines: Sequence[cst.SimpleStatementLine]
    ) -> cst.SimpleStatementLine | None:
        """The line before, if all that it does is to give a name its value."""
        if not lines or not isinstance(node, cst.Name) or len(lines[0].body) != 1:
            return None
        block = self.block(lines[0])
        place = next(place for place, line in enumerate(block) if line is lines[0])
        before = block[place - 1] if place else None
        return before if isinstance(before, cst.SimpleStatementLine) and target(before) == node.value else None

    def _link(self, node: cst.BaseExpression, words: set[str], step: int) -> Link | None:
        if isinstance(node, cst.Attribute):
            word = node.attr.value
            return Link(node, node.value, (), step, word) if word in words & {"T", "mT"} else None
        if not isinstance(node, cst.Call):
            return None
        full = self._imported(node.func)
        if full is None:
            if not isinstance(node.func, cst.Attribute) or node.func.attr.value not in words:
                return None
            return Link(node, node.func.value, _members(node.args), step, node.func.attr.value)
        if (word := full.rpartition(".")[2]) not in words:
            return None
        for place, argument in enumerate(node.args):
            named = argument.keyword.value if argument.keyword else None
            if not argument.star and (named in _INPUTS or (named is None and place == 0)):
                others = [*node.args[:place], *node.args[place + 1 :]]
                return Link(node, argument.value, _members(others), step, word)
        return None

    def _imported(self, node: cst.BaseExpression) -> str | None:
        """The full name of a framework's function, None for a method and for functions of others."""
        at = node
        while isinstance(at, cst.Attribute):
            at = at.value
        if not isinstance(at, cst.Name):
            return None
        known = self._metadata[QualifiedNameProvider].get(node)
        names = known() if callable(known) else known
        full = (name.name for name in names or () if name.source is QualifiedNameSource.IMPORT)
        return next((name for name in full if name.partition(".")[0] in _FRAMEWORKS), None)


def _members(arguments: Sequence[cst.Arg]) -> tuple[cst.BaseExpression, ...]:
    """The arguments of a call; a star is kept as one."""
    if len(arguments) == 1 and isinstance(arguments[0].value, cst.Tuple | cst.List):
        return tuple(
            element if isinstance(element, cst.StarredElement) else element.value
            for element in arguments[0].value.elements
        )
    return tuple(cst.StarredElement(argument.value) if argument.star else argument.value for argument in arguments)


def target(line: cst.SimpleStatementLine) -> str | None:
    """The name that a line gives a value to, None if it does anything else."""
    if len(line.body) != 1 or not isinstance(line.body[0], cst.Assign) or len(line.body[0].targets) != 1:
        return None
    target = line.body[0].targets[0].target
    return target.value if isinstance(target, cst.Name) else None


def nodes(node: cst.CSTNode, without: cst.CSTNode | None = None) -> Iterator[cst.CSTNode]:
    """A node and all that is in it, but for one part."""
    if node is not without:
        yield node
        for child in node.children:
            yield from nodes(child, without)
