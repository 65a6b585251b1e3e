"""Compare a PyTorch model and a Flax model, module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.architectures.config import Config
from einops_arch.errors import PatternError
from einops_arch.parity.inputs import Inputs, prepare
from einops_arch.parity.layouts import Layout, TraceCall, from_axes, from_pattern, resolve
from einops_arch.parity.report import Report, Row
from einops_arch.parity.rows import Two, gradient_rows, module_rows, output_rows, statistic_rows

__all__ = ["compare"]


def compare(
    torch_model: Any,
    flax_model: Any,
    inputs: Any,
    *,
    axes: str | Sequence[str | None] | Mapping[str, str] | None = None,
    flax_inputs: Any = None,
    layouts: Mapping[str, str] | None = None,
    mode: str = "eval",
    gradients: bool = False,
    steps: int = 1,
    seed: int = 0,
    jit: bool = True,
) -> Report:
    """Run both models in float64 and in their own dtype, and say of each module whether it is the same.

    float64 decides what is computed, with the weights and inputs that the models have, widened. The own dtype
    decides how it is rounded: the errors of both against PyTorch's float64 result. Modules are matched by their
    dotted paths, outputs in call order. Dropout is off. Only copies are run: weights, modes, hooks, batch statistics
    and random streams of the models stay as they are.

    Args:
        torch_model: a `torch.nn.Module`.
        flax_model: an `nnx.Module` with the same weights and, as far as they have weights, the same module paths.
        inputs: an array, a tuple of arguments, or a dict of arguments by name, as PyTorch takes them: numpy arrays or
            tensors.
        axes: PyTorch's axes of each input, such as `"b c h w"`; `c` is last in Flax, the others are in the same order.
            Our twins say theirs; integers and inputs of one or two axes are the same in both.
        flax_inputs: what Flax takes, where it is not the inputs with their axes moved.
        layouts: by module path, how the axes of its outputs lie in both, such as `"b c h w -> b h w c"`, where the
            rules of `einops_arch.parity.layouts` cannot know it.
        mode: `"eval"`, or `"train"`, which compares the batch statistics as well.
        gradients: compare, in float64, the gradients of a random projection of the outputs: of every parameter and of
            every floating-point input.
        steps: forward passes in train mode, after which the batch statistics are compared.
        seed: of the projection.
        jit: run the Flax model under `jax.jit`; False for a model that cannot be traced.

    Returns:
        The report.

    Raises:
        ShapeError: the axes of an input are not known, or do not fit it.
        PortError: a Flax layer has no layout rule, which gradients and statistics need.
        MissingFrameworkError: torch, jax or flax is not installed.

    >>> import numpy, torch
    >>> from flax import nnx
    >>> from einops_arch.port import transfer
    >>> ours, theirs = torch.nn.LayerNorm(5), nnx.LayerNorm(5, rngs=nnx.Rngs(0))
    >>> transfer(ours, theirs)
    >>> x = numpy.random.default_rng(0).normal(size=(3, 5))
    >>> print(compare(ours, theirs, x).verdict)
    semantic difference
    >>> theirs.epsilon = 1e-5
    >>> compare(ours, theirs, x).passed
    True
    """
    from einops_arch._frameworks import require

    require("torch", "jax", "flax", extra="all", by="einops_arch.parity")
    from einops_arch.parity.flax_run import FlaxSide
    from einops_arch.parity.torch_run import TorchSide

    training = _training(mode, steps)
    ours, theirs = TorchSide(torch_model, training=training), FlaxSide(flax_model, training=training, jit=jit)
    config = getattr(torch_model, "config", None)
    config = config if isinstance(config, Config) else None
    given = prepare(inputs, flax_inputs, axes, config, (ours.dtype, theirs.dtype))
    wide_torch, wide_flax = Inputs.widened(given.torch), Inputs.widened(given.flax)

    run, trace, tensors = ours.run(*wide_torch, steps, double=True)
    statistics = training and bool(run.statistics)
    other = theirs.run(*wide_flax, steps, double=True, statistics=statistics)
    own = own_other = None
    if {ours.dtype, theirs.dtype} != {np.dtype(np.float64)}:
        own = ours.run(*given.torch, steps, double=False)[0]
        own_other = theirs.run(*given.flax, steps, double=False, statistics=statistics)
    known = _layouts(trace, tensors, given, config, layouts or {}, theirs.modules)
    two = Two(ours.modules, theirs.modules, run, other, own, own_other, known)
    rows, notes = module_rows(two)
    return Report(
        rows=rows,
        outputs=output_rows(two, [one.name for one in config.outputs()] if config else []),
        gradients=_gradients(ours, theirs, (wide_torch, wide_flax), two, given, seed) if gradients else (),
        statistics=statistic_rows(two) if statistics else (),
        mode=mode,
        notes=notes,
    )


def _training(mode: str, steps: int) -> bool:
    if mode not in ("eval", "train"):
        raise ValueError(f"compare: expected mode to be 'eval' or 'train', received {mode!r}")
    if steps < 1 or (mode == "eval" and steps != 1):
        raise ValueError(
            f"compare: expected steps to be at least 1, and 1 in eval mode, received {steps}; likely fix: mode='train'"
        )
    return mode == "train"


def _gradients(ours: Any, theirs: Any, wide: tuple[Any, Any], two: Two, given: Inputs, seed: int) -> tuple[Row, ...]:
    layouts = two.output_layouts
    parameters, slopes = ours.gradients(*wide[0], seed)
    # A projection of outputs that do not fit means nothing; their rows say what is wrong.
    if not two.outputs_fit:
        return ()
    others, other_slopes = theirs.gradients(*wide[1], seed, layouts)
    return gradient_rows((parameters, others), (slopes, other_slopes), given.layouts)


def _layouts(
    trace: Sequence[TraceCall],
    tensors: Sequence[tuple[str, Any]],
    given: Inputs,
    config: Config | None,
    overrides: Mapping[str, str],
    flax_modules: Mapping[str, Any],
) -> dict[tuple[str, int, int], Layout]:
    known: list[tuple[Any, Layout]] = []
    for call in trace:
        if call.path in overrides:
            layout = from_pattern(overrides[call.path])
            known += [(tensor, layout) for tensor in call.outputs if tensor.ndim == len(layout)]
    if unknown := sorted(set(overrides) - {call.path for call in trace}):
        raise PatternError(f"layouts: no module was called at {', '.join(map(repr, unknown))}")
    outputs = next((call.outputs for call in trace if call.path == ""), ())
    stated = [from_axes(one.axes) for one in config.outputs()] if config else []
    if len(stated) == len(outputs):
        known += [pair for pair in zip(outputs, stated, strict=True) if pair[0].ndim == len(pair[1])]
    known += [(tensor, given.layouts[place]) for place, tensor in tensors if place in given.layouts]
    # What was said first counts.
    return resolve(trace, flax_modules, known[::-1])
