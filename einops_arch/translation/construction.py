"""The model that is translated: how it is made, and whether it can be recorded at all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from einops_arch.errors import ConfigError
from einops_arch.translation.inferred import inferred_arguments
from einops_arch.translation.refusals import Refusal, TranslationError, refusals_of

__all__ = ["check_hooks", "check_model", "made"]


def made(model: Any, built: dict[int, dict[str, Any]]) -> Any:
    """The model; where a function makes it, the arguments of every constructor go into `built`, by id of the module.

    Of a finished model they are inferred as far as its modules hold them.

    Raises:
        ConfigError: it is neither a module nor a function.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        built.update(inferred_arguments(model))
        return model
    if not callable(model):
        raise ConfigError(f"translate: expected a torch.nn.Module or a function that makes one, received {type(model)}")
    with _construction(built):
        return model()


@contextlib.contextmanager
def _construction(built: dict[int, dict[str, Any]]) -> Iterator[None]:
    """Keep the arguments with which each module is constructed."""
    import torch

    original = torch.nn.Module.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        frame: Any = sys._getframe(1)  # noqa: SLF001 the only way to see a constructor's arguments
        while frame is not None and frame.f_code.co_name == "__init__":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if names and frame.f_locals.get(names[0]) is self:
                built[id(self)] = {name: frame.f_locals.get(name) for name in names[1:]}
            frame = frame.f_back
        original(self, *args, **kwargs)

    torch.nn.Module.__init__ = watched
    try:
        yield
    finally:
        torch.nn.Module.__init__ = original


def check_model(model: Any) -> None:
    """Refuse what is compiled, scripted, sparse, quantized, sharded or without numbers.

    Raises:
        TranslationError: with what to do.
    """
    import torch

    problems = []
    if hasattr(model, "_orig_mod"):
        problems.append(("it is compiled", "translate model._orig_mod"))
    if isinstance(model, torch.jit.ScriptModule):
        problems.append(("it is scripted", "translate the module that was scripted"))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            problems.append((f"{name} is on the meta device", "materialize it"))
            break
        if tensor.is_sparse or tensor.is_quantized or type(tensor).__name__ == "DTensor":
            problems.append((f"{name} is sparse, quantized or sharded", "plain dense parameters"))
            break
    if problems:
        raise TranslationError(Refusal("", "the model", type(model).__name__, *problem) for problem in problems)


def check_hooks(model: Any) -> None:
    """Refuse hooks that change what a call computes.

    Raises:
        TranslationError: with what to do.
    """
    from einops_arch.discovery.tracing.torch_state import hook_notes

    refusals = refusals_of(hook_notes(model))
    if refusals:
        raise TranslationError(refusals)
