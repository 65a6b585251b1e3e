"""Whether calls of a model stand for themselves: nothing kept, no mode of one's own, no random numbers beside torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.discovery.tracing.program import Note, Scope, Source
from einops_arch.translation.inputs import Arguments

__all__ = ["HALF", "copy_of", "is_of", "notes_of_calls"]

HALF = ("float16", "bfloat16")

# Layers of PyTorch that do the same in both modes.
_WITHOUT_MODE = (
    *("Linear", "NonDynamicallyQuantizableLinear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "Conv1D"),
    *("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LayerNorm", "RMSNorm", "GroupNorm"),
    *("ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "Hardswish", "Hardsigmoid", "ReLU6"),
    *("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "Identity"),
)


def _computed(module: Any) -> list[tuple[str, Any]]:
    """Weights of a layer that a hook makes before each call."""
    return [(name, item) for name, item in vars(module).items() if hasattr(item, "grad_fn")]


def copy_of(model: Any, *, shared: bool = False) -> Any:
    """A copy; weights that old `weight_norm` and `spectral_norm` made for the last call are copied as numbers."""
    from einops_arch.discovery.tracing.torch_state import copy_of_model

    return copy_of_model(model, shared=shared)


def notes_of_calls(
    model: Any, arguments: Arguments, is_leaf: Callable[[Any], bool], *, training: bool
) -> tuple[list[Note], frozenset[str]]:
    """Call a model twice with the same inputs, and say what is not a function of its inputs and state alone.

    Args:
        model: a copy in the mode of the run.
        arguments: what it is called with.
        is_leaf: which modules the twin has as layers; these keep their own statistics.
        training: the mode; outside of training the second call runs without gradients.

    Returns:
        What is against it, and the paths of attributes that keep tensors of the last call which no call reads.
    """
    from einops_arch.discovery.tracing.torch_casts import notes_of_casts
    from einops_arch.discovery.tracing.torch_program import record_program, tensors_in
    from einops_arch.discovery.tracing.torch_state import (
        Snapshot,
        empty_caches,
        first_difference,
        forget_computed,
        memories,
        outlines,
        place_of_forward,
        random_state,
        reads,
        tensors_at,
    )

    modelled = {
        f"{path}.{name}" if path else name: tensor
        for path, module in model.named_modules()
        if is_leaf(module) and module is not model
        for name, tensor in (*module.named_buffers(), *_computed(module))
    }
    draws = random.getstate(), np.random.get_state()  # noqa: NPY002 it is what models use
    before, caches, moved_from = Snapshot(model), empty_caches(model), random_state()
    outline = outlines(model)
    try:
        first = record_program(model, arguments.args, arguments.kwargs, is_leaf)
        moved = random_state() != moved_from
        forget_computed(caches, first.root)
        changed = before.changed(model)
        changes, outline_after = list(before.changes(model, modelled, changed)), outlines(model)
        left = tensors_at(model, changed)
        second = record_program(model, arguments.args, arguments.kwargs, is_leaf, gradients=training)
    finally:
        random.setstate(draws[0])
        np.random.set_state(draws[1])  # noqa: NPY002 as above
    difference = first_difference(first.root, second.root)
    apart = difference is None and not reads(second.root, left)
    kept = memories(outline, outline_after, outlines(model)) & {*changed} if apart else frozenset()
    told = [note for note in first.notes if not is_of(note, kept)]
    notes = [note for note in changes if not _is_told(note, told) and not is_of(note, kept)]
    if moved:
        reason = "forward draws random numbers of Python or numpy, which the twin would draw once"
        notes.append(Note("", place_of_forward(model), "forward", reason, "give them as an argument of forward"))
    notes += _mode_notes(first.root, training=training)
    notes += notes_of_casts(model, arguments.args, arguments.kwargs, first.casts, tensors_in)
    if not training and not notes and not told:
        notes += half_notes(model, arguments, is_leaf, first.root)
    if not training and not notes and not told and difference is None:
        notes += notes_of_gradients(model, arguments)
    if difference is not None and not notes and not told:
        scope, source, operation = difference
        reason = "a second call with the same inputs does something else"
        if not training:
            reason += ", or the same call without gradients does"
        notes.append(Note(scope.path, source, operation, reason, "give what it depends on as an argument of forward"))
    return notes, kept


def notes_of_gradients(model: Any, arguments: Arguments) -> list[Note]:
    """Say whether a model gives other numbers where no gradients are kept, as PyTorch's fast ways for masks do.

    Args:
        model: in evaluation mode.
        arguments: what it is called with.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    results = []
    for gradients in (True, False):
        # The same draws in both, which are refused by their own name.
        with torch.set_grad_enabled(gradients), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            results.append(tree_leaves(model(*arguments.args, **arguments.kwargs)))
    for left, right in zip(*results, strict=False):
        if isinstance(left, torch.Tensor) and left.is_floating_point() and left.numel():
            same = left.shape == right.shape
            largest = float(torch.nan_to_num(left.detach().double()).abs().max())
            if not same or not torch.allclose(left.double(), right.double(), 1e-3, 1e-3 * largest, equal_nan=True):
                reason = "the model gives other numbers without gradients than with them"
                fix = "enable_nested_tensor=False, or torch.backends.mha.set_fastpath_enabled(False)"
                return [Note("", Source(), "forward", reason, fix)]
    return []


def half_notes(model: Any, arguments: Arguments, is_leaf: Callable[[Any], bool], first: Scope) -> Iterator[Note]:
    """Say where a model does something else in half precision, if it runs there at all; `operation` is the dtype.

    Args:
        model: in evaluation mode.
        arguments: what it is called with, in float32.
        is_leaf: which modules the twin has as layers.
        first: the recording in float32.
    """
    import torch

    from einops_arch.discovery.tracing.torch_program import record_program
    from einops_arch.discovery.tracing.torch_state import names_of_steps

    for dtype in (torch.bfloat16, torch.float16):

        def narrow(item: Any, dtype: Any = dtype) -> Any:
            return item.to(dtype) if isinstance(item, torch.Tensor) and item.is_floating_point() else item

        args = tuple(narrow(item) for item in arguments.args)
        kwargs = {name: narrow(item) for name, item in arguments.kwargs.items()}
        try:
            half = record_program(copy_of(model).to(dtype), args, kwargs, is_leaf).root
        except Exception:  # noqa: BLE001, S112 what does not run in half precision has no twin there either
            continue
        steps, others = list(names_of_steps(first)), list(names_of_steps(half))
        if [name for _, name in steps] == [name for _, name in others]:
            continue
        longer = max(steps, others, key=len)
        parts = (n for n, (left, right) in enumerate(zip(steps, others, strict=False)) if left[1] != right[1])
        scope, source, operation = longer[next(parts, min(len(steps), len(others)))][0]
        name = str(dtype).removeprefix("torch.")
        reason = f"the program does something else in {name} ({operation})"
        yield Note(scope.path, source, name, reason, "the same operations in every floating-point dtype")


def is_of(note: Note, kept: frozenset[str]) -> bool:
    """Whether a note says no more than that a module keeps tensors of its last call, in one of these attributes."""
    starts = ("the module keeps a tensor of the run as ", "forward changes ")
    return any(note.reason.removesuffix(_NEXT) in (f"{start}{path}" for start in starts) for path in kept)


_NEXT = ", so the next call does something else"


def _is_told(note: Note, known: Sequence[Note]) -> bool:
    """Whether the recorder gave a reason for it with a place."""
    return any(
        other.module == note.module and ("overwritten" in other.reason or "keeps a tensor" in other.reason)
        for other in known
    )


def _mode_notes(scope: Scope, *, training: bool) -> list[Note]:
    notes = []
    for node in scope.nodes:
        inner = node.scope
        if inner is None:
            continue
        if inner.leaf and inner.training != training and type(inner.module).__name__ not in _WITHOUT_MODE:
            mode, other = ("training", "evaluation") if training else ("evaluation", "training")
            reason = f"{type(inner.module).__name__} runs in {other} mode while the model is in {mode} mode"
            fix = "let it follow train() and eval() of the model"
            notes.append(Note(inner.path, node.source, type(inner.module).__name__, reason, fix))
        notes += _mode_notes(inner, training=training)
    return notes
