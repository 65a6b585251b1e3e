"""Try a function at several shapes, so that what is fixed in it and what follows from its input come apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from einops_arch.discovery.solving.structure import NoPatternError, Structure

__all__ = ["MOST", "Probe", "Sample", "Sizes", "explore", "sample", "shrink"]

Sizes: TypeAlias = Mapping[str, int]
Probe: TypeAlias = Callable[[Sizes], Structure]

MOST = 400_000
"""No shape that is tried beside the given one has more elements than that."""
_LARGE = 4_000
_PRIMES = (3, 5, 7, 11, 13, 17, 19)


@dataclass(frozen=True)
class Sample:
    """What a function does at some sizes: a structure, or none and why."""

    sizes: Sizes
    structure: Structure | None
    failure: NoPatternError | None = None


def sample(probe: Probe, sizes: Sizes) -> Sample | None:
    """One sample; None where the function does not run at these sizes."""
    try:
        return Sample(sizes, probe(sizes))
    except NoPatternError as failure:
        return Sample(sizes, None, failure)
    except Exception:  # noqa: BLE001 the function is anybody's: a size that it refuses is no news
        return None


def explore(probe: Probe, base: Sizes) -> list[Sample]:
    """Samples at the given sizes, and at sizes that differ from them in one axis, two for each axis that can change.

    Raises:
        NoPatternError: there is no pattern at the given sizes.
    """
    samples = [Sample(base, probe(base))]
    known = samples[0].structure
    at: dict[str, int] = dict(base)

    def alike(drawn: Sample) -> bool:
        """Whether the same axes are there: of a window as large as the image, one is not."""
        return drawn.structure is not None and known is not None and drawn.structure.signature == known.signature

    for place, name in enumerate(base):
        chosen: list[Sample] = []
        for size in _other_sizes(at, name, _PRIMES[place % len(_PRIMES)]):
            if len(chosen) < 2 and (drawn := sample(probe, {**at, name: size})) is not None:
                chosen.append(drawn)
        # A part of the size more, for code that is right at its multiples only.
        if len(chosen) == 2 and all(drawn.sizes[name] % at[name] == 0 for drawn in chosen):
            parts = [part for part in (2, 3, 4, 5) if at[name] % part == 0]
            more = (sample(probe, {**at, name: at[name] + at[name] // part}) for part in parts)
            chosen += islice((drawn for drawn in more if drawn is not None), 1)
        # With -1 in it the code may run if the first axis makes up for a size that does not fit.
        if not chosen and place and (sizes := _made_up(at, name)) and (drawn := sample(probe, sizes)) is not None:
            chosen.append(drawn)
        samples += chosen
        if math.prod(at.values()) > _LARGE or at[name] == 1:
            if at[name] == 1:
                # What was not to be seen at that size is, from now on.
                known = next((drawn.structure for drawn in chosen if drawn.structure is not None), known)
            fine = [drawn.sizes[name] for drawn in chosen if alike(drawn) and drawn.sizes[name] > 1]
            at[name] = min([*fine, at[name]] if at[name] > 1 else fine, default=at[name])
    return samples


def shrink(runs: Callable[[Sizes], bool], base: Sizes) -> dict[str, int]:
    """Smaller sizes at which a function still runs, so that it can be tried often; small ones are left as they are.

    Args:
        runs: whether it runs at these sizes.
        base: the sizes that were asked about.
    """
    at = dict(base)
    for place, (name, size) in enumerate(base.items()):
        if math.prod(at.values()) <= _LARGE:
            break
        prime = _PRIMES[place % len(_PRIMES)]
        # What divides the size first: a window that fits the size may fit its parts.
        parts = [size // n for n in (16, 8, 4, 2) if size % n == 0 and size // n >= 4]
        for other in dict.fromkeys((*parts, prime, 2 * prime)):
            if 1 < other < size and runs({**at, name: other}):
                # As large as a window is too small: there would be one of them.
                twice = other in parts and 2 * other < size and not runs({**at, name: other - 1})
                at[name] = 2 * other if twice and runs({**at, name: 2 * other}) else other
                break
    return at


def _other_sizes(at: Sizes, name: str, prime: int) -> Iterator[int]:
    size, total = at[name], math.prod(at.values())
    sizes = [size + 1, 2 * size, 3 * size, size + 2]
    if total > _LARGE:
        # Small ones first: they are as telling, and take no time.
        sizes = [prime, prime + 2, *(size // n for n in (8, 4, 2) if size % n == 0), *sizes]
    # Squares, for code that takes a square root of its size.
    if (root := math.isqrt(size)) ** 2 == size and size > 1:
        sizes += [(root + 1) ** 2, (root + 2) ** 2]
    for other in dict.fromkeys(sizes):
        if other not in {size, 0} and total // size * other <= MOST:
            yield other


def _made_up(at: Sizes, name: str) -> dict[str, int] | None:
    first = next(iter(at))
    sizes = {**at, name: at[name] + 1}
    old, new = math.prod(at.values()), math.prod(sizes.values())
    sizes[first] *= old // math.gcd(old, new)
    return sizes if math.prod(sizes.values()) <= MOST else None
