"""JSON from files of unknown origin: regular files only, of bounded size, and counted before anything is made of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops_arch._text import printable
from einops_arch.checkpoints.disk.pread import open_file, read_bytes
from einops_arch.checkpoints.limits import JSON_BYTES, JSON_CONTAINERS, JSON_DEPTH, JSON_DIGITS, JSON_VALUES
from einops_arch.errors import CheckpointError

__all__ = ["exists", "parse_json", "read_json", "write_json"]

# A text without an end goes to the end of the file, so that nothing is looked at twice.
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


def exists(path: Path) -> bool:
    """Whether there is anything of that name, a pipe or a broken link too, which reading it then refuses by name."""
    return os.path.lexists(path)


def read_json(path: Path, most: int = JSON_BYTES) -> dict[str, Any]:
    """A JSON object from a regular file.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        CheckpointError: it cannot be read, is huge, or is something else.
    """
    file, size = open_file(path)
    try:
        if size > most:
            raise CheckpointError(f"{path}: expected at most {most} bytes, received {size}")
        data = read_bytes(file, 0, size)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from error
    finally:
        os.close(file)
    try:
        value = parse_json(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return value


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text, whose cost in memory and time is bounded by its length.

    Raises:
        CheckpointError: it is no JSON, has too many values or too long integers, is too deep, or has a name twice.

    >>> parse_json(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    try:
        if isinstance(data, str):
            data = data.encode("utf-8")
        if len(data) > JSON_BYTES:
            raise CheckpointError(f"expected at most {JSON_BYTES} bytes, received {len(data)}")
        containers, values = data.count(b"[") + data.count(b"{"), data.count(b",") + data.count(b":")
        if containers > JSON_CONTAINERS or values > JSON_VALUES:
            raise CheckpointError(f"more than {JSON_VALUES} values, or {JSON_CONTAINERS} lists and objects")
        if containers > JSON_DEPTH:
            _check_depth(data)
        text = data.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(printable(f"{str(error) or type(error).__name__:.200}", "")) from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that is on the disk when this returns."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _check_depth(data: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            if depth > JSON_DEPTH:
                raise CheckpointError(f"more than {JSON_DEPTH} lists and objects inside each other")
        elif first in b"]}":
            depth -= 1


def _integer(text: str) -> int:
    if len(text) > JSON_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{printable(repr(name[:80]), '')} is there twice")
            seen.add(name)
    return values
