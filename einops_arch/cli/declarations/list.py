"""The arguments and options of `einops-arch list`; what it does stands in `commands/list.py`."""

from __future__ import annotations

from einops_arch.cli.declarations.options import AsJson

__all__ = ["list_architectures"]


def list_architectures(*, as_json: AsJson = False) -> None:
    """List the architectures: parameters, presets, inputs and outputs, source."""
    from einops_arch.cli.commands.list import print_list

    print_list(as_json=as_json)
