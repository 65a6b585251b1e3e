"""The functions of torch.nn.functional with weights, windows and randomness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, channels_last_order, from_value
from einops_arch.translation.ops.reductions import reduced
from einops_arch.translation.ops.table import elementwise, functional, operation, renamed
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("linear")
def linear(writer: Writer, node: Node, input: Any, weight: Any, bias: Any = None) -> Array:
    """`input @ weight.T + bias`."""
    array = writer.array(input)
    rank = len(input.shape)
    order = array.order
    if order is None or array.repeated or order[-1] != rank - 1:
        array, order = writer.ordered(input), tuple(range(rank))
    kernel = writer.array(weight)
    code = f"{array.code} @ {writer.ordered(weight, (1, 0)).code}"
    if kernel.order == (0, 1):
        code = f"{array.code} @ {kernel.code}.T"
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)


@operation("embedding")
def embedding(
    writer: Writer,
    node: Node,
    input: Any,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    """Rows of a table."""
    if max_norm is not None or scale_grad_by_freq:
        raise UnknownOperationError("an embedding with max_norm or scale_grad_by_freq")
    places = writer.ordered(input).code
    rows = writer.bind(f"{writer.ordered(weight).code}[{places}]")
    if padding_idx is not None:
        still = f"({places} == {padding_idx % weight.shape[0]})[..., None]"
        rows = writer.bind(f"jnp.where({still}, jax.lax.stop_gradient({rows}), {rows})")
    return from_value(rows, node.outputs)


def per_axis(number: Any, axes: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    if isinstance(number, (tuple, list)):
        return tuple(int(item) for item in number) * (axes if len(number) == 1 else 1)
    return (int(number),) * axes


def _pads(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Before and after each spatial axis; of an odd number, `same` puts the larger half after it."""
    if padding == "same":
        sums = [step * (int(size) - 1) for size, step in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in sums)
    return tuple((p, p) for p in per_axis(0 if padding == "valid" else padding, len(kernel)))


@operation("conv1d", "conv2d", "conv3d")
def convolution(
    writer: Writer,
    node: Node,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """A convolution whose weights are made by the module."""
    axes = int(node.name[4])
    if len(input.shape) != axes + 2:
        raise UnknownOperationError("a convolution without a batch axis")
    order = channels_last_order(axes + 2)
    array = writer.ordered(input, order)
    pads = _pads(padding, weight.shape[2:], per_axis(dilation, axes))
    letters = "DHW"[3 - axes :]
    dimensions = f'("N{letters}C", "OI{letters}", "N{letters}C")'
    extra = ""
    if per_axis(dilation, axes) != (1,) * axes:
        extra += f", rhs_dilation={per_axis(dilation, axes)}"
    if groups != 1:
        extra += f", feature_group_count={writer.number(groups)}"
    code = (
        f"jax.lax.conv_general_dilated({array.code}, {writer.ordered(weight).code}, {per_axis(stride, axes)}, {pads}, "
        f"dimension_numbers={dimensions}{extra})"
    )
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)


@operation("layer_norm")
def layer_norm(
    writer: Writer,
    node: Node,
    input: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Array:
    """Each position over its last axes."""
    rank, count = len(input.shape), len(normalized_shape)
    array = writer.array(input)
    order = array.order
    if order is None or array.repeated or order[-count:] != tuple(range(rank - count, rank)):
        array, order = writer.ordered(input), tuple(range(rank))
    axes = "-1" if count == 1 else str(tuple(range(-count, 0)))
    centred = writer.bind(f"{array.code} - jnp.mean({array.code}, axis={axes}, keepdims=True)")
    code = f"{centred} * jax.lax.rsqrt(jnp.mean(jnp.square({centred}), axis={axes}, keepdims=True) + {eps!r})"
    if weight is not None:
        code += f" * {writer.ordered(weight).code}"
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)


@operation("rms_norm")
def rms_norm(
    writer: Writer,
    node: Node,
    input: Any,
    normalized_shape: Any,
    weight: Any = None,
    eps: float | None = None,
) -> Array:
    """Each position divided by the root of its mean square."""
    if len(normalized_shape) != 1:
        raise UnknownOperationError("rms_norm over several axes")
    array = writer.ordered(input)
    epsilon = f"jnp.finfo({array.code}.dtype).eps" if eps is None else repr(eps)
    code = f"{array.code} * jax.lax.rsqrt(jnp.mean(jnp.square({array.code}), axis=-1, keepdims=True) + {epsilon})"
    if weight is not None:
        code += f" * {writer.ordered(weight).code}"
    return writer.make(f"({code})", node.outputs, tuple(range(len(input.shape))), array.names)


@operation("batch_norm")
def batch_norm(
    writer: Writer,
    node: Node,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Each channel over all else; the statistics of the batch only where none are kept."""
    if training and running_mean is not None:
        raise UnknownOperationError("batch statistics that are kept by hand", "a torch.nn.BatchNorm layer")
    rank = len(input.shape)
    order = channels_last_order(rank)
    array = writer.ordered(input, order)
    if training:
        axes = tuple(range(rank - 1))
        mean = writer.bind(f"jnp.mean({array.code}, axis={axes})")
        var = writer.bind(f"jnp.var({array.code}, axis={axes})")
    else:
        mean, var = writer.ordered(running_mean).code, writer.ordered(running_var).code
    code = f"({array.code} - {mean}) * jax.lax.rsqrt({var} + {eps!r})"
    if weight is not None:
        code += f" * {writer.ordered(weight).code}"
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)


@operation("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout")
def dropout(
    writer: Writer,
    node: Node,
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Array:
    """Zeros in training; a layer of the twin holds the rate and the random stream."""
    if p == 0:
        return writer.array(input).copy(node.outputs)
    if training != writer.training:
        raise UnknownOperationError(
            "dropout that does not follow the mode of the module", "dropout(x, p, self.training)"
        )
    if node.name.startswith("alpha") or node.name.startswith("feature"):
        raise UnknownOperationError("another kind of dropout")
    kind = "Dropout" if node.name == "dropout" else "Dropout2d"
    attribute = writer.owner.layer("dropout", f"{kind}({p!r}, rngs=rngs)")
    writer.imports.add(f"from einops_arch.flax.layers import {kind}")
    if kind == "Dropout2d":
        order = channels_last_order(len(input.shape))
        array = writer.ordered(input, order)
    else:
        array = writer.whole(input)
    return renamed(array, writer.bind(f"self.{attribute}({array.code})"), node.outputs)


@operation("glu")
def glu(writer: Writer, node: Node, input: Any, dim: int = -1) -> Array:
    """One half times the sigmoid of the other."""
    array = writer.whole(input)
    order = array.order or ()
    axis = order.index(dim % len(order))
    text = functional(writer, f"glu({array.code}, axis={-1 if axis == len(order) - 1 else axis})")
    return writer.make(text, node.outputs, order, array.names)


@operation("one_hot")
def one_hot(writer: Writer, node: Node, tensor: Any, num_classes: int = -1) -> Array:
    """A one at the place that the integer says."""
    if num_classes < 0:
        raise UnknownOperationError("the number of classes depends on values", "num_classes")
    array = writer.ordered(tensor)
    return from_value(writer.bind(f"jax.nn.one_hot({array.code}, {num_classes}, dtype=int)"), node.outputs)


@operation("group_norm")
def group_norm(
    writer: Writer,
    node: Node,
    input: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Array:
    """Groups of channels of a sample."""
    rank = len(input.shape)
    order = channels_last_order(rank)
    array = writer.ordered(input, order)
    grouped = writer.bind(
        f"{array.code}.reshape(*{array.code}.shape[:-1], {num_groups}, {input.shape[1] // num_groups})"
    )
    axes = (*range(1, rank - 1), rank)
    centred = writer.bind(f"{grouped} - jnp.mean({grouped}, axis={axes}, keepdims=True)")
    scaled = f"{centred} * jax.lax.rsqrt(jnp.mean(jnp.square({centred}), axis={axes}, keepdims=True) + {eps!r})"
    code = f"({scaled}).reshape({array.code}.shape)"
    if weight is not None:
        code += f" * {writer.ordered(weight).code}"
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)


@operation("cosine_similarity")
def cosine(writer: Writer, node: Node, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Array:
    """The cosine of the angle between two tensors along an axis."""
    product = elementwise(writer, _like(x1), "({} * {})", x1, x2)
    top = reduced(writer, node.outputs, product, dim, "jnp.sum({x}{axes})", keepdim=False)
    lengths = [
        reduced(writer, node.outputs, x, dim, functional(writer, "norm({x}{axes})"), keepdim=False) for x in (x1, x2)
    ]
    at_least = functional(writer, f"at_least({{}}, {eps!r})")
    template = f"({{}} / ({at_least} * {at_least}))"
    return elementwise(writer, node.outputs, template, top, *lengths)


def _like(value: Value) -> Value:
    return Value(value.shape, value.dtype, sizes=value.sizes, follows=value.follows)


@operation("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(
    writer: Writer,
    node: Node,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """The transpose of a convolution, whose weights are made by the module."""
    axes = int(node.name[-2])
    if len(input.shape) != axes + 2:
        raise UnknownOperationError("a convolution without a batch axis")
    order = channels_last_order(axes + 2)
    array, kernel = writer.ordered(input, order), writer.ordered(weight).code
    letters = "DHW"[3 - axes :]
    window = [int(size) for size in weight.shape[2:]]
    spread = per_axis(dilation, axes)
    pads = tuple(
        (step * (size - 1) - pad, step * (size - 1) - pad + more)
        for size, step, pad, more in zip(
            window, spread, per_axis(padding, axes), per_axis(output_padding, axes), strict=True
        )
    )
    extra = f", lhs_dilation={per_axis(stride, axes)}" if per_axis(stride, axes) != (1,) * axes else ""
    extra += f", rhs_dilation={spread}" if spread != (1,) * axes else ""
    if groups != 1:
        space = " ".join(letters.lower())
        writer.imports.add("from einops import rearrange")
        kernel = writer.bind(f'rearrange({kernel}, "(g i) o {space} -> i (g o) {space}", g={groups})')
        extra += f", feature_group_count={groups}"
    turned = f"jnp.flip({kernel}, {tuple(range(2, axes + 2))})"
    dimensions = f'("N{letters}C", "IO{letters}", "N{letters}C")'
    code = (
        f"jax.lax.conv_general_dilated({array.code}, {turned}, {(1,) * axes}, {pads}, "
        f"dimension_numbers={dimensions}{extra})"
    )
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)


@operation("instance_norm")
def instance_norm(
    writer: Writer,
    node: Node,
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Each channel of each sample over space."""
    if running_mean is not None or not use_input_stats:
        raise UnknownOperationError("statistics that are kept by hand", "a torch.nn.InstanceNorm layer")
    rank = len(input.shape)
    order = channels_last_order(rank)
    array = writer.ordered(input, order)
    axes = tuple(range(1, rank - 1))
    centred = writer.bind(f"{array.code} - jnp.mean({array.code}, axis={axes}, keepdims=True)")
    code = f"{centred} * jax.lax.rsqrt(jnp.mean(jnp.square({centred}), axis={axes}, keepdims=True) + {eps!r})"
    if weight is not None:
        code += f" * {writer.ordered(weight).code}"
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return writer.make(f"({code})", node.outputs, order, array.names)
