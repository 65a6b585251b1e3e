"""The arguments and options of `einops-arch doctor`; what it does stands in `commands/doctor.py`."""

from __future__ import annotations

import typer

from einops_arch.cli.declarations.options import AsJson

__all__ = ["doctor"]


def doctor(*, as_json: AsJson = False) -> None:
    """Say what is installed, which devices are seen, and which extra is missing; exit code 1 if something is broken.

    It works with neither framework installed. Put what it prints into a report of a bug.
    """
    from einops_arch.cli.commands.doctor import print_examination

    if not print_examination(as_json=as_json):
        raise typer.Exit(1)
