"""The header of a safetensors file: eight bytes of length, JSON, and then the bytes of all tensors without a gap.

It is checked here to the last number, whoever wrote it: the offsets of a header are places in a file, and a wrong one
is a wrong tensor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from json import decoder
from typing import Any

from einops_arch._text import brief
from einops_arch.checkpoints.disk.bounded_json import parse_json
from einops_arch.checkpoints.limits import SAFETENSORS_ENTRY, SAFETENSORS_HEADER
from einops_arch.checkpoints.tensors import DTYPES, TensorInfo
from einops_arch.errors import CheckpointError

__all__ = ["build_header", "parse_header"]

_CODES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
_METADATA = "__metadata__"
_SPACE = " \t\n\r"
_SPACES = re.compile(f"[{_SPACE}]*")
_ENTRY = re.compile(rf"\{{[^{{}}]{{0,{SAFETENSORS_ENTRY}}}\}}")
_SHOWN = 6
_scan: Callable[[str, int, bool], tuple[str, int]] = vars(decoder)["scanstring"]
_NAMES = {name: code for code, name in _CODES.items()}


def parse_header(text: bytes, room: int) -> tuple[dict[str, tuple[TensorInfo, int]], dict[str, str]]:
    """Read and check a header.

    Args:
        text: the JSON.
        room: bytes in the file after the header.

    Returns:
        The tensors with where each begins after the header, in the order of their bytes; and the metadata.

    Raises:
        CheckpointError: the header is not that of a whole, right file.
    """
    metadata: dict[str, str] | None = None
    rows: dict[str, tuple[TensorInfo, int, int]] = {}
    try:
        parsed = _Text(text.decode("utf-8"))
        for name in parsed.members():
            if name in rows or (name == _METADATA and metadata is not None):
                raise ValueError(f"{brief(name)} is there twice")
            if name == _METADATA:
                metadata = parsed.strings()
            else:
                rows[name] = _entry(name, parsed.entry())
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the header is not JSON: {str(error) or type(error).__name__:.200}") from None
    ordered = sorted(rows.items(), key=lambda row: row[1][1:])
    at = 0
    for name, (_, start, end) in ordered:
        if start != at:
            problem = "overlaps another tensor" if start < at else "leaves a gap before it"
            raise CheckpointError(f"{brief(name)} {problem}: expected its bytes to begin at {at}, received {start}")
        at = end
    if at != room:
        problem = "the file is truncated or its header is wrong" if at > room else "bytes are left over"
        raise CheckpointError(f"expected {at} bytes of tensors after the header, received {room}: {problem}")
    return {name: (info, start) for name, (info, start, _) in ordered}, metadata or {}


def build_header(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """The header, with its length before it, of tensors whose bytes follow in this order.

    Raises:
        CheckpointError: the format has no such dtype, or takes no such name.
    """
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))}
    at = 0
    for name, info in tensors.items():
        if info.dtype not in _NAMES:
            raise CheckpointError(f"{name}: safetensors has no {info.dtype}")
        if name == _METADATA:
            raise CheckpointError(f"{_METADATA}: safetensors keeps this name for itself")
        end = at + info.nbytes
        header[name] = {"dtype": _NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > SAFETENSORS_HEADER:
        raise CheckpointError(f"the header would take {len(text)} bytes, more than {SAFETENSORS_HEADER}; write shards")
    return len(text).to_bytes(8, "little") + text


class _Text:
    """The text of a header, from member to member: what is in memory at a time is one entry and what came of others."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def members(self) -> Iterator[str]:
        """The names of the members of an object; the caller takes each value before the next name."""
        if self.text[: self._skip(self.at) + 1].strip(_SPACE) != "{":
            raise CheckpointError("the header is not a JSON object")
        yield from self._object()
        if self.at != len(self.text):
            raise ValueError(f"extra data at {self.at}")

    def strings(self) -> dict[str, str]:
        """An object of strings by name."""
        values: dict[str, str] = {}
        if not self.text.startswith("{", self.at):
            raise CheckpointError(f"{_METADATA}: expected strings by name")
        for name in self._object():
            if name in values:
                raise ValueError(f"{brief(name)} is there twice")
            if not self.text.startswith('"', self.at):
                raise CheckpointError(f"{_METADATA}: expected strings by name")
            values[name] = self._string()
        return values

    def entry(self) -> Any:
        """The object that says a tensor, or None where something else or something larger is."""
        match = _ENTRY.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        try:
            return parse_json(match[0])
        except CheckpointError as error:
            raise ValueError(str(error)) from None

    def _object(self) -> Iterator[str]:
        at = self._skip(self.at) + 1
        self.at = self._skip(at)
        if self.text.startswith("}", self.at):
            self.at = self._skip(self.at + 1)
            return
        while True:
            name = self._string()
            self._expect(":")
            yield name
            self.at = self._skip(self.at)
            if self._expect(",}") == "}":
                return

    def _string(self) -> str:
        if not self.text.startswith('"', self.at):
            raise ValueError(f"expected a name in quotes at {self.at}")
        value, self.at = _scan(self.text, self.at + 1, True)  # noqa: FBT003 - the standard library has it so
        return value

    def _expect(self, characters: str) -> str:
        at = self._skip(self.at)
        character = self.text[at : at + 1]
        if not character or character not in characters:
            raise ValueError(f"expected {' or '.join(characters)} at {at}")
        self.at = self._skip(at + 1)
        return character

    def _skip(self, at: int) -> int:
        match = _SPACES.match(self.text, at)
        return match.end() if match else at


def _entry(name: str, entry: Any) -> tuple[TensorInfo, int, int]:
    """The tensor, and where its bytes begin and end."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{brief(name)}: expected dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _CODES:
        raise CheckpointError(f"{brief(name)}: expected a dtype of {', '.join(_CODES)}, received {brief(code)}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise CheckpointError(
            f"{brief(name)}: expected a shape and two offsets, received {_row(shape)}, {_row(offsets)}"
        )
    try:
        info = TensorInfo(tuple(shape), _CODES[code])
    except CheckpointError as error:
        raise CheckpointError(f"{brief(name)}: {error}") from None
    start, end = offsets
    if end - start != info.nbytes:
        raise CheckpointError(
            f"{brief(name)}: {info.size} elements of {DTYPES[info.dtype]} bytes do not fit the offsets {start} to {end}"
        )
    return info, start, end


def _row(numbers: Any) -> str:
    few = isinstance(numbers, list) and len(numbers) <= _SHOWN
    return f"[{', '.join(map(brief, numbers))}]" if few else brief(numbers)


def _naturals(numbers: Any) -> bool:
    # `true` is a number for Python, and JSON's 1.0 is one for the eye.
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
