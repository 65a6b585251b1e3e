"""Look at a pickle without running it: nothing is imported and nothing is called.

What a pickle would import is a `Global`, what it would call is a `Call`; both are only names and arguments. A name that
is not on the list of the caller is an error, so what comes back is plain data and calls that the caller knows.
"""

from __future__ import annotations

import pickletools
import struct
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from einops_arch.errors import CheckpointError

__all__ = ["MAX_PICKLE", "Call", "Global", "load"]

MAX_PICKLE = 64 << 20
"""Bytes, as room for the names and shapes of a million tensors."""
_MAX_STEPS = 6_000_000
"""Each step makes one object at most, so this bounds the memory."""

_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING")
_VALUES = frozenset((*_NUMBERS, *_TEXTS, "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"))
_SINGLES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_DICT = "collections.OrderedDict"


@dataclass(frozen=True, eq=False)
class Global:
    """What a pickle would import."""

    path: str


@dataclass(eq=False)
class Call:
    """What a pickle would call, and the state that it would set on what comes of it."""

    path: str
    args: tuple[Any, ...]
    state: Any = None


class _Mark:
    pass


_MARK = _Mark()


def load(stream: BytesIO, allowed: Collection[str], persistent: Callable[[Any], Any] | None = None) -> Any:
    """The object of the next pickle of a stream.

    Args:
        stream: the bytes; it is left behind the pickle's end.
        allowed: paths such as `torch.FloatStorage`; a path that ends with `*` stands for all that begin so.
        persistent: makes an object of a persistent id.

    Raises:
        CheckpointError: a global that is not allowed, or no pickle.
    """
    machine = _Machine(allowed, persistent)
    try:
        with warnings.catch_warnings():
            # Texts of old pickles are decoded, whatever is in them, before they are refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count > _MAX_STEPS:
                    raise CheckpointError(f"the pickle has more than {_MAX_STEPS} steps")
                machine.step(opcode.name, argument)
        return machine.stack.pop()
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, AttributeError) as error:
        raise CheckpointError(f"not a whole pickle: {type(error).__name__}: {error!s:.100}") from None


class _Machine:
    """The stack machine that a pickle is a program of."""

    def __init__(self, allowed: Collection[str], persistent: Callable[[Any], Any] | None) -> None:
        self.exact = frozenset(name for name in allowed if not name.endswith("*"))
        self.prefixes = tuple(name[:-1] for name in allowed if name.endswith("*"))
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _SINGLES:
            self.stack.append(_SINGLES[name]())
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name.startswith("TUPLE"):
            self.stack.append(tuple(self._after_mark() if name == "TUPLE" else self._pop(int(name[5:]))))
        elif name not in {"PROTO", "FRAME", "STOP"}:
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        match name:
            case "GLOBAL":
                self.stack.append(self._global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(self._global(*self._pop(2)))
            case "REDUCE" | "NEWOBJ":
                self.stack.append(_call(*self._pop(2)))
            case "BINPERSID" if self.persistent is not None:
                self.stack.append(self.persistent(self.stack.pop()))
            case "BUILD":
                self._set_state(self.stack.pop())
            case "SETITEM" | "SETITEMS":
                items = self._pop(2) if name == "SETITEM" else self._after_mark()
                for key, value in zip(items[::2], items[1::2], strict=True):
                    self.stack[-1][_key(key)] = value
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = self._pop(1) if name == "APPEND" else self._after_mark()
                if not isinstance(self.stack[-1], list):
                    raise CheckpointError("not a whole pickle: something is added to what is no list")
                self.stack[-1].extend(items)
            case "POP":
                self.stack.pop()
            case _:
                raise CheckpointError(f"refused, it is not plain weights: the pickle uses {name}")

    def _global(self, module: Any, name: Any) -> Global:
        path = f"{module}.{name}"
        if path not in self.exact and not path.startswith(self.prefixes or "\0"):
            raise CheckpointError(f"refused, it is not plain weights: the pickle asks for {path:.200}")
        return Global(path)

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise CheckpointError("not a whole pickle: its stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _after_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise CheckpointError("not a whole pickle: a mark is missing")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _set_state(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, dict):
            # Attributes of a dict, such as the versions that PyTorch hangs on a state dict, are of no use here.
            raise CheckpointError("not a whole pickle: a state for what has none")


def _call(function: Any, args: Any) -> Any:
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise CheckpointError("not a whole pickle: a call of what is no name")
    if function.path == _DICT:
        return {_key(key): value for key, value in (args[0] if args else ())}
    return Call(function.path, args)


def _key(key: Any) -> Any:
    # A tuple of tuples of tuples can be small and take for ever to hash.
    if not isinstance(key, str | int | float | bytes | Call | None):
        raise CheckpointError(f"refused, it is not plain weights: a {type(key).__name__} as a key")
    return key
