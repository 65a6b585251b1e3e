"""One error for a framework that is not installed, raised before anything else is imported."""

from __future__ import annotations

import importlib

from einops_arch.errors import MissingFrameworkError

__all__ = ["require"]


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
