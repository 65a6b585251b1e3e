"""Rows for activations and dropout."""

from __future__ import annotations

from typing import Any

from einops_arch.translation.layers.table import NOTHING, ROWS, Layer, Row, changed, row

__all__: list[str] = []

# PyTorch's class: the twin, and each argument of its constructor by PyTorch's attribute, with the default.
_ACTIVATIONS: dict[str, tuple[str, dict[str, tuple[str, Any]]]] = {
    "ReLU": ("ReLU", {}),
    "Tanh": ("Tanh", {}),
    "Sigmoid": ("Sigmoid", {}),
    "SiLU": ("SiLU", {}),
    "Hardswish": ("Hardswish", {}),
    "Hardsigmoid": ("Hardsigmoid", {}),
    "Hardtanh": ("Hardtanh", {"min_val": ("min_val", -1.0), "max_val": ("max_val", 1.0)}),
    "ReLU6": ("ReLU6", {}),
    "LeakyReLU": ("LeakyReLU", {"negative_slope": ("negative_slope", 0.01)}),
    "ELU": ("ELU", {"alpha": ("alpha", 1.0)}),
    "CELU": ("CELU", {"alpha": ("alpha", 1.0)}),
    "SELU": ("SELU", {}),
    "Mish": ("Mish", {}),
    "Softplus": ("Softplus", {"beta": ("beta", 1.0), "threshold": ("threshold", 20.0)}),
    "Softsign": ("Softsign", {}),
    "LogSigmoid": ("LogSigmoid", {}),
    "Softshrink": ("Softshrink", {"lambd": ("lambd", 0.5)}),
    "Hardshrink": ("Hardshrink", {"lambd": ("lambd", 0.5)}),
    "Tanhshrink": ("Tanhshrink", {}),
    "Threshold": ("Threshold", {"threshold": ("threshold", None), "value": ("value", None)}),
}


def _activation(name: str, settings: dict[str, tuple[str, Any]]) -> Row:
    def make(module: Any) -> Layer:
        arguments = {argument: (getattr(module, held), default) for argument, (held, default) in settings.items()}
        return Layer(name, kwargs=changed(**arguments))

    return make


for _torch_name, (_name, _settings) in _ACTIVATIONS.items():
    ROWS[f"torch.nn.modules.activation.{_torch_name}"] = _activation(_name, _settings)


@row("torch.nn.modules.activation.GELU")
def _gelu(module: Any) -> Layer:
    return Layer("GELU", kwargs=changed(approximate=(module.approximate == "tanh", False)))


@row("torch.nn.modules.activation.PReLU")
def _prelu(module: Any) -> Layer:
    arguments = (repr(module.num_parameters),) if module.num_parameters != 1 else ()
    axes = "any" if module.num_parameters == 1 else "channels"
    return Layer("PReLU", arguments, axes=axes, parameters={"weight": ("negative_slope", (0,))})


@row("torch.nn.modules.activation.Softmax", "torch.nn.modules.activation.LogSoftmax")
def _softmax(module: Any) -> Layer | None:
    return Layer(type(module).__name__, axes="last") if module.dim == -1 else None


@row("torch.nn.modules.activation.Softmin", "torch.nn.modules.activation.GLU")
def _along_the_last(module: Any) -> Layer | None:
    return Layer(type(module).__name__, axes="last") if module.dim == -1 else None


@row("torch.nn.modules.dropout.Dropout", "torch.nn.modules.dropout.AlphaDropout")
def _dropout(module: Any) -> Layer:
    name = "Dropout" if "Alpha" not in type(module).__name__ else "AlphaDropout"
    return Layer(name, (repr(module.p),), axes="any", rngs=True) if module.p else NOTHING


@row("torch.nn.modules.dropout.Dropout1d", "torch.nn.modules.dropout.Dropout2d", "torch.nn.modules.dropout.Dropout3d")
def _channel_dropout(module: Any) -> Layer:
    name = next(base.__name__ for base in type(module).__mro__ if base.__name__.startswith("Dropout"))
    spatial = 1 if name == "Dropout1d" else None
    return Layer(name, (repr(module.p),), axes="channels", spatial=spatial, rngs=True) if module.p else NOTHING


@row("torch.nn.modules.dropout.FeatureAlphaDropout")
def _feature_alpha_dropout(module: Any) -> Layer:
    return Layer("FeatureAlphaDropout", (repr(module.p),), axes="channels", rngs=True) if module.p else NOTHING


@row("torch.nn.modules.linear.Identity")
def _identity(module: Any) -> Layer:
    return NOTHING
