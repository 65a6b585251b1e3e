"""GPT2 in Flax. The PyTorch twin is `einops_arch/torch/gpt2.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.errors import ConfigError
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import GELU, Dropout, Embed, LayerNorm, MergeHeads, Rearrange, Sequential
from einops_arch.flax.layers.tied import TiedLinear
from einops_arch.flax.layers.transformer import Conv1D, DotProductAttention, small_linear

__all__ = ["GPT2", "choose", "generate"]

State: TypeAlias = Sequence[tuple[Array, Array]]


class GPT2(Pretrained, nnx.Module):
    """Transformer language model for tokens `b t`; gives logits `b t token` for the token after each.

    `model.extend(tokens, state)` continues a text: the state holds the keys and values of the tokens before, so that
    they are not computed again.

    Args:
        config: sizes; those of the small GPT-2 if left out.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: tokens without two axes, without a token, or of more than the config's positions.
        DtypeError: tokens that are not integers.
        IndexRangeError: a token that is not in the vocabulary. Under `jax.jit` there are no values to check; there
            such a token makes its text NaN.

    Source: Radford et al. 2019. Names and layouts are those of Hugging Face's `GPT2LMHeadModel`, whose weights load as
    they are, and so are the initial distributions.

    >>> model = GPT2(GPT2Config.tiny(), rngs=nnx.Rngs(0))
    >>> model(jnp.array([[1, 2, 3], [4, 5, 6]])).shape
    (2, 3, 17)
    """

    def __init__(self, config: GPT2Config | None = None, *, rngs: nnx.Rngs) -> None:
        self.config = config = config or GPT2Config()
        self.transformer = Transformer(config, rngs=rngs)
        if config.tied:
            self.lm_head = TiedLinear(self.transformer.wte, use_bias=False, rngs=rngs)
        else:
            self.lm_head = small_linear(config.embedding, config.vocabulary, use_bias=False, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        """Logits `b t token` for the token after each of `b t`."""
        self.config.check_tokens(tokens, values=is_concrete(tokens))
        x, _ = self.transformer(tokens)
        return self.lm_head(x)

    def extend(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        """Read tokens after those that a state holds.

        Args:
            tokens: the next tokens `b t`.
            state: for each layer a key and a value `b heads n k` of the `n` tokens before; None before the first.

        Returns:
            Logits `b t token`, and the state after these tokens.
        """
        self.config.check_tokens(tokens, state, values=is_concrete(tokens))
        x, state = self.transformer(tokens, self.init_state(len(tokens)) if state is None else state)
        return self.lm_head(x), state

    def init_state(self, batch: int, length: int = 0) -> State:
        """The state before the first token: keys and values of no tokens, or room for some."""
        shape = (batch, self.config.heads, length, self.config.embedding // self.config.heads)
        empty = jnp.zeros(shape, self.transformer.wte.embedding.dtype)
        return tuple((empty, empty) for _ in range(self.config.layers))


class Transformer(nnx.Module):
    """Tokens `b t` to features `b t e`: the embeddings of token and position, blocks, and a norm."""

    def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs) -> None:
        e = config.embedding
        self.wte = Embed(config.vocabulary, e, rngs=rngs)
        self.wpe = Embed(config.positions, e, rngs=rngs)
        self.wte.embedding[...] = 0.02 * self.wte.embedding[...]
        self.wpe.embedding[...] = 0.02 * self.wpe.embedding[...]
        self.drop = Dropout(config.embedding_dropout, rngs=rngs)
        self.h = nnx.List([Block(config, rngs=rngs) for _ in range(config.layers)])
        self.ln_f = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)

    def __call__(self, tokens: Array, state: State | None = None, first: Array | None = None) -> tuple[Array, State]:
        """Features of the tokens, and, where a state is given, the state after them.

        Args:
            tokens: indices of tokens.
            state: keys and values of the tokens before.
            first: the position of the first token, where the state has room for more tokens than came before.
        """
        before = 0 if state is None else state[0][0].shape[2]
        positions = jnp.arange(tokens.shape[1]) + (before if first is None else first)
        x = self.drop(self.wte(tokens) + self.wpe(positions))
        states = []
        for index, block in enumerate(self.h):
            x, pair = block(x, None if state is None else state[index], first)
            if state is not None:
                states.append(pair)
        return self.ln_f(x), tuple(states)


class Block(nnx.Module):
    """Features `b t e` to features: attention and a multilayer perceptron, each after a norm and beside a shortcut."""

    def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs) -> None:
        e = config.embedding
        self.ln_1 = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)
        self.attn = Attention(config, rngs=rngs)
        self.ln_2 = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)
        self.mlp = Sequential(
            {
                "c_fc": Conv1D(e, config.hidden, rngs=rngs),
                "act": GELU(approximate=True),
                # What a block adds is smaller, the more blocks there are.
                "c_proj": Conv1D(config.hidden, e, std=0.02 / (2 * config.layers) ** 0.5, rngs=rngs),
                "dropout": Dropout(config.dropout, rngs=rngs),
            }
        )

    def __call__(
        self, x: Array, past: tuple[Array, Array] | None = None, first: Array | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        y, state = self.attn(self.ln_1(x), past, first)
        x = x + y
        return x + self.mlp(self.ln_2(x)), state


class Attention(nnx.Module):
    """Features `b t e` to features, each a mean over itself and those before, in several heads."""

    def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs) -> None:
        e = config.embedding
        self.c_attn = Conv1D(e, 3 * e, rngs=rngs)
        self.split = Rearrange("b n (qkv heads k) -> qkv b heads n k", qkv=3, heads=config.heads)
        self.attend = DotProductAttention(config.attention_dropout, causal=True, rngs=rngs)
        self.merge = MergeHeads()
        self.c_proj = Conv1D(e, e, std=0.02 / (2 * config.layers) ** 0.5, rngs=rngs)
        self.resid_dropout = Dropout(config.dropout, rngs=rngs)

    def __call__(
        self, x: Array, past: tuple[Array, Array] | None = None, first: Array | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        q, k, v = self.split(self.c_attn(x))
        if first is not None and past is not None:
            k, v = (
                jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, axis=2)
                for old, new in zip(past, (k, v), strict=True)
            )
        elif past is not None:
            k, v = (jnp.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True))
        x = self.merge(self.attend(q, k, v, first))
        return self.resid_dropout(self.c_proj(x)), (k, v)


def generate(
    model: GPT2,
    prompt: Array,
    steps: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    uniform: Array | None = None,
    key: Array | None = None,
) -> Array:
    """Continue a text token by token, each chosen from what the model gives after all tokens before it.

    Dropout is off, whatever the model's mode is, and the mode is as before afterwards. All steps are one compiled
    loop, compiled anew for another number of steps and another shape of prompt.

    Args:
        model: the language model.
        prompt: the beginning `b t` of each text, one token at least.
        steps: number of tokens to add.
        temperature: 0 takes the likeliest token; 1 draws from the model's distribution, less from a sharper.
        top_k: draw from this many likeliest tokens only; None draws from all.
        top_p: draw from the fewest likeliest tokens that have this probability together; None draws from all.
        uniform: a number in [0, 1) for each draw, `b t` with `t` equal to `steps`: with the same numbers the PyTorch
            twin writes the same text. Left out, they are drawn.
        key: what they are drawn with; needed where the temperature is not 0 and there are no numbers.

    Returns:
        The tokens that were added, `b t` with `t` equal to `steps`.

    Raises:
        ConfigError: a setting is out of range, or tokens are to be drawn and there is neither key nor numbers.
        EinopsArchError: the prompt does not fit, as in a call of the model.

    >>> model = GPT2(GPT2Config.tiny(), rngs=nnx.Rngs(0))
    >>> generate(model, jnp.array([[1, 2], [3, 4]]), steps=5).shape
    (2, 5)
    """
    model.config.check_tokens(prompt, values=is_concrete(prompt))
    model.config.check_generation(prompt.shape, steps, temperature, top_k, top_p)
    shape = (len(prompt), steps)
    if uniform is None and temperature > 0:
        if key is None:
            raise ConfigError(
                f"generate: expected a key for temperature={temperature}, received None; "
                "likely fix: key=jax.random.key(0)"
            )
        uniform = jax.random.uniform(key, shape)
    elif uniform is not None and uniform.shape != shape:
        raise ConfigError(f"generate: expected uniform of shape {shape}, received {uniform.shape}")
    # A view has the same variables, and leaves the mode of the model itself alone.
    evaluating = nnx.view(model, deterministic=True)
    drawn = None if temperature == 0 or uniform is None else rearrange(uniform, "b t -> t b")
    return _generate(evaluating, prompt, drawn, temperature, steps, top_k, top_p)


@partial(nnx.jit, static_argnums=(4, 5))
def _generate(
    model: GPT2,
    prompt: Array,
    uniform: Array | None,
    temperature: float,
    steps: int,
    top_k: int | None,
    top_p: float | None,
) -> Array:
    b, t = prompt.shape

    def read(tokens: Array, state: State, first: int | Array, number: Array | None) -> tuple[Array, State]:
        x, state = model.transformer(tokens, state, jnp.asarray(first))
        # Only the last token's logits are needed.
        logits = model.lm_head(x[:, -1])
        word = (
            logits.argmax(axis=-1)
            if number is None
            else choose(logits, number, temperature=temperature, top_k=top_k, top_p=top_p)
        )
        return word.astype(prompt.dtype), state

    def step(carry: tuple[Array, State, Array], number: Array | None) -> tuple[tuple[Array, State, Array], Array]:
        word, state, first = carry
        word, state = read(rearrange(word, "b -> b 1"), state, first, number)
        return (word, state, first + 1), word

    now, rest = (None, None) if uniform is None else (uniform[0], uniform[1:])
    # Room for the whole text, so that every step has the same shapes.
    word, state = read(prompt, model.init_state(b, t + steps - 1), 0, now)
    _, words = jax.lax.scan(step, (word, state, jnp.asarray(t)), rest, length=steps - 1)
    return rearrange(jnp.concatenate([rearrange(word, "b -> 1 b"), words]), "t b -> b t")


def choose(
    logits: Array,
    uniform: Array | None,
    *,
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    top_p: float | Array | None = None,
) -> Array:
    """One token `b` from logits `b token`: the one at a fraction of the distribution, the likeliest token first.

    Args:
        logits: scores of the tokens.
        uniform: the fraction `b`, in [0, 1); None takes the likeliest token.
        temperature: what the logits are divided by.
        top_k: draw from this many likeliest tokens only.
        top_p: draw from the fewest likeliest tokens that have this probability together.

    >>> choose(jnp.array([[0.0, 2.0, 1.0]]), jnp.array([0.9])).tolist()
    [2]
    """
    if uniform is None:
        return logits.argmax(axis=-1)
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    logits = jnp.take_along_axis(logits, order, axis=-1)
    if top_k is not None:
        logits = jnp.where(logits < logits[:, top_k - 1 : top_k], -jnp.inf, logits)
    # The largest becomes 0 first, so that a small temperature cannot overflow.
    likely = jax.nn.softmax((logits - logits[:, :1]) / temperature, axis=-1)
    if top_p is not None:
        likely = jnp.where(jnp.cumsum(likely, axis=-1) - likely >= top_p, 0, likely)
    reached = jnp.cumsum(likely, axis=-1)
    rank = (reached <= rearrange(uniform, "b -> b 1") * reached[:, -1:]).sum(axis=-1)
    # Where rounding lets a fraction below 1 reach the end.
    rank = jnp.minimum(rank, (likely > 0).sum(axis=-1) - 1)
    return rearrange(jnp.take_along_axis(order, rearrange(rank, "b -> b 1"), axis=1), "b 1 -> b")
