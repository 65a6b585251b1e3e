"""Look at a pickle without running it: nothing is imported and nothing is called.

What a pickle would import is a `Global`, what it would call is a `Call`; both are only names and arguments. A name that
is not on the list of the caller is an error, so what comes back is plain data and calls that the caller knows. A caller
who only wants a part of it asks for the foreign calls instead: then the opcodes are followed, and such an object stays
a name, whatever the pickle would do to it.

Every object is untrusted: its type is checked before it is formatted, hashed or compared, and what is made in memory is
counted against the length of the pickle.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from einops_arch._text import brief
from einops_arch.checkpoints.limits import (
    KEY_BITS,
    NAME_LENGTH,
    PICKLE_BYTES,
    PICKLE_STEPS,
    PICKLE_WORK,
    PICKLE_WORK_FREE,
)
from einops_arch.checkpoints.reader import reason
from einops_arch.errors import CheckpointError

__all__ = ["MAX_PICKLE", "Call", "Global", "load"]

MAX_PICKLE, _MAX_STEPS = PICKLE_BYTES, PICKLE_STEPS

_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
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
_DICTS = ("collections.OrderedDict", "collections.Counter")
_SINGLE_ITEMS = ("SETITEM", "APPEND")
_FACTORY = "collections.defaultdict"
_CONTAINER, _OBJECT, _SLOT, _ENTRY = 64, 160, 8, 112
"""Bytes of an empty container, of an object of ours, of a place in a list, and of an entry of a dictionary."""


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """What a pickle would import."""

    path: str


@dataclass(eq=False, slots=True)
class Call:
    """What a pickle would call, and the state that it would set on what comes of it.

    `state` is None where the pickle sets none; a second state for the same object is an error. What the pickle does to
    a foreign object, whose name is on no list, is not kept.
    """

    path: str
    args: tuple[Any, ...]
    state: Any = None
    foreign: bool = False


class _Mark:
    pass


_MARK = _Mark()


def load(
    stream: BytesIO,
    allowed: Collection[str],
    persistent: Callable[[Any], Any] | None = None,
    foreign: list[Call] | None = None,
) -> Any:
    """The object of the next pickle of a stream.

    Args:
        stream: the bytes; it is left behind the pickle's end.
        allowed: paths such as `torch.FloatStorage`; a path that ends with `*` stands for all that begin so.
        persistent: makes an object of a persistent id.
        foreign: takes the calls of names that are not allowed; such a name is an error if left out.

    Raises:
        CheckpointError: a global that is not allowed, no pickle, or one that costs more than its length allows.
    """
    machine = _Machine(allowed, persistent, foreign, len(stream.getbuffer()) - stream.tell())
    try:
        with warnings.catch_warnings():
            # Texts of old pickles are decoded, whatever is in them, before they are refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count > _MAX_STEPS:
                    raise CheckpointError(f"the pickle has more than {_MAX_STEPS} steps")
                machine.step(opcode.name, argument)
        return machine.pop(1)[0]
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - one sentence, whatever is wrong
        raise CheckpointError(f"not a whole pickle: {reason(error)}") from None


class _Machine:
    """The stack machine that a pickle is a program of."""

    def __init__(
        self,
        allowed: Collection[str],
        persistent: Callable[[Any], Any] | None,
        foreign: list[Call] | None,
        size: int,
    ) -> None:
        self.foreign = foreign
        self.exact = frozenset(name for name in allowed if not name.endswith("*"))
        self.prefixes = tuple(name[:-1] for name in allowed if name.endswith("*"))
        self.persistent = persistent
        self.work = self.most = PICKLE_WORK * size + PICKLE_WORK_FREE
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def spend(self, count: int) -> None:
        """Count bytes that are made, copied or hashed."""
        self.work -= count
        if self.work < 0:
            raise CheckpointError(
                f"the pickle would take more than {self.most} bytes of memory or work; refused as a bomb"
            )

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _SINGLES:
            self.spend(_CONTAINER if name.startswith("EMPTY") else 0)
            self.stack.append(_SINGLES[name]())
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self._remember(argument)
        elif name == "MEMOIZE":
            self._remember(len(self.memo))
        elif name in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name.startswith("TUPLE"):
            items = self._after_mark() if name == "TUPLE" else self.pop(int(name[5:]))
            self.spend(_CONTAINER + _SLOT * len(items))
            self.stack.append(tuple(items))
        elif name not in {"PROTO", "FRAME", "STOP"}:
            self._build(name, argument)

    def pop(self, count: int) -> list[Any]:
        """The last objects of the stack."""
        if len(self.stack) < count:
            raise CheckpointError("not a whole pickle: its stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _build(self, name: str, argument: Any) -> None:
        match name:
            case "GLOBAL":
                self.stack.append(self._global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(self._global(*self.pop(2)))
            case "REDUCE" | "NEWOBJ":
                self.stack.append(self._call(*self.pop(2)))
            case "NEWOBJ_EX" if self.foreign is not None:
                function, args, names = self.pop(3)
                self.stack.append(self._foreign_call(function, (args, names)))
            case "FROZENSET" if self.foreign is not None:
                self.stack.append(self._foreign_call(Global("builtins.frozenset"), tuple(self._after_mark())))
            case "BINPERSID" if self.persistent is not None:
                self.spend(_OBJECT)
                self.stack.append(self.persistent(self.pop(1)[0]))
            case "BUILD":
                self._set_state(self.pop(1)[0])
            case "SETITEM" | "SETITEMS" | "APPEND" | "APPENDS" | "ADDITEMS":
                items = self.pop(2 if name == "SETITEM" else 1) if name in _SINGLE_ITEMS else self._after_mark()
                self._fill(items, pairs=name.startswith("SETITEM"))
            case "POP":
                self.pop(1)
            case _:
                raise CheckpointError(f"refused, it is not plain weights: the pickle uses {name}")

    def _fill(self, items: list[Any], *, pairs: bool) -> None:
        """Put items into the container on top of the stack."""
        target = self.stack[-1]
        if self._is_foreign(target):
            return
        if pairs:
            entries = [(self._key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]
            if type(target) is not dict:
                raise CheckpointError("not a whole pickle: something is set in what is no dictionary")
            target.update(entries)
            return
        if type(target) is not list:
            raise CheckpointError("not a whole pickle: something is added to what is no list")
        self.spend(_SLOT * len(items))
        target.extend(items)

    def _remember(self, place: int) -> None:
        if place not in self.memo:
            self.spend(_ENTRY)
        self.memo[place] = self.stack[-1]

    def _global(self, module: Any, name: Any) -> Global:
        if type(module) is not str or type(name) is not str:
            raise CheckpointError(
                f"not a whole pickle: expected the name of a class, received {brief(module)} and {brief(name)}"
            )
        if len(module) + len(name) > NAME_LENGTH:
            raise CheckpointError(
                f"refused, it is not plain weights: the pickle asks for {brief(module)}, {brief(name)}"
            )
        self.spend(_OBJECT + len(module) + len(name))
        path = f"{module}.{name}"
        if self.foreign is None and not self._is_allowed(path):
            raise CheckpointError(f"refused, it is not plain weights: the pickle asks for {path:.200}")
        # Python 2's name of the module, which PyTorch writes by default.
        return Global(f"builtins.{name}" if module == "__builtin__" else path)

    def _is_allowed(self, path: str) -> bool:
        return path in self.exact or path.startswith(self.prefixes or "\0")

    def _is_foreign(self, value: Any) -> bool:
        return type(value) is Call and value.foreign

    def _foreign_call(self, function: Any, args: tuple[Any, ...]) -> Call:
        self.spend(_OBJECT)
        call = Call(function.path if type(function) in {Global, Call} else "?", args, foreign=True)
        if self.foreign is not None:
            self.foreign.append(call)
        return call

    def _call(self, function: Any, args: Any) -> Any:
        if self.foreign is not None and type(args) is tuple:
            if type(function) is Global and function.path == _FACTORY and len(args) < 2:
                return {}
            if self._is_foreign(function) or (type(function) is Global and not self._is_allowed(function.path)):
                return self._foreign_call(function, args)
        if type(function) is not Global or type(args) is not tuple:
            raise CheckpointError("not a whole pickle: a call of what is no name")
        self.spend(_OBJECT)
        if function.path not in _DICTS:
            return Call(function.path, args)
        items = args[0] if args else []
        if len(args) > 1 or type(items) not in {list, dict}:
            raise CheckpointError(f"not a whole pickle: a dictionary of {brief(items)}")
        values: dict[Any, Any] = {}
        for item in items.items() if type(items) is dict else items:
            if type(item) not in {tuple, list} or len(item) != 2:
                raise CheckpointError(f"not a whole pickle: a dictionary with the item {brief(item)}")
            values[self._key(item[0])] = item[1]
        return values

    def _key(self, key: Any) -> Any:
        """The key itself, if hashing it takes little time: a tuple of tuples can be small and take for ever."""
        if isinstance(key, str | bytes):
            if len(key) > NAME_LENGTH:
                raise CheckpointError(
                    f"refused, it is not plain weights: a name of {len(key)} characters, {brief(key)}"
                )
            self.spend(_ENTRY + len(key))
        elif type(key) is int and key.bit_length() > KEY_BITS:
            raise CheckpointError(f"refused, it is not plain weights: {brief(key)} as a key")
        elif isinstance(key, int | float | Call | Global | None):
            self.spend(_ENTRY)
        elif type(key) is tuple and self.foreign is not None:
            # As good as any other object that is a key: what is in it is not looked at.
            self.spend(_ENTRY + _OBJECT)
            return Call("builtins.tuple", key)
        else:
            raise CheckpointError(f"refused, it is not plain weights: a {type(key).__name__} as a key")
        return key

    def _after_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while at >= 0 and self.stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise CheckpointError("not a whole pickle: a mark is missing")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _set_state(self, state: Any) -> None:
        target = self.stack[-1]
        if self._is_foreign(target):
            return
        if isinstance(target, Call) and target.state is None:
            target.state = state
        elif type(target) is not dict or type(state) is not dict:
            # Attributes of a dict, such as the versions that PyTorch hangs on a state dict, change nothing in it.
            raise CheckpointError("not a whole pickle: a state for what has none, or has one already")
