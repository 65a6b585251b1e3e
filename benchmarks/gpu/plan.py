"""The parts in their order, what each says, and how much of the time it may take."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PARTS", "TOTAL", "Part"]

TOTAL = 480.0
"""Seconds for everything, the start of the processes included."""


@dataclass(frozen=True)
class Part:
    """One part.

    Args:
        name: the file in this folder that runs it.
        what: what it says, for people.
        seconds: what it may take, of `TOTAL`; what others leave over is added.
        x64: whether jax has float64 in it.
    """

    name: str
    what: str
    seconds: float
    x64: bool = False


PARTS = (
    Part("ports", "Weights from PyTorch's device to Flax's and back, bit for bit", 30, x64=True),
    Part(
        "parity",
        "Every network, PyTorch against Flax on the device: float64, float32, and what less costs",
        150,
        x64=True,
    ),
    Part("lowering", "What is compiled for the device: no form of a kernel that was made for a CPU", 30),
    Part("moves", "Moves of large tensors, as a ratio of a copy on the device", 60),
    Part("products", "Gram matrix and grouped convolutions, as a ratio of a large product", 30),
    Part("networks", "Networks beside the same networks without this package", 80),
    Part("translated", "A translated network beside its original, and beside Flax's own layers", 20),
    Part("tests", "Tests of cores, layers and twins on the device", 80, x64=True),
)
