"""Compare a PyTorch model and a Flax model, module by module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from einops_arch.architectures.config import Config
from einops_arch.errors import ConfigError, ParityError
from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity.hidden import look_behind
from einops_arch.parity.options import Options
from einops_arch.parity.probe_runs import probed
from einops_arch.parity.report.report import Report
from einops_arch.parity.runs.inputs import prepare
from einops_arch.parity.runs.paths import Paths, torch_paths_of
from einops_arch.parity.session import compared
from einops_arch.parity.sides import check_settings, two_models
from einops_arch.parity.waiting import silent

__all__ = ["compare"]


def compare(
    torch_model: Any,
    flax_model: Any,
    inputs: Any = None,
    *,
    axes: str | Sequence[str | None] | Mapping[str, str] | None = None,
    flax_inputs: Any = None,
    layouts: Mapping[str, str] | None = None,
    mode: str = "eval",
    gradients: bool = False,
    steps: int = 1,
    seed: int = 0,
    jit: bool = True,
    paths: Paths | None = None,
    teacher: bool = False,
    lift_casts: bool | None = None,
    own_dtype: bool = True,
    causes: bool = True,
    probes: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Run both models in float64 and in their own dtype, and say of each module whether it is the same.

    float64 decides what is computed, with the weights and inputs that the models have, widened. The own dtype
    decides how it is rounded: the errors of both against PyTorch's float64 result. Modules are matched by their
    dotted paths, outputs in call order. Dropout is off. Only copies are run: weights, modes, hooks, batch statistics
    and random streams of the models stay as they are.

    Args:
        torch_model: a `torch.nn.Module`; the two models may come in either order. Or what `capture` has written, by
            its path, which needs no inputs: see `compare_captures`.
        flax_model: an `nnx.Module` with the same weights and, as far as they have weights, the same module paths; or
            what `capture` has written.
        inputs: an array, a tuple of arguments, or a dict of arguments by name, as PyTorch takes them: numpy arrays or
            tensors.
        axes: PyTorch's axes of each input, such as `"b c h w"`; `c` is last in Flax, the others are in the same order.
            Our twins say theirs; integers and inputs of one or two axes are the same in both.
        flax_inputs: what Flax takes, where it is not the inputs with their axes moved.
        layouts: by module path, how the axes of its outputs lie in both, such as `"b c h w -> b h w c"`, where the
            rules of `einops_arch.parity.runs.axes` cannot know it. A path may have wildcards, such as `"encoder.*"`;
            one that ends in a dot is a prefix; `"pool.1"` is the second output of `pool`.
        mode: `"eval"`, or `"train"`, which compares the batch statistics as well.
        gradients: compare, in float64, the gradients of a random projection of the outputs: of every parameter and of
            every floating-point input.
        steps: forward passes in train mode, after which the batch statistics are compared.
        seed: of the projection.
        jit: run the Flax model under `jax.jit`; False for a model that cannot be traced.
        paths: where modules have other paths in Flax: by PyTorch's path, which speaks for all below it too, or a
            function of PyTorch's path. None in the place of a path leaves out a module and all below it.
        teacher: give every Flax module the inputs that PyTorch's had, so that errors do not pile up and the first
            module that is wrong is named even without float64. Also done where a model cannot run in float64.
        lift_casts: keep float64 where a model casts to less. None lifts the casts that are the same in both models;
            False lets them be.
        own_dtype: run the models in their own dtype too; False where it is known already how they round, such as at a
            further size.
        causes: try out what explains the first divergence, if there is one.
        probes: compare with further inputs and with random weights as well, in which hidden differences show: low
            variance, off-centre, around 2.7, other sizes, unequal lengths, random statistics and biases.
        progress: told in a few words what is being done, such as `print`, whenever that is something else; a large
            model takes a minute. If left out, a search for causes that takes long is told on the stderr of a terminal.

    Returns:
        The report.

    Raises:
        ConfigError: `paths` names a module that is not there.
        ParityError: neither model runs with these inputs.
        ShapeError: the axes of an input are not known, or do not fit it.
        PortError: a Flax layer has no layout rule, which gradients and statistics need.
        MissingFrameworkError: torch, jax or flax is not installed.

    >>> import numpy, torch
    >>> from flax import nnx
    >>> from einops_arch.port import transfer
    >>> torch_model, flax_model = torch.nn.LayerNorm(5), nnx.LayerNorm(5, rngs=nnx.Rngs(0))
    >>> transfer(torch_model, flax_model)
    >>> x = numpy.random.default_rng(0).normal(size=(3, 5))
    >>> print(compare(torch_model, flax_model, x).verdict)
    semantic difference
    >>> flax_model.epsilon = 1e-5
    >>> compare(torch_model, flax_model, x).passed
    True
    """
    from einops_arch._frameworks import require
    from einops_arch.parity.captures.compare import compare_captures, is_capture

    if is_capture(torch_model) or is_capture(flax_model):
        if inputs is not None or flax_inputs is not None:
            raise ParityError("compare: a capture brings its inputs, received others; likely fix: leave them out")
        return compare_captures(
            torch_model,
            flax_model,
            layouts=layouts,
            paths=paths,
            gradients=gradients or None,
            causes=causes,
            progress=progress,
        )
    if inputs is None:
        raise ParityError("compare: expected inputs for two models, received none")
    require("torch", "jax", "flax", extra="all", by="einops_arch.parity")
    from einops_arch.flax.state import named_modules
    from einops_arch.parity.runs.flax_run import FlaxSide
    from einops_arch.parity.runs.torch_run import TorchSide

    torch_model, flax_model = two_models(torch_model, flax_model, "compare")
    check_settings("compare", mode, steps, layouts)
    training = _training(mode, steps)
    torch_side = TorchSide(torch_model, training=training)
    names = torch_paths_of(paths, torch_side.modules, [path for path, _ in named_modules(flax_model)])
    state = {name: to_numpy(tensor) for name, tensor in torch_model.state_dict().items() if "bias" in name}
    flax_side = FlaxSide(flax_model, training=training, jit=jit, paths=names, torch_state=state)
    torch_side.fold_for(flax_side.modules)
    config = getattr(torch_model, "config", None)
    options = Options(
        config=config if isinstance(config, Config) else None,
        layouts=layouts or {},
        training=training,
        gradients=gradients,
        steps=steps,
        seed=seed,
        teacher=teacher,
        lift_casts=lift_casts,
        own_dtype=own_dtype,
        causes=causes,
        say=progress or silent,
    )
    both_inputs = prepare(inputs, flax_inputs, axes, options.config, (torch_side.dtype, flax_side.dtype))
    report = compared(torch_side, flax_side, both_inputs, options)
    report = look_behind(torch_side, flax_side, both_inputs, options, report)
    return probed(torch_side, flax_side, both_inputs, options, report) if probes else report


def _training(mode: str, steps: int) -> bool:
    if steps < 1 or (mode == "eval" and steps != 1):
        raise ConfigError(
            f"compare: expected steps to be at least 1, and 1 in eval mode, received {steps}; likely fix: mode='train'"
        )
    return mode == "train"
