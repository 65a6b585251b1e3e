"""Which network a checkpoint without a word about itself belongs to: by the names and shapes of its tensors."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.errors import EinopsArchError
from einops_arch.layouts.state import is_counter
from einops_arch.port.bounds import COUNTS
from einops_arch.port.unwrap import candidates, fits, taken_off

__all__ = ["Fit", "find_fits", "nearest"]

Shapes = Mapping[str, tuple[int, ...]]
_ALIKE = 0.5
"""The share of kinds of names that a network must have to be looked at."""
_LARGEST = 1 << 22
"""Classes or tokens that a network may have here."""
_TRIES = 24
"""Configs that are tried beside a published one, at each step."""
_BUILDS = 96
"""Networks that are built for all of them."""
_OFTEN = 512
"""Networks whose names and shapes are kept, once built."""


@dataclass(frozen=True)
class Fit:
    """A network whose tensors have the names and shapes of a checkpoint.

    Args:
        architecture: its name.
        preset: the name of its size.
        config: the size, with the fields that the shapes tell otherwise.
        fields: these fields.
        wrapper: what had to be taken off the names first, in words; empty if nothing had.
    """

    architecture: str
    preset: str
    config: Config
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    wrapper: str = ""

    def __str__(self) -> str:
        more = "".join(f", {name}={value}" for name, value in self.fields.items())
        return f"{self.architecture} --preset {self.preset}{more}"


def find_fits(shapes: Shapes, framework: str = "torch", *, only: str | None = None) -> list[Fit]:
    """The published sizes that fit, or else those with other numbers of classes, channels or tokens.

    Args:
        shapes: the shape of each tensor by its name.
        framework: whose names they are.
        only: the architecture, if it is known.
    """
    matches: list[Fit] = []
    wrapper = ""
    for names, prefix in _unwrapped(shapes):
        for name, preset in _alike(names, framework, only):
            expected = _expected(name, preset, framework)
            if fits(names, *expected):
                matches.append(Fit(name, preset, architectures.get(name).config.preset(preset)))
        if not matches:
            left = itertools.repeat(None, _BUILDS)
            pairs = _alike(names, framework, only)
            matches = [fit for pair in pairs for fit in _adjusted(names, *pair, framework, left)]
        if matches:
            wrapper = prefix
            break
    return [dataclasses.replace(fit, wrapper=wrapper) for fit in {fit.config: fit for fit in matches}.values()]


def nearest(shapes: Shapes, framework: str = "torch", *, only: str | None = None, most: int = 3) -> list[str]:
    """The published sizes that have the most names and shapes of a checkpoint, each with what differs first."""
    rows = []
    for names, _ in _unwrapped(shapes):
        for name, preset in _alike(names, framework, only):
            expected, _ = _expected(name, preset, framework)
            same = sum(expected.get(key) == shape for key, shape in names.items())
            rows.append((same / max(len(expected), len(names)), f"{name} --preset {preset}", names, expected, same))
        if rows:
            break
    rows.sort(key=lambda row: -row[0])
    return [
        f"{what}: {same} of {len(expected)} names and shapes; {_difference(names, expected)}"
        for _, what, names, expected, same in rows[:most]
        if same
    ]


def _unwrapped(shapes: Shapes) -> Iterator[tuple[Shapes, str]]:
    """Names and shapes as they are, then without a wrapper's prefix, with that in words."""
    yield shapes, ""
    for new in candidates(shapes):
        yield {new[name]: shape for name, shape in shapes.items() if name in new}, taken_off(new)


def _alike(shapes: Shapes, framework: str, only: str | None) -> list[tuple[str, str]]:
    """Every size of the networks that have names of the same kinds."""
    kinds = _kinds(shapes)
    pairs: list[tuple[str, str]] = []
    for name in architectures.names():
        if only is not None and name != only:
            continue
        # A network of another size has other numbers in its names; one that shares no more than that is another.
        own = _kinds(_expected(name, "tiny", framework)[0])
        if len(own & kinds) >= max(1, _ALIKE * len(kinds), _ALIKE * len(own)):
            pairs += [(name, preset) for preset in architectures.get(name).config.PRESETS]
    return pairs


def _adjusted(shapes: Shapes, name: str, preset: str, framework: str, left: Iterator[None]) -> Iterator[Fit]:
    """The same size with whole numbers of its config that the shapes tell otherwise."""
    config, fields = architectures.get(name).config.preset(preset), {}
    expected, tied = _expected(name, preset, framework)
    for _ in range(3):
        differ = {key for key, shape in shapes.items() if expected.get(key) != shape}
        if set(shapes) - set(expected) or len(differ) > max(4, len(shapes) // 8):
            return
        # Other sizes make few other names: of most there must be tensors already.
        if len(_missing(shapes, expected, tied)) > len(expected) // 8:
            return
        best = None
        tries = [*_images(config, shapes, expected, differ), *_tries(config, [shapes[key] for key in sorted(differ)])]
        for (field, value), _ in zip(tries, left, strict=False):
            try:
                other = dataclasses.replace(config, **{field: value})  # type: ignore[type-var]
                names, groups = _of_config(other, framework)
            except (EinopsArchError, TypeError, ValueError):
                continue
            still = {key for key, shape in shapes.items() if names.get(key) != shape}
            if still < differ and (best is None or len(still) < len(best[0])):
                best = still, field, value, other, names, groups
        if best is None:
            return
        _, field, value, config, expected, tied = best
        fields[field] = value
        if fits(shapes, expected, tied):
            yield Fit(name, preset, config, fields)
            return


def _images(config: Config, shapes: Shapes, expected: Shapes, differ: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Square images of as many patches as a position embedding has tokens more or less."""
    size, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    if not isinstance(size, tuple) or not isinstance(patch, int):
        return
    for key in differ:
        tokens = [(new, old) for new, old in zip(shapes[key], expected.get(key, ()), strict=False) if new != old]
        if len(tokens) == 1:
            ((new, old),) = tokens
            patches = new - old + math.prod(side // patch for side in size)
            side = math.isqrt(max(patches, 0))
            if side and side * side == patches:
                yield "image_size", (side * patch, side * patch)


def _tries(config: Config, shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, int]]:
    sizes = list(dict.fromkeys(size for shape in shapes for size in shape))
    whole = [f.name for f in dataclasses.fields(config) if type(getattr(config, f.name)) is int]  # type: ignore[arg-type]
    # Never more layers, nor sizes that only a tensor without elements has.
    whole = [name for name in whole if name not in COUNTS]
    sizes = [size for size in sizes if 0 < size <= _LARGEST]
    pairs = [(field, size) for field in whole for size in sizes if size != getattr(config, field)]
    yield from pairs[:_TRIES]


@functools.lru_cache(maxsize=_OFTEN)
def _expected(name: str, preset: str, framework: str) -> tuple[dict[str, tuple[int, ...]], list[list[str]]]:
    return _of_config(architectures.get(name).config.preset(preset), framework)


def _of_config(config: Config, framework: str) -> tuple[dict[str, tuple[int, ...]], list[list[str]]]:
    from einops_arch.flax._build import abstract_model
    from einops_arch.port.expected import expected_shapes

    return expected_shapes(abstract_model(config), framework)


def _missing(shapes: Shapes, expected: Shapes, tied: Sequence[Sequence[str]]) -> list[str]:
    follows = {name for group in tied if any(other in shapes for other in group) for name in group}
    return [name for name in expected if name not in shapes and name not in follows and not is_counter(name)]


def _kinds(names: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "0", name) for name in names}


def _difference(shapes: Shapes, expected: Shapes) -> str:
    wrong = [key for key, shape in shapes.items() if key in expected and expected[key] != shape]
    more, less = [key for key in shapes if key not in expected], [key for key in expected if key not in shapes]
    if wrong:
        return f"{wrong[0]}: expected shape {expected[wrong[0]]}, received {shapes[wrong[0]]}"
    return f"{more[0]}: not in it" if more else f"{less[0]}: missing" if less else "its ties differ"
