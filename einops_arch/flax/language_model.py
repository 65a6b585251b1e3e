"""LanguageModel in Flax. The PyTorch twin is `einops_arch/torch/language_model.py`."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.architectures._tokens import check_tokens
from einops_arch.architectures.language_model import LanguageModelConfig
from einops_arch.errors import ConfigError
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import GRU, LSTM, RNN, Dropout, Embed, Linear
from einops_arch.flax.layers.tied import TiedLinear
from einops_arch.functional import flatten_sequence, unflatten_sequence

__all__ = ["LanguageModel", "generate"]

State: TypeAlias = Array | tuple[Array, Array]

_CELLS: dict[str, Any] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn_tanh": partial(RNN, nonlinearity="tanh"),
    "rnn_relu": partial(RNN, nonlinearity="relu"),
}


class LanguageModel(Pretrained, nnx.Module):
    """Recurrent language model for tokens `t b`; gives logits `t b token` and the state after the last token.

    The state is PyTorch's: `(hidden, cell)` for LSTM and `hidden` for the other cells, each `layer b h`. Given
    back with the next tokens it continues the text; left out it is zero, see `init_state`.
    The decoder looks at each position by itself: `t b h -> (t b) h` before it, the same read backwards after it.

    Args:
        config: sizes; those of the medium model of Zaremba et al. if left out.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: tokens without two axes or without a time step, or a state of another form or size.
        DtypeError: tokens that are not integers.
        IndexRangeError: a token that is not in the vocabulary. Under `jax.jit` there are no values to check; there
            such a token gives NaN.

    Source: the word language model of pytorch/examples, whose names these are. Its log-softmax is left to the
    loss, and the initial values are PyTorch's. The code that this replaces passed sizes by index to two `view`s.

    >>> model = LanguageModel(LanguageModelConfig.tiny(), rngs=nnx.Rngs(0))
    >>> logits, (hidden, cell) = model(jnp.array([[1, 2, 3], [4, 5, 6]]))
    >>> logits.shape, hidden.shape
    ((2, 3, 17), (2, 3, 7))
    """

    def __init__(self, config: LanguageModelConfig | None = None, *, rngs: nnx.Rngs) -> None:
        self.config = config = config or LanguageModelConfig()
        self.drop = Dropout(config.dropout, rngs=rngs)
        self.encoder = Embed(config.vocabulary, config.embedding, rngs=rngs)
        self.rnn = _CELLS[config.cell](
            config.embedding, config.hidden, num_layers=config.layers, dropout=config.dropout_between, rngs=rngs
        )
        if config.tied:
            self.decoder = TiedLinear(self.encoder, rngs=rngs)
        else:
            self.decoder = Linear(config.hidden, config.vocabulary, rngs=rngs)

    def __call__(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        """Logits `t b token` for the word after each token, and the state after the last one."""
        self.config.check_inputs(tokens, values=is_concrete(tokens))
        t, b = tokens.shape
        if state is not None:
            self.config.check_state(state, batch=b)
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        output = flatten_sequence(self.drop(output))
        return unflatten_sequence(self.decoder(output), t=t, b=b), state

    def init_state(self, batch: int) -> State:
        """The state before the first token: zeros, with the dtype of the weights."""
        shape = (self.config.layers, batch, self.config.hidden)
        zeros = tuple(jnp.zeros(shape, self.encoder.embedding.dtype) for _ in self.config.state())
        return zeros if len(zeros) > 1 else zeros[0]


def generate(
    model: LanguageModel,
    prompt: Array,
    steps: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    key: Array | None = None,
    state: State | None = None,
) -> Array:
    """Continue a text word by word, each chosen from what the model gives after all words before it.

    Dropout is off, whatever the model's mode is, and the mode is as before afterwards. All steps are one compiled
    loop, compiled anew for another number of steps and another shape of prompt.

    Args:
        model: the language model.
        prompt: the beginning `t b` of each text, one word at least.
        steps: number of words to add.
        temperature: 0 takes the likeliest word; 1 draws from the model's distribution, less from a sharper.
        top_k: draw from this many likeliest words only; None draws from all.
        key: where the random numbers come from; needed where the temperature is not 0.
        state: the state before the prompt; zeros if left out.

    Returns:
        The words that were added, `t b` with `t` equal to `steps`.

    Raises:
        ConfigError: a setting is out of range, or words are to be drawn and there is no key.
        EinopsArchError: the prompt or the state does not fit, as in a call of the model.

    >>> model = LanguageModel(LanguageModelConfig.tiny(), rngs=nnx.Rngs(0))
    >>> generate(model, jnp.array([[1, 2], [3, 4]]), steps=5).shape
    (5, 2)
    """
    model.config.check_generation(steps, temperature, top_k)
    (axes,) = model.config.inputs()
    check_tokens(axes, prompt, values=is_concrete(prompt))
    if temperature == 0:
        keys = None
    elif key is None:
        raise ConfigError(
            f"generate: expected a key for temperature={temperature}, received None; likely fix: key=jax.random.key(0)"
        )
    else:
        keys = jax.random.split(key, steps)
    # A view has the same variables, and leaves the mode of the model itself alone.
    evaluating = nnx.view(model, deterministic=True)
    return _generate(evaluating, prompt, state, keys, temperature, steps, top_k)


@partial(nnx.jit, static_argnums=(5, 6))
def _generate(
    model: LanguageModel,
    prompt: Array,
    state: State | None,
    keys: Array | None,
    temperature: float,
    steps: int,
    top_k: int | None,
) -> Array:
    def choose(logits: Array, key: Array | None) -> Array:
        word = jnp.argmax(logits, axis=-1) if key is None else _draw(logits, key, temperature, top_k)
        return word.astype(prompt.dtype)

    def step(carry: tuple[Array, State], key: Array | None) -> tuple[tuple[Array, State], Array]:
        word, state = carry
        logits, state = model(rearrange(word, "b -> 1 b"), state)
        word = choose(logits[-1], key)
        return (word, state), word

    first, rest = (None, None) if keys is None else (keys[0], keys[1:])
    logits, state = model(prompt, state)
    word = choose(logits[-1], first)
    _, words = jax.lax.scan(step, (word, state), rest, length=steps - 1)
    return jnp.concatenate([rearrange(word, "b -> 1 b"), words])


def _draw(logits: Array, key: Array, temperature: Array, top_k: int | None) -> Array:
    """One word `b` from logits `b token`."""
    if top_k is not None:
        least = jax.lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    # The largest becomes 0 first, so that a small temperature cannot overflow.
    logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    return jax.random.categorical(key, logits)
