"""Which statement of a program runs: its lines, the names that it assigns to, and which turn of a loop it is in."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import torch

from einops_arch.discovery.tracing.program import Source

__all__ = ["begin_turns", "current_source", "is_message"]

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_MODULES = f"{_TORCH}nn{os.sep}modules{os.sep}"
_SKIPPED = (
    str(Path(__file__)),
    *(
        str(Path(__file__).with_name(name))
        for name in ("sizes.py", "watched_functions.py", "torch_recorder.py", "torch_program.py")
    ),
    str(Path(contextlib.__file__)),
)

_TURNS: dict[tuple[int, str], tuple[tuple[int, int], int, int]] = {}


def begin_turns() -> None:
    """Forget the turns of the last recording."""
    _TURNS.clear()


def _turned(source: Source, frame: Any) -> Source:
    """Which time the statement runs in this call of its function: an instruction that comes again begins a new turn."""
    if source.file.endswith("container.py"):
        return source
    key = (id(frame), source.file)
    statement, instruction, turn = _TURNS.get(key, ((0, 0), -1, 0))
    if statement != source.statement or frame.f_lasti <= instruction:
        turn += 1
    _TURNS[key] = (source.statement, frame.f_lasti, turn)
    return dataclasses.replace(source, turn=turn)


def current_source(*, again: bool = False) -> Source:
    """The statement of the program that runs now, outside of torch and of the recorder.

    Args:
        again: it was asked for already in this turn.
    """
    frame: Any = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = file.startswith(_TORCH) and not (file.startswith(_MODULES) and not file.endswith("module.py"))
        if not inside and file not in _SKIPPED:
            source = _named_by_caller(_statement(file, frame.f_lineno, frame.f_code.co_name), frame)
            return source if again else _turned(source, frame)
        frame = frame.f_back
    return Source()


def _named_by_caller(source: Source, frame: Any) -> Source:
    """Which of several targets an expression belongs to; what a function returns has the name that its caller gives."""
    if len(source.targets) > 1:
        return _target_of_instruction(source, frame)
    outer = frame
    while not source.targets and _returns(outer.f_code.co_filename, outer.f_lineno):
        outer = outer.f_back
        if outer is None or outer.f_code.co_filename.startswith(_TORCH) or outer.f_code.co_filename in _SKIPPED:
            return source
        named = _statement(outer.f_code.co_filename, outer.f_lineno, outer.f_code.co_name)
        source = dataclasses.replace(source, targets=_target_of_instruction(named, outer).targets)
    return source


def _target_of_instruction(source: Source, frame: Any) -> Source:
    """`a, b = f(x), g(x)`: the instruction is inside of one of both."""
    places = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    spans = _element_spans(source.file, source.statement)
    if places is None or None in places or len(spans) != len(source.targets):
        return source
    start, end = (places[0], places[2]), (places[1], places[3])
    for target, (first, last) in zip(source.targets, spans, strict=True):
        if first <= start and end <= last:
            return dataclasses.replace(source, targets=(target,))
    return source


@functools.cache
def _element_spans(file: str, statement: tuple[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    for node in _statements(file):
        if isinstance(node, ast.Assign) and (node.lineno, node.end_lineno) == statement:
            items = node.value.elts if isinstance(node.value, (ast.Tuple, ast.List)) else []
            return [((e.lineno, e.col_offset), (e.end_lineno or 0, e.end_col_offset or 0)) for e in items]
    return []


@functools.cache
def _returns(file: str, line: int) -> bool:
    return any(
        isinstance(node, ast.Return) and node.lineno <= line <= (node.end_lineno or node.lineno)
        for node in _statements(file)
    )


def is_message() -> bool:
    """Whether a size is only written into the text of `_assert` or of an error."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename in _SKIPPED:
        if frame.f_code.co_name == "written":
            line = _outer(frame)
            return line is not None and _only_told(line.f_code.co_filename, line.f_lineno)
        frame = frame.f_back
    return False


def _outer(frame: Any) -> Any:
    while frame is not None and frame.f_code.co_filename in _SKIPPED:
        frame = frame.f_back
    return frame


@functools.cache
def _only_told(file: str, line: int) -> bool:
    """Whether a line is inside of a call of `_assert`, of a print or a log, of `assert` or `raise`."""
    told = ("_assert", "print", "warn", "warning", "info", "debug", "warn_once", "warning_once")
    for node in _messages(file):
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, (ast.Raise, ast.Assert)):
                return True
            function = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
            if isinstance(function, (ast.Name, ast.Attribute)):
                return (function.id if isinstance(function, ast.Name) else function.attr) in told
    return False


@functools.cache
def _messages(file: str) -> tuple[ast.stmt, ...]:
    return tuple(item for item in _statements(file) if isinstance(item, (ast.Raise, ast.Assert, ast.Expr)))


@functools.cache
def _statement(file: str, line: int, function: str) -> Source:
    best: ast.stmt | None = None
    for statement in _statements(file):
        end = statement.end_lineno or statement.lineno
        if statement.lineno <= line <= end and (best is None or statement.lineno >= best.lineno):
            best = statement
    if best is None:
        return Source(file, line, function, (line, line))
    return Source(file, line, function, (best.lineno, best.end_lineno or best.lineno), _targets(best))


@functools.cache
def _statements(file: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ()
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr, ast.Assert, ast.Raise)
    return tuple(node for node in ast.walk(tree) if isinstance(node, simple))


def _targets(statement: ast.stmt) -> tuple[str, ...]:
    if isinstance(statement, ast.Assign):
        target: Any = statement.targets[0]
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        target = statement.target
    else:
        return ()
    names = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    return tuple(name.id if isinstance(name, ast.Name) else "" for name in names)
