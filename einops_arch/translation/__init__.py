"""Write the Flax NNX twin of a PyTorch model as source, and prove it. See `translate`."""

from einops_arch.translation.refusals import Refusal, TranslationError
from einops_arch.translation.result import Translation
from einops_arch.translation.translator import register_op, translate

__all__ = ["Refusal", "Translation", "TranslationError", "register_op", "translate"]
