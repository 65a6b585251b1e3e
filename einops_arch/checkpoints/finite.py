"""Count NaN and inf while tensors are read; a port carries them bit for bit, and says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einops_arch.checkpoints.disk.blocks import blocks
from einops_arch.checkpoints.reader import Reader, Span, Wrapper
from einops_arch.checkpoints.tensors import FLOATS, Bits, carrier, numpy_dtype

__all__ = ["Watched", "count_not_finite"]

_EXPONENTS = {"float64": 0x7FF << 52, "float32": 0xFF << 23, "float16": 0x1F << 10, "bfloat16": 0xFF << 7}
"""The bits of infinity; what is larger without its sign is NaN. Read as integers, as numpy is fast at."""


def count_not_finite(block: Bits, dtype: str) -> tuple[int, int]:
    """How many numbers of a block of bytes are NaN, and how many infinite.

    >>> count_not_finite(np.array([1, np.nan, -np.inf, np.inf], np.float32).view(np.uint8), "float32")
    (1, 2)
    """
    if dtype not in FLOATS:
        return 0, 0
    bits = block.reshape(-1).view(carrier(dtype))
    if (infinite := _EXPONENTS.get(dtype)) is None:
        numbers = bits.view(numpy_dtype(dtype)).astype(np.float32)
        return int(np.count_nonzero(np.isnan(numbers))), int(np.count_nonzero(np.isinf(numbers)))
    # The largest number, positive or negative, says it at once where nothing is wrong.
    magnitudes = bits & bits.dtype.type((1 << (8 * bits.itemsize - 1)) - 1)
    if not magnitudes.size or magnitudes.max() < infinite:
        return 0, 0
    return int(np.count_nonzero(magnitudes > infinite)), int(np.count_nonzero(magnitudes == infinite))


class Watched(Wrapper):
    """A reader that counts NaN and inf in what passes through it.

    Args:
        inner: the reader.
    """

    def __init__(self, inner: Reader) -> None:
        super().__init__(inner)
        self._counts: dict[str, tuple[int, int]] = {}

    def bits(self, name: str) -> Bits:
        bits = self.inner.bits(name)
        if self.tensors[name].dtype in FLOATS:
            for _ in self._counting(name, blocks(bits)):
                pass
        return bits

    def blocks(self, name: str) -> Iterator[Bits]:
        return self._counting(name, self.inner.blocks(name))

    def span(self, name: str) -> Span | None:
        return self.inner.span(name)

    def not_finite(self) -> dict[str, tuple[int, int]]:
        """NaN and inf by tensor, where there are any; what went from file to file unseen is read for it."""
        for name, info in self.tensors.items():
            if name not in self._counts and info.dtype in FLOATS:
                for _ in self.blocks(name):
                    pass
        # In the order of the tensors, whatever the order in which they were read.
        return {name: self._counts[name] for name in self.tensors if any(self._counts.get(name, ()))}

    def _counting(self, name: str, passing: Iterator[Bits]) -> Iterator[Bits]:
        nan = inf = 0
        for block in passing:
            counts = count_not_finite(block, self.tensors[name].dtype)
            nan, inf = nan + counts[0], inf + counts[1]
            yield block
        self._counts[name] = nan, inf
