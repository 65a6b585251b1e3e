"""Recurrent cells that mean what PyTorch's mean: one step at a time."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes

from einops_arch._settings import check_choice
from einops_arch.errors import ShapeError
from einops_arch.flax._checks import check_sizes
from einops_arch.flax.functional._dtypes import check_floating
from einops_arch.flax.kernels.scan import Step, gru_step, lstm_step, relu_step, tanh_step
from einops_arch.flax.layers.init import uniform_fan_in

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class _Cell(nnx.Module):
    """One step in time of a recurrent layer; a subclass says which."""

    _gates: ClassVar[int]
    _state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, *, use_bias: bool = True, rngs: nnx.Rngs) -> None:
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.dtype: Any = None  # what is computed in; the widest of input and weights if None
        self.input_size, self.hidden_size, self.use_bias = input_size, hidden_size, use_bias
        init, width = uniform_fan_in(hidden_size), self._gates * hidden_size
        self.weight_ih = nnx.Param(init(rngs.params(), (input_size, width), jnp.float32))
        self.weight_hh = nnx.Param(init(rngs.params(), (hidden_size, width), jnp.float32))
        self.bias_ih: Any = nnx.data(None)
        self.bias_hh: Any = nnx.data(None)
        if use_bias:
            self.bias_ih = nnx.Param(init(rngs.params(), (width,), jnp.float32))
            self.bias_hh = nnx.Param(init(rngs.params(), (width,), jnp.float32))

    def __call__(self, x: jax.Array, state: Any = None) -> Any:
        """One step.

        Args:
            x: b i; the batch axis may be left out.
            state: the state before in PyTorch's form, zeros where None: h, for the LSTM the pair (h, c), each b hidden.

        Returns:
            The state after, in the same form.
        """
        layer, names = type(self).__name__, self._state_names
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(f"{layer}: expected 'b i' with {self.input_size} input features, received shape {x.shape}")
        check_floating(layer, x)
        parts = (None,) * len(names) if state is None else tuple(state) if len(names) > 1 else (state,)
        expected = (*x.shape[:-1], self.hidden_size)
        if len(parts) != len(names) or any(part is not None and part.shape != expected for part in parts):
            received = [None if part is None else part.shape for part in parts]
            raise ShapeError(f"{layer}: expected the state {', '.join(names)} of shape {expected}, received {received}")
        carry = [jnp.zeros(expected, x.dtype) if part is None else part for part in parts]
        leaves = (self.weight_ih, self.weight_hh, *((self.bias_ih, self.bias_hh) if self.use_bias else ()))
        x, *rest = dtypes.promote_dtype((x, *carry, *(leaf[...] for leaf in leaves)), dtype=self.dtype)
        carry, (w_ih, w_hh, *biases) = rest[: len(names)], rest[len(names) :]
        inputs, hidden = x @ w_ih, carry[0] @ w_hh
        if biases:
            inputs, hidden = inputs + biases[0], hidden + biases[1]
        gates = (tuple(jnp.split(values, self._gates, axis=-1)) for values in (inputs, hidden))
        after = self._step()(tuple(carry), *gates)
        return after if len(after) > 1 else after[0]

    @abc.abstractmethod
    def _step(self) -> Step:
        """The function of one step in time; a subclass gives it."""


class LSTMCell(_Cell):
    """`b i -> b hidden`: one step of an LSTM: `torch.nn.LSTMCell`, which gives the pair (h, c).

    Differs from `nnx.LSTMCell`: both biases, PyTorch's leaves, and the state (h, c) second and in PyTorch's order.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        use_bias: whether there are biases, two.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a size is no positive integer.
        ShapeError: when called with another number of features, or another state.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> h, c = LSTMCell(5, 7, rngs=nnx.Rngs(0))(jnp.ones((3, 5)))
    >>> h.shape, c.shape
    ((3, 7), (3, 7))
    """

    _gates = 4
    _state_names = ("h", "c")

    def _step(self) -> Step:
        return lstm_step


class GRUCell(_Cell):
    """`b i -> b hidden`: one step of a GRU: `torch.nn.GRUCell`.

    Differs from `nnx.GRUCell`, which lacks the bias inside the reset gate, and takes the state first.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        use_bias: whether there are biases, two.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a size is no positive integer.
        ShapeError: when called with another number of features, or another state.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> GRUCell(5, 7, rngs=nnx.Rngs(0))(jnp.ones((3, 5))).shape
    (3, 7)
    """

    _gates = 3

    def _step(self) -> Step:
        return gru_step


class RNNCell(_Cell):
    """`b i -> b hidden`: one step of a plain recurrent layer: `torch.nn.RNNCell`.

    Differs from `nnx.SimpleCell`: both biases, and the state second.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        nonlinearity: `"tanh"` or `"relu"`.
        use_bias: whether there are biases, two.
        rngs: takes one key of the stream `params` for each leaf.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: when called with another number of features, or another state.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> RNNCell(5, 7, nonlinearity="relu", rngs=nnx.Rngs(0))(jnp.ones((3, 5))).shape
    (3, 7)
    """

    _gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", use_bias: bool = True, rngs: nnx.Rngs
    ) -> None:
        check_choice("RNNCell", "nonlinearity", nonlinearity, ("tanh", "relu"))
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, use_bias=use_bias, rngs=rngs)

    def _step(self) -> Step:
        return tanh_step if self.nonlinearity == "tanh" else relu_step
