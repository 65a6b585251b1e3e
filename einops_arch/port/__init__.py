"""Port models between PyTorch and Flax, both ways and bit for bit.

`to_flax` and `to_torch` build the twin of a registered architecture; `transfer` carries weights between any two models
with matching paths; `port_checkpoint` carries a file or folder. `register_layout` adds a layer type of your own to the
table of rules, and `register_axes` says what it does with axes. `optimizers` describes optimizers that take the same
steps in both frameworks.
"""

from einops_arch.layouts.layer_axes import register_axes
from einops_arch.layouts.packing import Packing
from einops_arch.layouts.rules import Row, register_layout
from einops_arch.port.convert import port_checkpoint
from einops_arch.port.models.torchvision_names import TORCHVISION_VIT
from einops_arch.port.models.transformers_names import (
    TRANSFORMERS_DEIT,
    TRANSFORMERS_DEIT_TEACHER,
    TRANSFORMERS_RESNET,
)
from einops_arch.port.optimizer import specs as optimizers
from einops_arch.port.optimizer.files import load_optimizer
from einops_arch.port.optimizer.transfer import transfer_optimizer
from einops_arch.port.transfer import to_flax, to_torch, transfer

__all__ = [
    "TORCHVISION_VIT",
    "TRANSFORMERS_DEIT",
    "TRANSFORMERS_DEIT_TEACHER",
    "TRANSFORMERS_RESNET",
    "Packing",
    "Row",
    "load_optimizer",
    "optimizers",
    "port_checkpoint",
    "register_axes",
    "register_layout",
    "to_flax",
    "to_torch",
    "transfer",
    "transfer_optimizer",
]
