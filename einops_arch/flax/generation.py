"""Continue texts in Flax. The PyTorch twin is `einops_arch/torch/generation.py`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from einops_arch.architectures._generation import check_generation
from einops_arch.errors import ConfigError
from einops_arch.flax._concrete import is_concrete

__all__ = ["choose", "generate"]


def generate(
    model: nnx.Module,
    prompt: Array,
    steps: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    uniform: Array | None = None,
    key: Array | None = None,
    state: Any = None,
) -> Array:
    """Continue a text token by token, each chosen from what the model gives after all tokens before it.

    Dropout is off, whatever the model's mode is, and the mode is as before afterwards. All steps are one compiled
    loop, compiled anew for another number of steps and another shape of prompt.

    Args:
        model: `GPT2`, whose tokens are `b t`, or `LanguageModel`, whose tokens are `t b`.
        prompt: the beginning of each text, one token at least, with the model's axes.
        steps: number of tokens to add.
        temperature: 0 takes the likeliest token; 1 draws from the model's distribution, less from a sharper.
        top_k: draw from this many likeliest tokens only; None draws from all.
        top_p: draw from the fewest likeliest tokens that have this probability together; None draws from all.
        uniform: a number in [0, 1) for each draw, with the model's axes and `t` equal to `steps`: with the same numbers
            the PyTorch twin writes the same text. Left out, they are drawn.
        key: what they are drawn with; needed where the temperature is not 0 and there are no numbers.
        state: the state before the prompt, as `model.extend` gives it; that before the first token if left out.

    Returns:
        The tokens that were added, with the model's axes and `t` equal to `steps`.

    Raises:
        ConfigError: the model does not continue texts, or a setting is out of range. Or tokens are to be drawn
            and there is neither key nor numbers.
        EinopsArchError: the prompt or the state does not fit, as in a call of the model.

    >>> from einops_arch.flax import create_model
    >>> model = create_model("gpt2_tiny", rngs=nnx.Rngs(0))
    >>> generate(model, jnp.array([[1, 2], [3, 4], [5, 6]]), steps=5).shape
    (3, 5)
    >>> model = create_model("language_model_tiny", rngs=nnx.Rngs(0))
    >>> generate(model, jnp.array([[1, 2, 3], [4, 5, 6]]), steps=5).shape
    (5, 3)
    """
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    values = is_concrete(prompt)
    axes, shape = check_generation(model, prompt, steps, **settings, uniform=uniform, state=state, values=values)
    if temperature == 0:
        uniform = None
    elif uniform is None:
        if key is None:
            raise ConfigError(
                f"generate: expected a key for temperature={temperature}, received None; "
                "likely fix: key=jax.random.key(0)"
            )
        uniform = jax.random.uniform(key, shape)
    numbers = None if uniform is None else rearrange(uniform, f"{axes} -> t b")
    # A view has the same variables, and leaves the mode of the model itself alone.
    evaluating = nnx.view(model, deterministic=True)
    return _generate(evaluating, prompt, state, numbers, temperature, top_p, steps, top_k, axes)


@partial(nnx.jit, static_argnums=(6, 7, 8))
def _generate(
    model: Any,
    prompt: Array,
    state: Any,
    numbers: Array | None,
    temperature: float,
    top_p: float | None,
    steps: int,
    top_k: int | None,
    axes: str,
) -> Array:
    def read(tokens: Array, carry: Any, number: Array | None) -> tuple[Array, Any]:
        logits, carry = model.advance(tokens, carry)
        word = choose(logits, number, temperature=temperature, top_k=top_k, top_p=top_p)
        return word.astype(prompt.dtype), carry

    def step(carry: tuple[Array, Any], number: Array | None) -> tuple[tuple[Array, Any], Array]:
        word, state = carry
        word, state = read(rearrange(word, f"b -> {axes.replace('t', '1')}"), state, number)
        return (word, state), word

    batch, t = (prompt.shape[axes.split().index(axis)] for axis in ("b", "t"))
    first, rest = (None, None) if numbers is None else (numbers[0], numbers[1:])
    # The prompt is read at once, and the last word not at all.
    word, carry = read(prompt, model.begin(batch, t + steps - 1, state), first)
    _, words = jax.lax.scan(step, (word, carry), rest, length=steps - 1)
    return rearrange(jnp.concatenate([rearrange(word, "b -> 1 b"), words]), f"t b -> {axes}")


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
