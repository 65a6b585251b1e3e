"""Which part of a `.pt` file is the state dict, and what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from einops_arch._text import brief, counted, printable
from einops_arch.checkpoints.formats.pickles import Call, Global
from einops_arch.checkpoints.formats.torch_pickle import is_tensor
from einops_arch.errors import CheckpointError

__all__ = ["KEYS", "TRAINING", "check_untouched", "find_state"]

KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "ema")
"""Where training scripts put the state dict."""

TRAINING = re.compile(r"optim|scheduler|(?<!up)(?<!down)scaler|rng|loops|callbacks", re.IGNORECASE)
"""What belongs to the training and not to the network, though it may hold tensors."""
_DEPTH = 4
_PARTS = 16
"""Dictionaries inside each other that are one state dict."""
_SHOWN = 12
_FEW = 4
_STATE_DICT = (
    "; likely fix, if it is a model and you trust the file: "
    "torch.save(torch.load(FILE, weights_only=False).state_dict(), OTHER)"
)


def find_state(
    loaded: Any, key: str | None = None, foreign: Sequence[Call] = (), drop: Sequence[str] = ()
) -> tuple[Mapping[str, Any], dict[str, str], str]:
    """The state dict in what was loaded, what lies beside it with the reason why it was not taken, and its entry.

    It is the thing itself, or lies under one of `KEYS`, or is the only state dict in the file that is no optimizer's.
    What lies in lists and tuples is looked at where there is none outside of them. Under one of `KEYS` it may be parted
    into dictionaries inside each other, as Megatron has it; their names are joined.

    Args:
        loaded: what a pickle holds.
        key: the entry to take; `a.b` is the entry `b` of the entry `a`.
        foreign: what the pickle would call and nobody knows.
        drop: regular expressions; entries of the state dict with such a name are left out, and may be anything.

    Raises:
        CheckpointError: there is none, or several that could be meant; the message names the entries. Or a foreign
            call gets the state dict or one of its tensors, which it could change.
    """
    search = _Search(drop)
    path = search.follow(loaded, key) if key is not None else search.path(loaded)
    if path is None:
        raise CheckpointError(search.problem(loaded, foreign))
    left_out: dict[str, str] = {}
    state, taken = loaded, ".".join(path)
    for depth, name in enumerate(path):
        entries = _entries_of(state, lists=True)
        for other, value in entries.items():
            if other != name:
                place = ".".join([*path[:depth], other if type(other) is str else _name(other)])
                left_out[place] = f"{search.kind(value)} beside {taken}, which was taken"
        state = entries[name]
    if not search.is_state(state):
        state = dict(_joined(state, ""))
    elif key is None and path and path[-1] not in KEYS:
        search.check_largest(loaded, state)
    check_untouched(state, foreign)
    dropped = {name: pattern for name in state if type(name) is str and (pattern := search.dropped(name))}
    left_out |= {name: f"its name matches --drop {pattern}" for name, pattern in dropped.items()}
    return {name: value for name, value in state.items() if name not in dropped}, left_out, taken


class _Search:
    """Looks at each dictionary once, however often it is in the pickle."""

    def __init__(self, drop: Sequence[str]) -> None:
        self._drop = [re.compile(pattern) for pattern in drop]
        self._states: dict[int, bool] = {}
        self._paths: dict[int, list[str] | None] = {}
        self._lists = False

    def dropped(self, name: str) -> str | None:
        """The expression that leaves this name out."""
        return next((pattern.pattern for pattern in self._drop if pattern.search(name)), None)

    def is_state(self, value: Any) -> bool:
        if type(value) is not dict or not value:
            return False
        if id(value) not in self._states:
            kept = {name: entry for name, entry in value.items() if type(name) is not str or not self.dropped(name)}
            plain = (type(name) is str and is_tensor(entry) for name, entry in kept.items())
            self._states[id(value)] = bool(kept) and all(plain)
        return self._states[id(value)]

    def path(self, value: Any) -> list[str] | None:
        """The keys that lead to the state dict."""
        for self._lists in (False, True):
            self._paths.clear()
            path = self._path(value, 0)
            if path is not None or self._all(value):
                return path
        return None

    def _path(self, value: Any, depth: int) -> list[str] | None:
        if self.is_state(value):
            return []
        if depth > _DEPTH:
            return None
        if id(value) not in self._paths:
            # Not to go in circles.
            self._paths[id(value)] = None
            entries = _entries_of(value, lists=self._lists)
            self._paths[id(value)] = self._inside(entries, depth) if entries else None
        return self._paths[id(value)]

    def follow(self, value: Any, key: str) -> list[str]:
        """The keys that lead to the state dict of this name."""
        path: list[str] = []
        whole = value
        while key:
            names = _entries_of(value, lists=True)
            # A name may have dots, as those of Lightning's callbacks.
            heads = (name for name in names if type(name) is str and (key == name or key.startswith(f"{name}.")))
            name = max(heads, key=len, default=key.partition(".")[0])
            if name not in names:
                states = self._shown(whole)
                more = f"; state dicts are {states}" if states else ""
                raise CheckpointError(f"expected an entry {brief(key)}, received {_names(names) or brief(value)}{more}")
            path, value, key = [*path, name], names[name], key[len(name) + 1 :]
        if not self.is_state(value):
            inner = self._parted(value)
            inner = self.path(value) if inner is None else inner
            if inner is not None:
                return [*path, *inner]
            if self._all(value):
                raise CheckpointError(f"{'.'.join(path):.80}: {self.problem(value, ())}")
            raise CheckpointError(f"expected a state dict under {'.'.join(path):.80}, received {_describe(value)}")
        return path

    def _parted(self, value: Any) -> list[str] | None:
        """The keys that lead to dictionaries inside each other that are one state dict; None where they are not."""
        path: list[str] = []
        while type(value) is dict and len(value) == 1 and len(path) < _DEPTH:
            ((name, inner),) = value.items()
            if type(name) is not str or type(inner) is not dict:
                break
            path, value = [*path, name], inner
        if type(value) is not dict or self.is_state(value) or not self._only_tensors(value, set(), 0):
            return None
        # Of state dicts beside each other one is meant, as of a generator and a discriminator.
        several = all(self.is_state(entry) for entry in value.values())
        return None if several else path

    def _only_tensors(self, value: Any, seen: set[int], depth: int) -> bool:
        if is_tensor(value):
            return True
        # A dictionary that is there twice could be there any number of times.
        if type(value) is not dict or not value or id(value) in seen or depth > _PARTS:
            return False
        seen.add(id(value))
        for name, entry in value.items():
            if type(name) is not str or (type(entry) is dict and (name in KEYS or TRAINING.search(name))):
                return False
            if not self.dropped(name) and not self._only_tensors(entry, seen, depth + 1):
                return False
        return True

    def check_largest(self, loaded: Any, state: Mapping[str, Any]) -> None:
        """Refuse the only state dict of a file where something larger would be one but for an entry."""
        path, nearly = self._nearly(loaded)
        if sum(map(is_tensor, nearly.values())) > len(state) and not self.is_state(nearly):
            raise CheckpointError(f"expected a state dict under {'.'.join(path):.80}, received {_describe(nearly)}")

    def kind(self, value: Any) -> str:
        if self.is_state(value):
            return f"a state dict of {len(value)} tensors"
        return "a tensor" if is_tensor(value) else _brief(value)

    def problem(self, loaded: Any, foreign: Sequence[Call]) -> str:
        states = self._all(loaded)
        if len(states) > 1:
            return (
                f"expected one state dict, received several: {self._shown(loaded)}; likely fix: --key {states[0]:.80}"
            )
        path, nearly = self._nearly(loaded)
        objects = _entries_of(loaded, lists=False)
        if path and not any(type(objects.get(key)) in {Call, Global} for key in KEYS):
            return f"expected a state dict under {'.'.join(path):.80}, received {_describe(nearly)}"
        asks = loaded if type(loaded) in {Call, Global} else next(iter(foreign), None)
        if type(loaded) is dict and "param_groups" in loaded:
            return "expected weights, received the state of an optimizer; likely fix: the file of the weights"
        whole = type(loaded) is not dict or not any(map(is_tensor, loaded.values()))
        if whole and asks is not None and not is_tensor(asks):
            text = f"refused, it is not plain weights: the pickle asks for {printable(asks.path, ''):.200}"
            holds = f"; it holds {_entries(loaded)}" if type(loaded) is dict and len(loaded) > 1 else ""
            # A function, such as `os.system`, is no model whose weights could be saved.
            is_class = asks.path.rpartition(".")[2][:1].isupper()
            return f"{text}{holds}{_STATE_DICT if is_class else ''}"
        return f"expected a state dict, or one under {', '.join(KEYS)}, received {_describe(loaded)}"

    def _inside(self, value: Mapping[Any, Any], depth: int) -> list[str] | None:
        for key in KEYS:
            if key not in value:
                continue
            path = self._parted(value[key])
            path = self._path(value[key], depth + 1) if path is None else path
            if path is not None:
                return [key, *path]
        paths = []
        for name, entry in value.items():
            if type(name) is str and not TRAINING.search(name):
                path = self._path(entry, depth + 1)
                if path is not None:
                    paths.append([name, *path])
        return paths[0] if len(paths) == 1 else None

    def _all(self, value: Any) -> list[str]:
        """The entries that could be meant."""
        return [".".join(path) for path, entry in self._walk(value, (), set()) if self.is_state(entry)]

    def _nearly(self, value: Any) -> tuple[tuple[str, ...], dict[Any, Any]]:
        """What would be a state dict if it had only tensors, most of which it has."""
        best: tuple[tuple[str, ...], dict[Any, Any]] = ((), {})
        counted_before: set[int] = set()
        for path, entry in self._walk(value, (), set()):
            if id(entry) in counted_before:
                continue
            counted_before.add(id(entry))
            tensors = sum(map(is_tensor, entry.values()))
            if 2 * tensors > len(entry) and len(entry) > len(best[1]):
                best = path, entry
        return best

    def _shown(self, value: Any) -> str:
        """The same, with the number of tensors of each."""
        states = [(path, entry) for path, entry in self._walk(value, (), set()) if self.is_state(entry)]
        rows = [f"{brief('.'.join(path))} ({counted(len(state), 'tensor')})" for path, state in states]
        return ", ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")

    def _walk(
        self, value: Any, path: tuple[str, ...], seen: set[int]
    ) -> Iterable[tuple[tuple[str, ...], dict[str, Any]]]:
        """The dictionaries in it; what is in a state dict is not looked at."""
        # One dictionary may be the entry of many names.
        if id(value) in seen:
            return
        seen.add(id(value))
        for name, entry in _entries_of(value, lists=self._lists).items():
            if type(name) is str and not TRAINING.search(name):
                if type(entry) is dict and entry:
                    yield (*path, name), entry
                if not self.is_state(entry) and len(path) < 2:
                    yield from self._walk(entry, (*path, name), seen)


def _joined(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    """The tensors in dictionaries inside each other, by their joined names."""
    for name, entry in value.items():
        if type(entry) is dict:
            yield from _joined(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def check_untouched(state: Mapping[str, Any], foreign: Sequence[Call]) -> None:
    """Refuse a state that a foreign call gets: when the pickle is run, nobody knows what is left of it."""
    own = {id(state): "the state dict", **{id(value): name for name, value in state.items()}}
    seen: set[int] = set()
    for call in foreign:
        inside: list[Any] = [call.args]
        while inside:
            value = inside.pop()
            if id(value) in own:
                raise CheckpointError(
                    f"refused, it is not plain weights: {own[id(value)]:.80} is handed to "
                    f"{printable(call.path, ''):.200}, which could change it"
                )
            # What many calls are given is looked at once.
            if type(value) in {tuple, list, dict} and id(value) not in seen:
                seen.add(id(value))
                inside.extend(value.values() if type(value) is dict else value)
            elif type(value) is Call and id(value) not in seen:
                seen.add(id(value))
                inside.append(value.args)


def _entries_of(value: Any, *, lists: bool) -> Mapping[Any, Any]:
    """The entries of a dictionary, and with `lists` those of lists, tuples and numbered ones by their numbers.

    >>> _entries_of(["a", "b"], lists=True), _entries_of({0: "a"}, lists=True), _entries_of(["a"], lists=False)
    ({'0': 'a', '1': 'b'}, {'0': 'a'}, {})
    """
    if type(value) is dict:
        if "param_groups" in value:
            # An optimizer, which has numbers in the place of names.
            return {}
        if not lists or not any(type(name) is int for name in value):
            return value
        named = {str(name): entry for name, entry in value.items() if type(name) is int}
        return {**named, **{name: entry for name, entry in value.items() if type(name) is not int}}
    return {str(n): entry for n, entry in enumerate(value)} if lists and type(value) in {list, tuple} else {}


def _brief(value: Any) -> str:
    if is_tensor(value):
        return "a tensor"
    if type(value) is Call:
        return f"an object of {printable(value.path, ''):.80}, which was not made"
    return f"the name {printable(value.path, ''):.80}" if type(value) is Global else brief(value)


def _describe(value: Any) -> str:
    if type(value) is not dict:
        return _brief(value)
    wrong = [name for name, entry in value.items() if type(name) is not str or not is_tensor(entry)]
    if not wrong:
        return "an empty dict"
    reason = f"is {_brief(value[wrong[0]])}, and no tensor" if type(wrong[0]) is str else "is no name"
    tensors = sum(map(is_tensor, value.values()))
    fix = f"; likely fix: {_drops(wrong, value)}" if tensors and all(type(name) is str for name in wrong) else ""
    return f"a dict whose entry {_name(wrong[0])} {reason}; it holds {_names(value)}{fix}"


def _drops(names: Sequence[str], others: Iterable[Any]) -> str:
    r"""The options that leave out these names of several: one where they end as no other does.

    >>> names = ["a._extra_state", "b.c._extra_state", "step", "args"]
    >>> _drops(names[:2], names), _drops(names[2:], names)
    ("--drop '(^|\\.)_extra_state$'", "--drop '^step$' --drop '^args$'")
    """
    leaves = {name.rpartition(".")[2] for name in names}
    alike = [name for name in others if type(name) is str and name.rpartition(".")[2] in leaves]
    if len(names) > 1 and len(leaves) == 1 and len(alike) == len(names):
        return f"--drop '(^|\\.){re.escape(leaves.pop()):.80}$'"
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return " ".join(f"--drop '^{re.escape(name):.80}$'" for name in names[:_FEW]) + more


def _entries(value: Mapping[Any, Any]) -> str:
    rows = [f"{_name(name)}: {_brief(entry)}" for name, entry in list(value.items())[:_SHOWN]]
    return ", ".join(rows)


def _name(name: Any) -> str:
    return f"a {name.path.rpartition('.')[2]:.40}" if type(name) is Call else brief(name)


def _names(names: Iterable[Any]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_name, names[:_SHOWN])) + more
