"""What every network can do with folders of the Hugging Face hub."""

from __future__ import annotations

from einops_arch.checkpoints import hub
from einops_arch.flax._pretrained import from_pretrained

__all__ = ["Pretrained"]


class Pretrained(hub.Pretrained):
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, by way of `einops_arch.flax.from_pretrained`."""

    _read = staticmethod(from_pretrained)
