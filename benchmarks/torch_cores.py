"""The cores in PyTorch, beside its own functions, code by hand, einx and Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import einx
import keras
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import keras_moves
from benchmarks.case import Bar, Case, Work
from benchmarks.moves import MOVES, Move
from benchmarks.torch_programs import operations
from einops_arch.torch import layers

__all__ = ["cases"]

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
HAND = ("by hand",)


def cases(device: str) -> Iterator[Case]:
    """All rows, those with bars first."""
    for move in MOVES:
        yield from _move(move, device)
    yield from _gram(device)


def _move(move: Move, device: str) -> Iterator[Case]:
    _, shape, _ = move.first
    bars = _bars(move.name)
    formats = list(FORMATS) if move.image else ["contiguous"]
    for memory in formats:
        make = partial(_move_work, move, device=device, memory=memory)
        yield Case(
            move.name,
            "torch",
            _text(shape),
            f"{memory}, eager, large",
            partial(make, shape),
            bars.get(memory, Bar(1.05, HAND) if memory == "contiguous" else None),
            quick=True,
        )
    small = _smaller(move, shape)
    if small is not None:
        yield Case(
            move.name,
            "torch",
            _text(small),
            "contiguous, eager, batch 1",
            partial(_move_work, move, small, device=device, memory="contiguous"),
            Bar(1.5, ("F.channel_shuffle",)) if move.name == "channel_shuffle" else None,
            quick=True,
        )
    if move.name in {"channel_shuffle", "depth_to_space"}:
        for setting, options in {
            "contiguous, eager, large, forward + backward": {"backward": True},
            "contiguous, eager, large, bfloat16": {"dtype": torch.bfloat16},
            "contiguous, compiled, large": {"compiled": True},
        }.items():
            work = partial(_move_work, move, shape, device=device, memory="contiguous", **options)
            yield Case(move.name, "torch", _text(shape), setting, work)


def _bars(name: str) -> dict[str, Bar]:
    if name == "channel_shuffle":
        return {memory: Bar(1.05, ("F.channel_shuffle",)) for memory in FORMATS}
    if name == "depth_to_space":
        return {"contiguous": Bar(0.75, ("F.pixel_shuffle",)), "channels_last": Bar(1.0, ("F.pixel_shuffle",))}
    return {}


def _smaller(move: Move, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The same with one image, where the batch is the first axis and no other."""
    return (1, *shape[1:]) if move.image and shape[0] > 1 else None


def _move_work(
    move: Move,
    shape: tuple[int, ...],
    *,
    device: str,
    memory: str,
    dtype: torch.dtype = torch.float32,
    backward: bool = False,
    compiled: bool = False,
) -> Work:
    pattern, large, by_hand = move.first
    x = torch.randn(large, device=device, dtype=dtype)[: shape[0]]
    if move.image:
        x = x.contiguous(memory_format=FORMATS[memory])
    layer = getattr(layers, move.layer)(**move.arguments)
    sides: dict[str, Callable[[Tensor], Tensor]] = {"ours": layer}
    sides |= {name: partial(function, F) for name, function in move.native.items()}
    if shape == large:
        sides["by hand"] = by_hand
    sides["einx"] = lambda x: einx.id(pattern, x, **move.sizes)
    sides["keras.ops"] = partial(keras_moves.move, keras.ops, pattern, sizes=dict(move.sizes))
    if compiled:
        sides = {name: torch.compile(side, fullgraph=True) for name, side in sides.items() if name in _COMPILED}
    # A view costs nothing until somebody reads it in order, as the next layer does.
    if not compiled and layer(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        sides = {name: partial(_read, side) for name, side in sides.items()}
    if backward:
        x.requires_grad_()
        g = torch.randn_like(sides["ours"](x))
        calls = {name: partial(_gradient, side, x, g) for name, side in sides.items()}
    else:
        calls = {name: partial(_no_grad, side, x) for name, side in sides.items()}
    result = sides["ours"](x).detach()
    room = torch.empty_like(result)
    ours = calls.pop("ours")
    keeps = move.image and memory == "channels_last" and result.ndim == 4
    # Of a small tensor, what Python does on the way is what is measured.
    told = shape == large and not compiled
    asked = {name: operations(call) for name, call in {"ours": ours, **calls}.items()} if told else {}
    return Work(
        ours,
        calls,
        same,
        lambda: room.copy_(result),
        _lies_channels_last if keeps else lambda _: None,
        asked.__getitem__ if told else None,
    )


_COMPILED = {"ours", "by hand", "F.channel_shuffle", "F.pixel_shuffle"}


def _read(side: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return side(x).clone(memory_format=torch.contiguous_format)


def _no_grad(side: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.inference_mode():
        return side(x)


def _gradient(side: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(side(x), x, g)
    return gradient


def _lies_channels_last(result: Tensor) -> str | None:
    if result.is_contiguous(memory_format=torch.channels_last):
        return None
    return f"the result lost channels_last: strides {result.stride()}"


def same(ours: Any, theirs: Any) -> str | None:
    """Bit for bit."""
    return None if torch.equal(ours, theirs) else "the results differ"


def nearly(ours: Any, theirs: Any) -> str | None:
    """Up to the rounding of float32 sums."""
    error, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    return None if error <= 1e-4 * scale else f"the results differ by {error:.1e} of {scale:.1e}"


GRAM_SHAPES = ((4, 64, 256, 256), (4, 512, 32, 32), (1, 128, 128, 128))


def _gram(device: str) -> Iterator[Case]:
    for shape in GRAM_SHAPES:
        quick = shape == GRAM_SHAPES[1]
        yield Case(
            "gram_matrix",
            "torch",
            _text(shape),
            "contiguous, eager, large",
            partial(_gram_work, shape, device=device, memory="contiguous"),
            Bar(1.05, ("torch.einsum", "torch.bmm")),
            quick=quick,
        )
    shape = GRAM_SHAPES[0]
    yield Case(
        "gram_matrix",
        "torch",
        _text(shape),
        "channels_last, eager, large",
        partial(_gram_work, shape, device=device, memory="channels_last"),
        Bar(0.8, ("torch.einsum, contiguous",)),
    )
    for setting, options in {
        "contiguous, eager, large, forward + backward": {"backward": True},
        "contiguous, eager, large, bfloat16": {"dtype": torch.bfloat16},
    }.items():
        work = partial(_gram_work, GRAM_SHAPES[1], device=device, memory="contiguous", **options)
        yield Case("gram_matrix", "torch", _text(GRAM_SHAPES[1]), setting, work)


def _gram_work(
    shape: tuple[int, ...],
    *,
    device: str,
    memory: str,
    dtype: torch.dtype = torch.float32,
    backward: bool = False,
) -> Work:
    plain = torch.randn(shape, device=device, dtype=dtype)
    x = plain.contiguous(memory_format=FORMATS[memory])
    sides: Mapping[str, Callable[[Tensor], Tensor]] = {
        "ours": layers.GramMatrix("none"),
        "torch.einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
        "torch.bmm": lambda x: torch.bmm(x.reshape(*shape[:2], -1), x.reshape(*shape[:2], -1).mT),
        "einx": lambda x: einx.dot("b c [h w], b d [h w] -> b c d", x, x),
    }
    if backward:
        x.requires_grad_()
        g = torch.randn(shape[0], shape[1], shape[1], device=device, dtype=dtype)
        calls = {name: partial(_gradient, side, x, g) for name, side in sides.items()}
    else:
        calls = {name: partial(_no_grad, side, x) for name, side in sides.items()}
    if memory == "channels_last":
        calls["torch.einsum, contiguous"] = partial(_no_grad, sides["torch.einsum"], plain)
    ours = calls.pop("ours")
    return Work(ours, calls, nearly if dtype == torch.float32 else _roughly)


def _roughly(ours: Any, theirs: Any) -> str | None:
    """Up to the rounding of bfloat16 results."""
    error, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    return None if error <= 2**-6 * scale else f"the results differ by {error:.1e} of {scale:.1e}"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
