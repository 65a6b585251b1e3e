"""What each module of a network takes and gives, by the names of its axes, and what it costs; nothing is computed.

One call of the network is followed with shapes in the place of values: on PyTorch's meta device, or in a trace of jax.
"""

from __future__ import annotations

from collections.abc import Mapping

from einops_arch.architectures import Architecture, Axes, Config
from einops_arch.cli.summary.module import Summary
from einops_arch.errors import ConfigError
from einops_arch.layouts.named_axes import name_axes

__all__ = ["input_axes", "summarize"]

# Where a network takes any size and its public weights do not say one.
_SIZES = {"b": 1, "h": 224, "w": 224, "t": 64}


def summarize(
    architecture: Architecture, config: Config, framework: str, sizes: Mapping[str, int] | None = None
) -> Summary:
    """Follow one call of a network.

    Args:
        architecture: which network.
        config: its config.
        framework: `"torch"` or `"flax"`.
        sizes: of axes that the config leaves free; those of its public weights if left out, and a batch of 1.

    Raises:
        ConfigError: an axis that the inputs do not have, or a size that they cannot have.

    >>> from einops_arch import architectures
    >>> convnet = architectures.get("convnet")
    >>> network = summarize(convnet, convnet.config.preset("mnist"), "torch").modules[0]
    >>> network.outputs, network.parameters, network.multiply_adds
    ([[('b', 1), ('o', 10)]], 21840, 480500)
    """
    inputs_with_sizes = input_axes(config, sizes)
    if framework == "torch":
        from einops_arch.cli.summary.torch import follow
    else:
        from einops_arch.cli.summary.flax import follow
    modules, calls, outputs = follow(architecture, config, inputs_with_sizes)
    last = framework == "flax"
    axes = [(entry.flax_axes if last else entry.axes).split() for entry in (*config.inputs(), *config.outputs())]
    known: dict[int, list[str | None]] = {}
    inputs = next(call for call in calls if call.path == "").inputs
    for array, names in zip((*inputs, *outputs), axes, strict=False):
        if len(names) == len(array.shape):
            known[array.key] = list(names)
    name_axes(modules, calls, known, channels_last=last)
    for path in reversed(modules):
        # A list of modules, or a sequence that is run in parts, is not called itself.
        if not modules[path].calls and path:
            inside = [module for name, module in modules.items() if name.rpartition(".")[0] == path]
            modules[path].multiply_adds = sum(module.multiply_adds for module in inside)
    return Summary(framework, list(modules.values()))


def input_axes(config: Config, sizes: Mapping[str, int] | None = None) -> list[tuple[Axes, dict[str, int]]]:
    """The inputs of a network with the sizes of all axes; see `summarize`.

    Raises:
        ConfigError: an axis that the inputs do not have, or a size that they cannot have.
    """
    inputs = config.inputs()
    free = {name for axes in inputs for name in axes.axes.split() if name not in axes.sizes}
    for name, size in (sizes or {}).items():
        if name not in free:
            raise ConfigError(f"expected sizes of {', '.join(sorted(free))}, received {name}={size}")
    chosen = dict(_SIZES)
    side = getattr(config, "image_size", None) or (config.IMAGES and (config.IMAGES.size,) * 2)
    if side:
        chosen["h"], chosen["w"] = side
    if positions := getattr(config, "positions", None):
        chosen["t"] = positions
    bound_inputs = []
    for axes in inputs:
        usual = {name: _allowed(axes, name, chosen.get(name, 1)) for name in axes.axes.split()}
        bound = {**usual, **axes.sizes, **{name: size for name, size in (sizes or {}).items() if name in usual}}
        for name, size in bound.items():
            least, multiple = axes.least.get(name, 1), axes.multiple.get(name, 1)
            if size < least or size % multiple:
                raise ConfigError(
                    f"expected {name}>={least}{f', a multiple of {multiple}' if multiple > 1 else ''}, received "
                    f"{name}={size}"
                )
        bound_inputs.append((axes, bound))
    return bound_inputs


def _allowed(axes: Axes, name: str, size: int) -> int:
    """The largest size up to a usual one that an axis may have, or the smallest."""
    least, multiple = axes.least.get(name, 1), axes.multiple.get(name, 1)
    return max(size - size % multiple, least + -least % multiple)
