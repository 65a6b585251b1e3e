"""What goes wrong in another library's writer, as the errors that our own writers raise."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator

from einops_arch.errors import DestinationError, EinopsArchError

__all__ = ["foreign_writer"]

_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
"""How TensorStore, whose errors are no `OSError`, says what the system told it."""
_DEEPEST = 8


@contextlib.contextmanager
def foreign_writer(name: str, library: str) -> Iterator[None]:
    """Turn whatever a library raises while it writes into one of our errors, an `OSError`, or an interruption.

    What is raised is not logged as well: Orbax and TensorStore print their traceback from the thread that failed.

    Args:
        name: of the destination.
        library: whose writer it is.

    Raises:
        EinopsArchError: the source could not be read or does not fit, whatever the library wrapped the error in.
        OSError: the system's own error, such as a full disk.
        DestinationError: any other.
    """
    log = logging.getLogger("absl")
    disabled, log.disabled = log.disabled, True
    try:
        yield
    except BaseException as error:
        cause = _unwrapped(error)
        if isinstance(cause, EinopsArchError | OSError) or not isinstance(cause, Exception):
            if cause is error:
                raise
            raise cause from error
        match = _OS_ERROR.search(str(cause))
        if match is not None:
            raise OSError(int(match[1]), os.strerror(int(match[1]))) from error
        text = f"{type(cause).__name__}: {str(cause).strip() or 'no reason'}"
        raise DestinationError(f"{name} cannot be written: {library} failed: {text:.300}") from error
    finally:
        log.disabled = disabled


def _unwrapped(error: BaseException) -> BaseException:
    """What a library wrapped: an interruption before anything else."""
    for _ in range(_DEEPEST):
        if isinstance(error, BaseExceptionGroup):
            inside = list(error.exceptions)
        else:
            # That of torch.distributed.checkpoint: an error and its traceback by the number of the process.
            failures = getattr(error, "failures", None)
            inside = [failure[0] for failure in failures.values()] if isinstance(failures, dict) else []
        if not inside:
            break
        error = next((member for member in inside if not isinstance(member, Exception)), inside[0])
    return error
