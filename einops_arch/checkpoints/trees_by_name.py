"""The weights in a flat file of Flax, whose names are the paths of a tree: with dots, or with slashes."""

from __future__ import annotations

import re

from einops_arch.checkpoints.formats.trees import weights_of
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Relabeled
from einops_arch.errors import CheckpointError

__all__ = ["OfTree"]


class OfTree(Relabeled):
    """A reader of Flax's names with its weights alone, as they would be called in a tree.

    Args:
        inner: the reader, which does not say whose names it has.

    Raises:
        CheckpointError: two arrays have one name.
    """

    def __init__(self, inner: Reader) -> None:
        paths = {tuple(re.split(r"[./]", name)): name for name in inner.names()}
        if len(paths) < len(inner.names()):
            raise CheckpointError("two arrays have the same name but for slashes in the place of dots")
        names, beside = weights_of(paths)
        super().__init__(inner, {paths[path]: name for path, name in names.items()})
        self.left_out = {**inner.left_out, **{".".join(path): reason for path, reason in beside.items()}}
        self.metadata, self.by_leaves = {**inner.metadata, "framework": "flax"}, True
