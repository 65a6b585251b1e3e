"""The command `port`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch._text import counted, printable
from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.disk.bounded_json import read_json
from einops_arch.checkpoints.files import check_destination, format_of
from einops_arch.checkpoints.formats.sharded import CONFIG
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Renamed, rule_of
from einops_arch.cli.models import identify
from einops_arch.cli.output import Page, byte_count, byte_size, bytes_bar, console, print_json, progress
from einops_arch.cli.remarks import summed_up
from einops_arch.cli.reports import print_lines
from einops_arch.cli.targets import loaded
from einops_arch.errors import CheckpointError, ConfigError, EinopsArchError, PortError
from einops_arch.port.convert import PlannedTensor, Port, open_source
from einops_arch.port.leaves import ByLeaf
from einops_arch.port.models.fit import find_fits, nearest
from einops_arch.port.models.folder import RECOGNIZED, open_pretrained
from einops_arch.port.models.recognize import recognize
from einops_arch.port.models.recognized import UnknownNetworkError
from einops_arch.port.packed import PackedReader
from einops_arch.port.suggested import suggestions
from einops_arch.port.transfer import framework_of

__all__ = ["PortOptions", "port_file"]


@dataclass(frozen=True)
class PortOptions:
    """What the command line said.

    Args:
        arch: the architecture, unless the file says it.
        preset: the name of a size.
        config: a file with a config.
        model: `module:make()`, which makes a Flax model of one's own.
        rename: rules such as `regex=replacement`.
        packing: patterns between names and axes.
        fold: fold weight norms and spectral norms.
        merge_lora: the file of an adapter.
        dtype: what to round floating-point tensors to.
        allow_overflow: let finite numbers become infinite.
        untie: write tied tensors under each of their names.
        like: a checkpoint, or its index, whose names and shapes the result must have.
        key: the entry of the source that holds the weights.
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
    model: str | None = None
    rename: Sequence[str] = ()
    packing: Sequence[str] = ()
    fold: bool = False
    merge_lora: Path | None = None
    dtype: str | None = None
    allow_overflow: bool = False
    untie: bool = False
    like: Path | None = None
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
    reader = open_source(
        source,
        key=options.key,
        only=options.only,
        drop=options.drop,
        fold=options.fold,
        merge_lora=options.merge_lora,
    )
    try:
        if "architecture" not in reader.metadata and (source / CONFIG).is_file() and options.model is None:
            reader = _recognized(source, reader, to, options)
        names: Reader = Renamed(reader, rename) if rename else reader
        for text in options.packing:
            names = PackedReader(names, text)
        model = _model(options)
        config, notes = (None, ()) if model is not None else _config(source, reader, names, to, options)
        port = Port.open(
            reader,
            to,
            config=config,
            model=model,
            rename=rename,
            packing=options.packing,
            dtype=options.dtype,
            allow_overflow=options.allow_overflow,
            untie=options.untie,
            like=options.like,
        )
        # What the file is, whatever names it was given on the way.
        before = dataclasses.replace(port.before, framework="flax") if isinstance(reader, ByLeaf) else port.before
        return dataclasses.replace(port, before=before, notes=(*notes, *port.notes))
    except PortError as error:
        reader.close()
        raise PortError(*error.within(source)) from error
    except BaseException:
        reader.close()
        raise


def _recognized(source: Path, reader: Reader, to: str, options: PortOptions) -> Reader:
    """A folder of the hub under our names; the file of Flax in PyTorch's layout and under the names of transformers."""
    flax = describe(reader.metadata).framework == "flax"
    reader = ByLeaf(reader) if flax else reader
    named = options.arch or options.preset or options.config
    # The names of transformers, which PyTorch's users load; a file of another network only changes its format.
    if to == "torch" and not named and (flax or _is_unknown(source, reader)):
        return reader
    return open_pretrained(source, reader)


def _is_unknown(source: Path, reader: Reader) -> bool:
    try:
        recognize(read_json(source / CONFIG), reader.names())
    except UnknownNetworkError:
        return True
    except EinopsArchError:
        return False
    return False


def _model(options: PortOptions) -> Any:
    if options.model is None:
        return None
    if options.arch or options.preset or options.config:
        raise ConfigError("port: --model takes the place of --arch, --preset and --config, received both")
    model = loaded(options.model)
    try:
        framework = framework_of(model)
    except PortError as error:
        fix = f"; likely fix: --model '{options.model}()'" if inspect.isroutine(model) else ""
        raise ConfigError(f"--model {options.model}: {error}{fix}") from error
    if framework != "flax":
        raise ConfigError(
            f"--model {options.model}: expected a Flax model, whose layers say how arrays lie, received "
            f"{type(model).__name__} of PyTorch; likely fix: the model that einops-arch translate writes"
        )
    return model


def _config(
    source: Path, reader: Reader, names: Reader, to: str, options: PortOptions
) -> tuple[Config | None, tuple[str, ...]]:
    """The config, and how it was found; none is needed where a file only changes its format."""
    try:
        known = describe(reader.metadata)
    except (ConfigError, CheckpointError) as error:
        raise CheckpointError(f"{source}: its metadata: {error}") from error
    sized = options.preset or options.config
    if known.architecture is None and not sized:
        if options.arch is None and known.framework == to:
            return None, ()
        arch, size = (architectures.resolve(options.arch)) if options.arch is not None else (None, None)
        if size is None:
            return _fitting(source, names, to, known.framework, arch.name if arch is not None else None)
    _, config = identify(source, known, options.arch, options.preset, options.config)
    return config, ()


def _fitting(
    source: Path, names: Reader, to: str, framework: str, only: str | None
) -> tuple[Config | None, tuple[str, ...]]:
    """The one network whose tensors have these names and shapes."""
    shapes = {name: names.info(name).shape for name in names.names()}
    fits = find_fits(shapes, framework, only=only)
    if len(fits) == 1:
        return fits[0].config, (
            f"recognised as {fits[0]} by its names and shapes; settings that no shape shows are those of the preset",
        )
    if not fits and to == "torch" and only is None:
        return None, ()
    if fits:
        several = "; ".join(f"--arch {fit}" for fit in fits)
        raise CheckpointError(f"{source}: the file does not say its config, and several fit: {several}")
    near = suggestions(shapes, framework, only) or nearest(shapes, framework, only=only)
    alike = "; of what it has:" if near else ""
    known = (
        f"--preset with one of {', '.join(architectures.get(only).config.PRESETS)}, or --config FILE"
        if only
        else (f"--arch with one of {', '.join(architectures.names())}, or --model pkg.module:make()")
    )
    what = "its config" if only else "of which architecture it is"
    raise CheckpointError(f"{source}: the file does not say {what}, and none fits; likely fix: {known}{alike}", *near)


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
    page = console()
    title = f"{source} to {destination}: nothing was written"
    if page.width < _NARROW:
        _print_plan_lines(page, title, port)
    else:
        _print_plan_table(page, title, port)
    renamed = summed_up(f"{name}: renamed to {now}" for name, now in port.renamed.items())
    for line in [*port.notes, *renamed, *summed_up(port.remarks), f"{byte_count(port.nbytes)} would be written"]:
        page.print(printable(line, ""), markup=False, soft_wrap=True)


_NARROW = 100
"""Below so many columns a table would cut names into pieces."""


def _print_plan_lines(page: Page, title: str, port: Port) -> None:
    print_lines(page, [title])
    for tensor in port.tensors:
        names = f"{', '.join(tensor.sources) or 'nothing'} to {tensor.name}"
        facts = f"  {tensor.pattern}; {_shape(tensor)}, {tensor.dtype}, {byte_count(tensor.nbytes)}"
        print_lines(page, [printable(names, ""), facts])


def _print_plan_table(page: Page, title: str, port: Port) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in ("source", "pattern", "destination", "shape", "dtype", "bytes"):
        table.add_column(column, justify="right" if column == "bytes" else "left", overflow="fold")
    for tensor in port.tensors:
        sources = "\n".join(printable(name, "") for name in tensor.sources)
        name, size = printable(tensor.name, ""), f"{tensor.nbytes:,}"
        table.add_row(*map(Text, (sources, tensor.pattern, name, _shape(tensor), tensor.dtype, size)))
    page.print(table)


def _shape(tensor: PlannedTensor) -> str:
    return " ".join(map(str, tensor.shape)) or "scalar"


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
        **({"notes": list(port.notes)} if port.notes else {}),
    }


def _report(source: Path, destination: Path, port: Port, digests: dict[str, str] | None, *, as_json: bool) -> None:
    remarks = port.remarks
    if as_json:
        more: dict[str, Any] = {} if digests is None else {"checked": digests}
        if port.not_finite:
            more["not_finite"] = {name: {"nan": nan, "inf": inf} for name, (nan, inf) in port.not_finite.items()}
        print_json({**_described(source, destination, port), "remarks": remarks, **more})
        return
    names = {"torch": "PyTorch", "flax": "Flax"}
    described = _described(source, destination, port)
    way = f"{names[port.before.framework]} to {names[port.after.framework]}"
    count = counted(described["tensors_read"], "tensor")
    why = described.get(RECOGNIZED)
    lines = [
        *([f"{source}: recognised as {port.before.architecture} by {why}"] if why else []),
        *port.notes,
        f"{destination}: {port.after.architecture or (type(port.model).__name__ if port.model else 'unknown')}, {way}",
        f"{count} read, {described['tensors_written']} written, {byte_count(port.nbytes)}",
        *(summed_up(remarks) or ["every value was moved, bit for bit; nothing was left out or added"]),
    ]
    if digests is not None:
        lines.append(_checked(len(digests), len(port.computed)))
    page = console()
    for line in lines:
        page.print(printable(line, ""), markup=False, soft_wrap=True)


def _checked(count: int, computed: int) -> str:
    """What was compared with what; a value that was computed is not the source's.

    >>> _checked(8, 0), _checked(8, 8)
    ('read again: 8 tensors are those of the source, by SHA-256', 'read again: 8 tensors are as computed, by SHA-256')
    >>> _checked(8, 1)
    'read again: 7 tensors are those of the source and 1 as computed, by SHA-256'
    """
    moved = count - computed
    those = f"{counted(moved, 'tensor')} {'are those' if moved != 1 else 'is that'} of the source"
    are = f"{counted(computed, 'tensor')} {'are' if computed != 1 else 'is'}" if not moved else f"{computed}"
    made = f"{are} as computed"
    facts = " and ".join([*([those] if moved or not computed else []), *([made] if computed else [])])
    return f"read again: {facts}, by SHA-256"
