"""Functions over space: pools, resizing, unfolding; all of them channels last."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.agree import FreeSize
from einops_arch.translation.layout import Array, channels_last_order, from_value
from einops_arch.translation.ops.nn import per_axis
from einops_arch.translation.ops.reductions import reduced
from einops_arch.translation.ops.table import functional, operation
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


def spatial(writer: Writer, node: Node, input: Any, call: str, output: Value | None = None) -> Array:
    """A function of images that takes and gives them channels last.

    Args:
        writer: of the body.
        node: the operation.
        input: the image.
        call: with `{}` for it.
        output: what was recorded, if that is not all that the operation gives.
    """
    order = channels_last_order(len(input.shape))
    array = writer.ordered(input, order)
    text = functional(writer, call.format(array.code))
    return writer.make(text, output or node.outputs, order, array.names)


def _output_size(writer: Writer, input: Any, output_size: Any, axes: int) -> tuple[Any, ...]:
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    if len(input.shape) != axes + 2:
        raise UnknownOperationError("a pool without a batch axis")
    return sizes


@operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average(writer: Writer, node: Node, input: Any, output_size: Any) -> Array:
    """Means over a grid; over all of space as a plain mean."""
    axes = int(node.name[-2])
    if output_size in (1, [1] * axes, (1,) * axes):
        rank = len(input.shape)
        dims = tuple(range(rank - axes, rank))
        return reduced(writer, node.outputs, input, dims, "jnp.mean({x}{axes})", keepdim=True)
    sizes = _output_size(writer, input, output_size, axes)
    return spatial(writer, node, input, f"adaptive_avg_pool({{}}, {writer.number(sizes)})")


@operation("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_maximum(writer: Writer, node: Node, input: Any, output_size: Any, return_indices: bool = False) -> Array:
    """The largest value of each place of a grid."""
    if return_indices:
        raise UnknownOperationError("the places of the largest values", "return_indices=False")
    sizes = _output_size(writer, input, output_size, int(node.name[-2]))
    return spatial(writer, node, input, f"adaptive_max_pool({{}}, {writer.number(sizes)})")


@operation("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def pool(
    writer: Writer,
    node: Node,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *extra: Any,
    **kwargs: Any,
) -> Array:
    """Windows over space."""
    axes = int(node.name[-2])
    average = node.name.startswith("avg")
    names = ("ceil_mode", "count_include_pad", "divisor_override") if average else ("dilation", "ceil_mode")
    settings = dict(zip(names, extra, strict=False)) | kwargs
    if settings.pop("return_indices", False):
        raise UnknownOperationError("the places of the largest values", "return_indices=False")
    if len(input.shape) != axes + 2:
        raise UnknownOperationError("a pool without a batch axis")
    window = per_axis(kernel_size, axes)
    steps = window if stride in (None, ()) or stride == [] else per_axis(stride, axes)
    pads = per_axis(padding, axes)
    dilation = per_axis(settings.pop("dilation", 1), axes)
    changed = {
        name: settings.pop(name)
        for name, plain in (("ceil_mode", False), ("count_include_pad", True), ("divisor_override", None))
        if settings.get(name, plain) != plain
    }
    text = f"{window}, {steps}, {pads}"
    if dilation != (1,) * axes:
        text += f", {dilation}"
    text += "".join(f", {name}={value!r}" for name, value in changed.items())
    if dilation == (1,) * axes and not changed.keys() - {"count_include_pad"}:
        kind = "AvgPool" if average else "MaxPool"
        writer.imports.add(f"from einops_arch.flax.layers import {kind}")
        order = channels_last_order(axes + 2)
        array = writer.ordered(input, order)
        return writer.make(f"{kind}({text})({array.code})", node.outputs, order, array.names)
    return spatial(writer, node, input, f"{'avg_pool' if average else 'max_pool'}({{}}, {text})")


@operation("interpolate")
def interpolate(
    writer: Writer,
    node: Node,
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Array:
    """Another resolution."""
    rank = len(input.shape)
    if mode == "nearest" and scale_factor is not None:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * (rank - 2)
        if all(not isinstance(factor, FreeSize) and float(factor).is_integer() for factor in factors):
            order = channels_last_order(rank)
            array = writer.ordered(input, order)
            writer.imports.add("from einops_arch import upsample_nearest")
            whole = tuple(int(factor) for factor in factors)
            text = f'upsample_nearest({array.code}, {whole}, data_format="channels_last")'
            return writer.make(text, node.outputs, order, array.names)
    text = writer.number(size) if size is not None else f"scale_factor={writer.number(scale_factor)}"
    text += f', mode="{mode}"'
    settings = {
        "align_corners": align_corners,
        "recompute_scale_factor": recompute_scale_factor,
        "antialias": antialias or None,
    }
    text += "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
    return spatial(writer, node, input, f"interpolate({{}}, {text})")


@operation("grid_sample", "grid_sampler")
def grid_sample(
    writer: Writer,
    node: Node,
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: Any = None,
) -> Array:
    """The image at the places of a grid."""
    if not isinstance(mode, str):
        raise UnknownOperationError("torch.grid_sampler", "torch.nn.functional.grid_sample")
    array, places = writer.ordered(input, channels_last_order(len(input.shape))), writer.ordered(grid)
    settings = f"mode={mode!r}, padding_mode={padding_mode!r}, align_corners={bool(align_corners)}"
    code = functional(writer, f"grid_sample({array.code}, {places.code}, {settings})")
    return writer.make(code, node.outputs, channels_last_order(len(input.shape)), array.names)


@operation("affine_grid", "affine_grid_generator")
def affine_grid(writer: Writer, node: Node, theta: Any, size: Any, align_corners: Any = None) -> Array:
    """Where each pixel comes from under an affine map."""
    settings = ", align_corners=True" if align_corners else ""
    space = writer.number(tuple(size)[2:])
    code = functional(writer, f"affine_grid({writer.ordered(theta).code}, {space}{settings})")
    names = ["b", *"dhw"[5 - len(tuple(size)) :], "c"]
    return from_value(writer.bind(code), node.outputs, names=names)


@operation("lp_pool1d", "lp_pool2d", "lp_pool3d")
def lp_pool(
    writer: Writer,
    node: Node,
    input: Any,
    norm_type: Any,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
) -> Array:
    """Norms of windows."""
    axes = int(node.name[-2])
    window = per_axis(kernel_size, axes)
    steps = window if stride is None else per_axis(stride, axes)
    extra = ", ceil_mode=True" if ceil_mode else ""
    return spatial(writer, node, input, f"lp_pool({{}}, {writer.number(float(norm_type))}, {window}, {steps}{extra})")
