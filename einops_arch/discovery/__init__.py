"""From old reshape code to the einops pattern, found and proven."""

from einops_arch.discovery.discover import discover
from einops_arch.discovery.result import Discovery, Trap

__all__ = ["discover", "Discovery", "Trap"]
