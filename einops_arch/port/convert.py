"""Carry a checkpoint from one framework's names and layout to the other's: a file of any size, or arrays in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import Checkpoint, Description, describe
from einops_arch.checkpoints.disk.sink import Progress
from einops_arch.checkpoints.files import check_destination, format_of, open_checkpoint, write_tensors
from einops_arch.checkpoints.finite import Watched
from einops_arch.checkpoints.reader import MemoryReader, Reader, Wrapper
from einops_arch.checkpoints.reader_views import Cast, Relabeled, Renamed, Untied, texts
from einops_arch.errors import CheckpointError, PortError
from einops_arch.port.bounds import model_of
from einops_arch.port.expected import expected_shapes
from einops_arch.port.folding import Computed, Folded
from einops_arch.port.leaves import ByLeaf, notes_of_leaves
from einops_arch.port.like import held_against
from einops_arch.port.lora import Merged
from einops_arch.port.packed import PackedReader
from einops_arch.port.renaming import is_last, new_names, with_old_names
from einops_arch.port.suggested import told_what_fits, told_what_part_fits
from einops_arch.port.ties import once_tied, untied_lines
from einops_arch.port.unwrap import Unwrapped, unwrapped

__all__ = ["PlannedTensor", "Port", "convert", "open_source", "port_checkpoint"]


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the destination.

    Args:
        name: its name.
        sources: the names in the source file that it comes from.
        pattern: what becomes of them.
        shape: its shape.
        dtype: its dtype.
        nbytes: its bytes.
    """

    name: str
    sources: tuple[str, ...]
    pattern: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


@dataclass
class Port:
    """A port: what will be done, then what was done.

    Made by `Port.open`; `run` writes, `check` reads again what was written. Use it in a `with` statement.

    Attributes:
        before: what the source says of itself.
        after: what the destination will say.
        source: the source as it is in the file, with its new names.
        result: what will be written.
        renamed: new names by old ones.
        notes: what was found out on the way, a line each: a wrapper's prefix that was taken off, how names were told.
        computed: after `check`, the tensors whose values are not in the source as they are, but computed or rounded.
        not_finite: after `run`, for each tensor that has any, how many of its numbers are NaN and how many infinite.
    """

    path: Path
    before: Description
    after: Description
    source: Reader
    result: Watched
    renamed: Mapping[str, str] = field(default_factory=dict)
    model: Any = None
    notes: tuple[str, ...] = ()
    not_finite: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()
    _cast: Cast | None = None
    _ported: Any = None
    _made: tuple[PackedReader | Computed, ...] = ()
    _last: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def open(
        path: str | Path | Reader,
        to: str,
        *,
        config: Config | None = None,
        model: Any = None,
        rename: Sequence[tuple[str, str]] = (),
        packing: Sequence[str] = (),
        dtype: str | None = None,
        allow_overflow: bool = False,
        untie: bool = False,
        like: str | Path | None = None,
    ) -> Port:
        """Open a source and hold it against the model; nothing is written.

        Args:
            path: a checkpoint, or an open reader of one.
            to: `"torch"` or `"flax"`.
            config: the config of the network, if the file does not say it.
            model: a Flax model, which may be abstract, in the place of a registered architecture.
            rename: pairs of a regular expression and its replacement, for foreign names; where the source
                fits the model without them, for those of the destination.
            packing: patterns between names and axes, see `Packing.parse`; they speak of the source after `rename`.
            dtype: round floating-point tensors to this dtype.
            allow_overflow: let finite numbers become infinite on the way.
            untie: write tied tensors under each of their names, for readers that know no aliases.
            like: a checkpoint, or its index alone, whose names and shapes the result must have.

        Raises:
            CheckpointError: the source is not whole, or nothing says which network it belongs to.
            PortError: the source does not fit the network, or the result is not like `like`.
        """
        reader = path if isinstance(path, Reader) else open_checkpoint(path)
        try:
            before = describe(reader.metadata)
            renamed = Renamed(reader, rename) if rename else None
            source: Reader = renamed or reader
            notes: list[str] = []
            last: dict[str, str] = {}
            if model is None:
                model, config = _model_of_file(before, reader, to, config)
            expected, tied = expected_shapes(model, before.framework) if model is not None else ({}, [])
            renames_last = renamed is not None and not packing and is_last(reader, renamed, expected, tied)
            source = reader if renames_last else source
            for text in texts(packing):
                source = PackedReader(source, text, expected)
            result, ported = source, None
            if model is not None:
                source = unwrapped(source, expected, tied)
                notes += [source.remark] if isinstance(source, Unwrapped) else []
                source = once_tied(source, expected)
                both = [[target, name] for name, target in source.aliases.items()]
                notes += untied_lines(both, tied, expected)
                result = ported = _ported(source, model, before.framework, to, config)
                if renames_last:
                    last = new_names(result, reader, rename)
                    result = Relabeled(result, last)
            elif before.framework != to:
                result = source = ByLeaf(source)
            if like is not None:
                notes += held_against(result, like) or _notes_of_like(like, source, model)
            if model is None and any(isinstance(row, ByLeaf) for row in _chain(source)):
                notes += notes_of_leaves(reader, next(row for row in _chain(source) if isinstance(row, ByLeaf)), like)
            cast = Cast(result, dtype, allow_overflow=allow_overflow) if dtype is not None else None
            result = cast or result
            if untie:
                result = Untied(result)
            name = architectures.of_config(config).name if config is not None else before.architecture
            after = Description(to, name, config)
            watched = Watched(_Described(result, after, _left_out(source, ported)))
        except BaseException:
            reader.close()
            raise
        names = last or (renamed.renamed if renamed else {})
        place = reader.paths[0] if reader.paths else Path("memory")
        made = tuple(row for row in _chain(source) if isinstance(row, PackedReader | Computed))
        return Port(
            place,
            before,
            after,
            source,
            watched,
            names,
            model,
            tuple(notes),
            _cast=cast,
            _ported=ported,
            _made=made,
            _last=last,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    @property
    def tensors(self) -> list[PlannedTensor]:
        """What will be written, in this order."""
        rows = []
        olds = {now: name for name, now in self._last.items()}
        for name, info in self.result.tensors.items():
            origin = self._ported.origins.get(olds.get(name, name)) if self._ported is not None else None
            sources = origin.names if origin is not None else (self.source.aliases.get(name, name),)
            traces = [self.source.traced(source) for source in sources]
            steps = [pattern for _, patterns in traces for pattern in patterns]
            steps += [origin.pattern] if origin is not None and origin.pattern != "..." else []
            rows.append(
                PlannedTensor(
                    name,
                    tuple(dict.fromkeys(name for names, _ in traces for name in names)),
                    ", then ".join(dict.fromkeys(steps)) or "...",
                    info.shape,
                    info.dtype,
                    info.nbytes,
                )
            )
        return rows

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors that will be written."""
        return sum(info.nbytes for info in self.result.tensors.values())

    @property
    def left_out(self) -> dict[str, str]:
        """The names of the source that the destination has not, each with the reason."""
        return _left_out(self.source, self._ported)

    @property
    def remarks(self) -> list[str]:
        """What was not simply moved, a line each: what is left out, added, computed, renamed or rounded."""
        lines = [f"{name}: left out: {reason}" for name, reason in self.source.left_out.items()]
        if self._ported is not None:
            lines += [f"{name}: ignored: {reason}" for name, reason in self._ported.ignored.items()]
            added = dict.fromkeys(name for name in self._ported.inner.tensors if not self.source.has(name))
            lines += [f"{name}: not in the source; written as 0" for name in added]
            for name, origin in self._ported.origins.items():
                if not origin.moved and not any(source in added for source in origin.names):
                    old = self.source.info(origin.names[0]).dtype if origin.names else None
                    new = self._ported.tensors[name].dtype
                    if old is not None and old != new:
                        lines.append(f"{name}: {old} became {new}, with the same value")
                    else:
                        lines.append(f"{', '.join(origin.names) or name}: {origin.pattern}")
        elif self.model is None and not self.notes:
            lines.append("names and shapes were not checked: nothing says of which architecture the file is")
        for reader in self._made:
            changes = reader.changes if isinstance(reader, Computed) else {}
            for name, text in reader.remarks.items():
                size = f", changed by at most {changes[name]:.3g}" if name in changes else ""
                lines.append(f"{name}: {text}{size}")
            lines += [
                f"{name}: one tensor with {other} in the source, and another here"
                for name, other in reader.untied.items()
            ]
        lines += [f"{name}: tied to {target}, written once" for name, target in self.result.aliases.items()]
        for name, change in (self._cast.changes if self._cast is not None else {}).items():
            lost = self._cast.overflows[name] if self._cast is not None else 0
            text = f"{name}: rounded, changed by at most {change:.3g}"
            lines.append(f"{text}; {lost} finite numbers became infinite" if lost else text)
        lines += [f"{name}: holds {nan:,} NaN and {inf:,} inf" for name, (nan, inf) in self.not_finite.items()]
        return lines

    def run(
        self,
        destination: str | Path,
        *,
        force: bool = False,
        kind: str | None = None,
        max_shard_size: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Write the destination: whole, or not at all.

        Args:
            destination: where to; its ending is the format.
            force: replace what is there.
            kind: the format, if the name does not say it.
            max_shard_size: bytes in one file, for a hub folder.
            progress: told the number of bytes after every block.

        Raises:
            DestinationError: the destination exists already, is the source, or cannot be written.
            CheckpointError: the source cannot be read, or the format does not hold it.
            DtypeError: a number does not fit the dtype that was asked for.
        """
        try:
            write_tensors(
                destination,
                self.result,
                force=force,
                kind=kind,
                max_shard_size=max_shard_size,
                progress=progress,
            )
            self.not_finite = self.result.not_finite()
        except CheckpointError as error:
            # What is found while reading does not know the name of the file.
            raise error if str(self.path) in str(error) else CheckpointError(*error.within(self.path)) from error

    def check(self, destination: str | Path, *, progress: Progress | None = None) -> dict[str, str]:
        """Read again what was written, move it back, and compare it with the source.

        Returns:
            The SHA-256 of every tensor, in the source's layout; of a tensor that was computed, in the destination's.

        Raises:
            PortError: a tensor is not what it should be.
        """
        digests, wrong = {}, []
        computed: set[str] = set()
        made = {name for row in self._made if isinstance(row, Computed) for name in row.remarks}
        with open_checkpoint(destination) as written:
            back: Reader = with_old_names(written, self._last)
            result = with_old_names(self.result, self._last)
            expected: Reader = self.source
            pairs: list[tuple[Reader, Reader, str]] = []
            names = list(self.source.tensors)
            if self._ported is not None and self.before.framework != self.after.framework:
                from einops_arch.port.stream import Ported

                back = Ported(back, self.model, self.after.framework, self.before.framework)
                origins = self._ported.origins
                computed = {name for name, origin in origins.items() if not origin.moved and name in result.tensors}
                lossy = {source for origin in origins.values() if not origin.moved for source in origin.names}
                names = [name for name in names if name not in lossy and name not in self._ported.ignored]
                pairs = [(result, with_old_names(written, self._last), name) for name in computed]
            if self._cast is not None:
                expected = Cast(self.source, self._cast.dtype, allow_overflow=self._cast.allow_overflow)
            pairs += [(expected, back, name) for name in names]
            for before, other, name in pairs:
                digests[name] = before.digest(name)
                if not other.has(name) or other.digest(name) != digests[name]:
                    wrong.append(name)
                rounded = before is expected and before.info(name) != self.source.info(name)
                if rounded or (before is expected and not made.isdisjoint(self.source.traced(name)[0])):
                    computed.add(name)
                if progress is not None:
                    progress(before.info(name).nbytes)
        self.computed = frozenset(computed)
        if wrong:
            raise PortError(f"{destination}: {len(wrong)} tensors differ from {self.path}", *wrong)
        return digests


def open_source(
    source: str | Path,
    *,
    key: str | None = None,
    only: str | None = None,
    drop: Sequence[str] = (),
    fold: bool = False,
    merge_lora: str | Path | None = None,
) -> Reader:
    """A checkpoint, with an adapter merged and computed weights folded where this is asked for.

    Args:
        source: what `open_checkpoint` takes, with `key`, `only` and `drop`.
        key: see there.
        only: see there.
        drop: see there.
        fold: put plain weights in the place of those with a weight norm or a spectral norm.
        merge_lora: the file of a LoRA adapter, whose products are added to the weights.
    """
    reader = open_checkpoint(source, key=key, only=only, drop=drop)
    try:
        reader = Merged(reader, Path(merge_lora)) if merge_lora is not None else reader
        return Folded(reader) if fold else reader
    except BaseException:
        reader.close()
        raise


def port_checkpoint(
    source: str | Path,
    destination: str | Path,
    to: str,
    *,
    config: Config | None = None,
    model: Any = None,
    key: str | None = None,
    only: str | None = None,
    drop: Sequence[str] = (),
    rename: Sequence[tuple[str, str]] = (),
    packing: Sequence[str] = (),
    fold: bool = False,
    merge_lora: str | Path | None = None,
    dtype: str | None = None,
    allow_overflow: bool = False,
    untie: bool = False,
    like: str | Path | None = None,
    kind: str | None = None,
    max_shard_size: int | None = None,
    force: bool = False,
    check: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Carry a checkpoint file of any size to the other framework, tensor by tensor.

    Args:
        source: a checkpoint.
        destination: where to; its ending is the format.
        to: `"torch"` or `"flax"`.
        config: the config of the network, if the file does not say it.
        model: a Flax model, which may be abstract, in the place of a registered architecture.
        key: the entry of the source that is the state dict, as `open_checkpoint` takes it.
        only: leave out what has a name that does not begin with this.
        drop: regular expressions; what has a name in which one of them matches is left out.
        rename: pairs of a regular expression and its replacement, for foreign names; where the source fits the
            model without them, for those of the destination.
        packing: patterns between names and axes, see `Packing.parse`; they speak of the source after `rename`.
        fold: put plain weights in the place of those with a weight norm or a spectral norm.
        merge_lora: the file of a LoRA adapter, whose products are added to the weights.
        dtype: round floating-point tensors to this dtype.
        allow_overflow: let finite numbers become infinite on the way.
        untie: write tied tensors under each of their names.
        like: a checkpoint, or its index alone, whose names and shapes the result must have.
        kind: the format, if the name does not say it.
        max_shard_size: bytes in one file, for a hub folder.
        force: replace what is there.
        check: read again what was written, and compare it with the source.
        progress: told the number of bytes after every block.

    Returns:
        What was not simply moved, a line each.

    Raises:
        EinopsArchError: one of its children; nothing has been written then.
    """
    check_destination(destination, to, force=force, kind=kind or format_of(destination))
    with Port.open(
        open_source(source, key=key, only=only, drop=drop, fold=fold, merge_lora=merge_lora),
        to,
        config=config,
        model=model,
        rename=rename,
        packing=packing,
        dtype=dtype,
        allow_overflow=allow_overflow,
        untie=untie,
        like=like,
    ) as port:
        port.run(destination, force=force, kind=kind, max_shard_size=max_shard_size, progress=progress)
        if check:
            port.check(destination)
        return [*port.notes, *port.remarks]


def convert(checkpoint: Checkpoint, to: str, config: Config) -> Checkpoint:
    """The same weights in the names and layout of the other framework, or checked in those of its own.

    The checkpoint must be whole: every array of the network, no other, each of the right shape.

    Args:
        checkpoint: what was read.
        to: `"torch"` or `"flax"`.
        config: the config of the network that the checkpoint belongs to.

    Raises:
        PortError: the arrays do not fit the network; the message lists every problem by path.
        MissingFrameworkError: Flax is not installed; its layers say how their arrays lie.
    """
    with Port.open(MemoryReader(checkpoint.tensors, checkpoint.metadata()), to, config=config) as port:
        arrays = {name: port.result.read(name) for name in port.result.tensors}
        arrays |= {name: arrays[target] for name, target in port.result.aliases.items()}
        return Checkpoint(arrays, to, port.after.architecture, config)


def _model_of_file(before: Description, reader: Reader, to: str, config: Config | None) -> tuple[Any, Config | None]:
    """An abstract Flax model of the network, if it is known which it is, and its config."""
    if config is not None:
        from einops_arch.flax._build import abstract_model

        return abstract_model(config), config
    if before.config is not None:
        return model_of(before.config, reader), before.config
    if before.framework != to and to == "flax":
        raise CheckpointError(
            "the file does not say of which architecture it is; likely fix: give a config or a Flax model"
        )
    return None, None


def _ported(source: Reader, model: Any, framework: str, to: str, config: Config | None) -> Any:
    from einops_arch.port.stream import Ported

    try:
        return Ported(source, model, framework, to)
    except PortError as error:
        shapes = {name: source.info(name).shape for name in source.names()}
        told = told_what_part_fits(error, shapes, framework, config, model)
        raise told_what_fits(told, shapes, framework, config) from error


def _notes_of_like(like: str | Path, source: Reader, model: Any) -> list[str]:
    """That a file was held against another, where nothing else says it."""
    told = model is not None or any(isinstance(row, ByLeaf) for row in _chain(source))
    return [] if told else [f"names and shapes were held against {like}"]


def _left_out(source: Reader, ported: Any) -> dict[str, str]:
    return {**source.left_out, **(ported.ignored if ported is not None else {})}


def _chain(reader: Reader) -> Iterator[Reader]:
    """A reader and those around which it is."""
    yield reader
    while isinstance(reader, Wrapper):
        reader = reader.inner
        yield reader


class _Described(Wrapper):
    """A reader that says something else of itself, and what of the source it has not."""

    def __init__(self, inner: Reader, description: Description, left_out: Mapping[str, str]) -> None:
        super().__init__(inner)
        self.metadata = description.metadata()
        if left_out:
            self.metadata["left_out"] = json.dumps(left_out)
