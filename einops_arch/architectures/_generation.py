"""What a text can be continued with: checks of the network, the prompt and the settings, on arrays of any framework."""

from __future__ import annotations

from typing import Any

from einops_arch._settings import check_fraction, check_number, check_whole
from einops_arch.errors import ConfigError

__all__ = ["check_generation", "check_settings", "continues_texts"]


def continues_texts(config: object) -> bool:
    """Whether a config, or its class, is that of a network that `generate` can continue a text with."""
    return hasattr(config, "check_prompt")


def check_generation(
    model: Any,
    prompt: Any,
    steps: int,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    uniform: Any,
    state: Any,
    values: bool,
) -> tuple[str, tuple[int, int]]:
    """Raise one clear error if a network cannot continue a prompt with these settings.

    Args:
        model: the network.
        prompt: the beginning of each text.
        steps: number of tokens to add.
        temperature: 0 for the likeliest token, or what the logits are divided by.
        top_k: how many likeliest tokens to draw from, or None.
        top_p: the probability that the likeliest tokens to draw from have together, or None.
        uniform: a number for each draw, or None.
        state: the state before the prompt, or None.
        values: whether to look at the values of the prompt as well.

    Returns:
        The axes of the network's tokens, `b t` or `t b`, and the shape of the tokens that are to be added.

    Raises:
        ConfigError: the network does not continue texts, or a setting is out of range.
        ShapeError: the prompt or the state does not fit.
        DtypeError: the prompt holds no integers.
        IndexRangeError: a token is not in the vocabulary.
    """
    config: Any = getattr(model, "config", None)
    if not continues_texts(config):
        raise ConfigError(
            "generate: expected a network that continues texts, such as GPT2 or LanguageModel, received "
            f"{type(model).__name__}"
        )
    check_settings(config.vocabulary, steps, temperature, top_k, top_p)
    config.check_prompt(prompt, state, steps, values=values)
    axes = config.inputs()[0].axes
    sizes = {**dict(zip(axes.split(), prompt.shape, strict=True)), "t": steps}
    rows, columns = (sizes[axis] for axis in axes.split())
    if uniform is not None and tuple(uniform.shape) != (rows, columns):
        raise ConfigError(f"generate: expected uniform of shape {(rows, columns)}, received {tuple(uniform.shape)}")
    return axes, (rows, columns)


def check_settings(vocabulary: int, steps: object, temperature: object, top_k: object, top_p: object) -> None:
    """Raise one clear error if text cannot be generated with these settings.

    Args:
        vocabulary: number of tokens.
        steps: number of tokens to add.
        temperature: 0 for the likeliest token, or what the logits are divided by.
        top_k: how many likeliest tokens to draw from, or None.
        top_p: the probability that the likeliest tokens to draw from have together, or None.

    Raises:
        ConfigError: a setting is out of range.

    >>> check_settings(17, 5, 1.0, None, 1.5)
    Traceback (most recent call last):
    einops_arch.errors.ConfigError: generate: top_p needs a number in (0, 1], received 1.5
    """
    check_whole("generate", "steps", steps)
    check_number("generate", "temperature", temperature)
    if top_k is not None:
        check_whole("generate", "top_k", top_k, most=vocabulary)
    if top_p is not None:
        check_fraction("generate", "top_p", top_p, "(0, 1]")
