"""Wrong-but-close models: a comparison that nothing fails proves nothing, so each fault is put in and must be found.

`mutate` yields copies of a Flax model with one fault each; `catch_mutants` compares every one of them with the PyTorch
model and tells what caught it, and where.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch._text import printable
from einops_arch.parity.report.report import Report

__all__ = ["Catch", "Catches", "Fault", "Mutant", "catch_mutants", "mutate"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A mistake that is made in ports.

    Args:
        name: in a few words.
        apply: puts it into a module; returns the settings before and after in words, or None where it does not apply.
        mode: of the comparison that can see it.
    """

    name: str
    apply: Callable[[Any], str | None]
    mode: str = "eval"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A copy of a model with one fault.

    Args:
        fault: the name of the fault.
        path: the module that has it.
        detail: what was changed.
        mode: `"eval"` or `"train"`: the comparison that can see it.
        model: the copy.
    """

    fault: str
    path: str
    detail: str
    mode: str
    model: Any


def mutate(flax_model: Any, *, every: bool = False, faults: Sequence[Fault] | None = None) -> Iterator[Mutant]:
    """Copies of a model, each with one wrong-but-close fault; the model itself stays as it is.

    Args:
        flax_model: an NNX model.
        every: put each fault into each module that it applies to; otherwise into the first alone.
        faults: other faults than `FAULTS`.

    >>> from flax import nnx
    >>> from einops_arch.flax import LayerNorm
    >>> [(one.fault, one.detail) for one in mutate(LayerNorm(4, rngs=nnx.Rngs(0)))][0]
    ('eps', 'epsilon=1e-6 for 1e-5')
    """
    from einops_arch.flax.state import named_modules

    paths = [path for path, _ in named_modules(flax_model)]
    for fault in FAULTS if faults is None else faults:
        for path in paths:
            model = _copy(flax_model)
            detail = fault.apply(dict(named_modules(model))[path])
            if detail is not None:
                yield Mutant(fault.name, path, detail, fault.mode, model)
                if not every:
                    break


@dataclasses.dataclass(frozen=True)
class Catch:
    """What became of a mutant: what caught it, where, by how much, and the cause that was named."""

    fault: str
    path: str
    detail: str
    caught_by: str
    located: str
    difference: float | None
    cause: str

    @property
    def caught(self) -> bool:
        """The comparison failed."""
        return bool(self.caught_by)

    @property
    def is_located(self) -> bool:
        """It was located: at the module itself, in something of its, or in what it is part of without other parts."""
        return self.caught and (self.located == self.path or self.located.startswith(f"{self.path}."))


@dataclasses.dataclass(frozen=True)
class Catches:
    """The mutants of one model."""

    catches: tuple[Catch, ...]

    @property
    def all_caught(self) -> bool:
        """None got away, and each was located."""
        return all(catch.is_located for catch in self.catches)

    def __str__(self) -> str:
        lines = [("fault", "in", "change", "caught by", "at", "float64")]
        for catch in self.catches:
            gap = "" if catch.difference is None else f"{catch.difference:.1e}"
            caught = catch.caught_by or "NOTHING"
            path, located = (printable(place, "") or "(network)" for place in (catch.path, catch.located))
            lines.append((catch.fault, path, printable(catch.detail, ""), caught, located, gap))
        widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def catch_mutants(
    torch_model: Any,
    flax_model: Any,
    inputs: Any,
    *,
    every: bool = False,
    faults: Sequence[Fault] | None = None,
    single: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    **keywords: Any,
) -> Catches:
    """Compare every mutant of a Flax model with the PyTorch model that it should be equal to.

    Args:
        torch_model: the original.
        flax_model: its port, which should pass.
        inputs: as `compare` takes them.
        every: put each fault into each module that it applies to.
        faults: other faults than `FAULTS`.
        single: compare in the models' own dtype too, not in float64 alone.
        progress: told which fault is being looked for.
        **keywords: for `compare`.
    """
    from einops_arch.parity.compare import compare
    from einops_arch.parity.runs.flax_run import precise

    keywords = {"causes": False, "jit": False} | keywords
    if not single:
        torch_model, flax_model = _wide(torch_model, flax_model)
    catches = []
    with precise(double=not single):
        mutants = list(mutate(flax_model, every=every, faults=faults))
    for mutant in mutants:
        progress(f"{mutant.fault} at {mutant.path or 'the network'}")
        steps = {"mode": "train", "steps": 2} if mutant.mode == "train" else {}
        report = compare(torch_model, mutant.model, inputs, **(keywords | steps))
        catches.append(_catch(mutant, report))
    return Catches(tuple(catches))


def _catch(mutant: Mutant, report: Report) -> Catch:
    first = report.first_divergence
    if first is None:
        return Catch(mutant.fault, mutant.path, mutant.detail, "", "", None, "")
    section = next(name for name, rows in report.sections.items() if any(row is first for row in rows))
    located = first.path
    if section in ("statistics", "gradients"):
        located = first.path.rpartition(".")[0]
    by = f"{report.mode}: {section}"
    return Catch(mutant.fault, mutant.path, mutant.detail, by, located, first.difference, report.cause)


def _wide(torch_model: Any, flax_model: Any) -> tuple[Any, Any]:
    """Copies in float64."""
    import copy

    from einops_arch.parity.runs.flax_run import FlaxSide

    return copy.deepcopy(torch_model).double(), FlaxSide(flax_model, training=False).widened()


def _copy(model: Any) -> Any:
    import jax
    from flax import nnx

    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))


def _named(module: Any, *names: str) -> bool:
    return any(base.__name__ in names for base in type(module).__mro__)


def _set(module: Any, name: str, value: Any) -> str:
    from einops_arch.parity.causes.case import number

    before = getattr(module, name)
    setattr(module, name, value)
    return f"{name}={number(value)} for {number(before)}"


def _eps(module: Any) -> str | None:
    epsilon = getattr(module, "epsilon", None)
    if not isinstance(epsilon, float):
        return None
    return _set(module, "epsilon", 1e-5 if epsilon == 1e-6 else 1e-6)


def _gelu(module: Any) -> str | None:
    if not _named(module, "GELU") or not hasattr(module, "approximate"):
        return None
    return _set(module, "approximate", not module.approximate)


def _padding(module: Any) -> str | None:
    """Uneven, as SAME may be: one less before, one more after, and the same shapes."""
    padding = getattr(module, "padding", None)
    if not _named(module, "Conv") or not isinstance(padding, tuple) or not any(low for low, _ in padding):
        return None
    return _set(module, "padding", tuple((max(low - 1, 0), high + min(low, 1)) for low, high in padding))


def _padding_mode(module: Any) -> str | None:
    if getattr(module, "padding_mode", None) != "zeros" or not any(map(any, getattr(module, "padding_widths", ()))):
        return None
    return _set(module, "padding_mode", "replicate")


def _kernel(change: Callable[[Any], Any], words: str, module: Any) -> str | None:
    kernel = getattr(module, "kernel", None)
    if not _named(module, "Conv", "ConvTranspose") or kernel is None or max(kernel.shape[:-2]) == 1:
        return None
    changed = change(np.asarray(kernel[...]))
    if changed.shape != kernel.shape or np.array_equal(changed, np.asarray(kernel[...])):
        return None
    return _put(module, "kernel", changed, words)


def _flip(kernel: Any) -> Any:
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


def _swap(kernel: Any) -> Any:
    return np.swapaxes(kernel, 0, 1) if kernel.ndim == 4 else kernel


def _put(module: Any, name: str, value: Any, words: str) -> str:
    import jax.numpy as jnp

    leaf = getattr(module, name)
    leaf.set_value(jnp.asarray(value, leaf.dtype))
    return f"{name} {words}"


def _gates(module: Any) -> str | None:
    if not _named(module, "LSTM", "GRU"):
        return None
    count = 4 if _named(module, "LSTM") else 3
    order = (0, 2, 1, 3) if count == 4 else (1, 0, 2)
    for name in [name for name in vars(module) if name.startswith(("weight_", "bias_"))]:
        parts = np.split(np.asarray(getattr(module, name)[...]), count, axis=-1)
        _put(module, name, np.concatenate([parts[n] for n in order], axis=-1), "")
    return "gates i g f o for i f g o" if count == 4 else "gates z r n for r z n"


def _lost_bias(module: Any) -> str | None:
    name = next((name for name in vars(module) if name.startswith("bias_hh")), None)
    return None if name is None else _put(module, name, 0 * np.asarray(getattr(module, name)[...]), "is zero")


def _order(module: Any) -> str | None:
    # With the channel dropped there is one, and both orders are the same function.
    if not hasattr(module, "order") or getattr(module, "drop_channel", False):
        return None
    return _set(module, "order", "DCR" if module.order == "CRD" else "CRD")


def _groups(module: Any) -> str | None:
    if not _named(module, "ChannelShuffle", "ChannelUnshuffle"):
        return None
    return _set(module, "groups", 1)


def _heads(module: Any) -> str | None:
    """Heads after their features, as `(k heads)`: the columns of a fused projection in the other order."""
    heads = getattr(module, "heads", getattr(module, "num_heads", None))
    if not isinstance(heads, int) or heads < 2 or _named(module, "SplitHeads", "MergeHeads"):
        return None
    from einops import rearrange

    for inner in vars(module).values():
        kernel = getattr(inner, "kernel", None)
        if kernel is not None and getattr(kernel, "ndim", 0) == 2 and kernel.shape[-1] % heads == 0:
            value = np.asarray(kernel[...])
            return _put(inner, "kernel", rearrange(value, "i (h k) -> i (k h)", h=heads), "as (k heads) for (heads k)")
    return None


def _count_pad(module: Any) -> str | None:
    if not isinstance(getattr(module, "count_include_pad", None), bool) or not any(getattr(module, "padding", (0,))):
        return None
    return _set(module, "count_include_pad", not module.count_include_pad)


def _flatten(module: Any) -> str | None:
    if not _named(module, "FlattenFeatures") or getattr(module, "data_format", "") != "channels_last":
        return None
    module.__class__ = type("FlattenFeatures", (type(module),), {"__call__": lambda _, x: x.reshape(len(x), -1)})
    return "b ... c -> b (... c) for b (c ...)"


def _bias(module: Any) -> str | None:
    bias = getattr(module, "bias", None)
    if not _named(module, "Linear", "Conv") or bias is None:
        return None
    return _put(module, "bias", 0 * np.asarray(bias[...]), "is zero")


def _momentum(module: Any) -> str | None:
    momentum = getattr(module, "momentum", None)
    return _set(module, "momentum", 1 - momentum) if _named(module, "BatchNorm") and momentum is not None else None


def _biased(module: Any) -> str | None:
    if not _named(module, "BatchNorm") or getattr(module, "num_batches_tracked", None) is None:
        return None
    call = type(module).__call__

    def biased(self: Any, x: Any, use_running_average: bool | None = None) -> Any:
        before = self.var[...]
        y = call(self, x, use_running_average)
        if not (self.use_running_average if use_running_average is None else use_running_average):
            weight = 1 / self.num_batches_tracked[...] if self.momentum is None else self.momentum
            values, kept = x.size // x.shape[-1], (1 - weight) * before
            self.var[...] = kept + (self.var[...] - kept) * ((values - 1) / values)
        return y

    module.__class__ = type("BatchNorm", (type(module),), {"__call__": biased})
    return "running_var divided by n for n - 1"


FAULTS: tuple[Fault, ...] = (
    Fault("eps", _eps),
    Fault("form of GELU", _gelu),
    Fault("padding moved", _padding),
    Fault("padding mode", _padding_mode),
    Fault("kernel flipped", functools.partial(_kernel, _flip, "flipped")),
    Fault("h and w exchanged", functools.partial(_kernel, _swap, "with h and w exchanged")),
    Fault("bias lost", _bias),
    Fault("order of gates", _gates),
    Fault("one of two biases", _lost_bias),
    Fault("order of depth-to-space", _order),
    Fault("groups of the shuffle", _groups),
    Fault("order of heads", _heads),
    Fault("padding counted", _count_pad),
    Fault("order of flatten", _flatten),
    Fault("momentum", _momentum, "train"),
    Fault("biased variance", _biased, "train"),
)
