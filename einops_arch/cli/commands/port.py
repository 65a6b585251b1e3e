"""The command `port`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops_arch._text import printable
from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.files import check_destination, format_of, open_checkpoint
from einops_arch.checkpoints.formats.sharded import CONFIG
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.wrappers import Renamed, rule_of
from einops_arch.cli.models import check_names, identify
from einops_arch.cli.output import byte_count, byte_size, bytes_bar, console, print_json, progress
from einops_arch.errors import CheckpointError, ConfigError, PortError
from einops_arch.port.convert import Port
from einops_arch.port.models.folder import RECOGNIZED, open_pretrained

__all__ = ["PortOptions", "port_file"]


@dataclass(frozen=True)
class PortOptions:
    """What the command line said.

    Args:
        arch: the architecture, unless the file says it.
        preset: the name of a size.
        config: a file with a config.
        rename: rules such as `regex=replacement`.
        dtype: what to round floating-point tensors to.
        allow_overflow: let finite numbers become infinite.
        untie: write tied tensors under each of their names.
        key: the entry of the source that is the state dict.
        only: what the names must begin with.
        drop: regular expressions of names that are left out.
        kind: the format of the destination, unless its name says it.
        max_shard_size: a size such as `5GB`.
        check: read again what was written.
        dry_run: print the plan only.
        force: replace the destination.
        as_json: print JSON.
    """

    arch: str | None = None
    preset: str | None = None
    config: Path | None = None
    rename: Sequence[str] = ()
    dtype: str | None = None
    allow_overflow: bool = False
    untie: bool = False
    key: str | None = None
    only: str | None = None
    drop: Sequence[str] = ()
    kind: str | None = None
    max_shard_size: str | None = None
    check: bool = False
    dry_run: bool = False
    force: bool = False
    as_json: bool = False


def port_file(source: Path, destination: Path, to: str, options: PortOptions) -> None:
    """Carry a file to the other framework; what cannot be written is refused before anything is read.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the options or the files.
    """
    shard = byte_size(options.max_shard_size) if options.max_shard_size else None
    kind = options.kind or ("hub" if shard and not destination.suffix else format_of(destination))
    rename = [rule_of(text) for text in options.rename]
    check_destination(destination, to, force=options.force or options.dry_run, kind=kind)
    with progress(f"Opening {source}"):
        port = _open(source, to, rename, options)
    digests: dict[str, str] | None = None
    with port:
        if options.dry_run:
            _print_plan(source, destination, port, as_json=options.as_json)
            return
        with bytes_bar(f"Writing {destination.name}", port.nbytes) as advance:
            port.run(destination, force=options.force, kind=kind, max_shard_size=shard, progress=advance)
        if options.check:
            with bytes_bar(f"Checking {destination.name}", port.nbytes) as advance:
                digests = port.check(destination, progress=advance)
        _report(source, destination, port, digests, as_json=options.as_json)


def _open(source: Path, to: str, rename: Sequence[tuple[str, str]], options: PortOptions) -> Port:
    reader = open_checkpoint(source, key=options.key, only=options.only, drop=options.drop)
    try:
        if "architecture" not in reader.metadata and (source / CONFIG).is_file():
            reader = open_pretrained(source, reader)
        names = Renamed(reader, rename).names() if rename else reader.names()
        check_names(source, names)
        return Port.open(
            reader,
            to,
            config=_config(source, reader, to, options),
            rename=rename,
            dtype=options.dtype,
            allow_overflow=options.allow_overflow,
            untie=options.untie,
        )
    except PortError as error:
        reader.close()
        raise PortError(f"{source}: {error}") from error
    except BaseException:
        reader.close()
        raise


def _config(source: Path, reader: Reader, to: str, options: PortOptions) -> Config | None:
    """The config; none is needed where a file only changes its format."""
    try:
        known = describe(reader.metadata)
    except (ConfigError, CheckpointError) as error:
        raise CheckpointError(f"{source}: its metadata: {error}") from error
    asked = options.arch or options.preset or options.config
    if known.framework == to and known.architecture is None and not asked:
        return None
    _, config = identify(source, known, options.arch, options.preset, options.config)
    return config


def _print_plan(source: Path, destination: Path, port: Port, *, as_json: bool) -> None:
    rows = [
        {
            "sources": list(tensor.sources),
            "name": tensor.name,
            "pattern": tensor.pattern,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "bytes": tensor.nbytes,
        }
        for tensor in port.tensors
    ]
    if as_json:
        plan = {"plan": rows, "aliases": port.result.aliases, "renamed": dict(port.renamed), "remarks": port.remarks}
        print_json({**_described(source, destination, port), **plan})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{source} to {destination}: nothing was written"), title_justify="left")
    for column in ("source", "pattern", "destination", "shape", "dtype", "bytes"):
        table.add_column(column, justify="right" if column == "bytes" else "left", overflow="fold")
    for tensor in port.tensors:
        shape = " ".join(map(str, tensor.shape)) or "scalar"
        sources = "\n".join(printable(name, "") for name in tensor.sources)
        cells = (sources, tensor.pattern, printable(tensor.name, ""), shape, tensor.dtype, f"{tensor.nbytes:,}")
        table.add_row(*map(Text, cells))
    page = console()
    page.print(table)
    lines = [f"{name}: renamed to {now}" for name, now in port.renamed.items()]
    for line in [*lines, *port.remarks, f"{byte_count(port.nbytes)} would be written"]:
        page.print(printable(line, ""), markup=False, soft_wrap=True)


def _described(source: Path, destination: Path, port: Port) -> dict[str, Any]:
    why = port.source.metadata.get(RECOGNIZED)
    return {
        "source": str(source),
        **({RECOGNIZED: why} if why else {}),
        "destination": str(destination),
        "from": port.before.framework,
        "to": port.after.framework,
        "architecture": port.after.architecture,
        "config": port.after.config.to_dict() if port.after.config is not None else None,
        "tensors_read": len(port.source.names()),
        "tensors_written": len(port.result.names()),
        "bytes": port.nbytes,
        "left_out": dict(port.left_out),
    }


def _report(source: Path, destination: Path, port: Port, digests: dict[str, str] | None, *, as_json: bool) -> None:
    remarks = port.remarks
    if as_json:
        more = {} if digests is None else {"checked": digests}
        print_json({**_described(source, destination, port), "remarks": remarks, **more})
        return
    names = {"torch": "PyTorch", "flax": "Flax"}
    described = _described(source, destination, port)
    way = f"{names[port.before.framework]} to {names[port.after.framework]}"
    why = described.get(RECOGNIZED)
    lines = [
        *([f"{source}: recognised as {port.before.architecture} by {why}"] if why else []),
        f"{destination}: {port.after.architecture or 'unknown'}, {way}",
        f"{described['tensors_read']} tensors read, {described['tensors_written']} written, {byte_count(port.nbytes)}",
        *(remarks or ["every value was moved, bit for bit; nothing was left out or added"]),
    ]
    if digests is not None:
        lines.append(f"read again: {len(digests)} tensors are those of the source, by SHA-256")
    page = console()
    for line in lines:
        page.print(printable(line, ""), markup=False, soft_wrap=True)
