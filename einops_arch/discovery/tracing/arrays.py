"""Run a function on arrays of the framework that it is written for, numpy in and numpy out."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from einops_arch.errors import ConfigError, DiscoveryError

__all__ = ["BACKENDS", "Runner", "first_line", "framework_of", "one_thread"]

BACKENDS = ("numpy", "torch", "jax")
_DTYPES = ("float64", "float32", "int64")


class Runner:
    """A function, and the framework and dtype that it takes.

    Args:
        function: takes arrays by position and gives one, or a tuple or list of them.
        backend: `"numpy"`, `"torch"` or `"jax"`; found out from the function if left out.

    Raises:
        ConfigError: an unknown backend.
    """

    def __init__(self, function: Callable[..., Any], backend: str | None = None) -> None:
        if backend is not None and backend not in BACKENDS:
            raise ConfigError(f"discover: backend needs {', '.join(BACKENDS)} or None, received {backend!r}")
        self.function = function
        self.backend = backend
        self.dtype: str | None = None
        self.quick: Callable[[Sequence[Any]], tuple[Any, ...] | None] | None = None
        self.smaller: dict[str, int] | None = None
        self.settled: tuple[tuple[int, ...], ...] = ()

    def settle(self, values: Sequence[Any]) -> None:
        """Find the framework and the dtype that the function takes, with these values.

        Raises:
            DiscoveryError: the function fails in every framework, or means different things in two.
        """
        named = [self.backend] if self.backend else framework_of(self.function)
        others = [] if self.backend else [name for name in BACKENDS if name not in named]
        failures: list[str] = []
        works: list[tuple[str, str, tuple[Any, ...]]] = []
        for backend in (*named, *others):
            # The first that works is it, if the code names it. Otherwise the other ones that are here have a say too.
            if works and (named or backend not in sys.modules):
                continue
            if importlib.util.find_spec(backend) is None:
                failures.append(f"{backend} is not installed")
                continue
            for dtype in _DTYPES:
                try:
                    works.append((backend, dtype, self._call(values, backend, dtype)))
                    break
                except DiscoveryError:
                    raise
                except Exception as error:  # noqa: BLE001 the function is anybody's, and may raise anything
                    if dtype == _DTYPES[0]:
                        failures.append(f"{backend}: {first_line(error)}")
        if not works:
            shapes = " and ".join(str(np.shape(value)) for value in values)
            raise DiscoveryError(f"discover: the function fails at shape {shapes}; {'; '.join(failures)}", kind="fails")
        self.backend, self.dtype, first = works[0]
        if self.backend == "jax":
            self._settle_jax(values)
        for other, _, outputs in works[1:]:
            if not _equal(first, outputs) and _equal(first, self(*values)):
                raise DiscoveryError(
                    f"discover: the function does one thing with {self.backend} arrays and another with {other}'s; "
                    f"likely fix: backend={self.backend!r} or backend={other!r}",
                    kind="backend",
                )

    def _settle_jax(self, values: Sequence[Any]) -> None:
        import jax

        from einops_arch.discovery.tracing.jax_quick import Quick

        if self.dtype == "float64" and not jax.config.jax_enable_x64:
            self.dtype = "float32"
        self.quick, self.settled = Quick(self.function), tuple(np.shape(value) for value in values)

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """The outputs as numpy arrays, for numpy values."""
        if self.quick is not None and tuple(np.shape(value) for value in values) != self.settled:
            with np.errstate(all="ignore"):
                outputs = self.quick([np.array(value, self.dtype, order="C") for value in values])
            if outputs is not None:
                return outputs
        return self._call(values, self.backend, self.dtype)

    def _call(self, values: Sequence[Any], backend: str | None, dtype: str | None) -> tuple[Any, ...]:
        arguments = [_to(value, backend, dtype) for value in values]
        with np.errstate(all="ignore"):  # the numbers are ours, not the function's fault
            result = self.function(*arguments)
        for before, after in zip(values, arguments, strict=True):
            if backend != "jax" and not (
                np.shape(before) == tuple(after.shape) and np.array_equal(before, _from(after))
            ):
                raise DiscoveryError(
                    "discover: the function changes its input; expected one that leaves it as it is", kind="side effect"
                )
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        return tuple(_from(output) for output in outputs)


@contextlib.contextmanager
def one_thread(backend: str | None) -> Iterator[None]:
    """Many small runs are quicker on one thread of PyTorch; the number of threads comes back at the end."""
    if backend != "torch":
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _to(value: Any, backend: str | None, dtype: str | None) -> Any:
    # In the order that a new array has: old code may well need it for its views.
    value = np.array(value, dtype, order="C")
    if backend == "torch":
        import torch

        return torch.from_numpy(value)
    if backend == "jax":
        import jax.numpy as jnp

        # Without x64 jax makes float32 of it, and would warn if asked for float64.
        return jnp.asarray(value)
    return value


def _from(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu().resolve_conj()
        # numpy has no bfloat16.
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    if not hasattr(value, "shape"):
        raise DiscoveryError(
            f"discover: expected a function from arrays to arrays, received {type(value).__name__} from it",
            kind="fails",
        )
    return np.asarray(value)


def first_line(error: Exception) -> str:
    """The class of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _equal(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return len(left) == len(right) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4) for a, b in zip(left, right, strict=True)
    )


def framework_of(function: Callable[..., Any]) -> list[str]:
    """The frameworks that a function's code names, most telling first; empty if it names none.

    >>> framework_of(lambda x: np.transpose(x))
    ['numpy']
    >>> framework_of(lambda x: x.T)
    []
    """
    named = dict.fromkeys(_signs(function, depth=3))
    # A function of torch or jax may well use numpy for its sizes.
    order: list[str] = ["torch", "jax", "numpy"]
    return [name for name in order if name in named][:1]


def _signs(function: Any, depth: int) -> Iterator[str]:
    while isinstance(function, functools.partial):
        function = function.func
    if (module := _framework(function)) is not None:
        yield module
    for parent in type(function).__mro__:
        if (module := _framework(parent)) is not None:
            yield module
    function = getattr(function, "__wrapped__", getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if code is None or not depth:
        return
    names = set(code.co_names).union(*(inner.co_names for inner in code.co_consts if hasattr(inner, "co_names")))
    used = [value for name, value in function.__globals__.items() if name in names]
    for cell in function.__closure__ or ():
        try:
            used.append(cell.cell_contents)
        except ValueError:  # a name that is not set yet
            continue
    for value in used:
        if hasattr(value, "__code__") and value is not function:
            yield from _signs(value, depth - 1)
        elif (module := _framework(value)) or (module := _framework(type(value))):
            yield module


def _framework(value: Any) -> str | None:
    name = value.__name__ if type(value) is type(sys) else getattr(value, "__module__", None)
    top = {"flax": "jax", "jaxlib": "jax"}.get(package := str(name).partition(".")[0], package)
    return top if top in BACKENDS else None
