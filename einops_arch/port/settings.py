"""Settings that change what a layer computes and no shape: where two models have them, they are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["setting_differences"]

_OF_WINDOWS = ("stride", "dilation", "groups", "padding")
_OF_POOLS = ("window", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override")
_OFF = frozenset({"max_norm", "divisor_override"})
"""Settings that are off where they are None."""
_NAMES: dict[str, tuple[str, ...]] = {
    "eps": ("eps", "epsilon"),
    "stride": ("stride", "strides"),
    "dilation": ("dilation", "kernel_dilation"),
    "groups": ("groups", "feature_group_count"),
    "padding": ("padding",),
    "num_heads": ("num_heads",),
    "num_groups": ("num_groups",),
    "add_zero_attn": ("add_zero_attn",),
    "momentum": ("momentum",),
    "p": ("p", "rate", "drop_prob"),
    "dropout": ("dropout", "dropout_rate"),
    "window": ("kernel_size", "window"),
    **{
        name: (name,)
        for name in ("padding_mode", "output_padding", "max_norm", "scale_factor", "mode", "align_corners")
    },
    **{name: (name,) for name in _OF_POOLS[4:]},
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
    values: dict[str, Any] = {}
    for name, attributes in _NAMES.items():
        value = next((getattr(module, attribute) for attribute in attributes if hasattr(module, attribute)), None)
        if value is None and name in _OFF and any(hasattr(module, attribute) for attribute in attributes):
            value = "None"
        # A slope may be a parameter, which is carried over and not compared.
        if isinstance(value, bool | int | float | str | tuple | list):
            values[name] = value
    if "approximate" in values:
        # PyTorch has a word for it.
        values["approximate"] = values["approximate"] in {True, "tanh"}
    kind = type(module).__name__
    if "scale_factor" in values:
        values["scale_factor"] = _one_of_equals(values["scale_factor"])
    homes = (base.__module__.partition(".")[0] for base in type(module).__mro__)
    if "momentum" in values and next((home for home in homes if home in ("einops_arch", "flax")), "") == "flax":
        # The share of what was there before, and not of what is new.
        values["momentum"] = round(1 - values["momentum"], 12)
    if "Pool" in kind:
        return {name: _one_of_equals(value) if name in _OF_POOLS else value for name, value in values.items()}
    values.pop("window", None)
    kernel = getattr(module, "kernel_size", None)
    if kernel is None or ("Transpose" in kind and "output_padding" not in values):
        # What a transposed convolution of Flax calls padding is not what PyTorch calls so.
        return {name: value for name, value in values.items() if name not in _OF_WINDOWS}
    rank = len(kernel) if isinstance(kernel, tuple | list) else 1
    kernel = _each(kernel, rank)
    for name in ("stride", "dilation", *(["output_padding"] if "output_padding" in values else [])):
        values[name] = _each(values.get(name, 1), rank)
    if "padding" in values:
        values["padding"] = _padding(values["padding"], kernel, values["stride"], values["dilation"])
    return values


def _one_of_equals(value: Any) -> Any:
    """One number for all axes where they have the same."""
    return value[0] if isinstance(value, tuple | list) and len(set(value)) == 1 else value


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
