"""Public weights: which of our networks a folder of the Hugging Face hub holds, told from its `config.json`.

Two libraries lay out folders there: transformers, whose config says `model_type`, and timm, whose config says
`architecture`. What their configs can say and ours cannot is an error, never another network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from einops_arch._text import brief
from einops_arch.port.models.of_timm import recognize_timm
from einops_arch.port.models.of_transformers import TRANSFORMERS
from einops_arch.port.models.recognized import Recognized, UnknownNetworkError

__all__ = ["recognize"]

_SHOWN = 12


def recognize(fields: Mapping[str, Any], tensors: Collection[str]) -> Recognized:
    """Tell the network from a `config.json` of transformers or timm, and from the names of its tensors.

    Args:
        fields: what the file says.
        tensors: the names of the tensors beside it.

    Raises:
        CheckpointError: it is no such file, no network of ours, or one that differs from ours in what it computes.
        ConfigError: a size is out of range.

    >>> from einops_arch.architectures import GPT2Config
    >>> gpt2 = recognize({"model_type": "gpt2", "n_layer": 24, "n_embd": 1024, "n_head": 16}, ["h.0.ln_1.weight"])
    >>> gpt2.config == GPT2Config.gpt2_medium(), gpt2.why
    (True, "model_type='gpt2' of transformers, 24 layers of 1024")
    """
    kind, name = fields.get("model_type"), fields.get("architecture")
    if isinstance(kind, str):
        if kind not in TRANSFORMERS:
            raise UnknownNetworkError(
                f"config.json: model_type={brief(kind)} is none of ours: expected one of {', '.join(TRANSFORMERS)}; "
                "likely fix: einops-arch translate, which writes the Flax twin of other models"
            )
        return TRANSFORMERS[kind](fields, tensors)
    if isinstance(name, str):
        return recognize_timm(name, fields)
    shown = ", ".join(map(brief, islice(fields, _SHOWN))) + (
        f" and {len(fields) - _SHOWN} more" * (len(fields) > _SHOWN)
    )
    raise UnknownNetworkError(
        "config.json: expected model_type, as transformers writes it, or architecture, as timm does, "
        f"received {shown or 'nothing'}"
    )
