"""The header of a safetensors file: eight bytes of length, JSON, and then the bytes of all tensors without a gap.

It is checked here to the last number, whoever wrote it: the offsets of a header are places in a file, and a wrong one
is a wrong tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from einops_arch.checkpoints.tensors import DTYPES, TensorInfo
from einops_arch.errors import CheckpointError

__all__ = ["MAX_HEADER", "build_header", "parse_header"]

MAX_HEADER = 32 << 20
"""Bytes: room for 300,000 tensors. More would let a small file fill the memory."""

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
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the header is not JSON: {str(error) or type(error).__name__:.200}") from None
    if not isinstance(header, dict):
        raise CheckpointError("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("__metadata__: expected strings by name")
    found = sorted(((*_entry(name, entry), name) for name, entry in header.items()), key=lambda one: one[1:3])
    at = 0
    for _, start, end, name in found:
        if start != at:
            problem = "overlaps another tensor" if start < at else "leaves a gap before it"
            raise CheckpointError(f"{name!r:.80} {problem}: expected its bytes to begin at {at}, received {start}")
        at = end
    if at != room:
        problem = "the file is truncated or its header is wrong" if at > room else "bytes are left over"
        raise CheckpointError(f"expected {at} bytes of tensors after the header, received {room}: {problem}")
    return {name: (info, start) for info, start, _, name in found}, metadata


def build_header(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """The header, with its length before it, of tensors whose bytes follow in this order.

    Raises:
        CheckpointError: the format has no such dtype, or takes no such name.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    at = 0
    for name, info in tensors.items():
        if info.dtype not in _NAMES:
            raise CheckpointError(f"{name}: safetensors has no {info.dtype}")
        if name == "__metadata__":
            raise CheckpointError("__metadata__: safetensors keeps this name for itself")
        end = at + info.nbytes
        header[name] = {"dtype": _NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise CheckpointError(f"the header would take {len(text)} bytes, more than {MAX_HEADER}; write shards")
    return len(text).to_bytes(8, "little") + text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{twice!r:.80} is there twice")
    return found


def _entry(name: str, entry: Any) -> tuple[TensorInfo, int, int]:
    """The tensor, and where its bytes begin and end."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{name!r:.80}: expected dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _CODES:
        raise CheckpointError(f"{name!r:.80}: expected a dtype of {', '.join(_CODES)}, received {code!r:.40}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise CheckpointError(
            f"{name!r:.80}: expected a shape and two offsets, received {shape!r:.60}, {offsets!r:.60}"
        )
    try:
        info = TensorInfo(tuple(shape), _CODES[code])
    except CheckpointError as error:
        raise CheckpointError(f"{name!r:.80}: {error}") from None
    start, end = offsets
    if end - start != info.nbytes:
        raise CheckpointError(
            f"{name!r:.80}: {info.size} elements of {DTYPES[info.dtype]} bytes do not fit the offsets {start} to {end}"
        )
    return info, start, end


def _naturals(numbers: Any) -> bool:
    # `true` is a number for Python, and JSON's 1.0 is one for the eye.
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
