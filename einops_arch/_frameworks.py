"""What frameworks raise: one error where one is not installed, before anything else is imported; no memory left."""

from __future__ import annotations

import importlib

from einops_arch.errors import MissingFrameworkError

__all__ = ["out_of_memory", "require"]


def require(*modules: str, extra: str, by: str) -> None:
    """Import `modules`, or say which extra of this package brings them.

    A module that is installed but broken raises its own error, untouched.

    Args:
        *modules: Top-level names: `"torch"`.
        extra: The extra of `einops-arch` that installs them all.
        by: What needs them, as the user knows it: `"einops_arch.torch"`.

    Raises:
        MissingFrameworkError: At least one of them is not installed; all of those are named.

    Example:
        >>> require("einops", "numpy", extra="all", by="this example")
        >>> require("numpy", "absent", extra="all", by="this example")
        Traceback (most recent call last):
        einops_arch.errors.MissingFrameworkError: this example needs absent, which is not installed;
        likely fix: pip install "einops-arch[all]"
    """
    missing = []
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            # `orbax.checkpoint` is missing where `orbax` is.
            if f"{module}.".startswith(f"{error.name}."):
                missing.append(module)
            else:
                raise
    if missing:
        *first, last = missing
        names, verb = (f"{', '.join(first)} and {last}", "are") if first else (last, "is")
        raise MissingFrameworkError(
            f'{by} needs {names}, which {verb} not installed; likely fix: pip install "einops-arch[{extra}]"',
            name=missing[0],
        )


# PyTorch raises a RuntimeError of its own for it, and so does jax.
_NO_MEMORY = (
    *("MemoryError", "can't allocate memory", "Cannot allocate memory", "bad_alloc"),
    *("RESOURCE_EXHAUSTED", "Out of memory", "out of memory"),
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, which says nothing of the model that it ran out in.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes"))
    True
    >>> out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)
