"""Continue texts in PyTorch. The Flax twin is `einops_arch/flax/generation.py`."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from einops_arch.architectures._generation import check_generation
from einops_arch.torch._evaluating import evaluating
from einops_arch.torch.layers.concrete import is_concrete

__all__ = ["choose", "generate"]


@torch.no_grad()
def generate(
    model: nn.Module,
    prompt: Tensor,
    steps: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    uniform: Tensor | None = None,
    generator: torch.Generator | None = None,
    state: Any = None,
) -> Tensor:
    """Continue a text token by token, each chosen from what the model gives after all tokens before it.

    Dropout is off, whatever the model's mode is, and the mode is as before afterwards.

    Args:
        model: `GPT2`, whose tokens are `b t`, or `LanguageModel`, whose tokens are `t b`.
        prompt: the beginning of each text, one token at least, with the model's axes.
        steps: number of tokens to add.
        temperature: 0 takes the likeliest token; 1 draws from the model's distribution, less from a sharper.
        top_k: draw from this many likeliest tokens only; None draws from all.
        top_p: draw from the fewest likeliest tokens that have this probability together; None draws from all.
        uniform: a number in [0, 1) for each draw, with the model's axes and `t` equal to `steps`: with the same numbers
            the Flax twin writes the same text. Left out, they are drawn.
        generator: where they are drawn from; PyTorch's default one if left out.
        state: the state before the prompt, as `model.extend` gives it; that before the first token if left out.

    Returns:
        The tokens that were added, with the model's axes and `t` equal to `steps`.

    Raises:
        ConfigError: the model does not continue texts, or a setting is out of range.
        EinopsArchError: the prompt or the state does not fit, as in a call of the model.

    >>> from einops_arch.torch import create_model
    >>> model = create_model("gpt2_tiny")
    >>> generate(model, torch.tensor([[1, 2], [3, 4], [5, 6]]), steps=5).shape
    torch.Size([3, 5])
    >>> model = create_model("language_model_tiny")
    >>> generate(model, torch.tensor([[1, 2, 3], [4, 5, 6]]), steps=5).shape
    torch.Size([5, 3])
    """
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    values = is_concrete(prompt)
    axes, shape = check_generation(model, prompt, steps, **settings, uniform=uniform, state=state, values=values)
    if temperature == 0:
        uniform = None
    elif uniform is None:
        uniform = torch.rand(shape, generator=generator, device=prompt.device)
    numbers = [None] * steps if uniform is None else rearrange(uniform, f"{axes} -> t b")
    network: Any = model
    tokens, words = prompt, []
    with evaluating(model):
        for number in numbers:
            logits, state = network.extend(tokens, state)
            last = rearrange(logits, f"{axes} token -> t b token")[-1]
            word = choose(last, number, **settings).to(prompt.dtype)
            tokens = rearrange(word, f"b -> {axes.replace('t', '1')}")
            words.append(word)
    return rearrange(words, f"t b -> {axes}")


def choose(
    logits: Tensor,
    uniform: Tensor | None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """One token `b` from logits `b token`: the one at a fraction of the distribution, the likeliest token first.

    Args:
        logits: scores of the tokens.
        uniform: the fraction `b`, in [0, 1); None takes the likeliest token.
        temperature: what the logits are divided by.
        top_k: draw from this many likeliest tokens only.
        top_p: draw from the fewest likeliest tokens that have this probability together.

    >>> choose(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0.9]))
    tensor([2])
    """
    if uniform is None:
        return logits.argmax(dim=-1)
    logits, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        logits = logits.masked_fill(logits < logits[:, top_k - 1 : top_k], -torch.inf)
    # The largest becomes 0 first, so that a small temperature cannot overflow.
    likely = ((logits - logits[:, :1]) / temperature).softmax(dim=-1)
    if top_p is not None:
        likely = likely.masked_fill(likely.cumsum(dim=-1) - likely >= top_p, 0)
    reached = likely.cumsum(dim=-1)
    rank = (reached <= rearrange(uniform, "b -> b 1") * reached[:, -1:]).sum(dim=-1)
    # Where rounding lets a fraction below 1 reach the end.
    rank = torch.minimum(rank, (likely > 0).sum(dim=-1) - 1)
    return rearrange(order.gather(1, rearrange(rank, "b -> b 1")), "b 1 -> b")
