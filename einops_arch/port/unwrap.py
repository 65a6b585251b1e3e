"""Names with a wrapper's prefix: it is taken off where the rest fits the model, and this is said."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from einops_arch._text import counted
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.reader_views import Relabeled
from einops_arch.layouts.state import is_counter

__all__ = ["Shapes", "Unwrapped", "candidates", "common_prefix", "fits", "taken_off", "unwrapped", "without_wrapper"]

_WRAPPERS = {
    "module": "DataParallel or an average of weights",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_forward_module": "Lightning's Fabric",
    "model": "a Lightning module",
    "ema_model": "an average of weights",
    "params": "Linen",
    "batch_stats": "Linen",
}
"""The names that wrappers give to what they wrap, and which of them do."""
_INSIDE = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Wrappers of parts of a network, too."""
_COLLECTIONS = frozenset({"params", "batch_stats"})
_COUNTERS = frozenset({"n_averaged", "initted", "step", "decay", "num_updates"})
"""What wrappers that average weights count beside them."""
_DEPTH = 4

Shapes = Mapping[str, tuple[int, ...]]


class Unwrapped(Relabeled):
    """A reader whose names have lost a prefix.

    Attributes:
        remark: which, and who writes it.
    """

    def __init__(self, inner: Reader, new: Mapping[str, str], remark: str) -> None:
        super().__init__(inner, new)
        self.left_out = {
            **inner.left_out,
            **{name: "a counter of the wrapper" for name in inner.names() if name not in new},
        }
        self.remark = remark


def unwrapped(reader: Reader, expected: Shapes, tied: Sequence[Sequence[str]] = ()) -> Reader:
    """The reader, without the prefix of a wrapper where that makes its names and shapes those of the model.

    Args:
        reader: the checkpoint.
        expected: the names and shapes of the model.
        tied: groups of names that are one tensor in the model.
    """
    shapes = {name: reader.info(name).shape for name in reader.names()}
    new, remark = without_wrapper(shapes, expected, tied, names_alone=True)
    return Unwrapped(reader, new, remark) if remark else reader


def without_wrapper(
    shapes: Shapes, expected: Shapes, tied: Sequence[Sequence[str]] = (), *, names_alone: bool = False
) -> tuple[dict[str, str], str]:
    """The new name by the old one, and what was taken off in words, empty if nothing was.

    Args:
        shapes: those of the checkpoint.
        expected: those of the model.
        tied: groups of names that are one tensor in the model.
        names_alone: take it off where the names are those of the model and shapes are not.

    >>> without_wrapper({"module.weight": (3,), "n_averaged": ()}, {"weight": (3,)})
    ({'module.weight': 'weight'}, 'module. was taken off 1 name, as DataParallel or an average of weights writes it')
    """
    if shapes and not fits(shapes, expected, tied):
        for new in candidates(shapes):
            renamed = {new[name]: shape for name, shape in shapes.items() if name in new}
            if len(renamed) == len(new) and fits(renamed, expected, tied):
                return new, taken_off(new)
        # So that shapes which do not fit are told by the model's own names.
        for new in candidates(shapes) if names_alone else ():
            if expected and sorted(new.values()) == sorted(expected):
                return new, taken_off(new)
    return {name: name for name in shapes}, ""


def fits(shapes: Shapes, expected: Shapes, tied: Sequence[Sequence[str]] = ()) -> bool:
    """Whether names and shapes are those of a model, but for what follows from others.

    >>> fits({"bn.running_mean": (3,)}, {"bn.running_mean": (3,), "bn.num_batches_tracked": ()})
    True
    """
    if any(expected.get(name) != shape for name, shape in shapes.items()):
        return False
    follows = {name for group in tied if any(other in shapes for other in group) for name in group}
    return all(name in shapes or name in follows or is_counter(name) for name in expected)


def candidates(shapes: Shapes) -> Iterator[dict[str, str]]:
    """New names by old ones, as they may have been before they were wrapped, the likeliest first.

    >>> next(candidates({"module.fc.weight": (3, 4), "module.fc.bias": (3,), "n_averaged": ()}))
    {'module.fc.weight': 'fc.weight', 'module.fc.bias': 'fc.bias'}
    """
    counters = {name for name, shape in shapes.items() if name in _COUNTERS and math.prod(shape) == 1}
    rest = [name for name in shapes if name not in counters] or list(shapes)
    plain = {name: name for name in rest}
    bare = {name: _without_wrappers(name) for name in rest}
    for start in (plain, bare) if bare != plain else (plain,):
        if start is bare:
            yield start
        now = start
        for _ in range(_DEPTH):
            heads = {new.partition(".")[0] for new in now.values()}
            if (len(heads) > 1 and not heads <= _COLLECTIONS) or any("." not in new for new in now.values()):
                break
            now = {name: new.partition(".")[2] for name, new in now.items()}
            yield now


def common_prefix(names: Collection[str]) -> str:
    """The first part that all names share, with its dot; empty if there is none.

    >>> common_prefix(["model.fc.weight", "model.fc.bias"]), common_prefix(["a.x", "b.x"])
    ('model.', '')
    """
    heads = {name.partition(".")[0] for name in names}
    return f"{heads.pop()}." if len(heads) == 1 and all("." in name for name in names) else ""


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _INSIDE)


def taken_off(new: Mapping[str, str]) -> str:
    """Which parts the names have lost, and who writes them.

    >>> taken_off({"backbone.fc.weight": "fc.weight"})
    'backbone. was taken off 1 name'
    """
    gone = dict.fromkeys(part for name, short in new.items() for part in _gone(name, short))
    writers = dict.fromkeys(_WRAPPERS[part] for part in gone if part in _WRAPPERS)
    why = f", as {' and '.join(writers)} writes {'them' if len(new) != 1 else 'it'}" if writers else ""
    was = "was" if len(gone) == 1 else "were"
    return f"{' and '.join(f'{part}.' for part in gone)} {was} taken off {counted(len(new), 'name')}{why}"


def _gone(name: str, short: str) -> list[str]:
    """The parts of a name that the short one has not."""
    left = short.split(".")[::-1]
    gone = []
    for part in reversed(name.split(".")):
        if left and part == left[0]:
            left.pop(0)
        else:
            gone.append(part)
    return gone[::-1]
