"""Checks of the settings with which a text is continued."""

from __future__ import annotations

import math

from einops_arch.architectures._tokens import is_whole
from einops_arch.errors import ConfigError

__all__ = ["check_generation"]


def check_generation(vocabulary: int, steps: object, temperature: object, top_k: object, top_p: object = None) -> None:
    """Raise one clear error if text cannot be generated with these settings.

    Args:
        vocabulary: number of words.
        steps: number of words to add.
        temperature: 0 for the likeliest word, or what the logits are divided by.
        top_k: how many likeliest words to draw from, or None.
        top_p: the probability that the likeliest words to draw from have together, or None.

    Raises:
        ConfigError: a setting is out of range.

    >>> check_generation(17, 5, 1.0, None, 1.5)
    Traceback (most recent call last):
    einops_arch.errors.ConfigError: generate: expected top_p to be None or a number in (0, 1], received 1.5
    """

    def require(name: str, expected: str, received: object, *, holds: bool) -> None:
        if not holds:
            raise ConfigError(f"generate: expected {name} to be {expected}, received {received!r}")

    require("steps", "a positive integer", steps, holds=is_whole(steps) and steps > 0)
    holds = isinstance(temperature, int | float) and not isinstance(temperature, bool) and 0 <= temperature < math.inf
    require("temperature", "a number of at least 0", temperature, holds=holds)
    holds = top_k is None or (is_whole(top_k) and 0 < top_k <= vocabulary)
    require("top_k", f"None or an integer from 1 to {vocabulary}", top_k, holds=holds)
    holds = top_p is None or (isinstance(top_p, int | float) and not isinstance(top_p, bool) and 0 < top_p <= 1)
    require("top_p", "None or a number in (0, 1]", top_p, holds=holds)
