"""The account of a comparison: what was compared, and what was not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from einops_arch._text import counted

__all__ = ["NO_EVIDENCE", "Seen"]

NO_EVIDENCE = (
    "no output has numbers that change when the inputs change, so nothing is proved; likely fix: "
    "einops_arch.parity.randomize(torch_model) before the weights are carried, or other inputs"
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a verdict rests on.

    Args:
        outputs: how many arrays of the network's outputs were paired and compared.
        evidence: the names of those that have numbers and change when the inputs do.
        numbers: how many numbers of outputs were compared.
        modules: how many modules have values that were compared.
        calls: how many of their calls.
        buffers: how many buffers and statistics were compared.
        gradients: how many gradients were compared.
        trained: how many losses, parameters and buffers were compared after steps of an optimiser.
        not_seen: what could not be compared, with the reason; it speaks neither for the models nor against them.
    """

    outputs: int = 0
    evidence: tuple[str, ...] = ()
    numbers: int = 0
    modules: int = 0
    calls: int = 0
    buffers: int = 0
    gradients: int = 0
    trained: int = 0
    not_seen: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """In sentences."""
        changing = f"{len(self.evidence)} {'changes' if len(self.evidence) == 1 else 'change'} with the inputs"
        counts = [
            (self.outputs, "output", f" ({changing}; {counted(self.numbers, 'number')})"),
            (self.modules, "module", f" in {counted(self.calls, 'call')}"),
            (self.buffers, "buffer", ""),
            (self.gradients, "gradient", ""),
            (self.trained, "value", " after training"),
        ]
        shown = [f"{counted(count, word)}{more}" for count, word, more in counts if count or not more]
        yield "compared: " + (", ".join(count for count in shown if not count.startswith("0 ")) or "nothing")
        yield from (f"not seen: {reason}" for reason in self.not_seen)
