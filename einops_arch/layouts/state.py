"""A state, held against what a model expects: names, shapes, kinds of numbers, ties, and what follows from others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from einops_arch._log import LOG
from einops_arch._text import counted
from einops_arch.errors import PortError, nearest
from einops_arch.layouts.arrays import dtype_kind, no_values, same_bits, to_numpy

__all__ = [
    "Described",
    "Expected",
    "Held",
    "common_cause",
    "computed_causes",
    "hold_state",
    "is_counter",
    "problems_error",
    "state_arrays",
]

Expected: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]
"""Names, with the shape and the kind of number that each must have."""

_COUNTER, _EXTRA = "num_batches_tracked", "_extra_state"
_COMPUTED = re.compile(r"_[guv]$|_orig$|(^|\.)parametrizations\.")
_ADAPTER = re.compile(r"(^|\.)lora[_.]")
_FLAX_LEAVES = {"kernel", "scale", "embedding", "mean", "var", "bias"}
"""What Flax calls the leaves of its layers."""
_COMPARED = 10_000
"""Pairs of names that are compared to say which one was meant: a file may have any number of them."""
_PARTS = 6
"""Parts of a name that a wrapper may have put before it."""
_HEADS = 4
"""Different ones that may stand before all names, as `features.` and `classifier.`."""
_PAIRS = 64
"""Words that are tried in the place of one."""


def state_arrays(state: Mapping[str, Any]) -> tuple[dict[str, np.ndarray[Any, Any]], list[str]]:
    """The arrays of a state, and a problem for each value that is none.

    >>> arrays, problems = state_arrays({"weight": np.ones(2), "_extra_state": {"scale": 3}})
    >>> list(arrays), [problem.partition(":")[0] for problem in problems]
    (['weight'], ['_extra_state'])
    """
    arrays, problems = {}, []
    for name, value in state.items():
        extra = name.rpartition(".")[2] == _EXTRA
        if lazy := no_values(value):
            problems.append(f"{name}: {lazy}")
            continue
        if hasattr(value, "shape") and not extra:
            arrays[name] = to_numpy(value)
            continue
        if not extra and isinstance(value, int | float | complex | list | np.generic):
            arrays[name] = np.asarray(value)
            continue
        reason = (
            ": what a PyTorch module keeps besides its tensors (get_extra_state) has no place in a port; likely fix: "
            "leave it out of the state"
            if extra
            else ""
        )
        problems.append(f"{name}: expected an array, received a {type(value).__name__}{reason}")
    return arrays, problems


class Described(Protocol):
    """An array, or what can be said of one without reading it."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


@dataclass(frozen=True)
class Held:
    """A state that was held against what a model expects.

    Args:
        expected: the names of the model, with the shape and the kind of number that each must have.
        sources: for each name of the model that has a value, the name in the state that holds it.
        counters: counters of batches that the state lacks, as files have that are older than them; they are 0.
        missing: names of the model that nothing fills.
        unexpected: names of the state that are not in the model.
        problems: what is wrong with the others, each a line.
        shapes: those of the unexpected names.
    """

    expected: Expected
    sources: Mapping[str, str]
    counters: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    problems: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def check(self, what: str, more: Sequence[str] = ()) -> None:
        """Raise one error with every problem, a line each; one line for all names that have one cause.

        Args:
            what: what was going to happen.
            more: further problems.

        Raises:
            PortError: there is one.
        """
        if self.missing or self.unexpected or self.problems or more:
            names = [*self._missing_lines(), *self._unexpected_lines()]
            cause = common_cause(self.unexpected, self.missing, self._known, self._alike)
            raise problems_error(what, [*(cause if cause is not None else names), *more, *self.problems])

    def complete(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """The state with every name that follows from others: those of tied arrays, and counters."""
        tied = {name: arrays[source] for name, source in self.sources.items()}
        self.tell()
        return {**arrays, **tied, **{name: np.zeros((), np.int64) for name in self.counters}}

    def tell(self) -> None:
        """Say in the log `einops_arch` which counters are 0 because the state lacks them."""
        if self.counters:
            names = ", ".join(self.counters)
            count = counted(len(self.counters), "counter")
            LOG.warning("%s of batches, 0 for want of one in the state: %s", count, names)

    def _alike(self, name: str, other: str) -> bool:
        return self.shapes.get(name) == self.expected[other][0]

    @property
    def _known(self) -> int:
        """How many names of the state are in the model."""
        return len(set(self.sources.values()))

    def _missing_lines(self) -> list[str]:
        return [f"{name}: missing, expected shape {self.expected[name][0]}" for name in self.missing]

    def _unexpected_lines(self) -> list[str]:
        lines: list[str] = []
        of_shape: dict[tuple[int, ...] | None, list[str]] = defaultdict(list)
        for name in self.missing:
            of_shape[self.expected[name][0]].append(name)
        left = _COMPARED
        for name in self.unexpected:
            # Another name of the same tensor has its shape.
            alike = of_shape.get(self.shapes.get(name), [])
            left -= len(alike)
            near = nearest(name, alike) if left >= 0 else []
            lines.append(f"{name}: not in the model" + (f"; did you mean {near[0]}?" if near else ""))
        return lines


def hold_state(
    expected: Expected,
    state: Mapping[str, Described],
    tied: Sequence[Sequence[str]] = (),
    *,
    optional: Collection[str] = (),
    same: Callable[[str, str], bool] | None = None,
) -> Held:
    """Hold a state against what a model expects.

    Args:
        expected: the names, with the shape and the kind of number that each must have.
        state: the arrays, or what is known of them without reading.
        tied: groups of names that are one array in the model; the state may have any of them, or several alike.
        optional: names that nothing is made of, and that cannot be missed.
        same: whether two names of the state hold the same values, asked only where all else fits; if left out, `state`
            holds the arrays themselves.

    >>> expected = {"bn.running_mean": ((2,), "floating-point"), "bn.num_batches_tracked": ((), "integer")}
    >>> held = hold_state(expected, {"bn.running_mean": np.zeros(2), "bn.bias": np.zeros(2)})
    >>> held.counters, held.missing, held.unexpected
    (('bn.num_batches_tracked',), (), ('bn.bias',))
    """
    groups = {name: group for group in tied for name in group}
    sources = {
        name: source
        for name in expected
        for source in [name if name in state else next((o for o in groups.get(name, ()) if o in state), None)]
        if source is not None
    }
    counters = tuple(name for name in expected if _is_old_counter(name, sources) and name not in optional)
    unasked = {*counters, *optional}
    missing = tuple(name for name in expected if name not in sources and name not in unasked)
    unexpected = tuple(name for name in state if name not in expected)
    problems = [line for name, spec in expected.items() if name in state for line in _misfits(name, state[name], spec)]
    if same is None or not (missing or unexpected or problems):
        arrays: Any = state
        alike = same or (lambda first, other: same_bits(arrays[first], arrays[other]))
        for group in tied:
            present = [name for name in group if name in state]
            problems += [
                f"{name}: expected the same values as {present[0]}, which the model ties to it"
                for name in present[1:]
                if not alike(present[0], name)
            ]
    shapes = {name: tuple(state[name].shape) for name in unexpected}
    return Held(expected, sources, counters, missing, unexpected, tuple(problems), shapes)


def problems_error(what: str, problems: Sequence[str]) -> PortError:
    """One error with every problem, a line each.

    >>> print(problems_error("load into Model", ["fc.bias: missing", "fc.bais: not in the model"]))
    load into Model: 2 problems, nothing was changed
      fc.bias: missing
      fc.bais: not in the model
    """
    return PortError(f"{what}: {counted(len(problems), 'problem')}, nothing was changed", *problems)


def common_cause(
    unexpected: Sequence[str], missing: Sequence[str], known: int, alike: Callable[[str, str], bool] | None = None
) -> list[str] | None:
    r"""One line in the place of many, where all names differ in one way; None where they do not.

    Args:
        unexpected: names of the state that are not in the model.
        missing: names of the model that the state has not.
        known: how many names of the state are in the model.
        alike: whether a name of the state and one of the model have the same shape; any two have, if left out.

    >>> print(*common_cause(["module.fc.weight", "module.fc.bias"], ["fc.weight", "fc.bias"], 0))
    all 2 names begin with 'module.'; likely fix: rename=[('^module\\.', '')] (--rename '^module\.=')
    >>> print(*common_cause(["fc.gamma", "bn.gamma"], ["fc.weight", "bn.weight"], 2))
    2 names have 'gamma' for 'weight'; likely fix: rename=[('\\bgamma\\b', 'weight')] (--rename '\bgamma\b=weight')
    """
    if unexpected and (lines := computed_causes(unexpected)) and len(lines[1]) == len(unexpected):
        return lines[0]
    if (flax := _flax_cause(unexpected, missing)) is not None:
        return flax
    if len(unexpected) < 2 or not missing:
        return None
    prefixed = None if known else _prefixed(unexpected, missing)
    return prefixed or _replaced(unexpected, missing, alike or (lambda *_: True))


def _flax_cause(unexpected: Sequence[str], missing: Sequence[str]) -> list[str] | None:
    """What to do with a state of Flax, whose `kernel` is no `weight` by another name: its axes lie otherwise.

    >>> print(*_flax_cause(["fc.kernel"], ["fc.weight"]))  # doctest: +ELLIPSIS
    1 name of Flax, such as fc.kernel, expected PyTorch's names and layout; likely fix: einops_arch.checkpoints.load...
    >>> _flax_cause(["fc.kernel", "norm.weight"], ["fc.weight"]) is None
    True
    """
    kernels = [
        name
        for name in unexpected
        if name.rpartition(".")[2] == "kernel" and f"{name.removesuffix('kernel')}weight" in missing
    ]
    if not kernels or any(name.rpartition(".")[2] not in _FLAX_LEAVES for name in unexpected):
        return None
    line = (
        f"{counted(len(unexpected), 'name')} of Flax, such as {kernels[0]}, expected PyTorch's names and layout; "
        "likely fix: einops_arch.checkpoints.load(FILE, model), which takes a file of either framework"
    )
    return [line]


def computed_causes(names: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """What a file is that has products of an adapter or parts of computed weights, and the names of these.

    >>> lines, names = computed_causes(["fc.weight", "fc.lora_A.weight"])
    >>> lines[0].partition(",")[0], names
    ('1 name of a LoRA adapter', ['fc.lora_A.weight'])
    """
    if adapters := [name for name in names if _ADAPTER.search(name)]:
        line = (
            f"{counted(len(adapters), 'name')} of a LoRA adapter, such as {adapters[0]}; likely fix: merge it into the "
            "weights that it belongs to first, by port_checkpoint(..., merge_lora=) (einops-arch port --merge-lora)"
        )
        return [line], adapters
    computed = [name for name in names if _COMPUTED.search(name)]
    if len(computed) > 1:
        line = (
            f"{len(computed)} names such as {computed[0]} are parts of weights that PyTorch computes; likely fix: "
            "write plain weights first, by port_checkpoint(..., fold=True) (einops-arch port --fold)"
        )
        return [line], computed
    return None


def _prefixed(unexpected: Sequence[str], missing: Sequence[str]) -> list[str] | None:
    """All names of one side have a prefix that those of the other have not."""
    for names, others, removes in ((unexpected, missing, True), (missing, unexpected, False)):
        prefixes = [""]
        for _ in range(_PARTS):
            if not all("." in name for name in names):
                break
            heads = list(dict.fromkeys(name.partition(".")[0] for name in names))
            if len(heads) > 1 and (not removes or len(prefixes) > 1 or len(heads) > _HEADS):
                break
            whole = f"{heads[0]}." if len(heads) == 1 else ""
            prefixes.append(whole)
            names = [name.partition(".")[2] for name in names]  # noqa: PLW2901 - one part less each time
            same = set(names) & set(others)
            if not whole and (len(same) < len(others) or len(set(names)) < len(names)):
                break
            if len(same) < len(names) / 2:
                continue
            return _line_of_prefix(names, others, "".join(prefixes), heads, removes=removes)
    return None


def _line_of_prefix(
    names: Sequence[str], others: Sequence[str], prefix: str, heads: Sequence[str], *, removes: bool
) -> list[str]:
    pattern = re.escape(prefix) if prefix else f"({'|'.join(map(re.escape, heads))})\\."
    rule = (f"^{pattern}", "") if removes else ("^", prefix)
    whose = "names" if removes else "names of the model"
    shown = repr(prefix) if prefix else " or ".join(repr(f"{head}.") for head in heads)
    fix = f"likely fix: rename=[{rule}] (--rename '{rule[0]}={rule[1]}')"
    rest = sorted(set(names) ^ set(others))
    return [
        f"all {len(names)} {whose} begin with {shown}; {fix}",
        *(f"{name}: in neither, without {shown}" for name in rest),
    ]


def _replaced(unexpected: Sequence[str], missing: Sequence[str], alike: Callable[[str, str], bool]) -> list[str] | None:
    """One part of a name is another word in the model, everywhere."""
    first, wanted = unexpected[0].split("."), set(missing)
    pairs: dict[tuple[str, str], None] = {}
    for parts in (other.split(".") for other in missing):
        differ = {pair for pair in zip(first, parts, strict=False) if pair[0] != pair[1]}
        if len(parts) == len(first) and len(differ) == 1 and not any(part.isdecimal() for part in next(iter(differ))):
            pairs.update(dict.fromkeys(differ))
    for old, new in list(pairs)[:_PAIRS]:
        renamed = {name: ".".join(new if part == old else part for part in name.split(".")) for name in unexpected}
        targets = set(renamed.values())
        if targets <= wanted and len(targets) == len(renamed) and all(alike(*pair) for pair in renamed.items()):
            rule = (rf"\b{re.escape(old)}\b", new)
            fix = f"likely fix: rename=[{rule}] (--rename '{rule[0]}={rule[1]}')"
            lines = [f"{len(renamed)} names have {old!r} for {new!r}; {fix}"]
            return [*lines, *(f"{name}: missing" for name in missing if name not in targets)]
    return None


def is_counter(name: str) -> bool:
    """Whether a name is that of a counter of batches, which files have not that are older than it.

    >>> is_counter("bn.num_batches_tracked"), is_counter("bn.running_mean")
    (True, False)
    """
    return name.rpartition(".")[2] == _COUNTER


def _is_old_counter(name: str, sources: Mapping[str, str]) -> bool:
    """Whether a counter is missing beside a mean that is there; PyTorch fills in 0, too."""
    owner, _, leaf = name.rpartition(".")
    return leaf == _COUNTER and name not in sources and f"{owner}{'.' if owner else ''}running_mean" in sources


def _misfits(name: str, received: Described, spec: tuple[tuple[int, ...], str]) -> Iterator[str]:
    shape, kind = spec
    if received.shape != shape:
        permuted = sorted(received.shape) == sorted(shape)
        hint = "; the axes are permuted: a state is in PyTorch's layout" if permuted else ""
        yield f"{name}: expected shape {shape}, received {received.shape}{hint}"
    if dtype_kind(received.dtype) != kind:
        yield f"{name}: expected {kind} numbers, received {received.dtype}"
