"""From a model to the patterns of all its shape operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops_arch._frameworks import require
from einops_arch._text import printable
from einops_arch.discovery.solving.chains import Chain, resolve
from einops_arch.errors import DiscoveryError

__all__ = ["ModelReport", "discover_model"]


@dataclass(frozen=True)
class ModelReport:
    """The chains of a model.

    Args:
        chains: in the order of running; a layer that runs twelve times has its chains twelve times.
        backend: the framework of the model.
    """

    chains: tuple[Chain, ...]
    backend: str

    @property
    def counts(self) -> dict[str, int]:
        """Chains found, pure ones among them, those expressed by a pattern, those refused."""
        pure = [chain for chain in self.chains if chain.pure]
        return {
            "found": len(self.chains),
            "pure": len(pure),
            "pure expressed": sum(chain.discovery is not None for chain in pure),
            "expressed": sum(chain.discovery is not None for chain in self.chains),
            "refused": sum(chain.discovery is None for chain in self.chains),
        }

    def sites(self) -> list[tuple[Chain, int]]:
        """Each chain once for its place and pattern, with the number of times that it runs."""
        key = {id(chain): (chain.place, chain.operations, _said(chain)) for chain in self.chains}
        counted = Counter(key.values())
        first: dict[Any, Chain] = {}
        for chain in self.chains:
            first.setdefault(key[id(chain)], chain)
        return [(chain, counted[which]) for which, chain in first.items()]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "backend": self.backend,
            "counts": self.counts,
            "chains": [chain.to_dict() for chain in self.chains],
        }

    def __str__(self) -> str:
        lines = []
        for chain, times in self.sites():
            many = f" x{times}" if times > 1 else ""
            name = Path(chain.steps[0].file).name
            place = name + chain.place.removeprefix(chain.steps[0].file)
            lines += [f"{place}{many} {chain.module or '.'}: {chain.operations}", f"  {_said(chain)}"]
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return "\n".join(printable(line, "") for line in (*lines, f"chains: {counts}"))


def _said(chain: Chain) -> str:
    return chain.discovery.code if chain.discovery else f"no pattern: {chain.reason}"


def discover_model(module: Any, inputs: Any) -> ModelReport:
    """Run a model once and find the pattern of every chain of shape operations in it.

    Each pattern is held against numbered and random elements, and against what the model's own values became.

    Args:
        module: a `torch.nn.Module`, an NNX module, or a function of tensors or jax arrays.
        inputs: one array, a tuple of them for several, or a mapping for arguments by name.

    Returns:
        The chains, with file and line, pattern or reason.

    Raises:
        DiscoveryError: the inputs are arrays of neither framework.
    """
    keywords = dict(inputs) if isinstance(inputs, Mapping) else {}
    positional: Sequence[Any] = () if keywords else inputs if isinstance(inputs, tuple | list) else (inputs,)
    backend = _backend([module, *positional, *keywords.values()])
    if backend == "torch":
        from einops_arch.discovery.tracing.torch_chains import record
    else:
        from einops_arch.discovery.tracing.jax_chains import record
    cache: dict[Any, Any] = {}
    return ModelReport(
        tuple(chain for raw in record(module, positional, keywords) for chain in resolve(raw, cache, backend)), backend
    )


def _backend(values: Sequence[Any]) -> str:
    for value in values:
        for kind in type(value).__mro__:
            top = kind.__module__.partition(".")[0]
            if top == "torch":
                return "torch"
            if top in {"jax", "jaxlib", "flax"}:
                require("jax", "flax", extra="flax", by="discover_model")
                return "jax"
    raise DiscoveryError(
        f"discover_model: expected arrays of torch or jax, received {type(values[-1]).__name__}", kind="backend"
    )
