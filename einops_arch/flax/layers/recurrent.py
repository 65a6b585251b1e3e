"""LSTM, GRU and RNN with PyTorch's meaning, names and states.

NNX has cells and wrappers: its LSTM has one bias where PyTorch has two, its GRU lacks the bias inside the reset gate,
and beyond a sequence's end it returns whatever it computed from the padding. These layers hold the same arrays as
PyTorch's, so that a port loses nothing in either direction. All inputs are multiplied by the input weights at once,
before the scan over time.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from flax.nnx.nn import dtypes

from einops_arch._settings import check_choice
from einops_arch.errors import ConfigError, DtypeError, ShapeError
from einops_arch.flax._checks import check_fraction, check_sizes
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax.functional._dtypes import check_floating
from einops_arch.flax.kernels.scan import Carry, Step, gru_step, lstm_step, relu_step, scan, tanh_step
from einops_arch.flax.layers.init import uniform_fan_in

__all__ = ["GRU", "LSTM", "RNN"]

Lengths: TypeAlias = jax.Array | np.ndarray | Sequence[int]


class _Recurrent(nnx.Module):
    """What the three share; a subclass gives the gates, the parts of its state, and one step in time."""

    _gates: ClassVar[int]
    _state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        use_bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        rngs: nnx.Rngs,
    ) -> None:
        layer = type(self).__name__
        check_sizes(layer, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        check_fraction(layer, "dropout", dropout)
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"{layer}: dropout={dropout} acts between layers, and there is only one", UserWarning, stacklevel=3
            )
        self.dtype: Any = None  # what is computed in; the widest of input and weights if None
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.use_bias = use_bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        if not 0 <= proj_size < hidden_size or (proj_size and len(self._state_names) < 2):
            raise ConfigError(f"{layer}: expected proj_size below hidden_size, and for LSTM, received {proj_size!r}")
        self.proj_size = proj_size
        self.deterministic = False
        self.rngs = rngs["dropout"].fork() if dropout > 0 and num_layers > 1 else nnx.data(None)
        init, width = uniform_fan_in(hidden_size), self._gates * hidden_size
        for index, suffix in self._parts():
            inputs = input_size if index == 0 else self._widths[0] * self._directions
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (inputs, width),
                "weight_hh": (self._widths[0], width),
                "bias_ih": (width,),
                "bias_hh": (width,),
                "weight_hr": (hidden_size, proj_size),
            }
            for name in self._leaves():
                setattr(self, name + suffix, nnx.Param(init(rngs.params(), shapes[name], jnp.float32)))

    @property
    def _widths(self) -> tuple[int, ...]:
        """The features of each part of the state."""
        return (self.proj_size or self.hidden_size, self.hidden_size)[: len(self._state_names)]

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _parts(self) -> list[tuple[int, str]]:
        """Each layer and direction in PyTorch's order, with the end of its leaves' names: (0, "_l0_reverse")."""
        ends = ("", "_reverse")[: self._directions]
        return [(index, f"_l{index}{end}") for index in range(self.num_layers) for end in ends]

    def __call__(self, x: jax.Array, state: Any = None, *, lengths: Lengths | None = None) -> tuple[jax.Array, Any]:
        """Runs over a batch of sequences.

        Args:
            x: t b i, or b t i with batch_first; the batch axis may be left out.
            state: the initial state in PyTorch's form, zeros where None: h of (layer direction) b hidden, for the
                LSTM the pair (h, c); without the batch axis where x has none.
            lengths: how many steps of each sequence count, b integers from 1 to t. The result is that of PyTorch's
                `pack_padded_sequence` with `enforce_sorted=False` and `pad_packed_sequence` with `total_length=t`:
                outputs beyond a sequence's length are zero, the final state is the one at its last step, and the
                reverse direction starts there. What x holds beyond a length has no influence. Lengths are checked
                where their values are known, which they are not inside of `jax.jit`.

        Returns:
            The output, t b (direction hidden) or b t (direction hidden), and the final state in the form of `state`.
        """
        layer = type(self).__name__
        axes = "b t i" if self.batch_first else "t b i"
        if x.ndim not in (2, 3):
            raise ShapeError(
                f"{layer}: expected axes '{axes}' (the batch may be left out), "
                f"received {x.ndim} axes in shape {x.shape}"
            )
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{layer}: expected {self.input_size} input features on the last axis of '{axes}', "
                f"received {x.shape[-1]} in shape {x.shape}"
            )
        batched, shape = x.ndim == 3, x.shape
        if not batched:
            x = x[:, None]
        elif self.batch_first:
            x = rearrange(x, "b t i -> t b i")
        check_floating(layer, x)
        if x.shape[0] == 0:
            raise ShapeError(f"{layer}: expected at least one step in time, received shape {shape}")
        valid = None
        if lengths is not None:
            if not batched:
                raise ShapeError(f"{layer}: expected a batch axis in x where lengths are given, received shape {shape}")
            valid = _valid_steps(layer, lengths, x.shape[0], x.shape[1])
        carries = self._carries(state, x.shape[1], batched=batched)
        output, finals = self._run(x, carries, valid)
        if not batched:
            output, finals = output[:, 0], tuple(final[:, 0] for final in finals)
        elif self.batch_first:
            output = rearrange(output, "t b h -> b t h")
        return output, finals if len(finals) > 1 else finals[0]

    def _carries(self, state: Any, batch: int, *, batched: bool) -> tuple[jax.Array | None, ...]:
        """The parts of the initial state, each (layer direction) b hidden, checked."""
        layer, names = type(self).__name__, self._state_names
        if state is None:
            return (None,) * len(names)
        wanted = f"the tuple ({', '.join(names)})" if len(names) > 1 else "one array h"
        if isinstance(state, (tuple, list)) != (len(names) > 1) or (len(names) > 1 and len(state) != len(names)):
            what = f"{len(state)} parts" if isinstance(state, (tuple, list)) else "one array"
            raise ShapeError(f"{layer}: expected the state as {wanted}, received {what}")
        parts = tuple(state) if len(names) > 1 else (state,)
        rows = self.num_layers * self._directions
        for name, part, width in zip(names, parts, self._widths, strict=True):
            expected = (rows, batch, width) if batched else (rows, width)
            if part.shape != expected:
                pattern = "(layer direction) b hidden" if batched else "(layer direction) hidden"
                raise ShapeError(
                    f"{layer}: expected state {name} as '{pattern}' of shape {expected}, received shape {part.shape}"
                )
        return parts if batched else tuple(part[:, None] for part in parts)

    def _run(
        self, x: jax.Array, carries: tuple[jax.Array | None, ...], valid: jax.Array | None
    ) -> tuple[jax.Array, Carry]:
        """`t b i -> t b (direction hidden)` and the final states, through all layers."""
        names = [name + suffix for _, suffix in self._parts() for name in self._leaves()]
        weights = (getattr(self, name)[...] for name in names)
        values = dtypes.promote_dtype((x, *carries, *weights), dtype=self.dtype)
        x, carries = values[0], values[1 : 1 + len(carries)]
        leaves = dict(zip(names, values[1 + len(carries) :], strict=True))
        zeros = [jnp.zeros((x.shape[1], width), x.dtype) for width in self._widths]
        if valid is not None:
            # Padding must not reach a matrix product: infinite or NaN there would end up in the gradients.
            x = jnp.where(valid, x, jnp.zeros_like(x))
        finals: list[Carry] = []
        outputs: list[jax.Array] = []
        for row, (index, suffix) in enumerate(self._parts()):
            if row % self._directions == 0 and index > 0:
                x = self._dropped(jnp.concatenate(outputs, axis=-1))
                outputs = []
            carry = tuple(z if part is None else part[row] for z, part in zip(zeros, carries, strict=True))
            own = {name: leaves[name + suffix] for name in self._leaves()}
            output, final = scan(self._step(), x, carry, own, valid, reverse=suffix.endswith("reverse"))
            outputs.append(output)
            finals.append(final)
        stacked = tuple(jnp.stack(parts) for parts in zip(*finals, strict=True))
        return jnp.concatenate(outputs, axis=-1), stacked

    def _leaves(self) -> tuple[str, ...]:
        biases = ("bias_ih", "bias_hh") if self.use_bias else ()
        return ("weight_ih", "weight_hh", *biases, *(("weight_hr",) if self.proj_size else ()))

    def _dropped(self, x: jax.Array) -> jax.Array:
        if self.dropout == 0 or self.deterministic:
            return x
        if self.dropout == 1:
            return jnp.zeros_like(x)
        keep = jax.random.bernoulli(self.rngs(), 1.0 - self.dropout, x.shape)
        return jnp.where(keep, x / (1.0 - self.dropout), jnp.zeros_like(x))

    @abc.abstractmethod
    def _step(self) -> Step:
        """The function of one step in time; a subclass gives it."""

    def set_view(self, deterministic: bool | None = None) -> None:
        """Switches dropout for `nnx.view`, as `nnx.Dropout` does.

        Args:
            deterministic: whether dropout is off.
        """
        if deterministic is not None:
            self.deterministic = deterministic


class LSTM(_Recurrent):
    """`t b i -> t b (direction hidden)`: PyTorch's `torch.nn.LSTM`.

    Also gives the final state (h, c), each `(layer direction) b hidden`; with proj_size h and the output are as small.

    Leaves as PyTorch names them, `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `..._l1`,
    `..._l0_reverse`; weights are stored i (gate hidden), the gates in the order input, forget, cell, output.
    Differs from `nnx.LSTMCell` under `nnx.RNN`: both biases, many layers, two directions, lengths, state (h, c).

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: how many layers stand on each other.
        use_bias: whether there are biases, two for each layer and direction.
        batch_first: whether the input and output are b t i instead of t b i; the state never is.
        dropout: the rate of dropout between layers; `model.eval()` turns it off.
        bidirectional: whether a second direction reads each sequence from its end.
        proj_size: to how many features h is projected, by `weight_hr_l0`, ...; 0 is not at all.
        rngs: takes one key of the stream `params` for each leaf, and with dropout forks the stream `dropout`.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, number of features or state, or with lengths that do not fit.
        DtypeError: when called with lengths that are no integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> lstm = LSTM(5, 7, bidirectional=True, rngs=nnx.Rngs(0))
    >>> output, (h, c) = lstm(jnp.ones((4, 3, 5)), lengths=[4, 1, 2])
    >>> output.shape, h.shape, c.shape
    ((4, 3, 14), (2, 3, 7), (2, 3, 7))
    """

    _gates = 4
    _state_names = ("h", "c")

    def _step(self) -> Step:
        return lstm_step


class GRU(_Recurrent):
    """`t b i -> t b (direction hidden)`: PyTorch's `torch.nn.GRU`.

    Also gives the final state h, `(layer direction) b hidden`.

    Leaves as PyTorch names them (see `LSTM`); weights are stored i (gate hidden), the gates in the order reset,
    update, new. Differs from `nnx.GRUCell`, which lacks the bias of the new gate's hidden part, inside of
    `tanh(W x + b + reset * (V h + b_hidden))`.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: how many layers stand on each other.
        use_bias: as for `LSTM`, like all that follow.
        batch_first: whether the input and output are b t i.
        dropout: the rate of dropout between layers.
        bidirectional: whether a second direction reads each sequence from its end.
        rngs: the streams `params` and, with dropout, `dropout`.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, number of features or state, or with lengths that do not fit.
        DtypeError: when called with lengths that are no integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> output, h = GRU(5, 7, batch_first=True, rngs=nnx.Rngs(0))(jnp.ones((3, 4, 5)))
    >>> output.shape, h.shape
    ((3, 4, 7), (1, 3, 7))
    """

    _gates = 3

    def _step(self) -> Step:
        return gru_step


class RNN(_Recurrent):
    """`t b i -> t b (direction hidden)`: PyTorch's `torch.nn.RNN`, the plain recurrent layer.

    Also gives the final state h, `(layer direction) b hidden`.

    Leaves as PyTorch names them (see `LSTM`); weights are stored i hidden. Not `nnx.RNN`, which runs any cell.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: how many layers stand on each other.
        nonlinearity: `"tanh"` or `"relu"`.
        use_bias: as for `LSTM`, like all that follow.
        batch_first: whether the input and output are b t i.
        dropout: the rate of dropout between layers.
        bidirectional: whether a second direction reads each sequence from its end.
        rngs: the streams `params` and, with dropout, `dropout`.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another rank, number of features or state, or with lengths that do not fit.
        DtypeError: when called with lengths that are no integers.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> output, h = RNN(5, 7, nonlinearity="relu", rngs=nnx.Rngs(0))(jnp.ones((4, 3, 5)))
    >>> output.shape, h.shape
    ((4, 3, 7), (1, 3, 7))
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        use_bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            use_bias=use_bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            rngs=rngs,
        )

    def _step(self) -> Step:
        return tanh_step if self.nonlinearity == "tanh" else relu_step


def _valid_steps(layer: str, lengths: Lengths, steps: int, batch: int) -> jax.Array:
    """`t b 1` booleans: which steps lie within each sequence."""
    known = is_concrete(lengths)
    values: Any = np.asarray(lengths) if known else lengths
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise DtypeError(f"{layer}: expected lengths as integers, received dtype {values.dtype}")
    if values.shape != (batch,):
        raise ShapeError(
            f"{layer}: expected one length for each of the {batch} sequences, received lengths of shape {values.shape}"
        )
    if known and batch and not 1 <= values.min() <= values.max() <= steps:
        raise ShapeError(
            f"{layer}: expected lengths from 1 to {steps} (the steps of x), "
            f"received lengths from {values.min()} to {values.max()}"
        )
    return rearrange(jnp.arange(steps)[:, None] < jnp.asarray(values), "t b -> t b 1")
