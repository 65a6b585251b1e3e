"""What reading a checkpoint may cost: every bound of the readers stands here, and tests hold each of them.

Work and memory are bounded by the bytes of the input, whatever these bytes say.
"""

from __future__ import annotations

__all__ = [
    "ARCHIVE_DIRECTORY",
    "DCP_COMPARISONS",
    "FILE_NAME",
    "JSON_BYTES",
    "JSON_CONTAINERS",
    "JSON_DEPTH",
    "JSON_DIGITS",
    "JSON_VALUES",
    "KEY_BITS",
    "MSGPACK_DEPTH",
    "MSGPACK_VALUES",
    "MSGPACK_NAMES",
    "MSGPACK_NAMES_FREE",
    "NAME_LENGTH",
    "NPZ_EXPANSION",
    "NPZ_HEADER",
    "ORBAX_EXPANSION",
    "PICKLE_BYTES",
    "PICKLE_STEPS",
    "PICKLE_WORK",
    "PICKLE_WORK_FREE",
    "SAFETENSORS_ENTRY",
    "SAFETENSORS_HEADER",
    "TENSOR_BYTES",
    "TENSOR_BYTES_FREE",
    "TREE_DEPTH",
]

JSON_BYTES = 64 << 20
"""Bytes of a JSON file: an index of 700,000 tensors."""
JSON_VALUES = 2_000_000
"""Commas and colons in a JSON text, each of which begins one value."""
JSON_CONTAINERS = 500_000
"""Lists and objects in a JSON text, the costliest of its values."""
JSON_DEPTH = 64
"""Lists and objects inside each other."""
JSON_DIGITS = 40
"""Digits of an integer in JSON; offsets and sizes have 20 at most."""

SAFETENSORS_HEADER = 100_000_000
"""Bytes of the header of a safetensors file, as in the library of that name."""
SAFETENSORS_ENTRY = 4096
"""Characters that say one tensor: 64 axes of 20 digits are 1,344."""

PICKLE_BYTES = 64 << 20
"""Bytes of a pickle, without the storages of its tensors."""
PICKLE_STEPS = 6_000_000
"""Opcodes of a pickle; a tensor takes about 30."""
PICKLE_WORK = 64
"""Bytes that are made in memory, hashed or copied for each byte of a pickle, as `_Machine.spend` counts them."""
PICKLE_WORK_FREE = 1 << 20
"""Bytes of work that every pickle may cost, however small it is."""
KEY_BITS = 64
"""Bits of an integer that is a key: of larger ones, any number can have the same hash."""
NAME_LENGTH = 4096
"""Characters of a name that is a key, of a module or of a class."""

ARCHIVE_DIRECTORY = 64 << 20
"""Bytes of an archive's directory, which takes 100 for a record and becomes about six times as much in memory."""

TENSOR_BYTES = 2
"""Bytes of tensors for each byte of a `.pt` file: PyTorch keeps one number of a tensor that repeats it."""
TENSOR_BYTES_FREE = 64 << 20
"""Bytes that tensors may have beyond that."""

MSGPACK_VALUES = 65_536
"""Values in a msgpack file; an array is one, whatever its size. Each takes about a kilobyte of memory."""
MSGPACK_DEPTH = 64
"""Maps and lists inside each other."""
MSGPACK_NAMES = 4
"""Characters of whole names, with what leads to them, for each byte of a msgpack file."""
MSGPACK_NAMES_FREE = 4 << 20
"""Characters that whole names may have beyond that: 64 for each of the values there may be."""
NPZ_HEADER = 10_000
"""Bytes of the header of an array in an `.npz` file, as in numpy."""
NPZ_EXPANSION = 1_100
"""Bytes of arrays for each byte of an `.npz` file: deflate makes 1,032 of one at most."""

FILE_NAME = 255
"""Characters of the name of a file in a folder."""
DCP_COMPARISONS = 1 << 30
"""Numbers compared to see whether pieces overlap: of any real mesh a million at most, of the worst a few seconds."""
TREE_DEPTH = 64
"""Entries inside each other in a tree of arrays: Orbax's, or the parts of an `.npz` file's names between slashes."""
ORBAX_EXPANSION = 1 << 15
"""Bytes of arrays for each byte of an Orbax folder: what zstd makes of zeros, 64 MiB in 2 kB."""
