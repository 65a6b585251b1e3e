"""Port models between PyTorch and Flax, both ways and bit for bit.

`to_flax` and `to_torch` build the twin of a registered architecture; `transfer` carries weights between any two models
with matching paths; `register_layout` adds a layer type of your own to the table of rules.
"""

from einops_arch.layouts.rules import Row, register_layout
from einops_arch.port.optimizer.transfer import transfer_optimizer
from einops_arch.port.transfer import to_flax, to_torch, transfer

__all__ = ["Row", "register_layout", "to_flax", "to_torch", "transfer", "transfer_optimizer"]
