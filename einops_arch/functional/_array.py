"""What a core needs of an array, for type checkers: nothing here names a framework."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar


class SupportsCore(Protocol):
    """An array of any einops backend: it has a shape, and operators."""

    @property
    def shape(self) -> tuple[Any, ...]: ...

    def __matmul__(self, other: Any, /) -> Any: ...

    def __truediv__(self, other: Any, /) -> Any: ...


Array = TypeVar("Array", bound=SupportsCore)
