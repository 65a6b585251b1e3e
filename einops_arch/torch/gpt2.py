"""GPT2 in PyTorch. The Flax twin is `einops_arch/flax/gpt2.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from einops_arch.architectures.gpt2 import GPT2Config
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.functional import leaf
from einops_arch.torch.generation import choose, generate
from einops_arch.torch.layers import MergeHeads, Rearrange
from einops_arch.torch.layers.concrete import is_concrete
from einops_arch.torch.layers.sequential import Sequential
from einops_arch.torch.layers.transformer import Conv1D, DotProductAttention

__all__ = ["GPT2", "choose", "generate"]

State: TypeAlias = Sequence[tuple[Tensor, Tensor]]


class GPT2(Pretrained, nn.Module):
    """Transformer language model for tokens `b t`; gives logits `b t token` for the token after each.

    `model.extend(tokens, state)` continues a text: the state holds the keys and values of the tokens before, so that
    they are not computed again.

    Args:
        config: sizes; those of the small GPT-2 if left out.

    Raises:
        ShapeError: tokens without two axes, without a token, or of more than the config's positions.
        DtypeError: tokens that are not integers.
        IndexRangeError: a token that is not in the vocabulary. On an accelerator and under `torch.compile` it
            is left to the device's own check.

    Source: Radford et al. 2019. Names and layouts are those of Hugging Face's `GPT2LMHeadModel`, whose weights load as
    they are, and so are the initial distributions.

    >>> model = GPT2(GPT2Config.tiny())
    >>> model(torch.tensor([[1, 2, 3], [4, 5, 6]])).shape
    torch.Size([2, 3, 17])
    """

    def __init__(self, config: GPT2Config | None = None) -> None:
        super().__init__()
        self.config = config = config or GPT2Config()
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.embedding, config.vocabulary, bias=False)
        if config.tied:
            self.lm_head.weight = self.transformer.wte.weight
        else:
            nn.init.normal_(self.lm_head.weight, std=0.02)

    def forward(
        self, tokens: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
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
        tokens: Tensor,
        state: State | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, State]:
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
        empty = self.transformer.wte.weight.new_zeros(shape)
        return tuple((empty, empty) for _ in range(self.config.layers))


def _known(array: Tensor | None) -> bool:
    return array is not None and is_concrete(array)


class Transformer(nn.Module):
    """Tokens `b t` to features `b t e`: the embeddings of token and position, blocks, and a norm."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        e = config.embedding
        self.wte = nn.Embedding(config.vocabulary, e)
        self.wpe = nn.Embedding(config.positions, e)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.drop = nn.Dropout(config.embedding_dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(e, eps=config.epsilon)

    def forward(
        self,
        tokens: Tensor,
        state: State | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Features of the tokens, and, where a state is given, the state after them."""
        before = 0 if state is None else state[0][0].shape[2]
        x = self.drop(self.wte(tokens) + self.wpe(_positions(tokens, before, position_ids)))
        states = []
        for index, block in enumerate(self.h):
            x, pair = block(x, None if state is None else state[index], attention_mask)
            if state is not None:
                states.append(pair)
        return self.ln_f(x), tuple(states)


@leaf
def _positions(tokens: Tensor, before: int, position_ids: Tensor | None) -> Tensor:
    """The position of each of `b t` tokens, `b t` where they are told, or else `t`, after those before."""
    if position_ids is not None:
        return position_ids
    return torch.arange(before, before + tokens.shape[1], device=tokens.device)


class Block(nn.Module):
    """Features `b t e` to features: attention and a multilayer perceptron, each after a norm and beside a shortcut."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        e = config.embedding
        self.ln_1 = nn.LayerNorm(e, eps=config.epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(e, eps=config.epsilon)
        self.mlp = Sequential(
            {
                "c_fc": Conv1D(e, config.hidden),
                "act": nn.GELU(approximate="tanh"),
                # What a block adds is smaller, the more blocks there are.
                "c_proj": Conv1D(config.hidden, e, std=0.02 / (2 * config.layers) ** 0.5),
                "dropout": nn.Dropout(config.dropout),
            }
        )

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.attn(self.ln_1(x), past, mask)
        x = x + y
        return x + self.mlp(self.ln_2(x)), state


class Attention(nn.Module):
    """Features `b t e` to features, each a mean over itself and those before, in several heads."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        e = config.embedding
        self.c_attn = Conv1D(e, 3 * e)
        self.split = Rearrange("b n (qkv heads k) -> qkv b heads n k", qkv=3, heads=config.heads)
        self.attend = DotProductAttention(config.attention_dropout, causal=True)
        self.merge = MergeHeads()
        self.c_proj = Conv1D(e, e, std=0.02 / (2 * config.layers) ** 0.5)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.split(self.c_attn(x))
        if past is not None:
            k, v = (torch.cat([old, new], dim=2) for old, new in zip(past, (k, v), strict=True))
        x = self.merge(self.attend(q, k, v, mask))
        return self.resid_dropout(self.c_proj(x)), (k, v)
