"""Stochastic depth in people's own words: recognized by its name, and by what it does."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

from einops_arch.translation.layers import NOTHING, Layer, layer_of

__all__ = ["counterpart", "drop_path_layer", "droppers_that_differ", "rate_name"]

_NAME = re.compile(r"drop_?path|stochastic_?depth", re.IGNORECASE)
_RATES = ("drop_prob", "drop_path_rate", "drop_rate", "rate", "prob", "p")
_SAMPLES = 400
_CALLS = 50
_KNOWN: dict[tuple[Any, ...], Layer | None] = {}


def counterpart(module: Any, own: dict[type, Any] | None = None) -> Layer | None:
    """The Flax layer that stands for a module: by its class, or as a drop path by what it does."""
    return layer_of(module, own) or drop_path_layer(module)


def rate_name(module: Any) -> str | None:
    """The attribute that holds the rate of what is called a drop path and has no state; None for other modules."""
    if not _NAME.search(type(module).__name__) or any(True for _ in module.children()) or module.state_dict():
        return None
    return next((name for name in _RATES if isinstance(getattr(module, name, None), (int, float))), None)


def drop_path_layer(module: Any) -> Layer | None:
    """The counterpart of a drop path, if this is one: whole samples become zero, the others are scaled or not."""
    name = rate_name(module)
    if name is None or module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):  # noqa: SLF001
        return None
    rate = float(getattr(module, name))
    key = _key(module)
    if key is None:
        return _tried(module, rate)
    if key not in _KNOWN:
        _KNOWN[key] = _tried(module, rate)
    return _KNOWN[key]


def droppers_that_differ(model: Any, twin: Any) -> Iterator[str]:
    """Words on each drop path of a model that drops at another rate, or scales otherwise, than the twin's at its path.

    Both sides are quiet while their outputs are compared, so that no output tells.

    Args:
        model: of PyTorch, with its rates.
        twin: of Flax, with its rates.
    """
    from einops_arch.flax.state import named_modules

    twins = dict(named_modules(twin))
    for path, module in model.named_modules():
        name, other = rate_name(module), twins.get(path)
        rate = float(getattr(module, name)) if name is not None else 0.0
        if name is None or not isinstance(getattr(other, "rate", None), (int, float)):
            continue
        twin_rate = float(other.rate)  # type: ignore[union-attr]
        twin_scale = 1 / (1 - twin_rate) if twin_rate < 1 and getattr(other, "scale_by_keep", True) else 1.0
        scale = _scale(module) if 0 < rate < 1 else None
        if not math.isclose(rate, twin_rate, rel_tol=1e-6):
            yield f"{path}: drops at a rate of {rate:g} in PyTorch, {twin_rate:g} in Flax"
        elif scale is not None and not math.isclose(scale, twin_scale, rel_tol=1e-6):
            yield f"{path}: multiplies what it keeps by {scale:g} in PyTorch, {twin_scale:g} in Flax"


def _scale(module: Any) -> float | None:
    """By what a drop path multiplies what it keeps; None where it takes more than a tensor, or keeps nothing."""
    import torch

    module = copy.deepcopy(module).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for _ in range(_CALLS):  # one that draws for a whole batch may drop all of it
            try:
                scale = float(module(torch.ones(_SAMPLES, 3, 2, dtype=torch.float64)).max())
            except Exception:  # noqa: BLE001 whatever it is, it is no drop path
                return None
            if scale:
                return scale
    return None


def _key(module: Any) -> tuple[Any, ...] | None:
    """What decides how a module of numbers acts: its class and all that it holds; None where it holds more."""
    import torch

    held = {name: item for name, item in vars(module).items() if name not in vars(torch.nn.Module())}
    if not all(item is None or type(item) in (bool, int, float, str) for item in held.values()):
        return None
    return type(module), *((name, type(item), item) for name, item in sorted(held.items()))


def _tried(module: Any, rate: float) -> Layer | None:
    import torch

    module = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = 1 + torch.rand(_SAMPLES, 3, 2, dtype=torch.float64)
        try:
            same, dropped, image = module.eval()(x), module.train()(x), module(x[:7, :, None])
        except Exception:  # noqa: BLE001 whatever it is, it is no drop path
            return None
        if not isinstance(dropped, torch.Tensor) or dropped.shape != x.shape or not torch.equal(same, x):
            return None
        factors = (dropped / x).flatten(1)
        kept = factors[:, 0]
        if not torch.allclose(factors, kept[:, None].expand_as(factors)) or image.shape != (7, 3, 1, 2):
            return None
        if not rate:
            return NOTHING if torch.equal(dropped, x) else None
        count = int((kept != 0).sum())
        spread = 5 * math.sqrt(_SAMPLES * rate * (1 - rate)) + 1
        scale = float(kept.max())
        if abs(count - _SAMPLES * (1 - rate)) > spread or not torch.allclose(kept[kept != 0], kept.max()):
            return None
    options = {1.0: {"scale_by_keep": "False"}, 1 / (1 - rate) if rate < 1 else 1.0: {}}
    kwargs = next((item for factor, item in options.items() if math.isclose(scale, factor, rel_tol=1e-6)), None)
    return None if kwargs is None else Layer("DropPath", (repr(rate),), kwargs, rngs=True)
