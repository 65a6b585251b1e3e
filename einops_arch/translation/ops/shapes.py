"""Reshapes, permutations, joins, splits and indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.layout import Array, Elementary, default_names, from_value, reshape
from einops_arch.translation.ops.table import input_dims, operation, plain_int
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


def reshaped(writer: Writer, array: Array, output: Value, numbers: Sequence[Any]) -> Array:
    """A view: lazily as a pattern, or as a reshape where no pattern says it."""
    codes = []
    for number, size in zip(numbers, output.sizes, strict=True):
        free = isinstance(number, FreeSize) and size[0] != size[1]
        codes.append(writer.number(number) if free else "")
    lazy = reshape(array, output, codes)
    if lazy is not None and _can_be_written(lazy):
        return lazy
    whole = writer.ordered(array)
    shape = []
    inferred = False
    for number, size, code in zip(numbers, output.sizes, codes, strict=True):
        if code:
            shape.append(code)
        elif size[0] == size[1]:
            shape.append(str(size[0]))
        elif not inferred:
            shape.append("-1")
            inferred = True
        else:
            raise UnknownOperationError(f"a size of the view is not known ({number})")
    return from_value(writer.bind(f"{whole.code}.reshape({', '.join(shape)})"), output)


def _can_be_written(array: Array) -> bool:
    """Of each group that the variable has, all sizes but one must be known."""
    return all(
        sum(1 for axis in group if not axis.fixed and not axis.code) <= 1 for group in array.stored if len(group) > 1
    )


def _shape_arguments(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


@operation("view", "reshape")
def view(writer: Writer, node: Node, input: Any, *shape: Any, **kwargs: Any) -> Array:
    """Another shape."""
    shape = _shape_arguments(shape) if shape else tuple(kwargs.get("shape", kwargs.get("size", ())))
    if len(shape) != len(node.outputs.shape):
        raise UnknownOperationError("a view of another dtype")
    return reshaped(writer, writer.array(input), node.outputs, shape)


@operation("view_as", "reshape_as")
def view_as(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """The shape of another tensor."""
    return _like_output(writer, node, input, other)


def _like_output(writer: Writer, node: Node, value: Any, other: Any = None) -> Array:
    numbers = list(node.outputs.shape)
    array = writer.array(value)
    codes = ["" for _ in numbers]
    if other is not None:
        beside = writer.array(other)
        codes = [writer.size_of(beside, n) if a != b else "" for n, (a, b) in enumerate(node.outputs.sizes)]
    lazy = reshape(array, node.outputs, codes)
    if lazy is None or not _can_be_written(lazy):
        raise UnknownOperationError("a size of the view is not known")
    return lazy


@operation("flatten", "ravel")
def flatten(writer: Writer, node: Node, input: Any, start_dim: int = 0, end_dim: int = -1) -> Array:
    """Neighbouring axes as one."""
    return _like_output(writer, node, input)


@operation("unflatten")
def unflatten(writer: Writer, node: Node, input: Any, dim: int, sizes: Any) -> Array:
    """One axis as several."""
    dim = dim % len(input.shape)
    before = [-1 if a != b else a for a, b in input.sizes]
    numbers = [*before[:dim], *sizes, *before[dim + 1 :]]
    return reshaped(writer, writer.array(input), node.outputs, numbers)


@operation("unsqueeze")
def unsqueeze(writer: Writer, node: Node, input: Any, dim: int) -> Array:
    """A new axis of one."""
    result = writer.array(input).copy(node.outputs)
    result.logical.insert(dim % len(node.outputs.shape), [])
    return result


@operation("squeeze")
def squeeze(writer: Writer, node: Node, input: Any, dim: Any = None) -> Array:
    """Axes of one go."""
    result = writer.array(input).copy(node.outputs)
    dims = input_dims(dim, len(input.shape))
    result.logical = [group for n, group in enumerate(result.logical) if not (n in dims and input.sizes[n] == (1, 1))]
    if len(result.logical) != len(node.outputs.shape):
        raise UnknownOperationError("whether an axis goes depends on its size", "name it: squeeze(dim)")
    return result


@operation("permute")
def permute(writer: Writer, node: Node, input: Any, *dims: Any, **kwargs: Any) -> Array:
    """Axes in another order: no line is written."""
    order = input_dims(_shape_arguments(dims) if dims else kwargs["dims"], len(input.shape))
    return _permuted(writer, node, input, order)


@operation("transpose", "swapaxes", "swapdims")
def transpose(writer: Writer, node: Node, input: Any, dim0: int, dim1: int) -> Array:
    """Two axes change places."""
    rank = len(input.shape)
    order = list(range(rank))
    order[dim0 % rank], order[dim1 % rank] = order[dim1 % rank], order[dim0 % rank]
    return _permuted(writer, node, input, order)


@operation("t", "T", "mT", "adjoint", "H")
def turned(writer: Writer, node: Node, input: Any) -> Array:
    """The last two axes, or all, change places."""
    rank = len(input.shape)
    order = list(range(rank))[::-1] if node.name == "T" else [*range(rank - 2), rank - 1, rank - 2]
    return _permuted(writer, node, input, order if rank > 1 else list(range(rank)))


@operation("movedim", "moveaxis")
def movedim(writer: Writer, node: Node, input: Any, source: Any, destination: Any) -> Array:
    """Axes go elsewhere."""
    rank = len(input.shape)
    sources, targets = input_dims(source, rank), input_dims(destination, rank)
    order: list[int] = [-1] * rank
    for left, right in zip(sources, targets, strict=True):
        order[right] = left
    rest = iter(n for n in range(rank) if n not in sources)
    return _permuted(writer, node, input, [next(rest) if n < 0 else n for n in order])


def _permuted(writer: Writer, node: Node, value: Any, order: Sequence[int]) -> Array:
    result = writer.array(value).copy(node.outputs)
    result.logical = [result.logical[n] for n in order]
    return result


@operation("expand", "expand_as", "broadcast_to")
def expand(writer: Writer, node: Node, input: Any, *shape: Any, **kwargs: Any) -> Array:
    """Axes of one are repeated, where it turns out that somebody needs it."""
    shape = _shape_arguments(shape) if shape else tuple(kwargs.get("size", kwargs.get("shape", ())))
    output = node.outputs
    if len(shape) == 1 and isinstance(shape[0], Value):
        beside = writer.array(shape[0])
        codes = [writer.size_of(beside, n) if a != b else "" for n, (a, b) in enumerate(output.sizes)]
    else:
        codes = [writer.number(number) if isinstance(number, FreeSize) else "" for number in shape]
    result = writer.array(input).copy(output)
    missing = len(output.shape) - len(input.shape)
    result.logical = [[] for _ in range(missing)] + result.logical
    taken = result.names
    for n, sizes in enumerate(output.sizes):
        before = input.sizes[n - missing] if n >= missing else (1, 1)
        if before != sizes:
            name = _default(n, len(output.sizes), taken)
            result.logical[n] = [Elementary(name, sizes, codes[n] if sizes[0] != sizes[1] else "")]
    return result


def _default(place: int, rank: int, taken: Sequence[str]) -> str:
    name = (["b", "n", "c"] if rank == 3 else ["b", "c", "h", "w", "d"])[place] if place < 3 else f"a{place}"
    return name if name not in taken else f"a{place}"


@operation("repeat", "tile")
def tile(writer: Writer, node: Node, input: Any, *repeats: Any) -> Array:
    """Copies beside each other."""
    repeats = _shape_arguments(repeats)
    missing = len(node.outputs.shape) - len(input.shape)
    sizes = [(1, 1)] * missing + list(input.sizes)
    if all(size == (1, 1) or number == 1 for size, number in zip(sizes, repeats, strict=False)):
        result = writer.array(input).copy(node.outputs)
        result.logical = [[] for _ in range(missing)] + result.logical
        taken = result.names
        for n, number in enumerate(repeats):
            if sizes[n] == (1, 1) and node.outputs.sizes[n] != (1, 1):
                code = writer.number(number) if isinstance(number, FreeSize) else ""
                name = _default(n, len(sizes), taken)
                result.logical[n] = [Elementary(name, node.outputs.sizes[n], code)]
        return result
    array = writer.ordered(input)
    counts = writer.number(tuple(repeats))
    return from_value(writer.bind(f"jnp.tile({array.code}, {counts})"), node.outputs)


@operation("repeat_interleave")
def repeat_interleave(writer: Writer, node: Node, input: Any, repeats: Any, dim: Any = None) -> Array:
    """Each entry several times in a row."""
    if not isinstance(repeats, int) or dim is None:
        raise UnknownOperationError("repeats that are no number")
    array = writer.whole(input)
    order = array.order or ()
    axis = order.index(dim % len(input.shape))
    code = f"jnp.repeat({array.code}, {writer.number(repeats)}, axis={axis})"
    return writer.make(code, node.outputs, order, array.names)


@operation("cat", "concat", "concatenate")
def cat(writer: Writer, node: Node, tensors: Any, dim: Any = 0, *, axis: Any = None) -> Array:
    """One after the other."""
    dim = dim if axis is None else axis
    kept = [tensor for tensor in tensors if not (len(tensor.shape) == 1 and tensor.shape[0] == 0)]
    rank = len(node.outputs.shape)
    first = next((writer.array(tensor) for tensor in kept if writer.array(tensor).order is not None), None)
    order = first.order if first is not None and first.order is not None and not first.repeated else tuple(range(rank))
    parts = []
    for tensor in kept:
        array = writer.ordered(tensor, order)
        code = array.code
        if tensor.dtype != node.outputs.dtype or tensor.follows != node.outputs.follows:
            code = f"{code}.astype({writer.dtype_of(node.outputs)})"
        parts.append(code)
    names = first.names if first is not None else None
    place = order.index(int(dim) % rank)
    place_text = -1 if place == rank - 1 else place
    joined = _whole_list(writer, parts) or f"[{', '.join(parts)}]"
    return writer.make(f"jnp.concatenate({joined}, axis={place_text})", node.outputs, order, names)


def _whole_list(writer: Writer, parts: Sequence[str]) -> str | None:
    """The argument of which these are all entries, in their order: however many it has, the code is the same."""
    name = parts[0].removesuffix("[0]")
    return (
        name if writer.lists.get(name) == len(parts) and parts == [f"{name}[{n}]" for n in range(len(parts))] else None
    )


@operation("stack")
def stack(writer: Writer, node: Node, tensors: Any, dim: int = 0) -> Array:
    """A new axis, of which these are the entries."""
    rank = len(node.outputs.shape)
    parts = [writer.ordered(tensor) for tensor in tensors]
    place = dim % rank
    names = list(parts[0].names)
    new = next(name for name in ("t", "n", "m", "k", *default_names(rank)) if name not in names)
    code = f"jnp.stack([{', '.join(part.code for part in parts)}], axis={place})"
    return writer.make(code, node.outputs, names=[*names[:place], new, *names[place:]])


@operation("split", "chunk", "split_with_sizes", "tensor_split")
def split(writer: Writer, node: Node, input: Any, sizes: Any = None, dim: Any = 0, **kwargs: Any) -> list[Array]:
    """Parts along an axis."""
    sizes = kwargs.get("split_size_or_sections", kwargs.get("chunks", kwargs.get("split_size", sizes)))
    array = writer.whole(input)
    rank = len(input.shape)
    order = array.order or ()
    axis = order.index(int(dim) % rank)
    place = -1 if axis == rank - 1 else axis
    outputs = node.outputs
    widths = [output.sizes[int(dim) % rank] for output in outputs]
    if len(set(widths)) == 1:
        code = f"jnp.split({array.code}, {len(outputs)}, axis={place})"
    elif all(a == b for a, b in widths):
        ends = [sum(width[0] for width in widths[: n + 1]) for n in range(len(widths) - 1)]
        code = f"jnp.split({array.code}, {ends}, axis={place})"
    elif isinstance(sizes, (tuple, list)):
        numbers = [writer.number(size) for size in sizes]
        ends_code = ", ".join(" + ".join(numbers[: n + 1]) for n in range(len(numbers) - 1))
        code = f"jnp.split({array.code}, [{ends_code}], axis={place})"
    else:
        raise UnknownOperationError("the sizes of the parts depend on a size in a way that is not known")
    return unpacked(writer, code, outputs, order, array.names)


def unpacked(
    writer: Writer, code: str, outputs: Sequence[Value], order: Sequence[int], names: Sequence[str]
) -> list[Array]:
    """One variable for each entry of a tuple."""
    variable = writer.bind(code)
    return [from_value(f"{variable}[{n}]", output, order, names) for n, output in enumerate(outputs)]


@operation("unbind")
def unbind(writer: Writer, node: Node, input: Any, dim: int = 0) -> list[Array]:
    """The entries along an axis."""
    rank = len(input.shape)
    dim = dim % rank
    rest = [n for n in range(rank) if n != dim]
    array = writer.ordered(input, (dim, *rest))
    names = [array.names[n] for n in rest]
    return [
        from_value(f"{array.code}[{n}]", output, tuple(range(rank - 1)), names) for n, output in enumerate(node.outputs)
    ]


@operation("__getitem__")
def getitem(writer: Writer, node: Node, input: Any, index: Any) -> Array:
    """Basic indices in the order of the variable; indices that are tensors in PyTorch's."""
    return _item(writer, node, input, index)


def _item(writer: Writer, node: Node, input: Any, index: Any) -> Array:
    parts = _full_index(index, len(input.shape))
    if any(isinstance(part, (Value, list, bool)) for part in parts):
        return _advanced(writer, node, input, parts)
    array = writer.array(input)
    taken = [part for part in parts if part is not None]
    if all(isinstance(part, slice) and part == slice(None) for part in taken):
        result = array.copy(node.outputs)
        axes = iter(result.logical)
        result.logical = [[] if part is None else next(axes) for part in parts]
        return result
    array = writer.whole(input)
    order = array.order or ()
    codes = [_index_code(writer, part) for part in taken]
    stored = [codes[n] for n in order]
    while stored and stored[-1] == ":":
        stored.pop()
    kept = [n for n, part in enumerate(taken) if isinstance(part, slice)]
    code = f"{array.code}[{', '.join(stored)}]"
    sizes, shape = [], []
    outputs = iter(zip(node.outputs.sizes, node.outputs.shape, strict=True))
    for part in parts:
        if part is None:
            next(outputs)
        elif isinstance(part, slice):
            size, length = next(outputs)
            sizes.append(size)
            shape.append(length)
    inner = Value(tuple(shape), node.outputs.dtype, sizes=tuple(sizes), follows=node.outputs.follows)
    inner_order = [kept.index(n) for n in order if n in kept]
    result = writer.make(code, inner, inner_order, [array.names[n] for n in kept])
    result.value = node.outputs
    axes = iter(result.logical)
    result.logical = [[] if part is None else next(axes) for part in parts if part is None or isinstance(part, slice)]
    return result


def _full_index(index: Any, rank: int) -> list[Any]:
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = sum(1 for part in parts if part is not None and part is not Ellipsis)
    fill = [slice(None)] * (rank - taken)
    if any(part is Ellipsis for part in parts):
        place = next(n for n, part in enumerate(parts) if part is Ellipsis)
        return [*parts[:place], *fill, *parts[place + 1 :]]
    return [*parts, *fill]


def _index_code(writer: Writer, part: Any) -> str:
    if part is None:
        return "None"
    if isinstance(part, slice):
        ends = ["" if end is None else writer.number(end) for end in (part.start, part.stop)]
        step = "" if part.step in (None, 1) else f":{writer.number(part.step)}"
        return f"{ends[0]}:{ends[1]}{step}"
    if isinstance(part, list):
        return f"jnp.asarray({part})"
    return writer.number(part)


def _advanced(writer: Writer, node: Node, value: Any, parts: list[Any]) -> Array:
    if any(isinstance(part, Value) and part.dtype == "bool" for part in parts):
        raise UnknownOperationError("the shape of the result depends on values", "torch.where")
    if any(isinstance(part, bool) for part in parts):
        raise UnknownOperationError("an index that is True or False")
    array = writer.ordered(value)
    codes = [_index_code(writer, part) for part in parts]
    while codes and codes[-1] == ":":
        codes.pop()
    return from_value(writer.bind(f"{array.code}[{', '.join(codes)}]"), node.outputs)


@operation("__setitem__")
def setitem(writer: Writer, node: Node, input: Any, index: Any, value: Any) -> Array:
    """A part is written."""
    parts = _full_index(index, len(input.shape))
    array = writer.ordered(input)
    if len(parts) == 1 and isinstance(parts[0], Value) and parts[0].dtype == "bool" and not isinstance(value, Value):
        mask = writer.ordered(parts[0])
        return from_value(writer.bind(f"jnp.where({mask.code}, {writer.number(value)}, {array.code})"), node.outputs)
    if any(isinstance(part, Value) and part.dtype == "bool" for part in parts):
        raise UnknownOperationError("a part that depends on values is written", "torch.where")
    codes = [_index_code(writer, part) for part in parts]
    while len(codes) > 1 and codes[-1] == ":":
        codes.pop()
    written = writer.number(value)
    return from_value(writer.bind(f"{array.code}.at[{', '.join(codes)}].set({written})"), node.outputs)


@operation("narrow")
def narrow(writer: Writer, node: Node, input: Any, dim: int, start: Any, length: Any) -> Array:
    """A part along an axis."""
    if not isinstance(start, int) or not isinstance(length, int):
        raise UnknownOperationError("a part whose ends depend on a size", "a slice")
    parts: list[Any] = [slice(None)] * len(input.shape)
    parts[dim] = slice(start, start + length)
    return _item(writer, node, input, tuple(parts))


@operation("select")
def select(writer: Writer, node: Node, input: Any, dim: int, index: Any) -> Array:
    """One entry along an axis."""
    parts: list[Any] = [slice(None)] * len(input.shape)
    parts[dim] = index
    return _item(writer, node, input, tuple(parts))


@operation("index_select")
def index_select(writer: Writer, node: Node, input: Any, dim: int, index: Any) -> Array:
    """Entries along an axis."""
    parts: list[Any] = [slice(None)] * len(input.shape)
    parts[dim] = index
    return _item(writer, node, input, tuple(parts))


@operation("gather", "take_along_dim")
def gather(writer: Writer, node: Node, input: Any, dim: int, index: Any, sparse_grad: bool = False) -> Array:
    """Entries along an axis, others for each place."""
    if node.name == "take_along_dim":
        dim, index = index, dim
    if any(
        a != b for n, (a, b) in enumerate(zip(input.sizes, index.sizes, strict=True)) if n != dim % len(input.sizes)
    ):
        raise UnknownOperationError("an index of another shape than the tensor")
    array, places = writer.ordered(input), writer.ordered(index)
    code = f"jnp.take_along_axis({array.code}, {places.code}, axis={dim})"
    return from_value(writer.bind(code), node.outputs)


@operation("roll")
def roll(writer: Writer, node: Node, input: Any, shifts: Any, dims: Any = None) -> Array:
    """Entries go round."""
    if dims is None:
        raise UnknownOperationError("a roll over all axes at once", "name the axes")
    array = writer.whole(input)
    order = array.order or ()
    places = tuple(order.index(dim) for dim in input_dims(dims, len(input.shape)))
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    code = f"jnp.roll({array.code}, {writer.number(shifts)}, axis={places})"
    return writer.make(code, node.outputs, order, array.names)


@operation("flip", "fliplr", "flipud")
def flip(writer: Writer, node: Node, input: Any, *dims: Any, **kwargs: Any) -> Array:
    """Entries in the opposite order."""
    array = writer.whole(input)
    order = array.order or ()
    named = {"fliplr": (1,), "flipud": (0,)}.get(node.name) or (_shape_arguments(dims) if dims else kwargs["dims"])
    places = tuple(order.index(dim) for dim in input_dims(named, len(input.shape)))
    return writer.make(f"jnp.flip({array.code}, axis={places})", node.outputs, order, array.names)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@operation("pad")
def pad(writer: Writer, node: Node, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Array:
    """More on both sides; the widths name the last axis first."""
    if all(isinstance(width, int) and width == 0 for width in pad):
        return writer.array(input).copy(node.outputs)
    rank = len(input.shape)
    widths: list[Any] = [(0, 0)] * rank
    for n in range(len(pad) // 2):
        widths[rank - 1 - n] = (pad[2 * n], pad[2 * n + 1])
    array = writer.whole(input)
    order = array.order or ()
    negative = any(isinstance(width, int) and width < 0 for width in pad)
    pairs = ", ".join(f"({writer.number(widths[n][0])}, {writer.number(widths[n][1])})" for n in order)
    if negative:
        if mode != "constant" or any(isinstance(width, FreeSize) for width in pad):
            raise UnknownOperationError("negative padding")
        cut = [f"{max(0, -low) or ''}:{-max(0, -high) or ''}" for low, high in (widths[n] for n in order)]
        code = f"{array.code}[{', '.join(cut)}]"
        positive = [(max(0, low), max(0, high)) for low, high in (widths[n] for n in order)]
        if any(low or high for low, high in positive):
            code = f"jnp.pad({code}, {tuple(positive)}, constant_values={writer.number(value or 0)})"
        return writer.make(code, node.outputs, order, array.names)
    extra = ""
    if mode != "constant":
        extra = f', mode="{_PAD_MODES[mode]}"'
    elif value not in (None, 0):
        extra = f", constant_values={writer.number(value)}"
    return writer.make(f"jnp.pad({array.code}, ({pairs}){extra})", node.outputs, order, array.names)


@operation("pixel_shuffle")
def pixel_shuffle(writer: Writer, node: Node, input: Any, upscale_factor: int) -> Array:
    """`b (c r1 r2) h w -> b c (h r1) (w r2)`."""
    factor = plain_int(upscale_factor)
    b, c, h, w = input.sizes
    value = Value(
        (b[0], c[0] // factor**2, factor, factor, h[0], w[0]),
        input.dtype,
        sizes=(b, (c[0] // factor**2,) * 2, (factor, factor), (factor, factor), h, w),
    )
    split_array = reshape(writer.array(input), value, ["" for _ in value.shape])
    if split_array is None:
        raise UnknownOperationError("channels that the factor does not divide")
    batch, channels, rows, columns, height, width = split_array.logical
    split_array.logical = [batch, channels, height + rows, width + columns]
    split_array.value = node.outputs
    return split_array


@operation("pixel_unshuffle")
def pixel_unshuffle(writer: Writer, node: Node, input: Any, downscale_factor: int) -> Array:
    """`b c (h r1) (w r2) -> b (c r1 r2) h w`."""
    factor = plain_int(downscale_factor)
    b, c, h, w = input.sizes
    sizes = (
        b,
        c,
        (h[0] // factor, h[1] // factor),
        (factor, factor),
        (w[0] // factor, w[1] // factor),
        (factor, factor),
    )
    value = Value(tuple(size[0] for size in sizes), input.dtype, sizes=sizes)
    split_array = reshape(writer.array(input), value, ["" for _ in sizes])
    if split_array is None:
        raise UnknownOperationError("sizes that the factor does not divide")
    batch, channels, height, rows, width, columns = split_array.logical
    split_array.logical = [batch, channels + rows + columns, height, width]
    split_array.value = node.outputs
    return split_array


@operation("meshgrid")
def meshgrid(writer: Writer, node: Node, *tensors: Any, indexing: str = "ij") -> list[Array]:
    """Coordinates of a grid."""
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    parts = ", ".join(writer.ordered(tensor).code for tensor in tensors)
    rank = len(tensors)
    return unpacked(
        writer,
        f'jnp.meshgrid({parts}, indexing="{indexing}")',
        node.outputs,
        tuple(range(rank)),
        ["h", "w", "d"][:rank],
    )


@operation("tril", "triu")
def triangle(writer: Writer, node: Node, input: Any, diagonal: Any = 0) -> Array:
    """One side of the diagonal."""
    array = writer.ordered(input)
    offset = "" if diagonal == 0 else f", {writer.number(diagonal)}"
    return from_value(writer.bind(f"jnp.{node.name}({array.code}{offset})"), node.outputs)
