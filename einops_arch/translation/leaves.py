"""Layers of PyTorch that have a counterpart in `einops_arch.flax`: the class, its arguments, and how axes lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Layer", "is_sequence", "layer_of"]


@dataclass(frozen=True)
class Layer:
    """How one layer is written.

    Args:
        name: the class.
        args: by position, as code.
        kwargs: by name, as code.
        axes: `"channels"` (channels last), `"last"` (the last axis), `"any"` (element by element), `"plain"`
            (PyTorch's order), or `"nothing"`, where the layer does nothing.
        spatial: how many spatial axes it takes, where that is fixed.
        rngs: whether it is built with `rngs=`.
        home: the module that it is imported from.
        parameters: PyTorch's leaf to the attribute, and the order of its axes there.
        imports: what the arguments need.
    """

    name: str
    args: tuple[str, ...] = ()
    kwargs: dict[str, str] = field(default_factory=dict)
    axes: str = "any"
    spatial: int | None = None
    rngs: bool = False
    home: str = "einops_arch.flax.layers"
    parameters: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """The call of the constructor."""
        arguments = [*self.args, *(f"{name}={value}" for name, value in self.kwargs.items())]
        return f"{self.name}({', '.join([*arguments, *(['rngs=rngs'] if self.rngs else [])])})"


_ROWS: dict[str, Callable[[Any], Layer | None]] = {}
NOTHING = Layer("Identity", axes="nothing")


def _row(*paths: str) -> Callable[[Callable[[Any], Layer | None]], Callable[[Any], Layer | None]]:
    def add(function: Callable[[Any], Layer | None]) -> Callable[[Any], Layer | None]:
        for path in paths:
            _ROWS[path] = function
        return function

    return add


def layer_of(module: Any, own: dict[type, Any] | None = None) -> Layer | None:
    """The counterpart of a module, or None where it is recorded like any other code.

    A subclass counts where it changes nothing about the call; a module with hooks or parametrized weights does not.

    Args:
        module: of PyTorch.
        own: counterparts of one's own, by PyTorch's class.
    """
    if own:
        for base in type(module).__mro__:
            if base in own:
                return _own(own[base])
    for base in type(module).__mro__:
        row = _ROWS.get(f"{base.__module__}.{base.__qualname__}")
        if row is None:
            continue
        if getattr(type(module), "forward", None) is not getattr(base, "forward", None) or hasattr(
            module, "parametrizations"
        ):
            return None
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):  # noqa: SLF001 no public name
            return None
        if _quantized_or_patched(module):
            return None
        return row(module)
    return None


def is_sequence(module: Any) -> bool:
    """Whether a module is `torch.nn.Sequential` or a subclass, whose children are reached by their number."""
    return any(
        f"{base.__module__}.{base.__name__}" == "torch.nn.modules.container.Sequential" for base in type(module).__mro__
    )


def _quantized_or_patched(module: Any) -> bool:
    """Weights that are no plain parameters (old weight_norm and spectral_norm set them before each call)."""
    for name in ("weight", "bias"):
        weight = getattr(module, name, None)
        is_tensor = hasattr(weight, "detach")
        if is_tensor and name not in module._parameters:  # noqa: SLF001 no public name
            return True
    return False


def _own(flax_class: Any) -> Layer:
    return Layer(flax_class.__name__, axes="plain", rngs=True, home=flax_class.__module__)


def _bias(module: Any) -> dict[str, str]:
    return {} if module.bias is not None else {"use_bias": "False"}


def _settings(**given: tuple[Any, Any]) -> dict[str, str]:
    """Arguments that differ from their default."""
    return {name: repr(value) for name, (value, default) in given.items() if value != default}


def _short(value: Any) -> Any:
    """A number for a tuple of equal ones."""
    if isinstance(value, (tuple, list)) and len(set(value)) == 1:
        return value[0]
    return tuple(value) if isinstance(value, list) else value


@_row("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
def _linear(module: Any) -> Layer:
    return Layer(
        "Linear",
        (repr(module.in_features), repr(module.out_features)),
        _bias(module),
        "last",
        rngs=True,
        parameters={"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))},
    )


@_row("transformers.pytorch_utils.Conv1D")
def _conv1d_of_gpt2(module: Any) -> Layer:
    return Layer(
        "Conv1D",
        (repr(module.nx), repr(module.nf)),
        axes="last",
        rngs=True,
        home="einops_arch.flax.layers.transformer",
        parameters={"weight": ("kernel", (0, 1)), "bias": ("bias", (0,))},
    )


@_row("torch.nn.modules.conv.Conv1d", "torch.nn.modules.conv.Conv2d", "torch.nn.modules.conv.Conv3d")
def _convolution(module: Any) -> Layer | None:
    axes = len(module.kernel_size)
    padding = module.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        if padding != "valid" and any(width % 2 for width in reach):
            return None
        padding = tuple(0 if padding == "valid" else width // 2 for width in reach)
    kwargs = _settings(
        strides=(_short(module.stride), 1),
        padding=(_short(padding), 0),
        kernel_dilation=(_short(module.dilation), 1),
        feature_group_count=(module.groups, 1),
        padding_mode=(module.padding_mode, "zeros"),
    )
    return Layer(
        "Conv",
        (repr(module.in_channels), repr(module.out_channels), repr(tuple(module.kernel_size))),
        {**kwargs, **_bias(module)},
        "channels",
        axes,
        rngs=True,
        parameters={"weight": ("kernel", (*range(2, axes + 2), 1, 0)), "bias": ("bias", (0,))},
    )


@_row(
    "torch.nn.modules.conv.ConvTranspose1d",
    "torch.nn.modules.conv.ConvTranspose2d",
    "torch.nn.modules.conv.ConvTranspose3d",
)
def _transposed(module: Any) -> Layer:
    kwargs = _settings(
        strides=(_short(module.stride), 1),
        padding=(_short(module.padding), 0),
        output_padding=(_short(module.output_padding), 0),
        kernel_dilation=(_short(module.dilation), 1),
        feature_group_count=(module.groups, 1),
    )
    axes = len(module.kernel_size)
    return Layer(
        "ConvTranspose",
        (repr(module.in_channels), repr(module.out_channels), repr(tuple(module.kernel_size))),
        {**kwargs, **_bias(module)},
        "channels",
        axes,
        rngs=True,
        parameters={"weight": ("kernel", (*range(2, axes + 2), 1, 0)), "bias": ("bias", (0,))},
    )


_NORM_LEAVES = {"weight": ("scale", (0,)), "bias": ("bias", (0,))}


@_row(
    "torch.nn.modules.batchnorm.BatchNorm1d",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.batchnorm.BatchNorm3d",
)
def _batch_norm(module: Any) -> Layer | None:
    if not module.track_running_stats:
        return None
    kwargs = _settings(momentum=(module.momentum, 0.1), epsilon=(module.eps, 1e-5))
    if not module.affine:
        kwargs |= {"use_bias": "False", "use_scale": "False"}
    elif module.bias is None:
        kwargs |= {"use_bias": "False"}
    return Layer("BatchNorm", (repr(module.num_features),), kwargs, "channels", rngs=True, parameters=_NORM_LEAVES)


@_row("timm.layers.norm_act.BatchNormAct2d")
def _batch_norm_act(module: Any) -> Layer | None:
    layer, act, drop = _batch_norm(module), layer_of(module.act), layer_of(module.drop)
    if layer is None or act is None or drop is not NOTHING:
        return None
    if act is NOTHING:
        return layer
    imports = (*act.imports, f"from {act.home} import {act.name}")
    return dataclasses.replace(layer, name="BatchNormAct", args=(*layer.args, act.code), imports=imports)


@_row("torch.nn.modules.normalization.LayerNorm")
def _layer_norm(module: Any) -> Layer | None:
    if len(module.normalized_shape) != 1:
        return None
    kwargs = _settings(epsilon=(module.eps, 1e-5))
    if module.weight is None:
        kwargs |= {"use_bias": "False", "use_scale": "False"}
    elif module.bias is None:
        kwargs |= {"use_bias": "False"}
    return Layer("LayerNorm", (repr(module.normalized_shape[0]),), kwargs, "last", rngs=True, parameters=_NORM_LEAVES)


@_row("torch.nn.modules.normalization.RMSNorm")
def _rms_norm(module: Any) -> Layer | None:
    if len(module.normalized_shape) != 1:
        return None
    kwargs = _settings(epsilon=(module.eps, None))
    if module.weight is None:
        kwargs |= {"use_scale": "False"}
    return Layer("RMSNorm", (repr(module.normalized_shape[0]),), kwargs, "last", rngs=True, parameters=_NORM_LEAVES)


@_row("torch.nn.modules.normalization.GroupNorm")
def _group_norm(module: Any) -> Layer:
    kwargs = _settings(epsilon=(module.eps, 1e-5))
    if not module.affine:
        kwargs |= {"use_bias": "False", "use_scale": "False"}
    return Layer(
        "GroupNorm",
        (repr(module.num_channels), repr(module.num_groups)),
        kwargs,
        "channels",
        rngs=True,
        parameters=_NORM_LEAVES,
    )


@_row("timm.layers.norm.LayerNorm")
def _layer_norm_of_timm(module: Any) -> Layer | None:
    return None if module._fast_norm else _layer_norm(module)  # noqa: SLF001 set for the whole process


@_row("timm.layers.norm.GroupNorm", "timm.layers.norm.GroupNorm1")
def _group_norm_of_timm(module: Any) -> Layer | None:
    return None if module._fast_norm else _group_norm(module)  # noqa: SLF001 set for the whole process


@_row(
    "torch.nn.modules.instancenorm.InstanceNorm1d",
    "torch.nn.modules.instancenorm.InstanceNorm2d",
    "torch.nn.modules.instancenorm.InstanceNorm3d",
)
def _instance_norm(module: Any) -> Layer | None:
    if module.track_running_stats:
        return None
    kwargs = _settings(epsilon=(module.eps, 1e-5))
    if module.affine:
        kwargs |= {"use_bias": "True", "use_scale": "True"}
    return Layer("InstanceNorm", (repr(module.num_features),), kwargs, "channels", rngs=True, parameters=_NORM_LEAVES)


@_row("torch.nn.modules.sparse.Embedding")
def _embedding(module: Any) -> Layer | None:
    if module.max_norm is not None or module.scale_grad_by_freq:
        return None
    kwargs = _settings(padding_idx=(module.padding_idx, None))
    return Layer(
        "Embed",
        (repr(module.num_embeddings), repr(module.embedding_dim)),
        kwargs,
        "embed",
        rngs=True,
        parameters={"weight": ("embedding", (0, 1))},
    )


@_row("torch.nn.modules.dropout.Dropout")
def _dropout(module: Any) -> Layer:
    return Layer("Dropout", (repr(module.p),), axes="any", rngs=True) if module.p else NOTHING


@_row("torch.nn.modules.dropout.Dropout1d", "torch.nn.modules.dropout.Dropout2d", "torch.nn.modules.dropout.Dropout3d")
def _channel_dropout(module: Any) -> Layer:
    return Layer("Dropout2d", (repr(module.p),), axes="channels", rngs=True) if module.p else NOTHING


@_row("torch.nn.modules.linear.Identity")
def _identity(module: Any) -> Layer:
    return NOTHING


def _activation(name: str) -> Callable[[Any], Layer]:
    return lambda module: Layer(name)


for _path, _name in {
    "torch.nn.modules.activation.ReLU": "ReLU",
    "torch.nn.modules.activation.Tanh": "Tanh",
    "torch.nn.modules.activation.Sigmoid": "Sigmoid",
    "torch.nn.modules.activation.SiLU": "SiLU",
    "torch.nn.modules.activation.Hardswish": "Hardswish",
    "torch.nn.modules.activation.Hardsigmoid": "Hardsigmoid",
    "torch.nn.modules.activation.ReLU6": "ReLU6",
}.items():
    _ROWS[_path] = _activation(_name)


@_row("torch.nn.modules.activation.GELU")
def _gelu(module: Any) -> Layer:
    return Layer("GELU", kwargs=_settings(approximate=(module.approximate == "tanh", False)))


@_row("torch.nn.modules.pooling.MaxPool1d", "torch.nn.modules.pooling.MaxPool2d", "torch.nn.modules.pooling.MaxPool3d")
def _max_pool(module: Any) -> Layer | None:
    if _short(module.dilation) != 1 or module.ceil_mode or module.return_indices:
        return None
    return _pool(module, "MaxPool", {})


@_row("torch.nn.modules.pooling.AvgPool1d", "torch.nn.modules.pooling.AvgPool2d", "torch.nn.modules.pooling.AvgPool3d")
def _avg_pool(module: Any) -> Layer | None:
    if module.ceil_mode or getattr(module, "divisor_override", None) is not None:
        return None
    return _pool(module, "AvgPool", _settings(count_include_pad=(module.count_include_pad, True)))


def _pool(module: Any, name: str, kwargs: dict[str, str]) -> Layer:
    axes = int(type(module).__name__[-2]) if type(module).__name__[-2].isdigit() else 2
    kernel = module.kernel_size
    window = tuple(kernel) if isinstance(kernel, (tuple, list)) else (kernel,) * axes
    arguments = [repr(window)]
    stride, padding = _short(module.stride), _short(module.padding)
    if stride not in (_short(kernel), None) or padding:
        arguments.append(repr(stride))
    if padding:
        arguments.append(repr(padding))
    if any(isinstance(value, tuple) for value in (stride, padding)):
        arguments = [
            repr(value if isinstance(value, tuple) else (value,) * axes) for value in (window, stride, padding)
        ]
    else:
        arguments = [repr(window), *(repr((int(value),) * axes) for value in (stride, padding)[: len(arguments) - 1])]
    return Layer(name, tuple(arguments), kwargs, "channels", axes)


@_row(
    "torch.nn.modules.pooling.AdaptiveAvgPool1d",
    "torch.nn.modules.pooling.AdaptiveAvgPool2d",
    "torch.nn.modules.pooling.AdaptiveAvgPool3d",
)
def _adaptive(module: Any) -> Layer | None:
    axes = int(type(module).__name__[-2])
    size = module.output_size
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * axes
    if any(item is None for item in sizes):
        return None
    return Layer("AdaptiveAvgPool", (repr(sizes),), axes="channels", spatial=axes)


@_row("torch.nn.modules.rnn.LSTM", "torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn.RNN")
def _recurrent(module: Any) -> Layer | None:
    if getattr(module, "proj_size", 0):
        return None
    name = next(base.__name__ for base in type(module).__mro__ if base.__name__ in ("LSTM", "GRU", "RNN"))
    kwargs = _settings(
        num_layers=(module.num_layers, 1),
        use_bias=(module.bias, True),
        batch_first=(module.batch_first, False),
        dropout=(module.dropout, 0.0),
        bidirectional=(module.bidirectional, False),
    )
    if name == "RNN" and module.nonlinearity != "tanh":
        kwargs["nonlinearity"] = repr(module.nonlinearity)
    return Layer(name, (repr(module.input_size), repr(module.hidden_size)), kwargs, "plain", rngs=True)
