"""From a function to the pattern that does the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import einops
import numpy as np

from einops_arch.discovery.result import Discovery, Trap
from einops_arch.discovery.rewriting.code import write_call
from einops_arch.discovery.solving.contractions import find_contraction, find_square
from einops_arch.discovery.solving.moves import Moves
from einops_arch.discovery.solving.naming import parse_inputs
from einops_arch.discovery.solving.packing import find_pack, find_unpack
from einops_arch.discovery.solving.reductions import Reductions, find_reduction
from einops_arch.discovery.solving.sampling import Sizes, shrink
from einops_arch.discovery.solving.search import Solution, search
from einops_arch.discovery.solving.structure import COMPUTES, NoPatternError
from einops_arch.discovery.solving.values import counted, normal, scattered, shapes_of
from einops_arch.discovery.tracing.arrays import Runner, first_line, one_thread
from einops_arch.errors import DiscoveryError, EinopsArchError, ShapeError

__all__ = ["discover"]

_PRIMES = (2, 3, 5, 7, 11, 13, 17)


def discover(
    function: Callable[..., Any],
    axes: str,
    sizes: Sequence[int] | Sequence[Sequence[int]] | Mapping[str, int] | None = None,
    *,
    backend: str | None = None,
) -> Discovery:
    """Find the einops pattern that does what a function does, and prove it.

    The function is run on numbered elements at several shapes, to see where each element goes, and then on random
    values, to see that the pattern gives exactly the same.

    Args:
        function: the old code, from one array to one array; several arrays in are a `pack` or an `einsum`, several out
            an `unpack`. It may use numpy, torch or jax.
        axes: names for the axes of its input, `"b c h w"`; several inputs are separated by commas, and axes of the same
            name have the same size.
        sizes: a shape that the function takes (one for each input), or sizes by name; an axis without a size gets a
            small prime.
        backend: `"numpy"`, `"torch"` or `"jax"`, where it cannot be seen from the function.

    Returns:
        The pattern with its sizes, code to paste, the way back, and the traps of the old code.

    Raises:
        DiscoveryError: the function does something that no pattern says; `kind` says what in a word.
        ShapeError: the sizes do not fit the axes.
        PatternError: the axes are no names.

    Example:
        >>> def shuffle(x, groups=3):
        ...     b, c, h, w = x.shape
        ...     x = x.reshape(b, groups, c // groups, h, w)
        ...     return x.swapaxes(1, 2).reshape(b, -1, h, w)
        >>> found = discover(shuffle, "b c h w", (2, 12, 5, 7))
        >>> found.pattern, found.sizes
        ('b (c1 c2) h w -> b (c2 c1) h w', {'c1': 3})
        >>> print(found.code)
        rearrange(x, "b (c1 c2) h w -> b (c2 c1) h w", c1=groups)
        >>> discover(lambda x: x.reshape(-1, 320), "b c h w", (16, 20, 5, 5))
        Traceback (most recent call last):
        einops_arch.errors.DiscoveryError: discover: at shape (16, 20, 5, 5) no pattern does what the function does:
        in row 1 of the output element (1, 0) comes from b=0 and element (1, 180) from b=1: the reshape crosses b
    """
    inputs = parse_inputs(axes)
    base = _sizes(inputs, axes, sizes)
    runner = Runner(function, backend)
    shapes = shapes_of(inputs, base)
    runner.settle(counted(shapes))
    with one_thread(runner.backend):
        try:
            _check_pure(runner, shapes)
            discovery = _found(runner, inputs, base)
        except NoPatternError as error:
            _refuse(error, shapes)
        except EinopsArchError:
            raise
        except Exception as error:
            raise DiscoveryError(
                f"discover: the function runs on the numbers 1, 2, 3, ... and fails on others: {first_line(error)}",
                kind="fails",
            ) from error
        return _with_copies(discovery, runner, shapes)


def _found(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes) -> Discovery:
    outputs = len(runner(*counted(shapes_of(inputs, base))))
    if len(inputs) > 1:
        if outputs > 1:
            raise NoPatternError("computes", "it has several inputs and several outputs")
        return find_pack(runner, inputs, base) or find_contraction(runner, inputs, base, _smaller(runner, inputs, base))
    if outputs > 1:
        if (parts := find_unpack(runner, inputs, base)) is not None:
            return parts
        try:
            return _single(_stacked(runner), inputs, base, split=True)
        except NoPatternError as error:
            fix = "likely fix: ask for each of them alone"
            raise NoPatternError(error.kind, f"its {outputs} outputs together: {error}; {fix}") from None
    return _single(runner, inputs, base)


def _single(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes, *, split: bool = False) -> Discovery:
    """One array in, one array out."""
    try:
        return _moved(runner, inputs, base, split=split)
    except NoPatternError as error:
        if error.kind not in {"computes", "values"} or split:
            raise
        refusal = error
    try:
        return _reduced(runner, inputs, base)
    except NoPatternError as error:
        if (square := find_square(runner, inputs, base, _smaller(runner, inputs, base))) is not None:
            return square
        # Whichever says more.
        raise (refusal if refusal.kind == "values" or str(error) == COMPUTES else error) from None


def _moved(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes, *, split: bool) -> Discovery:
    moves = Moves(runner, inputs)

    def prove(solution: Solution, sizes: Sizes) -> bool:
        values = scattered(shapes_of(inputs, sizes), seed=3)
        (result,) = runner(*values)
        mine = _rearrange(values[0], solution, solution.stated(sizes))
        return bool(np.array_equal(mine, result))

    solution = search(moves, prove, base, inputs, _smaller(runner, inputs, base))
    operation = "repeat" if solution.structure.new else "rearrange"
    return _discovery(operation, solution, base, runner, split=split)


def _rearrange(values: Any, solution: Solution, bound: Mapping[str, int]) -> Any:
    how = einops.repeat if solution.structure.new else einops.rearrange
    try:
        return how(values, solution.pattern, **bound)
    except einops.EinopsError:
        return None


def _reduced(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes) -> Discovery:
    names: set[str] = set()

    def prove(solution: Solution, sizes: Sizes) -> bool:
        (values,) = normal(shapes_of(inputs, sizes), seed=3)
        try:
            name = find_reduction(
                lambda x: runner(x)[0], values, solution.pattern, solution.stated(sizes), dtype=runner.dtype, only=names
            )
        except einops.EinopsError:
            return False
        names.update({name} if name else ())
        return name is not None

    unproven = "it reduces, but not by a mean, sum, max, min or prod"
    solution = search(Reductions(runner, inputs), prove, base, inputs, _smaller(runner, inputs, base), unproven)
    if not names:
        raise NoPatternError("computes", COMPUTES)
    return _discovery("reduce", solution, base, runner, reduction=names.pop())


def _discovery(
    operation: str,
    solution: Solution,
    base: Sizes,
    runner: Runner,
    *,
    reduction: str | None = None,
    split: bool = False,
) -> Discovery:
    bound = solution.stated(base)
    equals, call = write_call(
        operation, solution.pattern, bound, solution.equals, function=runner.function, reduction=reduction, split=split
    )
    return Discovery(
        operation=operation,
        pattern=solution.pattern,
        sizes=bound,
        equals=equals,
        shapes=shapes_of(solution.inputs, base),
        proven=solution.proven,
        code=call,
        reduction=reduction,
        inverse=solution.inverse,
        inverse_sizes=solution.inverse_sizes(base),
        split=split,
        traps=solution.traps,
        backend=str(runner.backend),
    )


def _smaller(runner: Runner, inputs: tuple[tuple[str, ...], ...], base: Sizes) -> dict[str, int]:
    def runs(sizes: Sizes) -> bool:
        try:
            runner(*counted(shapes_of(inputs, sizes)))
        except Exception:  # noqa: BLE001 the function is anybody's: a size that it refuses is no news
            return False
        return True

    if runner.smaller is None:
        runner.smaller = shrink(runs, base)
    return runner.smaller


def _stacked(runner: Runner) -> Runner:
    """The same function with its outputs, which have one shape, as one array."""
    stacked = Runner(runner.function, runner.backend)
    stacked.dtype = runner.dtype
    plain = stacked._call  # noqa: SLF001 the class is ours

    def call(values: Sequence[Any], backend: str | None, dtype: str | None) -> tuple[Any, ...]:
        outputs = plain(values, backend, dtype)
        if len({output.shape for output in outputs}) != 1:
            raise NoPatternError("computes", "they are neither the parts of its input nor of one shape")
        return (np.stack(outputs),)

    stacked._call = call  # type: ignore[method-assign]  # noqa: SLF001
    return stacked


def _check_pure(runner: Runner, shapes: Sequence[Sequence[int]]) -> None:
    values = scattered(shapes, seed=4)
    once, twice = runner(*values), runner(*values)
    if len(once) != len(twice) or any(
        not np.array_equal(a, b, equal_nan=True) for a, b in zip(once, twice, strict=True)
    ):
        raise DiscoveryError(
            "discover: two runs on the same values differ; expected a function without randomness or a state of its "
            "own; likely fix: model.eval() for a module with dropout",
            kind="random",
        )


def _with_copies(discovery: Discovery, runner: Runner, shapes: Sequence[Sequence[int]]) -> Discovery:
    if runner.backend != "torch":
        return discovery
    import dataclasses

    from einops_arch.discovery.tracing.torch_copies import copies

    traps = [Trap("contiguous", text) for text in copies(lambda: runner(*counted(shapes)))]
    return dataclasses.replace(discovery, traps=(*discovery.traps, *traps))


def _refuse(error: NoPatternError, shapes: Sequence[Sequence[int]]) -> NoReturn:
    shape = " and ".join(map(str, shapes))
    raise DiscoveryError(
        f"discover: at shape {shape} no pattern does what the function does: {error}", kind=error.kind
    ) from None


def _sizes(inputs: tuple[tuple[str, ...], ...], axes: str, sizes: Any) -> dict[str, int]:
    names = list(dict.fromkeys(name for axes in inputs for name in axes))
    if sizes is None or isinstance(sizes, Mapping):
        known = dict(sizes or {})
        if odd := sorted(set(known) - set(names)):
            raise ShapeError(f"discover: sizes are for axes that {axes!r} does not have: {', '.join(odd)}")
        free = (prime for prime in _PRIMES if prime not in known.values())
        base = {name: int(known[name]) if name in known else next(free) for name in names}
    else:
        shapes = [tuple(sizes)] if not sizes or isinstance(sizes[0], int | np.integer) else [tuple(s) for s in sizes]
        if [len(shape) for shape in shapes] != [len(axes) for axes in inputs]:
            raise ShapeError(f"discover: expected a shape for the axes {axes!r}, received {sizes}")
        base = {}
        for names_of_axes, shape in zip(inputs, shapes, strict=True):
            for name, size in zip(names_of_axes, shape, strict=True):
                if base.setdefault(name, int(size)) != size:
                    raise ShapeError(f"discover: axis {name!r} of {axes!r} has sizes {base[name]} and {size}")
    if any(size < 1 for size in base.values()):
        raise ShapeError(f"discover: expected sizes of at least 1, received {base}")
    return base
