"""One class at the top: what the package raises on purpose is an `EinopsArchError`, whatever else it is."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest

from einops_arch import errors

PACKAGE = Path(__file__).resolve().parent.parent / "einops_arch"

# Raised and caught in one place, or asked for by a protocol of Python; no user sees them.
INSIDE = {
    ("checkpoints/disk/bounded_json.py", "ValueError"): "json wants it of its hooks; the reader words it",
    ("checkpoints/formats/safetensors_header.py", "ValueError"): "json wants it of its hooks; the reader words it",
    ("checkpoints/disk/linux_calls.py", "OSError"): "what the system said, caught by the destination",
    ("checkpoints/disk/foreign_errors.py", "OSError"): "what the system said through a library, caught by the reader",
    ("checkpoints/disk/destination.py", "OSError"): "caught a few lines below",
    ("checkpoints/disk/destination.py", "FileExistsError"): "caught two lines below",
    ("translation/building.py", "ImportError"): "Python cannot import a file of this package's own making",
    ("discovery/tracing/torch_program.py", "RuntimeError"): "a mistake of this package, of no user",
    ("flax/layers/weights.py", "NotImplementedError"): "a subclass has to define it",
    ("translation/ops/table.py", "ValueError"): "two rows of one operation, a mistake of this package",
    ("translation/merge.py", "ValueError"): "a mistake of this package, of no user",
    ("parity/causes/reductions.py", "ValueError"): "a hypothesis that cannot be tried, caught by the search",
    ("parity/causes/case.py", "ValueError"): "a hypothesis that fits by chance, caught by the search",
    ("parity/causes/seen.py", "ValueError"): "a cause that fits unseen, caught by the search",
    ("parity/causes/graph.py", "ValueError"): "a substitute of another shape, caught by the search",
    ("parity/report/pair.py", "TypeError"): "a mistake of this package, of no user",
}


def bare(tree: ast.AST) -> list[str]:
    """The builtin exceptions that are raised, by name; a module's `AttributeError` is Python's own protocol."""
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    names = [getattr(exc.func if isinstance(exc, ast.Call) else exc, "id", "") for exc in raised]
    kinds = [(name, getattr(builtins, name, None)) for name in names if name != "AttributeError"]
    return [name for name, kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]


def test_no_bare_error_leaves_the_package():
    files = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    raised = {(path.relative_to(PACKAGE).as_posix(), name) for path, tree in files.items() for name in bare(tree)}
    assert raised - set(INSIDE) == set()


@pytest.mark.parametrize("text", ["raise ValueError('x')", "raise FileExistsError", "raise TypeError('x') from error"])
def test_a_bare_error_is_noticed(text):
    assert len(bare(ast.parse(f"def f():\n    {text}"))) == 1


@pytest.mark.parametrize("text", ["raise ConfigError('x')", "raise", "raise error", "raise AttributeError(name)"])
def test_other_raises_are_not(text):
    assert bare(ast.parse(f"try:\n    f()\nexcept Exception as error:\n    {text}")) == []


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_the_one_base_and_says_its_message(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.EinopsArchError)
    assert str(kind("expected 3, received 4")) == "expected 3, received 4"


def test_an_old_except_clause_still_catches_what_exists_already():
    assert issubclass(errors.DestinationExistsError, FileExistsError)
    assert issubclass(errors.DestinationExistsError, errors.DestinationError)
