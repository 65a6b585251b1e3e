"""Causes among the settings of a layer: another eps, another form of GELU, another order, another padding."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from einops_arch.parity.causes.case import Case, Hypothesis, number

__all__ = ["EPSILONS", "setting_hypotheses", "twin_settings"]

# The values that layers and models have by default, and the machine's own: float32's and float64's.
EPSILONS = (1e-5, 1e-6, 1e-12, 1e-3, 1e-8, 1e-7, 1e-4, 2.0**-23, 2.0**-52, 0.0)
_WORDS = (
    ("CRD", "DCR"),
    ("none", "tanh"),
    ("zeros", "reflect", "circular", "replicate"),
    ("spatial", "full", "none"),
    ("channels_first", "channels_last"),
    ("VALID", "SAME"),
    ("tanh", "relu"),
    ("linear", "bilinear", "nearest", "cubic", "bicubic", "lanczos3"),
)
# PyTorch's names of settings that Flax calls otherwise.
_TWIN_NAMES = {
    "epsilon": "eps",
    "strides": "stride",
    "kernel_dilation": "dilation",
    "feature_group_count": "groups",
    "rate": "p",
    "num_groups": "num_groups",
}
_MOST_TOGETHER = 6
_COUNTS = ("groups", "num_groups", "feature_group_count", "heads", "num_heads")


_DIVIDED = ("in_features", "out_features", "num_features", "qkv_features")
"""What groups and heads divide."""


def twin_settings(case: Case) -> Iterator[Hypothesis]:
    """Settings that can be read on both sides and are not the same: each by itself, then all of them."""
    from einops_arch.flax.state import named_modules

    twins = dict(case.torch_module.named_modules(remove_duplicate=False))
    changes: list[tuple[str, str, Any, str]] = []
    for path, module in named_modules(case.flax_module):
        for name, value in list(vars(module).items()):
            others = () if name.startswith("_") else _of_twin(name, value, twins.get(path), module)
            for other in (other for other in others if not _equal(value, other)):
                start = f"{path}." if path else ""
                words = f"{start}{name}={number(other)}, the Flax module has {number(value)}"
                changes.append((path, name, other, words))
    for change in changes:
        yield change[3], functools.partial(_all_changed, case, [change])
    if 1 < len(changes) <= _MOST_TOGETHER:
        yield " and ".join(words for *_, words in changes), functools.partial(_all_changed, case, changes)


def _equal(value: Any, other: Any) -> bool:
    """The same setting, however it is written: 1, (1, 1) and ((1, 1), (1, 1))."""
    if isinstance(value, int) and isinstance(other, tuple):
        return all(_equal(value, part) for part in other)
    if isinstance(other, int) and isinstance(value, tuple | list):
        return all(_equal(part, other) for part in value)
    if isinstance(value, tuple | list) and isinstance(other, tuple | list):
        return len(value) == len(other) and all(map(_equal, value, other))
    return bool(value == other)


def _all_changed(case: Case, changes: Any) -> Any:
    from einops_arch.flax.state import named_modules

    module = case.clone()
    inside = dict(named_modules(module))
    for path, name, value, _ in changes:
        _set(inside[path], name, value)
    return case.run_changed(module)


def _set(module: Any, name: str, value: Any) -> None:
    """Give a layer another setting, and what follows from it: of more groups each is smaller."""
    size, count = getattr(module, "group_size", None), getattr(module, name)
    if name == "num_groups" and isinstance(size, int) and isinstance(count, int) and count * size % value == 0:
        module.group_size = count * size // value
    setattr(module, name, value)


def setting_hypotheses(case: Case, *, right: bool = False) -> Iterator[Hypothesis]:
    """Every setting of the module, and of those inside of it, with each of the values that it often has.

    Args:
        case: the module.
        right: of the modules inside that were seen to be right by themselves, which come last; False for all others.
    """
    from einops_arch.flax.state import named_modules

    twins = dict(case.torch_module.named_modules(remove_duplicate=False))
    for path, module in named_modules(case.flax_module):
        if (path in case.right_inside) is not right:
            continue
        for name, value in list(vars(module).items()):
            if name.startswith("_"):
                continue
            for other in _others(name, value, twins.get(path), module):
                words = f"{path + '.' if path else ''}{name}={number(other)}, the Flax module has {number(value)}"
                yield words, functools.partial(_tried, case, path, name, other)


def _tried(case: Case, path: str, name: str, value: Any) -> Any:
    return case.run_changed(_changed(case, path, name, value))


def _changed(case: Case, path: str, name: str, value: Any) -> Any:
    from einops_arch.flax.state import named_modules

    module = case.clone()
    _set(dict(named_modules(module))[path], name, value)
    return module


def _others(name: str, value: Any, twin: Any, module: Any) -> Iterator[Any]:
    """The values to try, PyTorch's own first."""
    seen = [value]
    for other in (*_of_twin(name, value, twin, module), *_usual(name, value, module)):
        if other not in seen:
            seen.append(other)
            yield other


def _of_twin(name: str, value: Any, twin: Any, module: Any) -> Iterator[Any]:
    setting = getattr(twin, name, getattr(twin, _TWIN_NAMES.get(name, name), None))
    if name == "approximate" and isinstance(setting, str):
        yield setting == "tanh" if isinstance(value, bool) else setting
    elif name == "padding" and setting is not None and not isinstance(setting, str):
        count = len(getattr(module, "kernel_size", ())) or 1
        each = setting if isinstance(setting, tuple) else (setting,) * count
        yield tuple((width, width) for width in each)
    elif isinstance(setting, int | float | str | tuple) and isinstance(value, int | float | str | tuple | None):
        same_kind = type(setting) is type(value) or (
            isinstance(setting, int | float) and isinstance(value, int | float)
        )
        if isinstance(setting, tuple) and isinstance(value, int | float):
            setting, same_kind = setting[0], len(set(setting)) == 1
        if same_kind and isinstance(setting, bool) == isinstance(value, bool):
            yield setting


def _usual(name: str, value: Any, module: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, float | None) and "eps" in name:
        yield from EPSILONS
    elif isinstance(value, int) and name in _COUNTS:
        sizes = [getattr(module, other, None) for other in _DIVIDED]
        counts = [size for size in sizes if isinstance(size, int)]
        yield from (n for n in range(1, 65) if all(size % n == 0 for size in counts))
    elif isinstance(value, str):
        for words in _WORDS:
            if value in words:
                yield from words
