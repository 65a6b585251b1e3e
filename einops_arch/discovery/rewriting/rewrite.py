"""A diff that puts `rearrange` where a model's chains are. It is only ever shown, never applied.

A chain is rewritten where its source is plain to see: calls on one another in one expression, or in assignments that
follow each other; and where each size that the pattern needs stands in the old code as exactly one expression. All else
in the file stays as it is, to the letter; what is not rewritten is named with the reason.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from einops_arch.discovery.rewriting.links import Link, Site, Source, UnsureError, nodes, target
from einops_arch.discovery.solving.chains import Chain

__all__ = ["Diff", "Rewritten", "diff", "rewrite"]

_VIEWS = {"view", "reshape"}
_SIZED = {*_VIEWS, "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"}
"""Operations whose arguments are sizes of the pattern."""
_HARMLESS = {"size", "len", "int", "numel", "dim", "min", "max", "prod", "isqrt", "sqrt", "round"}

Left: TypeAlias = tuple[Chain, str]
"""A chain that is left alone, and why."""


@dataclass(frozen=True)
class Rewritten:
    """The new source of one file, and what was left alone in it."""

    source: str
    left: tuple[Left, ...]


@dataclass(frozen=True)
class Diff:
    """A unified diff over all files, empty if nothing is sure, and what was left alone."""

    text: str
    left: tuple[Left, ...]


@dataclass(frozen=True)
class _Edit:
    site: Site
    pattern: str
    words: tuple[tuple[str, cst.BaseExpression], ...]
    function: str
    imports: bool


def diff(chains: Sequence[Chain]) -> Diff:
    """One unified diff over all files that have a chain to rewrite."""
    by_file: dict[str, list[Chain]] = defaultdict(list)
    for chain in chains:
        by_file[chain.steps[0].file].append(chain)
    pages, left = [], list[Left]()
    for file, group in by_file.items():
        if not Path(file).is_file():
            left += [(chain, "its source is in no file") for chain in group]
            continue
        with Path(file).open(encoding="utf-8", newline="") as stream:
            old = stream.read()
        new = rewrite(old, group)
        left += new.left
        pages += [
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in difflib.unified_diff(_lines(old), _lines(new.source), file, file)
        ]
    return Diff("".join(pages), tuple(left))


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text, newline="\n"))


def rewrite(source: str, chains: Sequence[Chain]) -> Rewritten:
    """The source of one file with the chains that are sure rewritten.

    Args:
        source: Python.
        chains: all that the file ran; a place that ran as two patterns is left alone.
    """
    sites: dict[tuple[tuple[str, int], ...], list[Chain]] = defaultdict(list)
    for chain in chains:
        sites[tuple((step.operation, step.line) for step in chain.steps)].append(chain)
    try:
        parsed = Source(cst.parse_module(source))
    except cst.ParserSyntaxError as error:
        return Rewritten(source, tuple((group[0], f"libcst cannot read the file: {error}") for group in sites.values()))
    edits, left = list[_Edit](), list[Left]()
    taken = set[int]()
    for group in sites.values():
        try:
            edit = _edit(parsed, group)
            touched = {id(node) for node in (*(link.node for link in edit.site.links), *edit.site.lines[:-1])}
            if taken & touched:
                raise UnsureError("another chain has some of its operations")
        except UnsureError as reason:
            left.append((group[0], str(reason)))
            continue
        taken |= touched
        edits.append(edit)
    if not edits:
        return Rewritten(source, tuple(left))
    module: Any = parsed.module.visit(_Writer(edits))
    context = CodemodContext()
    for name in sorted({edit.function for edit in edits if edit.imports}):
        AddImportsVisitor.add_needed_import(context, "einops", name if name == "rearrange" else None)
    return Rewritten(AddImportsVisitor(context).transform_module(module).code, tuple(left))


def _edit(source: Source, group: Sequence[Chain]) -> _Edit:
    """How a chain is rewritten.

    Raises:
        UnsureError: there is a doubt.
    """
    chain = _trimmed(group[0])
    discovery = chain.discovery
    if discovery is None:
        raise UnsureError(f"no pattern: {chain.reason}")
    if discovery.operation != "rearrange":
        raise UnsureError(f"{discovery.operation}, and only rearrange is written")
    if len({chain.discovery.pattern if chain.discovery else None for chain in group}) > 1:
        raise UnsureError("it ran as several patterns")
    if not all(chain.recorded for chain in group):
        raise UnsureError("its values were written over, and a rearrange may share them or not")
    left, right = (side.split() for side in discovery.pattern.split("->"))
    if left == right:
        raise UnsureError("it changes nothing")
    if len({step.file for step in chain.steps}) > 1:
        raise UnsureError("it reaches over several files")
    if {"clone", "copy"} & {step.operation for step in chain.steps}:
        raise UnsureError("it asks for a copy, and a rearrange may share its memory")
    if "1" in left and "squeeze" not in chain.operations:
        raise UnsureError("an axis of size 1 here may have another size elsewhere")
    site = source.find(chain)
    if source.quoted(site.links[-1].node):
        raise UnsureError("it is inside of an f-string, whose quotes a pattern would end")
    _check_between(source, site)
    words = _words(source, site, [_trimmed(chain) for chain in group], discovery.pattern)
    if not site.lines and _lost(site, [site.links[0].receiver, *(node for _, node in words)]):
        raise UnsureError("there is a comment in it, and no line to put it on")
    return _Edit(site, discovery.pattern, words, *_function(source, site))


def _trimmed(chain: Chain) -> Chain:
    """The chain without the `contiguous` at its end: whoever asked for it may need it."""
    steps = chain.steps
    while steps and steps[-1].operation == "contiguous":
        steps = steps[:-1]
    return dataclasses.replace(chain, steps=steps)


def _check_between(source: Source, site: Site) -> None:
    """Hold that nothing can read the values in between.

    Raises:
        UnsureError: something may.
    """
    between, top = site.between, site.links[-1].node
    if not between:
        return
    last = site.lines[-1].body[0]
    once_more = isinstance(last, cst.Assign) and {target(site.lines[-1])} == between
    block = source.parent(site.lines[-1])
    leaves = isinstance(last, cst.Return) and not isinstance(source.parent(block) if block else None, cst.Try)
    value = last.value if isinstance(last, cst.Assign | cst.Return) else None
    read = value is not None and any(
        isinstance(node, cst.Name) and node.value in between for node in nodes(value, without=top)
    )
    if read or len(site.lines[-1].body) > 1 or not (once_more or leaves) or source.declares(between):
        raise UnsureError("a value in between may be read later")


def _words(
    source: Source, site: Site, group: Sequence[Chain], pattern: str
) -> tuple[tuple[str, cst.BaseExpression], ...]:
    """The sizes that the pattern needs in the old code's own words.

    Of each parenthesis one axis is left out: the one that the old code leaves open, or else the one that it takes the
    most words for.

    Raises:
        UnsureError: there is a doubt.
    """
    sizes = [_all_sizes(chain) for chain in group]
    for link in site.links:
        _check_arguments(link, group[0], sizes)
    words: list[tuple[str, cst.BaseExpression]] = []
    for names in _parentheses(pattern.partition("->")[0]):
        expressions = {name: _expression(source, name, site, group, sizes) for name in names}
        unclear = [name for name, node in expressions.items() if node is None]
        longest = max(names, key=lambda name: len(source.code(node)) if (node := expressions[name]) else 0)
        left_out = unclear or [longest]
        if len(left_out) > 1:
            raise UnsureError(f"the sizes of {' and '.join(left_out)} stand in no one expression each")
        words += [(name, node) for name, node in expressions.items() if node is not None and name != left_out[0]]
    return tuple(words)


def _check_arguments(link: Link, chain: Chain, sizes: Sequence[Mapping[str, int]]) -> None:
    """Hold that the arguments say nothing but sizes.

    Raises:
        UnsureError: they hold a number that may hold at this shape only, or do more than tell a number.
    """
    if link.word in _VIEWS:
        shape = chain.steps[link.step].sizes
        placed = _placed(link.arguments, len(shape))
        if placed is None:
            raise UnsureError("a shape is computed, and may have another length elsewhere")
        products = _products(sizes[0].values())
        if odd := [shape[position] for position in placed if shape[position] not in products]:
            raise UnsureError(f"a size of {odd[0]} is none of the pattern's, and may not fit at another shape")
    for node in (node for argument in link.arguments for node in nodes(argument)):
        if isinstance(node, cst.Call) and _called(node) not in _HARMLESS:
            raise UnsureError(f"an argument calls {_called(node)}, which may do more than tell a size")
        if isinstance(node, cst.NamedExpr | cst.Await | cst.Yield):
            raise UnsureError("an argument does more than tell a size")
        if chain.steps[link.step].operation in _VIEWS and isinstance(node, cst.Integer):
            number = node.evaluated_value
            if number > 1 and not all(number in each.values() for each in sizes):
                raise UnsureError(f"the number {number} may hold at this shape only")


def _products(sizes: Iterable[int]) -> set[int]:
    products = {1}
    for size in sizes:
        products |= {size * product for product in products}
    return products


def _called(node: cst.Call) -> str:
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    return name.value if isinstance(name, cst.Name) else "something"


def _all_sizes(chain: Chain) -> dict[str, int]:
    """The size of every axis of the pattern."""
    sizes: dict[str, int] = {}
    if chain.discovery is None:
        return sizes
    sizes.update(chain.discovery.sizes)
    words = re.findall(r"\([^)]*\)|\w+", chain.discovery.pattern.partition("->")[0])
    for word, size in zip(words, chain.shapes[0], strict=True):
        names = word.strip("()").split()
        open_ones = [name for name in names if name not in sizes]
        known = math.prod(sizes[name] for name in names if name in sizes)
        sizes.update(dict.fromkeys(open_ones, size // known))
    return sizes


def _parentheses(side: str) -> list[list[str]]:
    return [group.split() for group in re.findall(r"\(([^)]*)\)", side)]


def _expression(
    source: Source, name: str, site: Site, group: Sequence[Chain], sizes: Sequence[Mapping[str, int]]
) -> cst.BaseExpression | None:
    """The one expression in the arguments whose value is the size of an axis, in every run."""
    expressions: dict[str, cst.BaseExpression | None] = {}
    for link in site.links:
        steps = [chain.steps[link.step] for chain in group]
        if steps[0].operation not in _SIZED:
            continue
        placed = _placed(link.arguments, len(steps[0].sizes))
        if placed is None or any(len(step.sizes) != len(steps[0].sizes) for step in steps):
            return None  # a shape by name, or more stars than one
        for position, argument in placed.items():
            if all(step.sizes[position] == each[name] for step, each in zip(steps, sizes, strict=True)):
                names = {node.value for node in nodes(argument) if isinstance(node, cst.Name)}
                changed = link is not site.links[0] and names & site.between
                expressions[source.code(argument)] = None if changed else argument
    (text, node), *others = list(expressions.items()) or [("-1", None)]
    return None if others or text == "-1" else node


def _placed(arguments: Sequence[cst.BaseExpression], count: int) -> dict[int, cst.BaseExpression] | None:
    """Which argument is which size; those in a star are none."""
    stars = [place for place, argument in enumerate(arguments) if isinstance(argument, cst.StarredElement)]
    if len(stars) > 1 or (not stars and len(arguments) != count) or len(arguments) - len(stars) > count:
        return None
    before = stars[0] if stars else len(arguments)
    after = len(arguments) - before - len(stars)
    return {
        **dict(enumerate(arguments[:before])),
        **{count - after + place: argument for place, argument in enumerate(arguments[len(arguments) - after :])},
    }


def _function(source: Source, site: Site) -> tuple[str, bool]:
    """What to call einops' function where the chain stands, and whether it has to be imported.

    Raises:
        UnsureError: the file uses both names for something else.
    """
    node = site.links[-1].node
    for name, call in (("rearrange", "rearrange"), ("einops", "einops.rearrange")):
        known = source.knows(node, name)
        if known is not False:
            return call, known is None
    raise UnsureError("rearrange and einops are names of something else here")


class _Writer(cst.CSTTransformer):
    """Writes the edits into a module."""

    def __init__(self, edits: Sequence[_Edit]) -> None:
        super().__init__()
        self.tops = {id(edit.site.links[-1].node): edit for edit in edits}
        self.roots = {id(edit.site.links[0].receiver) for edit in edits}
        self.written: dict[int, cst.BaseExpression] = {}
        """The first receivers, as they are after the edits inside of them."""
        self.gone = {id(line) for edit in edits for line in edit.site.lines[:-1]}
        self.lasts: dict[int, list[_Edit]] = defaultdict(list)
        for edit in edits:
            if edit.site.lines:
                self.lasts[id(edit.site.lines[-1])].append(edit)

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        updated: Any = super().on_leave(original_node, updated_node)
        if (edit := self.tops.get(id(original_node))) is not None:
            updated = self._call(edit)
        if id(original_node) in self.roots:
            self.written[id(original_node)] = updated
        if id(original_node) in self.gone:
            return cst.RemoveFromParent()
        if edits := self.lasts.get(id(original_node)):
            first = max((edit.site for edit in edits), key=lambda site: len(site.lines)).lines[0]
            comments = [
                cst.EmptyLine(comment=cst.Comment(text))
                for edit in edits
                for text in _lost(edit.site, [self._root(edit), *(node for _, node in edit.words)])
            ]
            updated = updated.with_changes(leading_lines=[*first.leading_lines, *comments])
        return updated

    def _root(self, edit: _Edit) -> cst.BaseExpression:
        return self.written[id(edit.site.links[0].receiver)]

    def _call(self, edit: _Edit) -> Any:
        call: Any = cst.parse_expression(f'{edit.function}(x, "{edit.pattern}")')
        root = self._root(edit)
        if isinstance(root, cst.BinaryOperation) and len(root.lpar) == 1 and not _comments(root):
            root = root.with_changes(lpar=[], rpar=[])
        equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
        sizes = [cst.Arg(node, cst.Name(name), equal) for name, node in edit.words]
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        arguments = [call.args[0].with_changes(value=root), call.args[1], *sizes]
        return call.with_changes(
            args=[*(argument.with_changes(comma=comma) for argument in arguments[:-1]), arguments[-1]]
        )


def _comments(node: cst.CSTNode) -> list[str]:
    return [node.value for node in nodes(node) if isinstance(node, cst.Comment)]


def _lost(site: Site, kept: Sequence[cst.CSTNode]) -> list[str]:
    """The comments that would go away with a chain, but for those in what is kept of it."""
    comments: list[str] = []
    for line in site.lines[:-1]:
        comments += _comments(line if line is not site.lines[0] else line.with_changes(leading_lines=[]))
    if len(site.lines) > 1:
        comments += [line.comment.value for line in site.lines[-1].leading_lines if line.comment]
    comments += _comments(site.links[-1].node)
    have = Counter(text for node in kept for text in _comments(node))
    lost = []
    for text in comments:
        if have[text]:
            have[text] -= 1
        else:
            lost.append(text)
    return lost
