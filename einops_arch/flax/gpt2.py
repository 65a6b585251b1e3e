"""GPT2 in Flax. The PyTorch twin is `einops_arch/torch/gpt2.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.flax._concrete import is_concrete
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.generation import choose, generate
from einops_arch.flax.layers import GELU, Dropout, Embed, LayerNorm, MergeHeads, Rearrange, Sequential, TiedLinear
from einops_arch.flax.layers.sequential import rematerialized
from einops_arch.flax.layers.transformer import Conv1D, DotProductAttention, small_linear

__all__ = ["GPT2", "choose", "generate"]

State: TypeAlias = Sequence[tuple[Array, Array]]


class GPT2(Pretrained, nnx.Module):
    """Transformer language model for tokens `b t`; gives logits `b t token` for the token after each.

    `model.extend(tokens, state)` continues a text: the state holds the keys and values of the tokens before, so that
    they are not computed again.

    Args:
        config: sizes; those of the small GPT-2 if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        remat: compute the blocks again in the backward pass, which keeps their inputs in memory and no more.
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

    def __init__(
        self,
        config: GPT2Config | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or GPT2Config()
        self.transformer = Transformer(config, remat=remat, rngs=rngs)
        if config.tied:
            self.lm_head = TiedLinear(self.transformer.wte, use_bias=False, rngs=rngs)
        else:
            self.lm_head = small_linear(config.embedding, config.vocabulary, use_bias=False, rngs=rngs)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, tokens: Array, attention_mask: Array | None = None, position_ids: Array | None = None) -> Array:
        """Logits `b t token` for the token after each of `b t`.

        Args:
            tokens: indices of tokens.
            attention_mask: `b t`: 0 where a token is padding, which no token sees; all are seen if left out.
            position_ids: `b t`: the position of each token; 0, 1, 2, ... if left out, whatever the mask, as in
                transformers. For texts that are padded on the left that is `attention_mask.cumsum(1) - 1`, at least 0.
        """
        self.config.check_tokens(tokens, values=is_concrete(tokens))
        self.config.check_mask(tokens, attention_mask, position_ids, values=_known(position_ids))
        x, _ = self.transformer(tokens, None, attention_mask, position_ids)
        return self.lm_head(x)

    def extend(
        self,
        tokens: Array,
        state: State | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
    ) -> tuple[Array, State]:
        """Read tokens after those that a state holds.

        Args:
            tokens: the next tokens `b t`.
            state: for each layer a key and a value `b heads n k` of the `n` tokens before; None before the first.
            attention_mask: `b m` for all tokens so far, those before included: 0 where a token is padding.
            position_ids: `b t`: the position of each of the next tokens.

        Returns:
            Logits `b t token`, and the state after these tokens.
        """
        self.config.check_tokens(tokens, state, values=is_concrete(tokens))
        self.config.check_mask(tokens, attention_mask, position_ids, state, values=_known(position_ids))
        state = self.init_state(len(tokens)) if state is None else state
        x, state = self.transformer(tokens, state, attention_mask, position_ids)
        return self.lm_head(x), state

    def init_state(self, batch: int) -> State:
        """The state before the first token: keys and values of no tokens."""
        shape = (batch, self.config.heads, 0, self.config.embedding // self.config.heads)
        embed = self.transformer.wte
        empty = jnp.zeros(shape, embed.dtype or embed.embedding.dtype)
        return tuple((empty, empty) for _ in range(self.config.layers))

    def begin(self, batch: int, more: int, state: State | None = None) -> tuple[State, Array]:
        """What `advance` carries: a state with room for so many tokens more, and the position of the next one.

        With room for the whole text every step of a compiled loop has the same shapes.
        """
        state = self.init_state(batch) if state is None else state
        room = ((0, 0), (0, 0), (0, more), (0, 0))
        return tuple((jnp.pad(k, room), jnp.pad(v, room)) for k, v in state), jnp.asarray(state[0][0].shape[2])

    def advance(self, tokens: Array, carry: tuple[State, Array]) -> tuple[Array, tuple[State, Array]]:
        """Read the next tokens `b t`: the logits `b token` after the last, and what is carried on."""
        state, first = carry
        x, state = self.transformer(tokens, state, first=first)
        # Only the last token's logits are needed.
        return self.lm_head(x[:, -1]), (state, first + tokens.shape[1])


def _known(array: Array | None) -> bool:
    return array is not None and is_concrete(array)


class Transformer(nnx.Module):
    """Tokens `b t` to features `b t e`: the embeddings of token and position, blocks, and a norm."""

    def __init__(self, config: GPT2Config, *, remat: bool = False, rngs: nnx.Rngs) -> None:
        e = config.embedding
        self.remat = remat
        self.wte = Embed(config.vocabulary, e, rngs=rngs)
        self.wpe = Embed(config.positions, e, rngs=rngs)
        self.wte.embedding[...] = 0.02 * self.wte.embedding[...]
        self.wpe.embedding[...] = 0.02 * self.wpe.embedding[...]
        self.drop = Dropout(config.embedding_dropout, rngs=rngs)
        self.h = nnx.List([Block(config, rngs=rngs) for _ in range(config.layers)])
        self.ln_f = LayerNorm(e, epsilon=config.epsilon, rngs=rngs)

    def __call__(
        self,
        tokens: Array,
        state: State | None = None,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        first: Array | None = None,
    ) -> tuple[Array, State]:
        """Features of the tokens, and, where a state is given, the state after them.

        Args:
            tokens: indices of tokens.
            state: keys and values of the tokens before.
            attention_mask: 0 where a token is padding, those before included.
            position_ids: the position of each token; 0, 1, 2, ... after those before if left out.
            first: the position of the first token, where the state has room for more tokens than came before.
        """
        if position_ids is None:
            before = 0 if state is None else state[0][0].shape[2]
            position_ids = jnp.arange(tokens.shape[1]) + (before if first is None else first)
        x = self.drop(self.wte(tokens) + self.wpe(position_ids))
        states = []
        for index, block in enumerate(self.h):
            past = None if state is None else state[index]
            if self.remat:
                x, pair = rematerialized(block, x, past, attention_mask, first)
            else:
                x, pair = block(x, past, attention_mask, first)
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
        self,
        x: Array,
        past: tuple[Array, Array] | None = None,
        mask: Array | None = None,
        first: Array | None = None,
    ) -> tuple[Array, tuple[Array, Array]]:
        y, state = self.attn(self.ln_1(x), past, mask, first)
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
        self,
        x: Array,
        past: tuple[Array, Array] | None = None,
        mask: Array | None = None,
        first: Array | None = None,
    ) -> tuple[Array, tuple[Array, Array]]:
        q, k, v = self.split(self.c_attn(x))
        if first is not None and past is not None:
            k, v = (
                jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, axis=2)
                for old, new in zip(past, (k, v), strict=True)
            )
        elif past is not None:
            k, v = (jnp.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True))
        x = self.merge(self.attend(q, k, v, first, mask))
        return self.resid_dropout(self.c_proj(x)), (k, v)
