"""A name says what the thing is: words that stand for anything are counted as identifiers, folder by folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "einops_arch"
WORDS = {"one", "found", "given", "ours", "theirs"}
LIMIT = 1.0
"""Per 1,000 lines, in each folder and in all."""

# Folders whose names are still to be mended, with today's figure per 1,000 lines; a figure only ever goes down.
STILL: dict[str, float] = {}


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name, argument, attribute and definition; words in strings and comments are prose."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def count(text: str) -> int:
    """How many of the words a file has as identifiers."""
    return sum(name in WORDS for name in identifiers(ast.parse(text)))


def per_thousand(folder: Path) -> float:
    """The figure of a folder, without those in it."""
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    lines = sum(text.count("\n") for text in texts)
    return 1000 * sum(map(count, texts)) / lines if lines else 0.0


FOLDERS = sorted({path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")})


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_things_are(folder):
    figure = per_thousand(PACKAGE / folder)
    assert figure < STILL.get(folder, LIMIT), f"{folder}: {figure:.1f} of {', '.join(sorted(WORDS))} per 1,000 lines"


def test_the_list_of_what_is_still_to_be_mended_is_short_and_true():
    assert set(STILL) <= set(FOLDERS)


USES = {
    "a name": "one = 1",
    "a loop": "for one in rows: pass",
    "an argument": "def f(given): pass",
    "a keyword": "f(given=1)",
    "an attribute": "rule.given",
    "a function": "def found(): pass",
    "an error": "try: pass\nexcept ValueError as found: pass",
    "an import": "import numpy as ours",
    "a pattern": "match x:\n    case [theirs]: pass",
    "a walrus": "(found := 1)",
}


@pytest.mark.parametrize("text", USES.values(), ids=USES)
def test_every_use_as_an_identifier_counts(text):
    assert count(text) == 1


def test_prose_does_not_count():
    assert count('"""One of theirs, given and found."""\nnone = "one"  # found\nfoundation = ones = 1') == 0
