"""A config from a file is held against the tensors beside it, before a network is made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from einops_arch.architectures import Config
from einops_arch.checkpoints.reader import Reader, reading
from einops_arch.errors import CheckpointError

__all__ = ["COUNTS", "check_bounds", "model_of"]

COUNTS = frozenset({"layers", "depths", "repeats", "residual_blocks", "convolutions"})
"""Fields that say how many layers are made, each of which has a tensor or more."""
_SMALL = 4096
"""A size that any config may have: nothing of it takes long."""


def check_bounds(config: Config, reader: Reader) -> None:
    """Refuse a config that stands for more layers than there are tensors, or for sizes that no tensor has room for.

    Args:
        config: what a file says of itself.
        reader: the file.

    Raises:
        CheckpointError: a field is out of proportion.
    """
    names = len(reader.names())
    numbers = max(_SMALL, sum(info.size for info in reader.tensors.values()))
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        values = list(_numbers(getattr(config, field.name)))
        if field.name in COUNTS and sum(values) > names:
            raise CheckpointError(
                f"config: expected {field.name} of at most {names} together, as there are so many tensors, received "
                f"{_short(sum(values))}"
            )
        if values and max(values) > numbers:
            raise CheckpointError(
                f"config: expected {field.name} of at most {numbers}, as there are so many numbers in the file, "
                f"received {_short(max(values))}"
            )


def model_of(config: Config, reader: Reader) -> Any:
    """The Flax model of a config from a file, with shapes in the place of values.

    Raises:
        CheckpointError: the config is out of proportion, or no model can be made of it.
    """
    check_bounds(config, reader)
    from einops_arch.flax._build import abstract_model

    with reading(f"no model can be made of the file's {type(config).__name__}"):
        return abstract_model(config)


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def _short(number: int) -> str:
    return str(number) if number < 1 << 64 else f"a number of {number.bit_length()} bits"
