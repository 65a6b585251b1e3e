"""The cores and the layers with forms of their own in JAX, beside code by hand, einx, Keras and plain NNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import einx
import jax
import jax.numpy as jnp
import keras
import numpy as np
from flax import nnx

from benchmarks import keras_moves
from benchmarks.case import Bar, Case, Work
from benchmarks.jax_programs import compile_for, nearly, program_text, roughly, same
from benchmarks.moves import MOVES, Move
from einops_arch.flax import layers

__all__ = ["cases"]

BEST = ("by hand", "einx")


def cases(device: str) -> Iterator[Case]:
    """All rows; jax puts its arrays on the device that the process was started for."""
    del device
    for move in MOVES:
        yield from _move(move)
    yield from _gram()
    yield from _layers()


def _move(move: Move) -> Iterator[Case]:
    _, shape, _ = move.last
    shuffles = move.name in {"channel_shuffle", "channel_unshuffle"}
    work = partial(_move_work, move, shape)
    yield Case(move.name, "jax", _text(shape), "jit, large", work, Bar(1.05, BEST), quick=True)
    if move.image and shape[0] > 1:
        small = (1, *shape[1:])
        yield Case(move.name, "jax", _text(small), "jit, batch 1", partial(_move_work, move, small))
    if shuffles or move.name == "depth_to_space":
        yield Case(
            move.name,
            "jax",
            _text(shape),
            "jit, large, forward + backward",
            partial(_move_work, move, shape, backward=True),
            Bar(1.05, BEST),
        )
        work = partial(_move_work, move, shape, dtype="bfloat16")
        yield Case(move.name, "jax", _text(shape), "jit, large, bfloat16", work, Bar(1.05, BEST))


def _move_work(move: Move, shape: tuple[int, ...], *, dtype: str = "float32", backward: bool = False) -> Work:
    pattern, large, by_hand = move.last
    x = _random(shape).astype(dtype)
    layer = getattr(layers, move.layer)(**move.arguments)
    sides: dict[str, Callable[..., Any]] = {"ours": layer}
    if shape == large:
        sides["by hand"] = by_hand
    sides["einx"] = lambda x: einx.id(pattern, x, **move.sizes)
    sides["keras.ops"] = partial(keras_moves.move, keras.ops, pattern, sizes=dict(move.sizes))
    return _work(sides, (x,), backward=backward, same=same)


GRAM_SHAPES = ((4, 256, 256, 64), (4, 32, 32, 512), (1, 128, 128, 128))


def _gram() -> Iterator[Case]:
    for shape in GRAM_SHAPES:
        bar = Bar(0.7 if shape == GRAM_SHAPES[0] else 1.0, ("jnp.einsum",))
        make = partial(_gram_work, shape)
        yield Case("gram_matrix", "jax", _text(shape), "jit, large", make, bar, quick=shape == GRAM_SHAPES[1])
    more: dict[str, dict[str, Any]] = {"forward + backward": {"backward": True}, "bfloat16": {"dtype": "bfloat16"}}
    for setting, options in more.items():
        make = partial(_gram_work, GRAM_SHAPES[0], **options)
        yield Case("gram_matrix", "jax", _text(GRAM_SHAPES[0]), f"jit, large, {setting}", make)


def _gram_work(shape: tuple[int, ...], *, dtype: str = "float32", backward: bool = False) -> Work:
    x = _random(shape).astype(dtype)
    sides: dict[str, Callable[..., Any]] = {
        "ours": layers.GramMatrix("none"),
        "jnp.einsum": lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x),
        "einx": lambda x: einx.dot("b [h w] c, b [h w] d -> b c d", x, x),
    }
    return _work(sides, (x,), backward=backward, same=nearly if dtype == "float32" else roughly)


def _layers() -> Iterator[Case]:
    """The layers that have a form of their own, beside those of Flax."""
    depthwise = {
        "3x3 depthwise, stride 1": ((8, 28, 28, 240), (3, 3), 1, 240, Bar(0.06, ("nnx.Conv",))),
        "3x3 depthwise, stride 2": ((8, 56, 56, 240), (3, 3), 2, 240, Bar(0.1, ("nnx.Conv",))),
        "1x1 in 3 groups": ((8, 28, 28, 240), (1, 1), 1, 3, Bar(0.7, ("nnx.Conv",))),
    }
    for name, (shape, kernel, stride, groups, bar) in depthwise.items():
        make = partial(_conv_work, shape, kernel, stride, groups)
        yield Case(f"Conv {name}", "jax", _text(shape), "jit, forward", make, bar, quick=True)
        make = partial(_conv_work, shape, kernel, stride, groups, backward=True)
        yield Case(f"Conv {name}", "jax", _text(shape), "jit, forward + backward", make)
    for setting, limit, backward in (("forward", 0.95, False), ("forward + backward", 0.85, True)):
        make = partial(_lstm_work, backward=backward)
        bar = Bar(limit, ("nnx.RNN",))
        yield Case("LSTM", "jax", "2x650, t=35, b=20", f"jit, {setting}", make, bar, quick=not backward)


def _conv_work(
    shape: tuple[int, ...], kernel: tuple[int, int], stride: int, groups: int, *, backward: bool = False
) -> Work:
    channels, padding = shape[-1], kernel[0] // 2
    common = {"strides": stride, "feature_group_count": groups, "use_bias": False, "rngs": nnx.Rngs(0)}
    ours = layers.Conv(channels, channels, kernel, padding=padding, **common)
    plain = nnx.Conv(channels, channels, kernel, padding=[(padding, padding)] * 2, **common)
    plain.kernel.set_value(ours.kernel.get_value())
    sides = {"ours": functional(ours), "nnx.Conv": functional(plain)}
    return _work(sides, (nnx.state(plain), _random(shape)), backward=backward, same=nearly)


def functional(module: nnx.Module) -> Callable[..., Any]:
    """The module as a function of its state: what `jax.jit` takes."""
    graph = nnx.graphdef(module)
    return lambda state, *inputs: nnx.merge(graph, state)(*inputs)


def _lstm_work(*, backward: bool) -> Work:
    rngs = nnx.Rngs(0)
    ours = layers.LSTM(650, 650, 2, rngs=rngs)
    plain = [nnx.RNN(nnx.OptimizedLSTMCell(650, 650, rngs=rngs), time_major=True) for _ in range(2)]
    for number, layer in enumerate(plain):
        _carry_lstm(ours, number, layer.cell)
    stack = nnx.Sequential(*plain)
    first, second = nnx.split(ours), nnx.split(stack)

    def run_ours(state: Any, other: Any, x: Any) -> Any:
        del other
        return nnx.merge(first[0], state)(x)[0]

    def run_plain(other: Any, state: Any, x: Any) -> Any:
        del other
        return nnx.merge(second[0], state)(x)

    inputs = (first[1], second[1], _random((35, 20, 650)))
    return _work({"ours": run_ours, "nnx.RNN": run_plain}, inputs, backward=backward, same=nearly, whole=False)


def _carry_lstm(ours: Any, number: int, cell: Any) -> None:
    """The weights of one layer into a cell of Flax: gates i f g o, one bias for the two of PyTorch."""
    read = {name: getattr(ours, f"{name}_l{number}").get_value() for name in _LSTM_LEAVES}
    cell.dense_i.kernel.set_value(read["weight_ih"])
    cell.dense_h.kernel.set_value(read["weight_hh"])
    cell.dense_h.bias.set_value(read["bias_ih"] + read["bias_hh"])


_LSTM_LEAVES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _work(
    sides: dict[str, Callable[..., Any]],
    inputs: tuple[Any, ...],
    *,
    backward: bool,
    same: Callable[[Any, Any], str | None],
    whole: bool = True,
) -> Work:
    """Compile each side ahead of time, so that the clock sees the program alone.

    Args:
        sides: functions of `inputs`.
        inputs: of all sides.
        backward: also the gradients of all inputs, for one and the same gradient of the result.
        same: compares two results.
        whole: compare the gradients too; where the sides have other weights only the result is compared.
    """
    compiled: dict[str, Any] = {}
    for name, side in sides.items():
        compiled[name], given = compile_for(side, inputs, backward=backward)
    calls = {name: partial(_wait, program, given) for name, program in compiled.items()}
    ours = calls.pop("ours")
    if backward and not whole:
        return Work(ours, calls, lambda a, b: same(a[0], b[0]), program=lambda name: program_text(compiled[name]))
    return Work(ours, calls, same, program=lambda name: program_text(compiled[name]))


def _wait(program: Any, inputs: tuple[Any, ...]) -> Any:
    return jax.block_until_ready(program(*inputs))


def _random(shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
