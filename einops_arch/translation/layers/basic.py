"""Rows for linear layers, convolutions, norms and embeddings."""

from __future__ import annotations

from typing import Any

from einops_arch.translation.layers.table import Layer, changed, row, same_or_each

__all__ = ["batch_norm", "convolution", "group_norm", "layer_norm"]


def _bias(module: Any) -> dict[str, str]:
    return {} if module.bias is not None else {"use_bias": "False"}


@row("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
def _linear(module: Any) -> Layer:
    return Layer(
        "Linear",
        (repr(module.in_features), repr(module.out_features)),
        _bias(module),
        "last",
        rngs=True,
        parameters={"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))},
    )


@row("torch.nn.modules.conv.Conv1d", "torch.nn.modules.conv.Conv2d", "torch.nn.modules.conv.Conv3d")
def convolution(module: Any) -> Layer | None:
    """A convolution; also of subclasses that only make their kernel in another way."""
    axes = len(module.kernel_size)
    padding = module.padding
    if padding == "valid":
        padding = 0
    kwargs = changed(
        strides=(same_or_each(module.stride), 1),
        padding=(padding if padding == "same" else same_or_each(padding), 0),
        kernel_dilation=(same_or_each(module.dilation), 1),
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


@row(
    "torch.nn.modules.conv.ConvTranspose1d",
    "torch.nn.modules.conv.ConvTranspose2d",
    "torch.nn.modules.conv.ConvTranspose3d",
)
def _transposed(module: Any) -> Layer:
    kwargs = changed(
        strides=(same_or_each(module.stride), 1),
        padding=(same_or_each(module.padding), 0),
        output_padding=(same_or_each(module.output_padding), 0),
        kernel_dilation=(same_or_each(module.dilation), 1),
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


@row(
    "torch.nn.modules.batchnorm.BatchNorm1d",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.batchnorm.BatchNorm3d",
)
def batch_norm(module: Any) -> Layer:
    """Each channel over all else."""
    kwargs = changed(
        momentum=(module.momentum, 0.1),
        epsilon=(module.eps, 1e-5),
        track_running_stats=(module.track_running_stats, True),
    )
    if not module.affine:
        kwargs |= {"use_bias": "False", "use_scale": "False"}
    elif module.bias is None:
        kwargs |= {"use_bias": "False"}
    return Layer("BatchNorm", (repr(module.num_features),), kwargs, "channels", rngs=True, parameters=_NORM_LEAVES)


@row("torch.nn.modules.normalization.LayerNorm")
def layer_norm(module: Any) -> Layer:
    """Each position over its last axes."""
    several = len(module.normalized_shape) != 1
    kwargs = changed(epsilon=(module.eps, 1e-5))
    if module.weight is None:
        kwargs |= {"use_bias": "False", "use_scale": "False"}
    elif module.bias is None:
        kwargs |= {"use_bias": "False"}
    size = tuple(module.normalized_shape) if several else module.normalized_shape[0]
    axes, parameters = ("plain", {}) if several else ("last", _NORM_LEAVES)
    return Layer("LayerNorm", (repr(size),), kwargs, axes, rngs=True, parameters=parameters)


@row("torch.nn.modules.normalization.RMSNorm")
def _rms_norm(module: Any) -> Layer | None:
    if len(module.normalized_shape) != 1:
        return None
    kwargs = changed(epsilon=(module.eps, None))
    if module.weight is None:
        kwargs |= {"use_scale": "False"}
    return Layer("RMSNorm", (repr(module.normalized_shape[0]),), kwargs, "last", rngs=True, parameters=_NORM_LEAVES)


@row("torch.nn.modules.normalization.GroupNorm")
def group_norm(module: Any) -> Layer:
    """Groups of channels of a sample."""
    kwargs = changed(epsilon=(module.eps, 1e-5))
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


@row(
    "torch.nn.modules.instancenorm.InstanceNorm1d",
    "torch.nn.modules.instancenorm.InstanceNorm2d",
    "torch.nn.modules.instancenorm.InstanceNorm3d",
)
def _instance_norm(module: Any) -> Layer | None:
    if module.track_running_stats:
        return None
    kwargs = changed(epsilon=(module.eps, 1e-5))
    if module.affine:
        kwargs |= {"use_bias": "True", "use_scale": "True"}
    return Layer("InstanceNorm", (repr(module.num_features),), kwargs, "channels", rngs=True, parameters=_NORM_LEAVES)


@row("torch.nn.modules.sparse.Embedding")
def _embedding(module: Any) -> Layer | None:
    if module.max_norm is not None or module.scale_grad_by_freq:
        return None
    kwargs = changed(padding_idx=(module.padding_idx, None))
    return Layer(
        "Embed",
        (repr(module.num_embeddings), repr(module.embedding_dim)),
        kwargs,
        "embed",
        rngs=True,
        parameters={"weight": ("embedding", (0, 1))},
    )
