"""The pickled half of a `.pt` file: which tensor is which part of which storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from einops_arch.checkpoints.formats import pickles
from einops_arch.checkpoints.formats.pickles import Call, Global
from einops_arch.checkpoints.tensors import DTYPES, TensorInfo
from einops_arch.errors import CheckpointError

__all__ = ["KEYS", "STORAGES", "Storage", "View", "find_state", "load_tensors", "tensors_of"]

KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "ema")
"""Where training scripts put the state dict."""

STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}
_UNTYPED = "torch.storage.UntypedStorage"
_TENSORS = {
    "torch._utils._rebuild_tensor": 4,
    "torch._utils._rebuild_tensor_v2": 6,
    "torch._utils._rebuild_tensor_v3": 7,
}
_PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_ALLOWED = (
    *STORAGES,
    *_TENSORS,
    *_PARAMETERS,
    *(f"torch.{dtype}" for dtype in DTYPES),
    _UNTYPED,
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
)
_EXPANDED = 64 << 20
"""Bytes that tensors may have more than the file: torch keeps one number of a tensor that repeats it."""
_DEPTH = 4


@dataclass(frozen=True)
class Storage:
    """Numbers in a row that tensors are views of."""

    key: str
    dtype: str
    size: int

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.size * DTYPES[self.dtype]


@dataclass(frozen=True)
class View:
    """A tensor: a part of a storage; offset and strides count elements of the tensor's own dtype."""

    storage: Storage
    info: TensorInfo
    offset: int
    strides: tuple[int, ...]

    @property
    def span(self) -> tuple[int, int]:
        """The bytes of the storage from the first to the last element."""
        width = DTYPES[self.info.dtype]
        if not self.info.size:
            return self.offset * width, self.offset * width
        last = sum((size - 1) * stride for size, stride in zip(self.info.shape, self.strides, strict=True))
        return self.offset * width, (self.offset + last + 1) * width

    @property
    def contiguous(self) -> bool:
        """Its elements lie in C order."""
        step = 1
        for size, stride in zip(reversed(self.info.shape), reversed(self.strides), strict=True):
            if size > 1 and stride != step:
                return False
            step *= size
        return True


def load_tensors(stream: BytesIO, seen: dict[str, Storage] | None = None) -> Any:
    """The object of the next pickle, with what makes a tensor as a `Call`, for `tensors_of`.

    Args:
        stream: where the pickle begins.
        seen: filled with the storages, by their keys.

    Raises:
        CheckpointError: more than plain weights, or not whole.
    """

    def storage(identity: Any) -> Storage:
        found = _storage(identity)
        known = seen.setdefault(found.key, found) if seen is not None else found
        if known != found:
            raise CheckpointError(f"storage {found.key:.40} is there twice, with other numbers")
        return found

    return pickles.load(stream, _ALLOWED, storage)


def find_state(loaded: Any, depth: int = 0) -> Mapping[str, Any] | None:
    """The state dict in what was loaded: the thing itself, or what lies under one of `KEYS`."""
    if not isinstance(loaded, dict) or depth > _DEPTH:
        return None
    if loaded and all(isinstance(name, str) and _is_tensor(value) for name, value in loaded.items()):
        return loaded
    found = (find_state(loaded[key], depth + 1) for key in KEYS if key in loaded)
    return next((one for one in found if one is not None), None)


def tensors_of(state: Mapping[str, Any], room: int) -> tuple[dict[str, View], dict[str, str]]:
    """The views of a state dict, and the aliases: names of one and the same view.

    Args:
        state: tensors by name.
        room: bytes of the file.

    Raises:
        CheckpointError: a tensor is larger than its storage.
    """
    views: dict[str, View] = {}
    aliases: dict[str, str] = {}
    first: dict[View, str] = {}
    for name, value in state.items():
        view = _view(name, value)
        if view in first:
            aliases[name] = first[view]
        else:
            first[view] = name
            views[name] = view
    total = sum(view.info.nbytes for view in views.values())
    if total > 2 * room + _EXPANDED:
        raise CheckpointError(f"a file of {room} bytes stands for tensors of {total} bytes; it is refused as a bomb")
    return views, aliases


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Call) and (value.path in _TENSORS or value.path in _PARAMETERS)


def _storage(identity: Any) -> Storage:
    match identity:
        case ("storage", Global(path=kind), str(key), str(), int(size), *view) if size >= 0 and view in ([], [None]):
            if kind in STORAGES:
                return Storage(key, STORAGES[kind], size)
            if kind == _UNTYPED:
                return Storage(key, "uint8", size)
    raise CheckpointError(f"expected a storage, received {type(identity).__name__}")


def _view(name: str, value: Any) -> View:
    if isinstance(value, Call) and value.path in _PARAMETERS and value.args:
        value = value.args[0]
    if not isinstance(value, Call) or len(value.args) < _TENSORS.get(value.path, 99):
        raise CheckpointError(f"{name:.80}: expected a tensor")
    storage, offset, shape, strides, *rest = value.args
    if not isinstance(storage, Storage):
        raise CheckpointError(f"{name:.80}: expected a tensor with a storage")
    dtype = storage.dtype
    if value.path.endswith("_v3"):
        dtype = rest[2].path.removeprefix("torch.") if isinstance(rest[2], Global) else "?"
    shape = _numbers(name, shape)
    (first,) = _numbers(name, (offset,))
    view = View(storage, TensorInfo(shape, dtype), first, _numbers(name, strides))
    if len(view.strides) != len(shape) or view.span[1] > storage.nbytes:
        raise CheckpointError(f"{name:.80}: shape {shape!s:.80} lies outside its storage of {storage.nbytes} bytes")
    return view


def _numbers(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, Call) and value.path == "torch.Size" and len(value.args) == 1:
        value = value.args[0]
    if not isinstance(value, tuple | list) or not all(type(one) is int and one >= 0 for one in value):
        raise CheckpointError(f"{name:.80}: expected numbers of at least 0, received a {type(value).__name__}")
    return tuple(value)
