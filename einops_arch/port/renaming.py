"""New names for a port: of the source, for a model that has other names, or of the destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Relabeled, renamed
from einops_arch.errors import PortError
from einops_arch.port.unwrap import Shapes, common_prefix, fits, without_wrapper

__all__ = ["is_last", "new_names", "with_old_names"]


def is_last(reader: Reader, relabeled: Reader, expected: Shapes, tied: Sequence[Sequence[str]]) -> bool:
    """Whether the model knows the old names and not the new, so that these are for the destination.

    Args:
        reader: the source.
        relabeled: the source with its new names.
        expected: the names and shapes of the model.
        tied: groups of names that are one tensor in the model.
    """
    old, new = ({name: row.info(name).shape for name in row.names()} for row in (reader, relabeled))
    if fits(new, expected, tied):
        return False
    return fits(old, expected, tied) or bool(without_wrapper(old, expected, tied)[1])


def new_names(result: Reader, wrapped: Reader, rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The new name of each tensor of a destination by its old one.

    Args:
        result: the destination.
        wrapped: the source as it is in the file; rules that match nothing in the destination may speak of its wrapper.
        rules: pairs of a regular expression and its replacement.

    Raises:
        PortError: a rule matches nothing, or is no pair of a regular expression and its replacement.
    """
    names = result.names()
    try:
        return renamed(names, rules)
    except PortError:
        prefix = common_prefix(wrapped.names())
        if not prefix:
            raise
        new = renamed([prefix + name for name in names], rules)
        return {name: new[prefix + name] for name in names}


def with_old_names(reader: Reader, new: Mapping[str, str]) -> Reader:
    """A reader of a destination under the names that it had before it was renamed.

    Args:
        reader: the reader.
        new: the new name by the old one.
    """
    olds = {now: name for name, now in new.items()}
    return Relabeled(reader, {name: olds.get(name, name) for name in reader.names()}) if olds else reader
