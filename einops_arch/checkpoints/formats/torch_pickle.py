"""The pickled half of a `.pt` file: which tensor is which part of which storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from einops_arch._text import brief
from einops_arch.checkpoints.formats import pickles
from einops_arch.checkpoints.formats.pickles import Call, Global
from einops_arch.checkpoints.limits import NAME_LENGTH, TENSOR_BYTES, TENSOR_BYTES_FREE
from einops_arch.checkpoints.tensors import DTYPES, MAX_RANK, Bits, TensorInfo, numpy_dtype
from einops_arch.errors import CheckpointError

__all__ = ["STORAGES", "Storage", "View", "is_tensor", "load_tensors", "tensors_of"]

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
_QUANTIZED_STORAGES = {
    "torch.QInt8Storage": "qint8",
    "torch.QUInt8Storage": "quint8",
    "torch.QInt32Storage": "qint32",
    "torch.QUInt4x2Storage": "quint4x2",
    "torch.QUInt2x4Storage": "quint2x4",
}
"""Storages of tensors that are refused, of which the older form says how long they are."""
_STORED = {**STORAGES, **_QUANTIZED_STORAGES}
_WIDTHS = {**DTYPES, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
_UNTYPED = "torch.storage.UntypedStorage"
_V2, _V3 = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"
_TENSORS = {"torch._utils._rebuild_tensor": (4, 4), _V2: (6, 7), _V3: (7, 8)}
"""The least and the most arguments: storage, offset, shape, strides, gradient, hooks, (dtype,) and flags."""
_PARAMETERS = {"torch._utils._rebuild_parameter": 3, "torch._utils._rebuild_parameter_with_state": 4}
"""The number of arguments: a tensor, gradient, hooks and Python attributes."""
_PARAMETER = "torch.nn.parameter.Parameter"
_ATTRIBUTES = "torch._tensor._rebuild_from_type_v2"
"""A tensor with Python attributes: the function that makes it, its class, the function's arguments, the attributes."""
_CLASSES = ("torch.Tensor", _PARAMETER)
_CHANGING = frozenset({"data", "real", "imag"})
"""Attributes of a tensor that replace its numbers when they are set."""
_UNSUPPORTED = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, without numbers",
    "torch._utils._rebuild_wrapper_subclass": "a tensor subclass",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of a device that keeps it as numpy array",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of a device that keeps a copy of it",
}
_PLAIN = ("builtins.set", "builtins.complex", "builtins.bytearray", "_codecs.encode", "torch.Size", "torch.device")
"""What `torch.load(weights_only=True)` takes beside tensors; nothing is made of it, it stays as it is."""
_QUANTIZED = tuple(f"torch.{way}" for way in ("per_tensor_affine", "per_channel_affine", "per_channel_symmetric",
                                              "per_tensor_symmetric", "per_channel_affine_float_qparams"))  # fmt: skip
_ALLOWED = (
    *STORAGES,
    *_QUANTIZED_STORAGES,
    *_TENSORS,
    *_PARAMETERS,
    *_UNSUPPORTED,
    *_PLAIN,
    *(path.replace("builtins", "__builtin__") for path in _PLAIN if path.startswith("builtins")),
    *_CLASSES,
    *_QUANTIZED,
    *(f"torch.{dtype}" for dtype in DTYPES),
    _ATTRIBUTES,
    _UNTYPED,
    "torch.serialization._get_layout",
    "collections.OrderedDict",
    "collections.Counter",
)
_DEPTH = 4
_SIZES = 2**63


@dataclass(frozen=True)
class Storage:
    """Numbers in a row that tensors are views of."""

    key: str
    dtype: str
    size: int

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.size * _WIDTHS[self.dtype]


@dataclass(frozen=True)
class View:
    """A tensor: a part of a storage; offset and strides count elements of the tensor's own dtype.

    Args:
        storage: the numbers.
        info: its shape and dtype.
        offset: where it begins.
        strides: 0 for axes of size 1.
        conjugated: PyTorch's lazy `conj`: the numbers are those of the storage, conjugated.
        negated: PyTorch's lazy negation, as the imaginary part of a conjugated tensor has it.
    """

    storage: Storage
    info: TensorInfo
    offset: int
    strides: tuple[int, ...]
    conjugated: bool = False
    negated: bool = False

    @property
    def lazy(self) -> bool:
        """Its numbers are not those of the storage; see `resolve`."""
        return self.conjugated or self.negated

    def resolve(self, bits: Bits) -> Bits:
        """The tensor's own bits, from those of the storage."""
        if not self.lazy:
            return bits
        array = bits.view(numpy_dtype(self.info.dtype))
        array = np.conjugate(array) if self.conjugated else array
        array = np.negative(array) if self.negated else array
        return array.view(bits.dtype)

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
        """Its elements lie in the storage in C order and as they are."""
        if self.lazy:
            return False
        step = 1
        for size, stride in zip(reversed(self.info.shape), reversed(self.strides), strict=True):
            if size > 1 and stride != step:
                return False
            step *= size
        return True


def load_tensors(stream: BytesIO, seen: dict[str, Storage] | None = None, foreign: list[Call] | None = None) -> Any:
    """The object of the next pickle, with what makes a tensor as a `Call`, for `tensors_of`.

    Args:
        stream: where the pickle begins.
        seen: filled with the storages, by their keys.
        foreign: filled with the calls of unknown classes and functions, none of which is made; an error if left out.

    Raises:
        CheckpointError: more than plain weights, or not whole.
    """

    def storage(identity: Any) -> Storage:
        received = _storage(identity)
        known = seen.setdefault(received.key, received) if seen is not None else received
        if known != received:
            raise CheckpointError(f"storage {received.key:.40} is there twice, with other numbers")
        return received

    return pickles.load(stream, _ALLOWED, storage, foreign)


def is_tensor(value: Any) -> bool:
    """Whether this makes a tensor, of whatever kind."""
    if type(value) is not Call:
        return False
    known = value.path in _TENSORS or value.path in _PARAMETERS or value.path in _UNSUPPORTED
    return known or value.path in {_ATTRIBUTES, _PARAMETER}


def tensors_of(state: Mapping[str, Any], room: int) -> tuple[dict[str, View], dict[str, str]]:
    """The views of a state dict, and the aliases: names of one and the same view.

    Args:
        state: tensors by name.
        room: bytes of the file.

    Raises:
        CheckpointError: a tensor is larger than its storage, or of a kind that is not supported.
    """
    views: dict[str, View] = {}
    aliases: dict[str, str] = {}
    first: dict[View, str] = {}
    for name, value in state.items():
        try:
            view = _view(value)
        except CheckpointError as error:
            raise CheckpointError(f"{name:.80}: {error}") from None
        if view in first:
            aliases[name] = first[view]
        else:
            first[view] = name
            views[name] = view
    total = sum(view.info.nbytes for view in views.values())
    if total > TENSOR_BYTES * room + TENSOR_BYTES_FREE:
        raise CheckpointError(f"a file of {room} bytes stands for tensors of {total} bytes; it is refused as a bomb")
    return views, aliases


def _storage(identity: Any) -> Storage:
    match identity:
        case ("storage", Global(path=kind), str(key), str(), int(size), *view) if view in ([], [None]):
            if 0 <= size < _SIZES and len(key) <= NAME_LENGTH:
                if kind in _STORED:
                    return Storage(key, _STORED[kind], size)
                if kind == _UNTYPED:
                    return Storage(key, "uint8", size)
    raise CheckpointError(f"expected a storage, received {brief(identity)}")


def _view(value: Any) -> View:
    value = _unwrap(value)
    if value.path in _UNSUPPORTED:
        raise CheckpointError(f"{_UNSUPPORTED[value.path]}, which is not supported")
    if value.path not in _TENSORS or value.state is not None:
        raise CheckpointError("expected a tensor")
    least, most = _TENSORS[value.path]
    if not least <= len(value.args) <= most:
        raise CheckpointError(f"expected a tensor of {least} to {most} arguments, received {len(value.args)}")
    storage, offset, shape, strides, *rest = value.args
    if not isinstance(storage, Storage):
        raise CheckpointError("expected a tensor with a storage")
    dtype = storage.dtype
    if rest:
        _check_gradient(*rest[:2])
    if value.path == _V3:
        kind = rest.pop(2)
        dtype = kind.path.removeprefix("torch.") if type(kind) is Global else "?"
    if dtype in _QUANTIZED_STORAGES.values():
        raise CheckpointError("a quantized tensor, which is not supported")
    info = TensorInfo(_numbers(shape), dtype)
    (first,) = _numbers((offset,))
    strides = _numbers(strides)
    outside = f"shape {info.shape!s:.80} lies outside its storage of {storage.nbytes} bytes"
    if len(strides) != len(info.shape):
        raise CheckpointError(outside)
    # Of an axis of size 1 any stride is right, and too large a one is more than numpy can count.
    strides = tuple(stride if size > 1 and info.size else 0 for stride, size in zip(strides, info.shape, strict=True))
    view = View(storage, info, first, strides, **_flags(rest[2] if len(rest) > 2 else None, dtype))
    if view.span[1] > storage.nbytes:
        raise CheckpointError(outside)
    return view


def _unwrap(value: Any) -> Call:
    """The call that makes the tensor itself, without what makes a parameter of it or gives it Python attributes."""
    for _ in range(_DEPTH):
        if type(value) is not Call:
            break
        if value.path in _TENSORS or value.path in _UNSUPPORTED:
            return value
        if value.state is not None:
            raise CheckpointError("expected a tensor without further state")
        match value.args:
            case (inner, gradient, hooks, *rest) if len(value.args) == _PARAMETERS.get(value.path):
                _check_gradient(gradient, hooks)
                _check_attributes(rest[0] if rest else None)
                value = inner
            case (inner, *rest) if value.path == _PARAMETER and len(rest) <= 1:
                _check_gradient(rest[0] if rest else True, None)
                value = inner
            case (Global(path=function), Global(path=kind), tuple(args), attributes) if value.path == _ATTRIBUTES:
                if kind not in _CLASSES:
                    raise CheckpointError(f"expected a tensor, received a {kind:.80}")
                _check_attributes(attributes)
                value = Call(function, args)
            case _:
                break
    raise CheckpointError("expected a tensor")


def _check_gradient(gradient: Any, hooks: Any) -> None:
    if type(gradient) is not bool or not (hooks is None or (type(hooks) is dict and not hooks)):
        raise CheckpointError(
            f"expected whether it has a gradient, and no hooks, received {brief(gradient)}, {brief(hooks)}"
        )


def _check_attributes(state: Any) -> None:
    """Python attributes change no number, but for those few that are numbers."""
    for attributes in state if type(state) is tuple and len(state) == 2 else (state,):
        if attributes is None:
            continue
        if type(attributes) is not dict:
            raise CheckpointError(f"expected attributes by name, received {brief(attributes)}")
        for name in attributes:
            if type(name) is not str or name in _CHANGING or name.startswith("__"):
                raise CheckpointError(f"an attribute {brief(name)}, which would change the tensor")


def _flags(metadata: Any, dtype: str) -> dict[str, bool]:
    """What PyTorch would still have to do to the numbers."""
    flags = {} if metadata is None else metadata
    if type(flags) is not dict or any(type(name) is not str or type(flags[name]) is not bool for name in flags):
        raise CheckpointError(f"expected flags of a tensor, received {brief(metadata)}")
    unknown = [name for name, value in flags.items() if value and name not in {"conj", "neg"}]
    if unknown:
        raise CheckpointError(f"a flag {brief(unknown[0])}, which is not known")
    conjugated, negated = flags.get("conj", False), flags.get("neg", False)
    if (conjugated and not dtype.startswith("complex")) or (negated and dtype == "bool"):
        raise CheckpointError(f"{dtype} cannot be conjugated or negated")
    return {"conjugated": conjugated, "negated": negated}


def _numbers(value: Any) -> tuple[int, ...]:
    if type(value) is Call and value.path == "torch.Size" and len(value.args) == 1:
        value = value.args[0]
    if type(value) not in {tuple, list}:
        raise CheckpointError(f"expected numbers of at least 0, received {brief(value)}")
    if len(value) > MAX_RANK:
        raise CheckpointError(f"expected at most {MAX_RANK} axes, received {len(value)}")
    if not all(type(number) is int and 0 <= number <= _SIZES for number in value):
        raise CheckpointError(f"expected numbers of at least 0, received a {type(value).__name__}")
    return tuple(value)
