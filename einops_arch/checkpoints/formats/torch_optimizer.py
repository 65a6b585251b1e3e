"""The state of an optimizer of `torch.optim` in a `.pt` file, read without PyTorch. Nothing in the file is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from einops_arch._text import brief
from einops_arch.checkpoints.formats.pickles import Call
from einops_arch.checkpoints.formats.torch_file import TorchReader
from einops_arch.checkpoints.formats.torch_pickle import is_tensor
from einops_arch.checkpoints.formats.torch_state import check_untouched
from einops_arch.errors import CheckpointError

__all__ = ["OptimizerReader"]

_DEPTH = 3
_PLAIN = (bool, int, float, str)


class OptimizerReader(TorchReader):
    """A training file whose optimizer is read: its tensors are named by the number of the parameter and their kind.

    Args:
        path: the file.
        key: the entry that is the optimizer's `state_dict()`, where there are several; `a.b` is `b` in `a`, and the
            entry of a list is named by its number.

    Attributes:
        groups: the settings of each parameter group, `params` among them, as far as they are plain values.
        numbers: those that lie among the tensors, by the same names.

    Raises:
        CheckpointError: the file has no state of an optimizer, or several; or it is not whole.
    """

    groups: list[dict[str, Any]]
    numbers: dict[str, float]

    def __init__(self, path: Path, key: str | None = None) -> None:
        super().__init__(path, key)

    def _found(
        self, loaded: object, key: str | None, foreign: Sequence[Call], drop: Sequence[str]
    ) -> tuple[Mapping[str, Any], dict[str, str], str]:
        del drop
        known = dict(_optimizers(loaded, "", 0))
        entries = known if key is None else {name: value for name, value in known.items() if name == key}
        if len(entries) != 1:
            listed = ", ".join(map(brief, known)) or "none"
            asked = "one entry" if key is None else f"the entry {brief(key)}"
            fix = f"; likely fix: key={next(iter(known))!r:.80}" if known else ""
            raise CheckpointError(f"expected {asked} with the state of an optimizer, received {listed}{fix}")
        ((name, optimizer),) = entries.items()
        self.groups = [_plain(group, number) for number, group in enumerate(optimizer["param_groups"])]
        tensors, self.numbers = {}, {}
        for number, kept in optimizer["state"].items():
            if type(number) is not int or type(kept) is not dict:
                raise CheckpointError(
                    f"{name}: expected what is kept of a parameter by its number, received {brief(number)}"
                )
            for kind, value in kept.items():
                if is_tensor(value):
                    tensors[f"{number}.{kind}"] = value
                elif type(value) in {int, float}:
                    self.numbers[f"{number}.{kind}"] = value
        check_untouched(tensors, foreign)
        return tensors, {}, name


def _optimizers(value: Any, name: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every state of an optimizer, by the names that lead to it."""
    if type(value) is list:
        value = dict(enumerate(value[:_DEPTH]))
    if type(value) is not dict or depth > _DEPTH:
        return
    if type(value.get("state")) is dict and type(value.get("param_groups")) is list:
        yield name, value
        return
    for key, entry in value.items():
        if type(key) in {str, int}:
            yield from _optimizers(entry, f"{name}.{key}" if name else str(key), depth + 1)


def _plain(group: Any, number: int) -> dict[str, Any]:
    if type(group) is not dict or type(group.get("params")) is not list:
        raise CheckpointError(f"group {number}: expected settings with params, received {brief(group)}")
    if not all(type(index) is int for index in group["params"]):
        raise CheckpointError(f"group {number}: expected the numbers of parameters under params")
    return {
        name: value
        for name, value in group.items()
        if type(name) is str and (value is None or type(value) in (*_PLAIN, list, tuple))
    }
