"""Inputs at two sizes: which axes are free, and arrays of another size to try them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from einops_arch.errors import ShapeError
from einops_arch.translation.refusals import Refusal, TranslationError

__all__ = ["Arguments", "another_size", "arguments_of", "far_size", "input_order", "is_range", "resized"]


@dataclass
class Arguments:
    """What a model is called with.

    Args:
        args: by position, tensors.
        kwargs: by name, tensors.
        axes: letters or sizes of each tensor, in the order of the leaves.
        within: whether floating-point numbers of other inputs stay in the range of these.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    axes: list[list[str]]
    within: bool = False

    @property
    def tensors(self) -> list[Any]:
        import torch

        flat = [*self.args, *self.kwargs.values()]
        return [item for item in flat if isinstance(item, torch.Tensor)]

    @property
    def letters(self) -> dict[str, int]:
        """Each free letter and its size."""
        sizes: dict[str, int] = {}
        for names, tensor in zip(self.axes, self.tensors, strict=True):
            for name, size in zip(names, tensor.shape, strict=True):
                if not name.isdigit() and sizes.setdefault(name, size) != size:
                    raise ShapeError(f"translate: axis {name!r} is {sizes[name]} and {size}; likely fix: two letters")
        return sizes

    @property
    def compare_axes(self) -> Any:
        """As parity takes them: letters only, `c` where the twin takes it last."""
        patterns = [
            " ".join(
                "c" if n == channel_place(names) else f"a{n}" if name.isdigit() or name in names[:n] else name
                for n, name in enumerate(names)
            )
            or None
            for names in self.axes
        ]
        return dict(zip(self.kwargs, patterns, strict=False)) if self.kwargs and not self.args else patterns

    @property
    def compare_inputs(self) -> Any:
        """As parity takes them."""
        return self.kwargs if self.kwargs and not self.args else self.args


def arguments_of(inputs: Any, axes: Any) -> Arguments:
    """Tensors from what a user gives, with the letters of their axes.

    Args:
        inputs: a tensor or array, a tuple, or a dict by name.
        axes: a pattern, or one for each input; guessed from the number of axes if left out.

    Raises:
        ShapeError: a pattern has another number of axes than its input.
        TranslationError: an input is a number, a list or a dict.
    """
    if isinstance(inputs, Mapping):
        args: tuple[Any, ...] = ()
        kwargs = {name: _tensor(item) for name, item in inputs.items()}
    else:
        items = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        args, kwargs = tuple(_tensor(item) for item in items), {}
    _check_arguments({**{str(number): item for number, item in enumerate(args)}, **kwargs})
    result = Arguments(args, kwargs, [])
    tensors = result.tensors
    if isinstance(axes, Mapping):
        patterns: list[Any] = [axes.get(name) for name in kwargs]
    elif isinstance(axes, str) or axes is None:
        patterns = [axes] + [None] * (len(tensors) - 1)
    else:
        patterns = list(axes) + [None] * (len(tensors) - len(axes))
    for tensor, pattern in zip(tensors, patterns, strict=False):
        names = pattern.split() if pattern else _guess(tensor)
        if len(names) != tensor.ndim:
            raise ShapeError(f"translate: axes {pattern!r} do not fit an input of shape {tuple(tensor.shape)}")
        result.axes.append(names)
    return result


def _check_arguments(items: Mapping[str, Any]) -> None:
    """Numbers would become part of the twin, and what a list holds has no axes."""
    import torch

    problems = []
    for name, item in items.items():
        if isinstance(item, torch.Tensor) or item is None or isinstance(item, (bool, str)):
            continue
        reason = (
            f"it is {item!r}, and would be written into the twin as it is"
            if isinstance(item, (int, float))
            else f"it is a {type(item).__name__}, of which no axes are known"
        )
        fix = "a module that takes tensors only"
        if isinstance(item, Mapping):
            names = ", ".join(map(str, item))
            fix = f"a subclass with forward(self, {names}) that calls super().forward with the dict of these"
        problems.append(Refusal("", f"input {name}", "argument", reason, fix))
    if problems:
        raise TranslationError(problems)


def _tensor(item: Any) -> Any:
    import torch

    if isinstance(item, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(item))
    if hasattr(item, "__array__") and not isinstance(item, torch.Tensor):
        return torch.from_numpy(np.array(item))
    return item


def _guess(tensor: Any) -> list[str]:
    if not tensor.is_floating_point():
        return ["b", "t", *(str(size) for size in tensor.shape[2:])][: tensor.ndim]
    sizes = [str(size) for size in tensor.shape]
    return {
        4: ["b", "c", "h", "w"],
        5: ["b", "c", "d", "h", "w"],
    }.get(tensor.ndim, ["b", *sizes[1:]][: tensor.ndim])


def another_size(letter: str, size: int) -> int:
    """A size that differs in all that a network may do with it: strides, windows, halves."""
    if letter == "b":
        return size + 1
    step = next((step for step in (64, 32, 16, 8, 4, 2) if size % step == 0 and size > step), None)
    step = step or (32 if size == 32 else 2)
    return size + step * (1 if step < 16 else max(1, 32 // step))


def far_size(size: int, *, odd: bool = True) -> int:
    """A size far from the two that were recorded, odd or a multiple: what came out alike by chance differs there.

    >>> far_size(4), far_size(4, odd=False), far_size(64)
    (17, 16, 101)
    """
    if size > 32:
        return size + (37 if odd else 64)
    times = 4 if size <= 8 else 3
    return times * size + (1 - size * times % 2 if odd else 0)


def resized(arguments: Arguments, sizes: Mapping[str, int], seed: int = 1) -> Arguments:
    """Arguments of other sizes with other numbers of the same kind.

    Args:
        arguments: the model's own.
        sizes: by letter.
        seed: of the numbers.
    """
    import torch

    random = np.random.default_rng(seed)
    count = iter(range(len(arguments.axes)))

    def other(item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return copy.copy(item)
        names = arguments.axes[next(count)]
        shape = tuple(sizes.get(name, size) for name, size in zip(names, item.shape, strict=True))
        if item.is_floating_point():
            drawn = _floats(item, shape, random) if arguments.within else random.standard_normal(shape)
            return torch.from_numpy(drawn).to(item.dtype)
        if item.dtype == torch.bool:
            return torch.from_numpy(random.random(shape) < 0.7)
        return torch.from_numpy(_integers(item, shape, random)).to(item.dtype)

    return Arguments(
        tuple(other(item) for item in arguments.args),
        {name: other(item) for name, item in arguments.kwargs.items()},
        arguments.axes,
        arguments.within,
    )


def _floats(like: Any, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    """Numbers of the same range where none of these is negative, or these themselves where all are whole."""
    if not is_range(like):
        return random.standard_normal(shape)
    if bool((like == like.round()).all()):
        return random.choice(like.flatten().double().numpy(), shape)
    return random.uniform(float(like.min()), float(like.max()), shape)


def is_range(tensor: Any) -> bool:
    """Whether floating-point numbers may have been meant not to be negative: probabilities, distances, masks."""
    finite = tensor.is_floating_point() and tensor.numel() and bool(tensor.isfinite().all())
    return bool(finite) and 0 <= float(tensor.min()) < float(tensor.max())


def _integers(like: Any, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    """Integers of the same range, or of the same in each column; a mask of 0 and 1 keeps a 1 in each row.

    A single negative number among others, such as a label of -100, means that there is none: it is drawn as such.
    """
    negative, nothing = like[like < 0], like < 0
    if nothing.any() and not nothing.all() and negative.min() == negative.max() < -1:
        drawn = np.where(random.random(shape) < 0.3, int(negative[0]), _integers(like[~nothing], shape, random))
        drawn.flat[:1] = int(negative[0])
        return drawn
    low, high = (int(like.min()), int(like.max())) if like.numel() else (0, 0)
    if low >= 0 and high <= 1:
        drawn = random.integers(0, 2, shape)
        if drawn.ndim and drawn.shape[-1] > 1:
            drawn[..., 0], drawn[..., -1] = 1, 0
        return drawn
    if len(shape) > 1 and shape[-1] == like.shape[-1] and high > low:
        # Each column may be a category of its own, with a table of its own.
        columns = like.reshape(-1, shape[-1])
        lows, highs = columns.amin(0).numpy(), columns.amax(0).numpy()
        return random.integers(lows, highs + 1, shape)
    low = low - 1 if low == high and low > 0 else low
    high = high + 1 if low == high else high
    drawn = random.integers(low, high + 1, shape)
    if drawn.size > 1:
        drawn.flat[0], drawn.flat[-1] = low, high
    return drawn


def input_order(names: Sequence[str], rank: int) -> tuple[int, ...]:
    """The order in which the twin takes the axes of an input: channels last where they stand before space."""
    place = channel_place(names)
    if place in (-1, rank - 1):
        return tuple(range(rank))
    return (*(n for n in range(rank) if n != place), place)


def channel_place(names: Sequence[str]) -> int:
    """Where the channels are: at `c`, or at a number right before the axes of space; -1 where there are none.

    >>> channel_place(["b", "3", "h", "w"])
    1
    """
    if "c" in names:
        return names.index("c")
    space = next((n for n, name in enumerate(names) if name in ("d", "h")), 0)
    return space - 1 if space == 2 and names[0] == "b" and names[1].isdigit() else -1
