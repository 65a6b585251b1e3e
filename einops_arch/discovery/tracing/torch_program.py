"""Record what a PyTorch module does, call by call, at the level of torch functions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from einops_arch.discovery.tracing.program import Note, Scope, Source, map_tree
from einops_arch.discovery.tracing.sizes import listening
from einops_arch.discovery.tracing.torch_functions import forward_of, has_own_gradient
from einops_arch.discovery.tracing.torch_recorder import Recorder
from einops_arch.discovery.tracing.torch_statements import begin_turns, current_source
from einops_arch.discovery.tracing.torch_trees import tensors_in, with_gradient
from einops_arch.discovery.tracing.transformers_tracing import told_of_tracing
from einops_arch.discovery.tracing.watched_functions import watched_functions

__all__ = ["Recording", "record_program", "tensors_in"]


class Recording:
    """What one run left behind.

    Args:
        root: the call of the whole module.
        notes: what cannot be written.
        casts: where a number that is not finite became an integer; it was recorded as 0.
    """

    def __init__(self, root: Scope, notes: Sequence[Note], casts: Sequence[Source] = ()) -> None:
        self.root = root
        self.notes = tuple(notes)
        self.casts = tuple(casts)


def record_program(
    module: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_leaf: Callable[[torch.nn.Module], bool],
    *,
    gradients: bool = True,
) -> Recording:
    """Run a module once and record it.

    Args:
        module: the module; its buffers may change as in any run, so give a copy.
        args: by position.
        kwargs: by name.
        is_leaf: whether a module's inside is left unrecorded.
        gradients: whether it runs with gradients, so that parts that have none are seen.
    """
    recorder = Recorder(module, gradients=gradients)
    begin_turns()
    homes = {sys.modules.get(type(child).__module__) for child in module.modules()}
    homes = {home for home in homes if home is not None and not home.__name__.startswith("torch.")}
    with (
        _watched(module, recorder, is_leaf),
        _custom_functions(recorder),
        torch.set_grad_enabled(gradients),
        recorder,
        listening(recorder.compared),
        watched_functions(homes),
        told_of_tracing(recorder.is_traced),
    ):
        if gradients:
            args, kwargs = map_tree((tuple(args), dict(kwargs)), with_gradient)
        module(*args, **dict(kwargs))
    if recorder.root is None:
        raise RuntimeError("the module returned without having been called")
    recorder.check_attributes()
    return Recording(recorder.root, recorder.notes, recorder.casts)


@contextlib.contextmanager
def _watched(module: torch.nn.Module, recorder: Recorder, is_leaf: Callable[[torch.nn.Module], bool]) -> Iterator[None]:
    handles = []
    for path, child in module.named_modules():
        leaf = is_leaf(child) and child is not module
        handles.append(
            child.register_forward_pre_hook(
                lambda child, args, kwargs, path=path, leaf=leaf: recorder.enter(child, path, leaf, args, kwargs),
                with_kwargs=True,
                prepend=leaf,  # the hook that makes the weight of a layer belongs to the layer
            )
        )
        handles.append(child.register_forward_hook(lambda child, args, output: recorder.leave(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _custom_functions(recorder: Recorder) -> Iterator[None]:
    """Functions with a gradient of their own are seen here alone: torch does not tell a mode about them."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(function: Any, *args: Any, **kwargs: Any) -> Any:
        if recorder.stack and not recorder.stack[-1].leaf and not recorder.busy:
            recorder.busy += 1
            try:
                own = kwargs or has_own_gradient(function, args)
            finally:
                recorder.busy -= 1
            if not own:
                return forward_of(function, args)
            recorder.note(
                current_source(again=True),
                function.__qualname__,
                "a torch.autograd.Function has a gradient of its own",
                "write its forward in plain torch, or give a Flax class with leaves=",
            )
        return original.__get__(None, function)(*args, **kwargs)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = original
