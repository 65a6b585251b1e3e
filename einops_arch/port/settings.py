"""Settings that change what a layer computes and no shape: where two models have them, they are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["setting_differences"]

_OF_WINDOWS = ("stride", "dilation", "groups", "padding")
_NAMES: dict[str, tuple[str, ...]] = {
    "eps": ("eps", "epsilon"),
    "stride": ("stride", "strides"),
    "dilation": ("dilation", "kernel_dilation"),
    "groups": ("groups", "feature_group_count"),
    "padding": ("padding",),
    "num_heads": ("num_heads",),
    "num_groups": ("num_groups",),
    "add_zero_attn": ("add_zero_attn",),
    **{name: (name,) for name in ("norm_first", "nonlinearity", "upscale_factor", "negative_slope", "approximate")},
    **{name: (name,) for name in ("alpha", "beta", "lambd", "threshold", "value", "min_val", "max_val", "norm_type")},
}
"""Each setting by PyTorch's name, with the attributes that hold it in PyTorch and in Flax."""


def setting_differences(source: Any, target: Any) -> list[str]:
    """A line for each setting that two models of either framework have with different values.

    Modules of the same path are compared. A setting that only one of them has is not, but for `add_zero_attn`, which is
    off where a layer has no word for it. Padding that depends on the size of the input is compared by its name.

    >>> import torch
    >>> setting_differences(torch.nn.LayerNorm(3), torch.nn.LayerNorm(3, eps=1e-6))
    ['the model: eps=1e-05 in the source (LayerNorm), 1e-06 in the target (LayerNorm)']
    """
    others = dict(_modules(target))
    lines = []
    for path, module in _modules(source):
        if path not in others:
            continue
        settings, target_settings = _settings(module), _settings(others[path])
        for name in _NAMES:
            value, other = settings.get(name), target_settings.get(name)
            if name == "add_zero_attn" and "num_heads" in settings and "num_heads" in target_settings:
                value, other = bool(value), bool(other)
            if value is not None and other is not None and value != other:
                kinds = type(module).__name__, type(others[path]).__name__
                where = f"{path or 'the model'}: {name}"
                lines.append(f"{where}={value} in the source ({kinds[0]}), {other} in the target ({kinds[1]})")
    return lines


def _modules(model: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(model, "named_modules"):  # PyTorch's own
        yield from model.named_modules(remove_duplicate=False)
    else:
        from einops_arch.flax.state import named_modules

        yield from named_modules(model)


def _settings(module: Any) -> dict[str, Any]:
    values = {}
    for name, attributes in _NAMES.items():
        value = next((getattr(module, attribute) for attribute in attributes if hasattr(module, attribute)), None)
        # A slope may be a parameter, which is carried over and not compared.
        if isinstance(value, bool | int | float | str | tuple | list):
            values[name] = value
    if "approximate" in values:
        # PyTorch has a word for it.
        values["approximate"] = values["approximate"] in {True, "tanh"}
    kernel = getattr(module, "kernel_size", None)
    if kernel is None or "Transpose" in type(module).__name__:
        # What a transposed convolution calls padding is not the same thing in both.
        return {name: value for name, value in values.items() if name not in _OF_WINDOWS}
    rank = len(kernel) if isinstance(kernel, tuple | list) else 1
    kernel = _each(kernel, rank)
    for name in ("stride", "dilation"):
        values[name] = _each(values.get(name, 1), rank)
    if "padding" in values:
        values["padding"] = _padding(values["padding"], kernel, values["stride"], values["dilation"])
    return values


def _each(value: Any, rank: int) -> Any:
    if isinstance(value, int):
        return (value,) * rank
    value = tuple(value)
    return value * rank if len(value) == 1 else value


def _padding(value: Any, kernel: Any, stride: Any, dilation: Any) -> Any:
    """The padding before and after each axis, or its name where the size of the input decides."""
    if isinstance(value, str):
        if value.lower() == "valid":
            return ((0, 0),) * len(kernel)
        if value.lower() != "same" or any(step != 1 for step in stride):
            return value
        totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((size, size) if isinstance(size, int) else tuple(size) for size in _each(value, len(kernel)))
