"""Rows for layers of torchvision, timm and transformers, by their qualified names."""

from __future__ import annotations

import dataclasses
from typing import Any

from einops_arch.translation.layers.basic import batch_norm, convolution, group_norm, layer_norm
from einops_arch.translation.layers.table import NOTHING, ROWS, Layer, changed, layer_of, row

__all__: list[str] = []

_TIMM_ACTIVATIONS = {
    "Swish": "SiLU",
    "Mish": "Mish",
    "Sigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "HardSwish": "Hardswish",
    "HardSigmoid": "Hardsigmoid",
    "GELU": "GELU",
    "QuickGELU": "QuickGELU",
}

for _torch_name, _flax_name in _TIMM_ACTIVATIONS.items():
    ROWS[f"timm.layers.activations.{_torch_name}"] = lambda module, name=_flax_name: Layer(name)  # type: ignore[misc]

for _torch_name, _flax_name in {"SiLUActivation": "SiLU", "QuickGELUActivation": "QuickGELU"}.items():
    ROWS[f"transformers.activations.{_torch_name}"] = lambda module, name=_flax_name: Layer(name)  # type: ignore[misc]


@row(
    "timm.layers.activations.GELUTanh",
    "transformers.activations.GELUTanh",
    "transformers.activations.NewGELUActivation",
)
def _gelu_tanh(module: Any) -> Layer:
    return Layer("GELU", kwargs={"approximate": "True"})


@row("transformers.activations.GELUActivation")
def _gelu(module: Any) -> Layer:
    return Layer("GELU")


# Its forward is that of PyTorch's, with casts for TorchScript alone.
ROWS["timm.layers.linear.Linear"] = ROWS["torch.nn.modules.linear.Linear"]


@row("torchvision.ops.stochastic_depth.StochasticDepth")
def _stochastic_depth(module: Any) -> Layer:
    return Layer("StochasticDepth", (repr(module.p), repr(module.mode)), rngs=True) if module.p else NOTHING


@row("timm.layers.drop.DropPath")
def _drop_path(module: Any) -> Layer:
    if not module.drop_prob:
        return NOTHING
    return Layer("DropPath", (repr(module.drop_prob),), changed(scale_by_keep=(module.scale_by_keep, True)), rngs=True)


@row("torchvision.models.convnext.LayerNorm2d", "timm.layers.norm.LayerNorm2d")
def _layer_norm(module: Any) -> Layer | None:
    if len(module.normalized_shape) != 1 or getattr(module, "_fast_norm", False):
        return None
    kwargs = changed(epsilon=(module.eps, 1e-6))
    if module.weight is None:
        kwargs |= {"use_bias": "False", "use_scale": "False"}
    elif module.bias is None:
        kwargs |= {"use_bias": "False"}
    parameters = {"weight": ("scale", (0,)), "bias": ("bias", (0,))}
    size = repr(module.normalized_shape[0])
    return Layer("LayerNorm2d", (size,), kwargs, "channels", 2, rngs=True, parameters=parameters)


@row("torchvision.ops.misc.FrozenBatchNorm2d")
def _frozen(module: Any) -> Layer:
    size = repr(module.weight.shape[0])
    return Layer("FrozenBatchNorm", (size,), changed(epsilon=(module.eps, 1e-5)), "channels", 2, rngs=True)


@row("timm.layers.norm_act.BatchNormAct2d")
def _batch_norm_act(module: Any) -> Layer | None:
    return _with_act("BatchNormAct", batch_norm(module), module.act, module.drop)


@row("timm.layers.norm_act.GroupNormAct", "timm.layers.norm_act.GroupNorm1Act")
def _group_norm_act(module: Any) -> Layer | None:
    fast = module._fast_norm  # noqa: SLF001 set for the whole process
    return None if fast else _with_act("GroupNormAct", group_norm(module), module.act, module.drop)


@row("transformers.models.bit.modeling_bit.BitGroupNormActivation")
def _group_norm_act_of_bit(module: Any) -> Layer | None:
    return _with_act("GroupNormAct", group_norm(module), module.activation)


def _with_act(name: str, layer: Layer | None, act: Any, drop: Any = None) -> Layer | None:
    act = layer_of(act)
    if layer is None or act is None or (drop is not None and layer_of(drop) is not NOTHING):
        return None
    if act is NOTHING:
        return layer
    imports = (*act.imports, f"from {act.home} import {act.name}")
    return dataclasses.replace(layer, name=name, args=(*layer.args, act.code), imports=imports)


@row("timm.layers.norm.LayerNorm")
def _layer_norm_of_timm(module: Any) -> Layer | None:
    return None if module._fast_norm else layer_norm(module)  # noqa: SLF001 set for the whole process


@row("timm.layers.norm.GroupNorm", "timm.layers.norm.GroupNorm1")
def _group_norm_of_timm(module: Any) -> Layer | None:
    return None if module._fast_norm else group_norm(module)  # noqa: SLF001 set for the whole process


@row("timm.layers.std_conv.StdConv2d")
def _standardized(module: Any) -> Layer | None:
    layer = convolution(module)
    if layer is None:
        return None
    kwargs = layer.kwargs | changed(epsilon=(module.eps, 1e-6))
    return dataclasses.replace(layer, name="StdConv", kwargs=kwargs, parameters={})


@row("transformers.models.bit.modeling_bit.WeightStandardizedConv2d")
def _standardized_of_bit(module: Any) -> Layer | None:
    return None if module.pad is not None else _standardized(module)


@row("timm.layers.std_conv.ScaledStdConv2d")
def _scaled(module: Any) -> Layer | None:
    layer = convolution(module)
    if layer is None:
        return None
    gamma = module.scale * module.weight[0].numel() ** 0.5
    gamma = float(f"{gamma:.15g}")
    kwargs = layer.kwargs | changed(gamma=(gamma, 1.0), epsilon=(module.eps, 1e-6))
    return dataclasses.replace(layer, name="ScaledStdConv", kwargs=kwargs, parameters={})


@row("transformers.pytorch_utils.Conv1D")
def _conv1d_of_gpt2(module: Any) -> Layer:
    return Layer(
        "Conv1D",
        (repr(module.nx), repr(module.nf)),
        axes="last",
        rngs=True,
        home="einops_arch.flax.layers.transformer",
        parameters={"weight": ("kernel", (0, 1)), "bias": ("bias", (0,))},
    )
