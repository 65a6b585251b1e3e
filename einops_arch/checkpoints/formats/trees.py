"""Which part of a tree of arrays holds the weights: of a state of nnx, of a train state, of the variables of Linen.

What PyTorch keeps in one state dict, JAX keeps in a tree, beside the step, the state of the optimizer and random keys.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeAlias

from einops_arch._text import brief
from einops_arch.checkpoints.limits import TREE_DEPTH
from einops_arch.errors import CheckpointError

__all__ = ["Names", "framework_of_names", "is_optimizer", "joined", "leaf_of", "weights_of"]

Names: TypeAlias = dict[tuple[str, ...], str]
"""A text by the keys that lead to an array."""

_COLLECTIONS = ("params", "batch_stats")
"""The collections of Linen that are weights."""
_WEIGHTS = ("params", "target", "model", "state", "variables", "graph_state", "ema_params", "default")
"""Where training scripts put the weights, the likeliest first."""
_OPTIMIZER = re.compile(
    r"(?i)(opt|optim|optimizers?)(_?states?|_.*states?|_?\d*|_(g|d|gen|disc|generator|discriminator|actor|critic))|"
    r"optimizer_.*"
)
"""The state of an optimizer, which no network has."""
_TRAINING = re.compile(
    r"(?i)((dropout|sample|train|noise)_)?(rngs?|prng|rng_keys?|prng_key)|(rng_.*)|(lr_)?schedulers?(_state)?|schedule|"
    r"(grad_|loss_)?scaler|(dynamic_|loss_|dynamic_loss_)scale|metrics|grads|gradients"
)
"""What else belongs to the training and not to the network, though it may hold arrays."""
_COUNTERS = re.compile(r"(?i)((global|train|training|num|current|total)_)?(steps?|epochs?|iterations?|iter)|key")
"""What does so where it is an array itself; a part of a network may be called so too."""
_STREAM = re.compile(r"(^|\.)rngs?(\.[^.]+)*\.(key|count)$")
_FLAX_LEAVES = frozenset({"kernel", "scale", "embedding", "w", "embeddings"})
_TORCH_LEAVES = frozenset({"weight", "running_mean", "running_var"})
"""The counter of batches is in the norms of Flax too that mean what PyTorch's mean."""
_SHOWN = 12


def weights_of(tree: Iterable[tuple[str, ...]], key: str | None = None) -> tuple[Names, Names]:
    """The names of the weights in a tree, and what lies beside them with the reason why it was not taken.

    Args:
        tree: the keys that lead to each array.
        key: the entry to take; `a.b` is the entry `b` of the entry `a`.

    Raises:
        CheckpointError: there is no such entry, several could be meant, two arrays have one name, or it is too deep.

    >>> names, rest = weights_of([("params", "fc", "kernel"), ("batch_stats", "bn", "mean"), ("step",)])
    >>> list(names.values()), list(rest)
    (['fc.kernel', 'bn.mean'], [('step',)])
    """
    paths = list(tree)
    deepest = max(map(len, paths), default=0)
    if deepest > TREE_DEPTH:
        raise CheckpointError(
            f"refused as a bomb: more than {TREE_DEPTH} entries inside each other, received {deepest}"
        )
    prefix = _descended(paths, _followed(paths, key) if key is not None else ())
    size = len(prefix)
    parts = {path: path[size:] for path in paths if path[:size] == prefix and len(path) > size}
    taken = ".".join(prefix)
    if _is_linen(parts.values()):
        parts = _of_collections(parts)
        taken = ".".join((*prefix, _COLLECTIONS[0]))
    left_out = _beside(paths, parts, prefix, taken)
    # The state of nnx has one more level, for the value of each variable.
    if parts and all(len(rest) > 1 and rest[-1] == "value" for rest in parts.values()):
        parts = {path: rest[:-1] for path, rest in parts.items()}
    names = {path: joined(rest) for path, rest in parts.items()}
    streams = [path for path, name in names.items() if _STREAM.search(name)]
    left_out |= dict.fromkeys(streams, "a random stream, which is no part of the weights")
    names = {path: name for path, name in names.items() if path not in set(streams)}
    seen: set[str] = set()
    for name in names.values():
        if name in seen:
            raise CheckpointError(f"two arrays have the same name {brief(name)}")
        seen.add(name)
    return names, left_out


def joined(parts: Sequence[str]) -> str:
    """The dotted name of a path; a part may have slashes, as Haiku's names have.

    >>> joined(("net/~/linear_0", "w")), joined(("layers", "0", "kernel"))
    ('net.linear_0.w', 'layers.0.kernel')
    """
    pieces = [piece for part in parts for piece in re.split(r"[/:]", part) if piece not in {"~", ""}]
    return ".".join(pieces) or ".".join(parts)


def is_optimizer(name: str) -> bool:
    """Whether an entry of this name is the state of an optimizer.

    >>> is_optimizer("opt_state"), is_optimizer("optimizer"), is_optimizer("optical")
    (True, True, False)
    """
    return _OPTIMIZER.fullmatch(name) is not None


def framework_of_names(names: Iterable[str], ranks: Mapping[str, int] | None = None) -> str | None:
    """Whose names they are, by their leaves; None where nothing says it.

    Args:
        names: the names.
        ranks: the number of axes by name, where it is known: beside kernels, a `weight` of one axis is that of a norm.

    >>> framework_of_names(["fc.kernel", "fc.bias"]), framework_of_names(["fc.weight"]), framework_of_names(["a"])
    ('flax', 'torch', None)
    >>> framework_of_names(["fc.kernel", "norm.weight"], {"fc.kernel": 2, "norm.weight": 1})
    'flax'
    """
    names = list(names)
    leaves = {leaf_of(name) for name in names}
    flax, torch = bool(leaves & _FLAX_LEAVES), leaves & _TORCH_LEAVES
    if torch == {"weight"} and "kernel" in leaves and ranks is not None:
        torch = {name for name in names if leaf_of(name) == "weight" and ranks[name] > 1}
    return None if flax == bool(torch) else "flax" if flax else "torch"


def leaf_of(name: str) -> str:
    """The last part of a name that ends at dots and slashes; the state of nnx has one more, for each value.

    >>> leaf_of("params/fc/kernel"), leaf_of("fc.kernel"), leaf_of("fc.kernel.value")
    ('kernel', 'kernel', 'kernel')
    """
    parts = re.split(r"[./]", name)
    return parts[-2] if len(parts) > 1 and parts[-1] == "value" else parts[-1]


def _followed(paths: Sequence[tuple[str, ...]], key: str) -> tuple[str, ...]:
    """The keys that lead to the entry of this name."""
    prefix: tuple[str, ...] = ()
    rest = key
    while rest:
        counts = _counts(paths, prefix)
        name = rest if rest in counts else next((n for n in counts if rest.startswith(f"{n}.")), None)
        if name is None or (name == rest and counts[name] is None):
            raise CheckpointError(f"expected an entry {brief(key)} with arrays, received {_listed(counts)}")
        prefix, rest = (*prefix, name), rest[len(name) + 1 :]
    return prefix


def _descended(paths: Sequence[tuple[str, ...]], prefix: tuple[str, ...]) -> tuple[str, ...]:
    """Into the entry that is the weights, as long as there is something of a training beside it."""
    counts = _counts(paths, prefix)
    training = {name for name, count in counts.items() if _is_of_training(name, count)}
    inside = _inside(paths, prefix)
    training |= {name for name, entries in inside.items() if "param_states" in entries}
    for name in training:
        # Optimizers of the older Flax and of T5X have the weights as their target.
        if "target" in inside[name]:
            return _descended(paths, (*prefix, name))
    candidates = [name for name, count in counts.items() if count is not None and name not in training]
    if _COLLECTIONS[0] in candidates:
        inner = (*prefix, _COLLECTIONS[0])
        return _descended(paths, inner) if _counts(paths, inner).get(_COLLECTIONS[0]) else prefix
    known = [name for name in _WEIGHTS if name in candidates]
    if len(candidates) == len(counts) == 1:
        # A wrapper around all of it, which is left alone where it has weights and nothing else.
        inner = (*prefix, candidates[0])
        deeper = _descended(paths, inner)
        return deeper if len(deeper) > len(inner) or _COLLECTIONS[0] in inside[candidates[0]] else prefix
    # Under names that nobody knows lie weights, and only an optimizer says that not all of it is.
    certain = known or any(map(is_optimizer, training))
    if not candidates or not training or not certain:
        return prefix
    if not known and len(candidates) > 1:
        shown = _listed({name: counts[name] for name in candidates})
        fix = ".".join((*prefix, candidates[0]))
        raise CheckpointError(f"expected one entry with weights, received {shown}; likely fix: --key {fix:.80}")
    return _descended(paths, (*prefix, (known or candidates)[0]))


def _is_of_training(name: str, count: int | None) -> bool:
    patterns = (_OPTIMIZER, _TRAINING, *([_COUNTERS] if count is None else []))
    return any(pattern.fullmatch(name) for pattern in patterns)


def _beside(
    paths: Sequence[tuple[str, ...]], taken: Container[tuple[str, ...]], prefix: Sequence[str], name: str
) -> Names:
    """The entries beside the one that was taken, with the number of arrays in each."""
    counts: dict[tuple[str, ...], int] = {}
    for path in paths:
        if path not in taken:
            depth = next(
                (n for n, pair in enumerate(zip(path, prefix, strict=False)) if pair[0] != pair[1]), len(prefix)
            )
            counts[path[: depth + 1]] = counts.get(path[: depth + 1], 0) + 1
    return {path: f"{count} array{'s' * (count != 1)} beside {name}, which was taken" for path, count in counts.items()}


def _is_linen(parts: Iterable[tuple[str, ...]]) -> bool:
    """Whether these are the variables of Linen: collections, of which `params` is one."""
    return any(len(rest) > 1 and rest[0] == _COLLECTIONS[0] for rest in parts)


def _of_collections(parts: Mapping[tuple[str, ...], tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """What the collections of Linen hold that are weights, behind their names.

    The statistics may lie one level further down, in what a train state keeps beside `params`: `model_state`.
    """
    stats = _COLLECTIONS[1]
    homes = {rest[0] for rest in parts.values() if len(rest) > 2 and rest[1] == stats}
    homes = {name for name in homes if not _is_of_training(name, 1) and "ema" not in name.lower()}
    if len(homes) > 1 or any(rest[0] == stats for rest in parts.values()):
        homes = set()
    behind = {path: rest[1:] for path, rest in parts.items() if rest[0] in _COLLECTIONS}
    return behind | {path: rest[2:] for path, rest in parts.items() if rest[0] in homes and rest[1:2] == (stats,)}


def _counts(paths: Sequence[tuple[str, ...]], prefix: tuple[str, ...]) -> dict[str, int | None]:
    """The entries of an entry, with the number of arrays in each; None for an array itself."""
    size = len(prefix)
    counts: dict[str, int | None] = {}
    for path in paths:
        if len(path) > size and path[:size] == prefix:
            name, rest = path[size], path[size + 1 :]
            # A variable of nnx is an array itself.
            counts[name] = (counts.get(name) or 0) + 1 if rest not in {(), ("value",)} else counts.get(name)
    return counts


def _inside(paths: Sequence[tuple[str, ...]], prefix: tuple[str, ...]) -> dict[str, set[str]]:
    """The names in each entry of an entry."""
    size = len(prefix)
    inside: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > size and path[:size] == prefix:
            inside.setdefault(path[size], set()).update(path[size + 1 : size + 2])
    return inside


def _listed(counts: Mapping[str, int | None]) -> str:
    rows = [brief(name) + (f" ({count} arrays)" if count else "") for name, count in list(counts.items())[:_SHOWN]]
    more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    return ", ".join(rows) + more or "nothing"
