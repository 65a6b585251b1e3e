"""Which part of a `.pt` file is the state dict, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from einops_arch._text import brief
from einops_arch.checkpoints.formats.torch_pickle import is_tensor
from einops_arch.errors import CheckpointError

__all__ = ["KEYS", "find_state"]

KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "ema")
"""Where training scripts put the state dict."""

_DEPTH = 4
_SHOWN = 12


def find_state(loaded: Any, key: str | None = None) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The state dict in what was loaded, and what lies beside it, each with the reason why it was not taken.

    It is the thing itself, or lies under one of `KEYS`, or is the only state dict among the entries.

    Args:
        loaded: what a pickle holds.
        key: the entry to take; `a.b` is the entry `b` of the entry `a`.

    Raises:
        CheckpointError: there is none, or several that could be meant; the message names the entries.
    """
    search = _Search()
    path = search.follow(loaded, key) if key is not None else search.path(loaded)
    if path is None:
        raise CheckpointError(search.problem(loaded))
    left_out: dict[str, str] = {}
    state, taken = loaded, ".".join(path)
    for depth, name in enumerate(path):
        for other, value in state.items():
            if other != name:
                place = ".".join([*path[:depth], other if type(other) is str else brief(other)])
                left_out[place] = f"{search.kind(value)} beside {taken}, which was taken"
        state = state[name]
    return state, left_out


class _Search:
    """Looks at each dictionary once, however often it is in the pickle."""

    def __init__(self) -> None:
        self._states: dict[int, bool] = {}
        self._paths: dict[int, list[str] | None] = {}

    def is_state(self, value: Any) -> bool:
        if type(value) is not dict or not value:
            return False
        if id(value) not in self._states:
            self._states[id(value)] = all(type(name) is str and is_tensor(entry) for name, entry in value.items())
        return self._states[id(value)]

    def path(self, value: Any, depth: int = 0) -> list[str] | None:
        """The keys that lead to the state dict."""
        if self.is_state(value):
            return []
        if type(value) is not dict or depth > _DEPTH:
            return None
        if id(value) not in self._paths:
            # Not to go in circles.
            self._paths[id(value)] = None
            self._paths[id(value)] = self._inside(value, depth)
        return self._paths[id(value)]

    def follow(self, value: Any, key: str) -> list[str]:
        """The keys that lead to the state dict of this name."""
        path: list[str] = []
        while key:
            names = value if type(value) is dict else {}
            name = key if key in names else key.partition(".")[0]
            if name not in names:
                raise CheckpointError(f"expected an entry {brief(key)}, received {_names(names) or brief(value)}")
            path, value, key = [*path, name], names[name], key[len(name) + 1 :]
        if not self.is_state(value):
            raise CheckpointError(f"expected a state dict under {'.'.join(path):.80}, received {_describe(value)}")
        return path

    def kind(self, value: Any) -> str:
        if self.is_state(value):
            return f"a state dict of {len(value)} tensors"
        return "a tensor" if is_tensor(value) else brief(value)

    def problem(self, loaded: Any) -> str:
        states = self._all(loaded) if type(loaded) is dict else []
        if len(states) > 1:
            return f"expected one state dict, received several: {_names(states)}; likely fix: --key {states[0]:.80}"
        return f"expected a state dict, or one under {', '.join(KEYS)}, received {_describe(loaded)}"

    def _inside(self, value: dict[Any, Any], depth: int) -> list[str] | None:
        for key in KEYS:
            path = self.path(value[key], depth + 1) if key in value else None
            if path is not None:
                return [key, *path]
        states = self._all(value)
        return states if len(states) == 1 else None

    def _all(self, value: dict[Any, Any]) -> list[str]:
        return [name for name, entry in value.items() if type(name) is str and self.is_state(entry)]


def _describe(value: Any) -> str:
    if type(value) is not dict:
        return brief(value)
    wrong = [name for name, entry in value.items() if type(name) is not str or not is_tensor(entry)]
    if not wrong:
        return "an empty dict"
    reason = f"is {brief(value[wrong[0]])} and no tensor" if type(wrong[0]) is str else "is no name"
    return f"a dict whose entry {brief(wrong[0])} {reason}; it holds {_names(value)}"


def _names(names: Iterable[Any]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(brief, names[:_SHOWN])) + more
