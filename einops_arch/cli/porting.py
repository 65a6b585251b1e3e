"""The command `port`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from einops_arch.architectures import Architecture, Config
from einops_arch.checkpoints import Checkpoint, write_checkpoint
from einops_arch.checkpoints.files import check_destination
from einops_arch.cli.models import identify, read
from einops_arch.cli.output import byte_count, console, print_json, progress
from einops_arch.errors import PortError
from einops_arch.port.convert import convert

__all__ = ["port_file"]


def port_file(
    source: Path,
    destination: Path,
    to: str,
    arch: str | None,
    preset: str | None,
    file: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Convert a checkpoint and write it; what cannot be written is refused before anything is read.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the options or the files.
    """
    check_destination(destination, to, force=force)
    with progress(f"Reading {source}"):
        received = read(source)
    architecture, config = identify(source, received, arch, preset, file)
    with progress(f"Converting to {to}"):
        try:
            result = convert(received, to, config)
        except PortError as error:
            raise PortError(f"{source}: {error}") from error
        remarks = _remarks(architecture, config, received, result)
    with progress(f"Writing {destination}"):
        write_checkpoint(destination, result, force=force)
    _report(source, destination, received, result, remarks, as_json=as_json)


def _remarks(architecture: Architecture, config: Config, received: Checkpoint, result: Checkpoint) -> list[str]:
    """What was not simply moved: leaves that one side does not have, sums, and other dtypes."""
    from einops_arch.flax.state import port_steps
    from einops_arch.port.plan import Move

    remarks = []
    for step, _ in port_steps(architecture.abstract_flax_model(config)):
        names = list(step.expected)
        if not isinstance(step, Move):
            remarks.append(f"{', '.join(names)}: {step.layout}")
        elif received.framework != result.framework:
            leaf = step.leaves[0].path
            old, new = (leaf, names[0]) if received.framework == "flax" else (names[0], leaf)
            one, other = received.tensors[old].dtype, result.tensors[new].dtype
            if one != other:
                remarks.append(f"{names[0]}: {one} became {other}, with the same value")
    return remarks


def _report(
    source: Path, destination: Path, received: Checkpoint, result: Checkpoint, remarks: list[str], *, as_json: bool
) -> None:
    size = sum(array.nbytes for array in result.tensors.values())
    facts: dict[str, Any] = {
        "source": str(source),
        "destination": str(destination),
        "from": received.framework,
        "to": result.framework,
        "architecture": result.architecture,
        "config": result.config.to_dict() if result.config is not None else None,
        "tensors_read": len(received.tensors),
        "tensors_written": len(result.tensors),
        "bytes": size,
        "remarks": remarks,
    }
    if as_json:
        print_json(facts)
        return
    names = {"torch": "PyTorch", "flax": "Flax"}
    page = console()
    for line in (
        f"{destination}: {result.architecture}, {names[received.framework]} to {names[result.framework]}",
        f"{len(received.tensors)} tensors read, {len(result.tensors)} written, {byte_count(size)}",
        *(remarks or ["every value was moved, bit for bit; nothing was left out or added"]),
    ):
        page.print(line, markup=False, soft_wrap=True)
