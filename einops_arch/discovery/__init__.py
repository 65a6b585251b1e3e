"""From old reshape code to the einops pattern, found and proven."""

from einops_arch.discovery.discover import discover
from einops_arch.discovery.model import ModelReport, discover_model
from einops_arch.discovery.result import Discovery, Trap
from einops_arch.discovery.solving.chains import Chain, Step
from einops_arch.discovery.solving.naming import same_pattern

__all__ = ["discover", "discover_model", "same_pattern", "Chain", "Discovery", "ModelReport", "Step", "Trap"]
