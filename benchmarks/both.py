"""Both frameworks in one process: our Flax networks under `jax.jit` beside our PyTorch twins."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.case import Bar, Case, Work
from benchmarks.jax_networks import compiled_call
from benchmarks.networks import NETWORKS, Network, inputs
from benchmarks.torch_networks import twin

__all__ = ["cases"]

_PEER = "torch twin, eager contiguous"


def cases(device: str) -> Iterator[Case]:
    """All rows."""
    for network in NETWORKS:
        if network.name in {"shufflenet", "resnet", "language_model"}:
            for batch in (1, 8):
                limit = {1: 1.1, 8: 1.3}[batch]
                bar = Bar(limit, (_PEER,)) if network.name == "shufflenet" else None
                size = f"{network.preset}, {'x'.join(map(str, network.sizes.values()))}"
                make = partial(_work, network, batch, device)
                setting = f"jit against eager, batch {batch}, forward"
                yield Case(network.name, "torch and jax", size, setting, make, bar)


def _work(network: Network, batch: int, device: str) -> Work:
    config = network.config()
    model = twin(config).to(device)
    tensors = [torch.from_numpy(x).to(device) for x in inputs(network, config, batch, channels_last=False)]
    ours, _ = compiled_call(network, config, batch)

    def theirs() -> Any:
        with torch.no_grad():
            return model(*tensors)

    return Work(ours, {_PEER: theirs}, _same_shape)


def _same_shape(ours: Any, theirs: Any) -> str | None:
    """The weights of the two were drawn apart; parity is what shows that the twins compute the same."""
    other = theirs[0] if isinstance(theirs, tuple) else theirs
    received, expected = np.shape(ours[0]), tuple(other.shape)
    return None if received == expected else f"the results have shapes {received} and {expected}"
