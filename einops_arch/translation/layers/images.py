"""Rows for pools, padding, resizing, and what cuts images into pieces."""

from __future__ import annotations

from typing import Any

from einops_arch.translation.layers.table import Layer, changed, row, same_or_each

__all__: list[str] = []

_POOLING = "torch.nn.modules.pooling"


def _each(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{axes}d" for axes in (1, 2, 3))


def _axes_of(module: Any) -> int:
    """How many spatial axes the class of PyTorch that a module is of has in its name."""
    names = [base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules")]
    return int(names[0][-2])


def _window(module: Any) -> tuple[int, ...]:
    size = module.kernel_size
    return (
        tuple(size) * (_axes_of(module) // len(size)) if isinstance(size, (tuple, list)) else (size,) * _axes_of(module)
    )


def _pool(name: str, module: Any, first: tuple[str, ...] = (), **settings: tuple[Any, Any]) -> Layer:
    window = _window(module)
    strides = same_or_each(module.stride)
    kwargs = {} if strides in (None, same_or_each(window)) else {"strides": repr(strides)}
    return Layer(name, (*first, repr(window)), kwargs | changed(**settings), "channels", len(window))


@row(*_each(f"{_POOLING}.MaxPool"))
def _max_pool(module: Any) -> Layer | None:
    if module.return_indices:
        return None
    return _pool(
        "MaxPool",
        module,
        padding=(same_or_each(module.padding), 0),
        dilation=(same_or_each(module.dilation), 1),
        ceil_mode=(module.ceil_mode, False),
    )


@row(*_each(f"{_POOLING}.AvgPool"))
def _avg_pool(module: Any) -> Layer:
    return _pool(
        "AvgPool",
        module,
        padding=(same_or_each(module.padding), 0),
        count_include_pad=(module.count_include_pad, True),
        ceil_mode=(module.ceil_mode, False),
        divisor_override=(getattr(module, "divisor_override", None), None),
    )


@row(*_each(f"{_POOLING}.LPPool"))
def _lp_pool(module: Any) -> Layer:
    return _pool("LPPool", module, (repr(module.norm_type),), ceil_mode=(module.ceil_mode, False))


@row(*_each(f"{_POOLING}.AdaptiveAvgPool"), *_each(f"{_POOLING}.AdaptiveMaxPool"))
def _adaptive(module: Any) -> Layer | None:
    if getattr(module, "return_indices", False):
        return None
    axes, size = _axes_of(module), module.output_size
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * axes
    average = any("Avg" in base.__name__ for base in type(module).__mro__)
    name = "AdaptiveAvgPool" if average else "AdaptiveMaxPool"
    return Layer(name, (repr(sizes),), axes="channels", spatial=axes)


@row(
    *(
        f"torch.nn.modules.padding.{kind}Pad{axes}d"
        for kind in ("Reflection", "Replication", "Zero", "Circular")
        for axes in (1, 2, 3)
    )
)
def _pad(module: Any) -> Layer:
    name = next(base.__name__ for base in type(module).__mro__ if base.__name__[-5:-2] == "Pad")[:-2]
    return Layer(name, (_padding(module),), axes="channels", spatial=_axes_of(module))


@row(*_each("torch.nn.modules.padding.ConstantPad"))
def _constant_pad(module: Any) -> Layer:
    return Layer("ConstantPad", (_padding(module), repr(module.value)), axes="channels", spatial=_axes_of(module))


def _padding(module: Any) -> str:
    """PyTorch names the last axis first."""
    flat = tuple(module.padding)
    pairs = [flat[n : n + 2] for n in range(0, len(flat), 2)][::-1]
    if len(set(flat)) == 1:
        return repr(flat[0])
    return repr(tuple(low if low == high else (low, high) for low, high in pairs))


@row("torch.nn.modules.upsampling.Upsample")
def _upsample(module: Any) -> Layer:
    kwargs = changed(
        size=(_plain(module.size), None),
        scale_factor=(_plain(module.scale_factor), None),
        mode=(module.mode, "nearest"),
        align_corners=(module.align_corners, None),
        recompute_scale_factor=(getattr(module, "recompute_scale_factor", None), None),
    )
    return Layer("Upsample", kwargs=kwargs, axes="channels")


def _plain(value: Any) -> Any:
    """PyTorch keeps a factor of 2 as 2.0."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


@row("torch.nn.modules.fold.Unfold")
def _unfold(module: Any) -> Layer:
    return Layer("Unfold", (repr(_pair(module.kernel_size)),), _steps(module), "unfold", 2)


@row("torch.nn.modules.fold.Fold")
def _fold(module: Any) -> Layer:
    arguments = (repr(_pair(module.output_size)), repr(_pair(module.kernel_size)))
    return Layer("Fold", arguments, _steps(module), "fold", 2)


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _steps(module: Any) -> dict[str, str]:
    return changed(
        strides=(same_or_each(module.stride), 1),
        padding=(same_or_each(module.padding), 0),
        dilation=(same_or_each(module.dilation), 1),
    )


@row("torch.nn.modules.pixelshuffle.PixelShuffle")
def _pixel_shuffle(module: Any) -> Layer:
    return Layer("DepthToSpace", (repr(module.upscale_factor),), axes="channels", spatial=2)


@row("torch.nn.modules.pixelshuffle.PixelUnshuffle")
def _pixel_unshuffle(module: Any) -> Layer:
    return Layer("SpaceToDepth", (repr(module.downscale_factor),), axes="channels", spatial=2)


@row("torch.nn.modules.channelshuffle.ChannelShuffle")
def _channel_shuffle(module: Any) -> Layer:
    return Layer("ChannelShuffle", (repr(module.groups),), axes="channels")


@row("torch.nn.modules.normalization.LocalResponseNorm")
def _local_response_norm(module: Any) -> Layer:
    kwargs = changed(alpha=(module.alpha, 1e-4), beta=(module.beta, 0.75), k=(module.k, 1.0))
    return Layer("LocalResponseNorm", (repr(module.size),), kwargs, "channels")
