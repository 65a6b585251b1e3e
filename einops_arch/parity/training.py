"""Train copies of both models with the same optimiser, and compare what they have become."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.architectures.config import Config
from einops_arch.errors import ParityError, ShapeError
from einops_arch.parity.compare import compare
from einops_arch.parity.options import Options, known_tensors
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report import limits
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.rows import averaged
from einops_arch.parity.report.text import Row
from einops_arch.parity.report.verdicts import Array, Measure, Pair, Verdict, measure, unit_roundoff
from einops_arch.parity.runs.axes import Layout, plain, resolve
from einops_arch.parity.runs.constants import own_constants
from einops_arch.parity.runs.inputs import Inputs, prepare
from einops_arch.parity.runs.paths import Paths, rename, torch_paths_of
from einops_arch.parity.runs.randomness import sure_draws
from einops_arch.parity.runs.tables import Tables
from einops_arch.parity.runs.values import matched, rebuild
from einops_arch.parity.sides import check_settings, two_models
from einops_arch.port.optimizer.specs import Optimizer

__all__ = ["compare_training"]

_Target: TypeAlias = "tuple[str, Array, Layout]"
_Both: TypeAlias = "Optimizer | tuple[Callable[[Any], Any], Any]"


def compare_training(
    torch_model: Any,
    flax_model: Any,
    inputs: Any,
    optimizer: _Both,
    *,
    axes: str | Sequence[str | None] | Mapping[str, str] | None = None,
    flax_inputs: Any = None,
    layouts: Mapping[str, str] | None = None,
    paths: Paths | None = None,
    mode: str = "train",
    gradients: bool = False,
    steps: int = 5,
    seed: int = 0,
    jit: bool = True,
    teacher: bool = False,
    lift_casts: bool | None = None,
    causes: bool = True,
    probes: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Take steps of an optimiser with copies of both models in float64, and compare parameters and statistics.

    The loss is the mean square of the outputs minus random targets. Dropout is off. A number of a gradient that is
    zero in exact arithmetic, as that of a bias before a batch norm, is rounding on both sides, and Adam and RMSprop
    would divide it by its size: what is below the float64 limit relative to all gradients together is taken as zero.

    Args:
        torch_model: a `torch.nn.Module`.
        flax_model: an `nnx.Module` with the same weights.
        inputs: one batch, as for `compare`; every step takes it.
        optimizer: a description of `einops_arch.port.optimizer.specs`; or your own two: a function that makes PyTorch's
            from its model, and the transformation of optax.
        axes: as for `compare`.
        flax_inputs: as for `compare`.
        layouts: as for `compare`.
        paths: as for `compare`.
        mode: of the models while they are trained; `"eval"` leaves batch statistics alone.
        gradients: as for `compare`.
        steps: how many.
        seed: of the targets.
        jit: as for `compare`.
        teacher: as for `compare`.
        lift_casts: as for `compare`; what is lifted there is lifted in training too.
        causes: as for `compare`.
        probes: as for `compare`.
        progress: as for `compare`.

    Returns:
        The report of `compare`, with rows in `training`: the loss of each step, then each parameter and each buffer.

    Raises:
        ShapeError: the axes of an input are not known or do not fit it, or the outputs do not fit each other.
        PortError: a Flax layer has no layout rule.
        MissingFrameworkError: torch, jax, flax or optax is not installed.

    >>> import numpy, optax, torch
    >>> from flax import nnx
    >>> from einops_arch.port import optimizers, transfer
    >>> torch_model, flax_model = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> transfer(torch_model, flax_model)
    >>> x = numpy.random.default_rng(0).normal(size=(5, 3))
    >>> compare_training(torch_model, flax_model, x, optimizers.AdamW(lr=1e-3)).passed
    True
    >>> stock = (lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3), optax.adamw(1e-3))
    >>> print(compare_training(torch_model, flax_model, x, stock).first_divergence.path)
    loss
    """
    from einops_arch._frameworks import require

    require("torch", "jax", "flax", "optax", extra="all", by="einops_arch.parity")
    from einops_arch.flax.state import named_modules, state_dict
    from einops_arch.parity.runs.flax_run import FlaxSide
    from einops_arch.parity.runs.torch_run import TorchSide

    torch_model, flax_model = two_models(torch_model, flax_model, "compare_training")
    check_settings("compare_training", mode, steps, layouts)
    before = compare(
        torch_model,
        flax_model,
        inputs,
        axes=axes,
        flax_inputs=flax_inputs,
        layouts=layouts,
        mode=mode,
        gradients=gradients,
        seed=seed,
        jit=jit,
        paths=paths,
        teacher=teacher,
        lift_casts=lift_casts,
        causes=causes,
        probes=probes,
        progress=progress,
    )
    say = progress or (lambda text: None)
    training = mode == "train"
    torch_side = TorchSide(torch_model, training=training)
    names = torch_paths_of(paths, torch_side.modules, [path for path, _ in named_modules(flax_model)])
    flax_side = FlaxSide(flax_model, training=training, jit=jit, paths=names)
    torch_side.fold_for(flax_side.modules)
    config = getattr(torch_model, "config", None)
    options = Options(config=config if isinstance(config, Config) else None, layouts=layouts or {}, training=training)
    both_inputs = prepare(inputs, flax_inputs, axes, options.config, (torch_side.dtype, flax_side.dtype))
    targets = _targets(torch_side, flax_side, both_inputs, options, seed)
    say("steps of both optimisers")
    with own_constants(torch_side.dtype, flax_side.dtype):
        if before.tables:
            unit = min(unit_roundoff(side.dtype) for side in (torch_side, flax_side))
            flax_side.tables = Tables(torch_side.tables(*Inputs.widened(both_inputs.torch)), unit)
        losses, state = _train_torch(
            torch_side, Inputs.widened(both_inputs.torch), targets, optimizer, steps, lift=before.lifted
        )
        other_losses, others = _train_flax(
            flax_side, Inputs.widened(both_inputs.flax), targets, optimizer, steps, lift=before.lifted
        )
    others = {rename(name, names): value for name, value in others.items()}
    start = {rename(name, names): np.asarray(value) for name, value in state_dict(flax_model).items()}
    missing = Measure(None, None, None, None, Verdict.MISSING, 0, "no such parameter in Flax")
    measures = {"loss": (losses, measure([Pair(losses, other_losses)]))} | {
        name: (array, measure([Pair(array, others[name])], scale=averaged(state, name)) if name in others else missing)
        for name, array in state.items()
    }
    # What only Flax's model has, and trains, would be seen in the outputs of a later step.
    alone = [
        name for name, value in others.items() if name not in state and not np.array_equal(value, start.get(name, ()))
    ]
    missing = dataclasses.replace(missing, detail="no such parameter in PyTorch")
    measures |= {name: (others[name], missing) for name in alone}
    rows = tuple(
        Row(name, "", "", array.shape, gap.difference, None, None, None, gap.verdict, order, detail=gap.detail)
        for order, (name, (array, gap)) in enumerate(measures.items())
    )
    optimizers = optimizer if isinstance(optimizer, Optimizer) else "the optimisers that were given"
    note = f"{steps} steps of {optimizers}, in float64"
    seen = None if before.seen is None else dataclasses.replace(before.seen, trained=len(rows))
    return dataclasses.replace(before, training=rows, notes=(*before.notes, note), seen=seen)


def _targets(torch_side: Any, flax_side: Any, both_inputs: Inputs, options: Options, seed: int) -> list[_Target]:
    """A target for each output, in PyTorch's layout, with the layout of that output."""
    run, trace, tensors = torch_side.run(*Inputs.widened(both_inputs.torch), 1, double=True)
    if run.failure is not None:
        raise ShapeError(f"compare_training: PyTorch's model does not run: {run.failure}") from run.failure.error
    known = resolve(trace, flax_side.modules, known_tensors(trace, tensors, both_inputs, options))
    return [
        (place, random_numbers(f"target {n}", array.shape, seed), known.get(("", 0, n), plain(array.ndim)))
        for n, (place, array) in enumerate(run.outputs)
    ]


def _train_torch(
    torch_side: Any, arguments: Any, targets: Sequence[_Target], optimizer: _Both, steps: int, *, lift: bool
) -> tuple[Array, dict[str, Array]]:
    import torch

    from einops_arch.layouts.arrays import to_numpy
    from einops_arch.parity.runs.torch_hooks import outputs_in
    from einops_arch.parity.runs.torch_run import undisturbed
    from einops_arch.port.transfer import model_state

    watch = torch_side._watch(lift=lift)  # noqa: SLF001 the same package
    with undisturbed(torch_side.model), torch.enable_grad(), watch:
        model = torch_side._copy(double=True, lift=lift)  # noqa: SLF001 the same package
        device = next((parameter.device for parameter in model.parameters()), None)
        description = optimizer if isinstance(optimizer, Optimizer) else None
        steppers = [description.torch(model) if description else optimizer[0](model)]  # type: ignore[index]
        if description and description.schedule is not None:
            steppers.append(description.torch_schedule(steppers[0]))
        parameters = list(model.parameters())
        losses = []
        for _ in range(steps):
            model.zero_grad()
            # Of its own, as a model may work in place.
            args, kwargs = (
                rebuild(nest, lambda _, array: torch.tensor(array, device=device), _is_numpy) for nest in arguments
            )
            outputs = outputs_in(model(*args, **kwargs), model)
            terms = [
                torch.mean((part - torch.as_tensor(target, device=output.device)) ** 2)
                for (_, output), (_, target, _) in zip(outputs, targets, strict=True)
                for part in ((output.real, output.imag) if output.is_complex() else (output,))
                if part.is_floating_point()
            ]
            if not terms:
                raise ParityError(
                    "compare_training: expected an output of floating-point or complex numbers, which a loss needs, "
                    f"received {[str(output.dtype) for _, output in outputs]}"
                )
            loss = torch.stack(terms).sum()
            loss.backward()
            losses.append(float(loss.detach()))
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            least = limits.FLOAT64 * torch.sqrt(
                torch.cat([gradient.reshape(-1) for gradient in gradients]).square().mean()
            )
            for gradient in gradients:
                gradient[gradient.abs() <= least] = 0
            for stepper in steppers:
                stepper.step()
        state = {name: np.array(to_numpy(value)) for name, value in model_state(model).items()}
    return np.array(losses), state


def _train_flax(
    flax_side: Any, arguments: Any, targets: Sequence[_Target], optimizer: _Both, steps: int, *, lift: bool
) -> tuple[Array, dict[str, Array]]:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from einops_arch.flax.state import state_dict
    from einops_arch.parity.runs.flax_program import lifted_function
    from einops_arch.parity.runs.flax_program import outputs as flax_outputs
    from einops_arch.parity.runs.flax_run import precise

    with precise(double=True):
        model = flax_side.copies(double=True, lift=lift)[""]
        args, kwargs = (rebuild(nest, lambda _, array: jnp.asarray(array), _is_numpy) for nest in arguments)
        moved = [jnp.asarray(np.asarray(target.transpose(layout), order="C")) for _, target, layout in targets]
        places = [(place, None) for place, *_ in targets]
        transformation = optimizer.optax(model) if isinstance(optimizer, Optimizer) else optimizer[1]
        stepper = nnx.Optimizer(model, transformation, wrt=nnx.Param)

        def loss(model: Any, args: Any, kwargs: Any, moved: Any) -> Any:
            with sure_draws():
                outputs = flax_outputs(model(*args, **kwargs))
            order = matched([place for place, _ in places], [place for place, _ in outputs])
            outputs = outputs if order is None else [outputs[n] for n in order]
            shapes = [output.shape for _, output in outputs]
            if shapes != [target.shape for target in moved]:
                raise ShapeError(
                    f"compare_training: expected outputs of shapes {[target.shape for target in moved]} in Flax, "
                    f"received {shapes}; likely fix: layouts="
                )
            terms = [
                jnp.mean((part - target) ** 2)
                for (_, output), target in zip(outputs, moved, strict=True)
                for part in ((output.real, output.imag) if jnp.iscomplexobj(output) else (output,))
                if jnp.issubdtype(part.dtype, jnp.floating)
            ]
            return sum(terms[1:], terms[0])

        def lifted_loss(model: Any, args: Any, kwargs: Any, moved: Any) -> Any:
            graph, state = nnx.split(model)

            def pure(state: Any, args: Any, kwargs: Any, moved: Any) -> Any:
                copy = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
                value = loss(copy, args, kwargs, moved)
                return value, nnx.state(copy)

            tables = flax_side.tables if lift else None
            run, _ = lifted_function(pure, state, args, kwargs, moved, tables=tables, lift=lift)
            value, after = run(state, args, kwargs, moved)
            nnx.update(model, after)
            return value

        is_changed = lift or _makes_integers(model, args, kwargs)

        @nnx.jit
        def step(model: Any, stepper: Any, args: Any, kwargs: Any, moved: Any) -> Any:
            value, gradients = nnx.value_and_grad(lifted_loss if is_changed else loss)(model, args, kwargs, moved)
            every = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(gradients)])
            least = limits.FLOAT64 * jnp.sqrt(jnp.mean(every**2))
            stepper.update(
                model, jax.tree.map(lambda gradient: jnp.where(abs(gradient) <= least, 0, gradient), gradients)
            )
            return value

        losses = [float(step(model, stepper, args, kwargs, moved)) for _ in range(steps)]
        state = {name: np.array(value) for name, value in state_dict(model).items()}
    return np.array(losses), state


def _makes_integers(model: Any, args: Any, kwargs: Any) -> bool:
    """Whether a model makes integers of integers by way of other numbers, which float64 would make others."""
    import jax
    from flax import nnx

    from einops_arch.parity.runs.flax_program import merged, outputs
    from einops_arch.parity.runs.integers import makes_integers

    graph, state = nnx.split(model)

    def call(state: Any, args: Any, kwargs: Any) -> list[Any]:
        return [array for _, array in outputs(merged(graph, state)(*args, **kwargs))]

    return makes_integers(jax.make_jaxpr(call)(state, args, kwargs))


def _is_numpy(value: Any) -> bool:
    return isinstance(value, np.ndarray)
