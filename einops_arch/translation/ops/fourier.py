"""Discrete Fourier transforms, what `torch.fft` and `jnp.fft` have in common, and complex numbers from their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einops_arch.discovery.tracing.program import Node
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import ROWS, elementwise, functional, input_dims, operation, plain_int
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer, is_floating

__all__: list[str] = []


def _along_one(name: str) -> Callable[..., Array]:
    def row(writer: Writer, node: Node, input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Array:
        length = "" if n is None else f", n={writer.number(n)}"
        return _transformed(writer, node, input, f"jnp.fft.{name}", f"{length}, axis={int(dim)}", norm)

    return row


def _along_several(name: str, default: tuple[int, ...] | None) -> Callable[..., Array]:
    def row(
        writer: Writer, node: Node, input: Any, s: Any = None, dim: Any = default, norm: str | None = None
    ) -> Array:
        rank = len(input.shape)
        # Lengths without axes are those of the last ones.
        axes = range(rank - len(s), rank) if dim is None and s is not None else input_dims(dim, rank)
        lengths = "" if s is None else f", s={writer.number(tuple(s))}"
        return _transformed(writer, node, input, f"jnp.fft.{name}", f"{lengths}, axes={tuple(axes)}", norm)

    return row


def _transformed(writer: Writer, node: Node, value: Any, function: str, middle: str, norm: str | None) -> Array:
    ending = "" if norm is None else f", norm={norm!r}"
    return from_value(writer.bind(f"{function}({writer.ordered(value).code}{middle}{ending})"), node.outputs)


for _name in ("fft", "ifft", "rfft", "irfft"):
    ROWS[f"fft_{_name}"] = _along_one(_name)
    ROWS[f"fft_{_name}2"] = _along_several(f"{_name}n", (-2, -1))
    ROWS[f"fft_{_name}n"] = _along_several(f"{_name}n", None)


def _shifted(name: str) -> Callable[..., Array]:
    def row(writer: Writer, node: Node, input: Any, dim: Any = None) -> Array:
        axes = tuple(input_dims(dim, len(input.shape)))
        return from_value(writer.bind(f"jnp.fft.{name}({writer.ordered(input).code}, axes={axes})"), node.outputs)

    return row


for _name in ("fftshift", "ifftshift"):
    ROWS[f"fft_{_name}"] = _shifted(_name)


@operation("view_as_complex")
def view_as_complex(writer: Writer, node: Node, input: Any) -> Array:
    """Pairs of real and imaginary parts on the last axis."""
    pairs = writer.ordered(input).code
    return from_value(writer.bind(f"jax.lax.complex({pairs}[..., 0], {pairs}[..., 1])"), node.outputs)


@operation("view_as_real")
def view_as_real(writer: Writer, node: Node, input: Any) -> Array:
    """Real and imaginary parts on a new last axis."""
    numbers = writer.ordered(input).code
    return from_value(writer.bind(f"jnp.stack([{numbers}.real, {numbers}.imag], axis=-1)"), node.outputs)


@operation("complex")
def complex_of(writer: Writer, node: Node, real: Any, imag: Any) -> Array:
    """From real and imaginary parts."""
    return elementwise(writer, node.outputs, "jax.lax.complex({}, {})", real, imag)


@operation("polar")
def polar(writer: Writer, node: Node, abs: Any, angle: Any) -> Array:
    """From absolute values and angles."""
    size, turn = (writer.ordered(part).code for part in (abs, angle))
    code = f"jax.lax.complex({size} * jnp.cos({turn}), {size} * jnp.sin({turn}))"
    return from_value(writer.bind(code), node.outputs)


@operation("stft")
def stft(
    writer: Writer,
    node: Node,
    input: Any,
    n_fft: Any,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Array:
    """The transforms of parts that overlap."""
    if not return_complex or align_to_window or not is_floating(input):
        raise UnknownOperationError("stft without return_complex=True, or of complex numbers", "return_complex=True")
    size = plain_int(n_fft)
    hop = size // 4 if hop_length is None else plain_int(hop_length)
    settings = [str(size), str(hop)]
    if window is not None:
        settings.append(f"window={writer.ordered(window).code}")
    if win_length is not None and plain_int(win_length) != size:
        settings.append(f"win_length={plain_int(win_length)}")
    defaults = {"center": (center, True), "pad_mode": (pad_mode, "reflect"), "normalized": (normalized, False)}
    settings += [f"{name}={value!r}" for name, (value, default) in defaults.items() if value != default]
    if onesided is False:
        settings.append("onesided=False")
    call = functional(writer, f"stft({writer.ordered(input).code}, {', '.join(settings)})")
    return from_value(writer.bind(call), node.outputs)
