"""What a layer of `torch.nn` is set to: a small layer of the same type and settings, and its counterpart in Flax.

Both are texts, which `layer_proof.py` builds and compares. Sizes of features are no setting and become small; kernels,
strides, eps and all else stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Setting", "is_container", "of_torch_nn", "setting_of"]


@dataclass(frozen=True)
class Setting:
    """One type with its settings.

    Args:
        torch: the small layer, in names of `torch.nn`.
        flax: the counterpart, in names of `einops_arch.flax`; empty if there is none.
        inputs: shapes in PyTorch's order; `"int 2 5 <7"` are integers below 7.
        plain: whether arrays keep PyTorch's order in Flax, where otherwise channels go last.
    """

    torch: str
    flax: str = ""
    inputs: tuple[str, ...] = ()
    plain: bool = False


Row = Callable[[Any], Setting]
_ROWS: dict[str, Row] = {}
_CONTAINERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}


def of_torch_nn(module: Any) -> bool:
    """Whether the type of a module is one of `torch.nn`, or a layer of it with a parametrization."""
    kind = type(module)
    return kind.__module__.startswith("torch.nn.") and kind.__name__ not in _CONTAINERS


def is_container(module: Any) -> bool:
    """Whether a module of `torch.nn` does nothing but hold others."""
    return type(module).__module__.startswith("torch.nn.") and type(module).__name__ in _CONTAINERS


def setting_of(module: Any) -> Setting:
    """The setting of a module for which `of_torch_nn` holds."""
    if hasattr(module, "parametrizations"):
        return _parametrized(module)
    if legacy := _legacy_norm(module):
        return legacy
    row = _ROWS.get(type(module).__name__)
    return row(module) if row else Setting(repr(module).partition("\n")[0])


def _rows(*names: str) -> Callable[[Row], Row]:
    def add(row: Row) -> Row:
        _ROWS.update(dict.fromkeys(names, row))
        return row

    return add


def _call(name: str, *arguments: Any, **options: tuple[Any, Any]) -> str:
    """A call, with the options that differ from their default."""
    texts = [*map(_text, arguments)]
    texts += [f"{key}={_text(value)}" for key, (value, default) in options.items() if value != default]
    return f"{name}({', '.join(texts)})"


def _flax(name: str, *arguments: Any, **options: tuple[Any, Any]) -> str:
    """A call of a layer that takes `rngs`."""
    text = _call(name, *arguments, **options)
    return text[:-1] + (", " if not text.endswith("(") and not text.endswith("()") else "") + "rngs=rngs)"


def _text(value: Any) -> str:
    return value if isinstance(value, _Code) else repr(value)


class _Code(str):
    """Text that is code already."""

    __slots__ = ()


def _short(value: Any) -> Any:
    """A number for a tuple of equal ones."""
    values = tuple(value) if isinstance(value, (tuple, list)) else value
    return values[0] if isinstance(values, tuple) and len(set(values)) == 1 else values


def _rank(module: Any) -> int:
    match = re.search(r"(\d)d$", type(module).__name__)
    return int(match[1]) if match else 0


def _each(value: Any, axes: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


def _shape(*sizes: int) -> str:
    return " ".join(map(str, sizes))


def _image(channels: int, axes: int) -> str:
    return _shape(2, channels, *(9, 8, 7)[:axes])


@_rows("Linear", "NonDynamicallyQuantizableLinear")
def _linear(m: Any) -> Setting:
    bias = m.bias is not None
    torch_text, flax_text = _call("Linear", 6, 4, bias=(bias, True)), _flax("Linear", 6, 4, use_bias=(bias, True))
    return Setting(torch_text, flax_text, ("2 5 6",), plain=True)


def _widths(m: Any) -> tuple[int, int, int]:
    if m.groups == 1:
        return 4, 6, 1
    if m.groups == m.in_channels:
        return 3, 3 * min(m.out_channels // m.in_channels, 2), 3
    return 4, 6, 2


@_rows("Conv1d", "Conv2d", "Conv3d")
def _conv(m: Any) -> Setting:
    i, o, groups = _widths(m)
    padding = m.padding if isinstance(m.padding, str) else _short(m.padding)
    settings = {"padding": (padding, 0), "padding_mode": (m.padding_mode, "zeros")}
    stride, dilation, bias = _short(m.stride), _short(m.dilation), m.bias is not None
    kernel = tuple(m.kernel_size)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, m.dilation, strict=True)]
    shape = _shape(2, i, *(r + s + n for n, (r, s) in enumerate(zip(reach, m.stride, strict=True), 1)))
    return Setting(
        _call(
            type(m).__name__, i, o, kernel, stride=(stride, 1), dilation=(dilation, 1), groups=(groups, 1),
            bias=(bias, True), **settings,
        ),
        _flax(
            "Conv", i, o, kernel, strides=(stride, 1), kernel_dilation=(dilation, 1), feature_group_count=(groups, 1),
            use_bias=(bias, True), **settings,
        ) if padding != "valid" else _flax(
            "Conv", i, o, kernel, strides=(stride, 1), kernel_dilation=(dilation, 1), feature_group_count=(groups, 1),
            use_bias=(bias, True),
        ),
        (shape,),
    )  # fmt: skip


@_rows("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
def _conv_transpose(m: Any) -> Setting:
    i, o, groups = _widths(m)
    settings = {"padding": (_short(m.padding), 0), "output_padding": (_short(m.output_padding), 0)}
    stride, dilation, bias = _short(m.stride), _short(m.dilation), m.bias is not None
    kernel = tuple(m.kernel_size)
    return Setting(
        _call(
            type(m).__name__, i, o, kernel, stride=(stride, 1), dilation=(dilation, 1), groups=(groups, 1),
            bias=(bias, True), **settings,
        ),
        _flax(
            "ConvTranspose", i, o, kernel, strides=(stride, 1), kernel_dilation=(dilation, 1),
            feature_group_count=(groups, 1), use_bias=(bias, True), **settings,
        ),
        (_shape(2, i, *(5, 4, 3)[: len(kernel)]),),
    )  # fmt: skip


def _affine(m: Any) -> dict[str, tuple[Any, Any]]:
    return {"use_bias": (m.bias is not None, True), "use_scale": (m.weight is not None, True)}


@_rows("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
def _batch_norm(m: Any) -> Setting:
    settings = {"momentum": (m.momentum, 0.1), "track_running_stats": (m.track_running_stats, True)}
    axes = _rank(m) or 2
    return Setting(
        _call(type(m).__name__, 3, eps=(m.eps, 1e-5), affine=(m.affine, True), **settings),
        _flax("BatchNorm", 3, epsilon=(m.eps, 1e-5), **_affine(m), **settings),
        (_image(3, axes),),
    )


@_rows("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
def _instance_norm(m: Any) -> Setting:
    tracked = {"momentum": (m.momentum, 0.1), "track_running_stats": (m.track_running_stats, False)}
    return Setting(
        _call(type(m).__name__, 3, eps=(m.eps, 1e-5), affine=(m.affine, False), **tracked),
        _flax(
            "InstanceNorm", 3, epsilon=(m.eps, 1e-5), use_scale=(m.affine, False), use_bias=(m.affine, False), **tracked
        ),
        (_image(3, _rank(m)),),
    )


@_rows("LayerNorm")
def _layer_norm(m: Any) -> Setting:
    axes = len(m.normalized_shape)
    size = 6 if axes == 1 else (3, 5, 4)[:axes] if axes == 3 else (5, 4)
    # Over several axes: those of an image without its batch, channels last here, or its space.
    places = {1: None, 2: (-3, -2), 3: (-1, -3, -2)}.get(axes, "no such")
    bias = m.bias is not None or m.weight is None
    return Setting(
        _call("LayerNorm", size, eps=(m.eps, 1e-5), elementwise_affine=(m.weight is not None, True), bias=(bias, True)),
        _flax("LayerNorm", size, axis=(places, None), epsilon=(m.eps, 1e-5), **_affine(m))
        if places != "no such"
        else "",
        ("2 5 6",) if axes == 1 else ("2 3 5 4",),
        plain=axes == 1,
    )


@_rows("RMSNorm")
def _rms_norm(m: Any) -> Setting:
    affine = m.weight is not None
    return Setting(
        _call("RMSNorm", 6, eps=(m.eps, None), elementwise_affine=(affine, True)),
        _flax("RMSNorm", 6, epsilon=(m.eps, None), use_scale=(affine, True)),
        ("2 5 6",),
        plain=True,
    )


@_rows("GroupNorm")
def _group_norm(m: Any) -> Setting:
    groups = 1 if m.num_groups == 1 else 6 if m.num_groups == m.num_channels else 3
    return Setting(
        _call("GroupNorm", groups, 6, eps=(m.eps, 1e-5), affine=(m.affine, True)),
        _flax("GroupNorm", 6, groups, epsilon=(m.eps, 1e-5), **_affine(m)),
        (_image(6, 2),),
    )


@_rows("LocalResponseNorm")
def _local_response(m: Any) -> Setting:
    text = _call("LocalResponseNorm", m.size, m.alpha, m.beta, m.k)
    return Setting(text, text, (_image(7, 2),))


@_rows("Embedding")
def _embedding(m: Any) -> Setting:
    padding = None if m.padding_idx is None else 0 if m.padding_idx == 0 else 1
    settings = {
        "padding_idx": (padding, None),
        "max_norm": (m.max_norm, None),
        "norm_type": (m.norm_type, 2.0),
        "scale_grad_by_freq": (m.scale_grad_by_freq, False),
    }
    # Sparse gradients are a form that JAX does not have; their values are those of the dense ones.
    torch_text = _call("Embedding", 7, 4, **settings, sparse=(m.sparse, False))
    return Setting(torch_text, _flax("Embed", 7, 4, **settings), ("int 2 5 <7",), plain=True)


@_rows("EmbeddingBag")
def _embedding_bag(m: Any) -> Setting:
    settings = {"mode": (m.mode, "mean"), "padding_idx": (None if m.padding_idx is None else 1, None)}
    return Setting(
        _call("EmbeddingBag", 7, 4, **settings), _flax("EmbeddingBag", 7, 4, **settings), ("int 2 5 <7",), plain=True
    )


@_rows("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
def _dropout(m: Any) -> Setting:
    name = type(m).__name__
    rate = 0.1 if m.p else 0.0
    axes = _rank(m) or 2
    return Setting(_call(name, rate), _flax(name, rate), (_image(3, axes),))


_PLAIN_ACTIVATIONS = (
    "ReLU", "ReLU6", "SiLU", "SELU", "Tanh", "Sigmoid", "Hardswish", "Hardsigmoid", "Mish", "Softsign", "LogSigmoid",
    "Tanhshrink", "Identity", "Softmax2d",
)  # fmt: skip


@_rows(*_PLAIN_ACTIVATIONS)
def _plain_activation(m: Any) -> Setting:
    name = type(m).__name__
    return Setting(f"{name}()", f"{name}()", (_image(3, 2),))


_WITH_ARGUMENTS = {
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "CELU": ("alpha",),
    "Hardtanh": ("min_val", "max_val"),
    "Softplus": ("beta", "threshold"),
    "Softshrink": ("lambd",),
    "Hardshrink": ("lambd",),
    "Threshold": ("threshold", "value"),
}


@_rows(*_WITH_ARGUMENTS)
def _activation(m: Any) -> Setting:
    text = _call(type(m).__name__, *(getattr(m, name) for name in _WITH_ARGUMENTS[type(m).__name__]))
    return Setting(text, text, ("2 5 6",))


@_rows("GELU")
def _gelu(m: Any) -> Setting:
    tanh = m.approximate == "tanh"
    return Setting(
        _call("GELU", approximate=(m.approximate, "none")), _call("GELU", approximate=(tanh, False)), ("2 5 6",)
    )


@_rows("RReLU")
def _rrelu(m: Any) -> Setting:
    return Setting(_call("RReLU", m.lower, m.upper), _flax("RReLU", m.lower, m.upper), ("2 5 6",))


@_rows("PReLU")
def _prelu(m: Any) -> Setting:
    text = _call("PReLU", 1 if m.num_parameters == 1 else 3)
    return Setting(text, text, (_image(3, 2),))


@_rows("Softmax", "LogSoftmax", "Softmin", "GLU")
def _along(m: Any) -> Setting:
    name = type(m).__name__
    if m.dim is None:
        return Setting(f"{name}(None)")
    return Setting(f"{name}({m.dim})", f"{name}({m.dim})", ("2 4 6 8",), plain=True)


@_rows("MaxPool1d", "MaxPool2d", "MaxPool3d")
def _max_pool(m: Any) -> Setting:
    axes = _rank(m)
    each = [_each(value, axes) for value in (m.kernel_size, m.stride, m.padding, m.dilation)]
    options = {"ceil_mode": (m.ceil_mode, False), "return_indices": (m.return_indices, False)}
    return Setting(_call(type(m).__name__, *each, **options), _call("MaxPool", *each, **options), _pooled(3, *each[:2]))


@_rows("AvgPool1d", "AvgPool2d", "AvgPool3d")
def _avg_pool(m: Any) -> Setting:
    axes = _rank(m)
    each = [_each(value, axes) for value in (m.kernel_size, m.stride, m.padding)]
    options = {
        "ceil_mode": (m.ceil_mode, False),
        "count_include_pad": (m.count_include_pad, True),
        "divisor_override": (getattr(m, "divisor_override", None), None),
    }
    return Setting(_call(type(m).__name__, *each, **options), _call("AvgPool", *each, **options), _pooled(3, *each[:2]))


@_rows("LPPool1d", "LPPool2d", "LPPool3d")
def _lp_pool(m: Any) -> Setting:
    axes, options = _rank(m), {"ceil_mode": (m.ceil_mode, False)}
    window, strides = (value if value is None else _short(value) for value in (m.kernel_size, m.stride))
    arguments = (m.norm_type, window, strides)
    image = _pooled(3, _each(window, axes), _each(strides or window, axes))
    return Setting(_call(type(m).__name__, *arguments, **options), _call("LPPool", *arguments, **options), image)


def _pooled(channels: int, window: tuple[int, ...], strides: tuple[int, ...]) -> tuple[str]:
    return (_shape(2, channels, *(w + s + n for n, (w, s) in enumerate(zip(window, strides, strict=True), 1))),)


@_rows(*(f"Adaptive{kind}Pool{axes}d" for kind in ("Avg", "Max") for axes in (1, 2, 3)))
def _adaptive(m: Any) -> Setting:
    size = _each(m.output_size, _rank(m))
    name = type(m).__name__
    options = {"return_indices": (getattr(m, "return_indices", False), False)}
    torch_text = _call(name, size[0] if len(size) == 1 else size, **options)
    return Setting(torch_text, _call(name[:-2], size, **options), (_image(3, len(size)),))


@_rows("FractionalMaxPool2d", "FractionalMaxPool3d")
def _fractional(m: Any) -> Setting:
    # Its windows are random, so that only the name is held; `tests/test_parity_layers_drawn.py` has the numbers.
    return Setting(_call(type(m).__name__, 2, output_ratio=(0.5, None)), "FractionalMaxPool(2, output_ratio=0.5)")


@_rows("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d")
def _upsample(m: Any) -> Setting:
    axes = 1 if m.mode == "linear" else 3 if m.mode == "trilinear" else 2
    size = None if m.size is None else (5, 12, 4)[:axes]
    options = {
        "size": (size, None),
        "scale_factor": (_short(m.scale_factor), None),
        "mode": (m.mode, "nearest"),
        "align_corners": (m.align_corners, None),
        "recompute_scale_factor": (m.recompute_scale_factor, None),
    }
    named = {name: options[name] for name in ("size", "scale_factor")}
    torch_options = options if type(m).__name__ == "Upsample" else named
    return Setting(_call(type(m).__name__, **torch_options), _call("Upsample", **options), (_image(3, axes),))


@_rows("PixelShuffle")
def _pixel_shuffle(m: Any) -> Setting:
    text = f"PixelShuffle({m.upscale_factor})"
    return Setting(text, text, (_image(2 * m.upscale_factor**2, 2),))


@_rows("PixelUnshuffle")
def _pixel_unshuffle(m: Any) -> Setting:
    r, text = m.downscale_factor, f"PixelUnshuffle({m.downscale_factor})"
    return Setting(text, text, (_shape(2, 3, 3 * r, 2 * r),))


@_rows("ChannelShuffle")
def _channel_shuffle(m: Any) -> Setting:
    text = f"ChannelShuffle({m.groups})"
    return Setting(text, text, (_image(3 * m.groups, 2),))


@_rows(
    *(
        f"{kind}Pad{axes}d"
        for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        for axes in (1, 2, 3)
    )
)
def _pad(m: Any) -> Setting:
    name, flat = type(m).__name__, _each(m.padding, 2 * _rank(m))
    pairs = tuple(reversed(list(zip(flat[::2], flat[1::2], strict=True))))
    value = (m.value,) if name.startswith("Constant") else ()
    return Setting(_call(name, flat, *value), _call(name[:-2], pairs, *value), (_image(3, _rank(m)),))


@_rows("Flatten")
def _flatten(m: Any) -> Setting:
    torch_text = _call("Flatten", m.start_dim, m.end_dim)
    if (m.start_dim, m.end_dim) == (1, -1):  # between a convolution and a linear layer
        return Setting(torch_text, "FlattenFeatures()", (_image(3, 2),))
    return Setting(torch_text, _call("Flatten", m.start_dim, m.end_dim), ("2 3 4 5",), plain=True)


@_rows("Unflatten")
def _unflatten(m: Any) -> Setting:
    if not isinstance(m.dim, int):
        return Setting(repr(m))
    text = _call("Unflatten", m.dim, tuple(m.unflattened_size))
    return Setting(text, text)


@_rows("Unfold")
def _unfold(m: Any) -> Setting:
    each = {name: _each(getattr(m, name), 2) for name in ("kernel_size", "dilation", "padding", "stride")}
    texts = {name: _short(value) for name, value in each.items()}
    torch_text = _call("Unfold", each["kernel_size"], dilation=(texts["dilation"], 1), padding=(texts["padding"], 0),
                       stride=(texts["stride"], 1))  # fmt: skip
    flax_text = _call("Unfold", each["kernel_size"], each["stride"], each["padding"], each["dilation"])
    return Setting(torch_text, flax_text, _pooled(3, each["kernel_size"], each["stride"]))


@_rows("MultiheadAttention")
def _attention(m: Any) -> Setting:
    heads = 1 if m.num_heads == 1 else 3
    kdim, vdim = (None if size == m.embed_dim else small for size, small in ((m.kdim, 5), (m.vdim, 7)))
    options = {
        "add_bias_kv": (m.bias_k is not None, False),
        "add_zero_attn": (m.add_zero_attn, False),
        "kdim": (kdim, None),
        "vdim": (vdim, None),
        "batch_first": (m.batch_first, False),
    }
    bias, rate = m.in_proj_bias is not None, 0.1 if m.dropout else 0.0
    shapes = ("5 4 6", _shape(5, 4, kdim or 6), _shape(5, 4, vdim or 6))
    return Setting(
        _call("MultiheadAttention", 6, heads, dropout=(rate, 0.0), bias=(bias, True), **options),
        _flax("MultiheadAttention", 6, heads, dropout_rate=(rate, 0.0), use_bias=(bias, True), **options),
        shapes,
        plain=True,
    )


@_rows("TransformerEncoderLayer", "TransformerDecoderLayer")
def _transformer_layer(m: Any) -> Setting:
    name = type(m).__name__
    torch_options, flax_options = _transformer_options(m)
    shapes = ("5 4 6",) * (2 if "Decoder" in name else 1)
    return Setting(_call(name, 6, 3, **torch_options), _flax(name, 6, 3, **flax_options), shapes, plain=True)


def _transformer_options(m: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    activation = getattr(m.activation, "__name__", str(m.activation))
    shared = {
        "dim_feedforward": (10, 2048),
        "activation": (activation, "relu"),
        "batch_first": (m.self_attn.batch_first, False),
        "norm_first": (m.norm_first, False),
    }
    rate, bias = 0.1 if m.dropout.p else 0.0, m.linear1.bias is not None
    return (
        {**shared, "dropout": (rate, 0.1), "layer_norm_eps": (m.norm1.eps, 1e-5), "bias": (bias, True)},
        {**shared, "dropout_rate": (rate, 0.1), "epsilon": (m.norm1.eps, 1e-5), "use_bias": (bias, True)},
    )


@_rows("TransformerEncoder", "TransformerDecoder")
def _transformer_stack(m: Any) -> Setting:
    inner = setting_of(m.layers[0])
    name, count = type(m).__name__, min(len(m.layers), 2)
    norm = None if m.norm is None else setting_of(m.norm)
    options = {"enable_nested_tensor": (False, True)} if "Encoder" in name else {}
    torch_norm, flax_norm = (None, None) if norm is None else (_Code(norm.torch), _Code(norm.flax))
    torch_text = _call(name, _Code(inner.torch), count, norm=(torch_norm, None), **options)
    flax_text = _call(name, _Code(inner.flax), count, norm=(flax_norm, None))
    return Setting(torch_text, flax_text, inner.inputs, plain=True)


@_rows("LSTM", "GRU", "RNN")
def _recurrent(m: Any) -> Setting:
    options: dict[str, tuple[Any, Any]] = {
        "num_layers": (min(m.num_layers, 2), 1),
        "batch_first": (m.batch_first, False),
        "dropout": (m.dropout, 0.0),
        "bidirectional": (m.bidirectional, False),
    }
    if m.proj_size:
        options["proj_size"] = (2, 0)
    if type(m).__name__ == "RNN":
        options["nonlinearity"] = (m.nonlinearity, "tanh")
    name = type(m).__name__
    return Setting(
        _call(name, 6, 4, bias=(m.bias, True), **options),
        _flax(name, 6, 4, use_bias=(m.bias, True), **options),
        ("5 2 6",),
        plain=True,
    )


@_rows("LSTMCell", "GRUCell", "RNNCell")
def _cell(m: Any) -> Setting:
    name = type(m).__name__
    options = {"nonlinearity": (m.nonlinearity, "tanh")} if name == "RNNCell" else {}
    return Setting(
        _call(name, 6, 4, bias=(m.bias, True), **options),
        _flax(name, 6, 4, use_bias=(m.bias, True), **options),
        ("2 6",),
        plain=True,
    )


@_rows("Bilinear")
def _bilinear(m: Any) -> Setting:
    bias = m.bias is not None
    return Setting(
        _call("Bilinear", 3, 5, 7, bias=(bias, True)), _flax("Bilinear", 3, 5, 7, use_bias=(bias, True)), ("2 3", "2 5")
    )


def _parametrized(m: Any) -> Setting:
    """A layer with a parametrization of its weight, and with nothing else."""
    base = next(kind for kind in type(m).__mro__ if kind.__module__ != "torch.nn.utils.parametrize")
    names = [type(step).__name__ for steps in m.parametrizations.values() for step in steps]
    plain = _ROWS.get(base.__name__)
    if plain is None or list(m.parametrizations) != ["weight"] or len(names) != 1:
        return Setting(f"{base.__name__} with {', '.join(names)}")
    kind, step = _Named(base.__name__, m), m.parametrizations.weight[0]
    inner = plain(kind)
    if names == ["_WeightNorm"]:
        dim = None if step.dim == -1 else step.dim
        return Setting(
            _call("utils.parametrizations.weight_norm", _Code(inner.torch), dim=(dim, 0)),
            _call("WeightNorm", _Code(inner.flax), dim=(dim, 0)),
            inner.inputs,
            inner.plain,
        )
    if names == ["_SpectralNorm"]:
        count = {"n_power_iterations": (step.n_power_iterations, 1)}
        return Setting(
            _call("utils.parametrizations.spectral_norm", _Code(inner.torch), **count),
            _flax("SpectralNorm", _Code(inner.flax), **count),
            inner.inputs,
            inner.plain,
        )
    return Setting(f"{base.__name__} with {names[0]}")


class _Named:
    """A module under the name of the class that it had before it was parametrized."""

    def __new__(cls, name: str, module: Any) -> Any:
        return type(name, (), {"__getattr__": lambda self, key: getattr(module, key)})()


def _legacy_norm(m: Any) -> Setting | None:
    """A layer whose weight PyTorch's older `weight_norm` or `spectral_norm` sets before each call."""
    plain = _ROWS.get(type(m).__name__)
    for hook in m._forward_pre_hooks.values():  # noqa: SLF001 no public name
        if plain is not None and type(hook).__module__ == "torch.nn.utils.weight_norm":
            inner = plain(m)
            dim = {"dim": (None if hook.dim == -1 else hook.dim, 0)}
            return Setting(
                _call("utils.weight_norm", _Code(inner.torch), **dim),
                _call("WeightNorm", _Code(inner.flax), **dim, legacy=(True, False)),
                inner.inputs,
                inner.plain,
            )
    return None
