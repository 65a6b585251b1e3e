"""Deep-learning architectures written with einops, the same in PyTorch and Flax.

The cores are here: pure functions over numpy, PyTorch and JAX arrays. The layers and networks are in
`einops_arch.torch` and `einops_arch.flax`, the networks' configs in `einops_arch.architectures`, the way between the
frameworks in `einops_arch.port`, and the evidence that two models are the same in `einops_arch.parity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from einops_arch.errors import (
    CheckpointError,
    ConfigError,
    DestinationError,
    DiscoveryError,
    DtypeError,
    EinopsArchError,
    IndexRangeError,
    MissingFrameworkError,
    ParityError,
    PatternError,
    PortError,
    ShapeError,
    UnknownArchitectureError,
)
from einops_arch.functional import (
    AXES,
    channel_shuffle,
    channel_unshuffle,
    content_loss,
    depth_to_space,
    flatten_features,
    flatten_sequence,
    gram_matrix,
    merge_directions,
    merge_heads,
    patchify,
    space_to_depth,
    split_directions,
    split_heads,
    style_loss,
    to_channels_first,
    to_channels_last,
    total_variation,
    unflatten_features,
    unflatten_sequence,
    unpatchify,
    upsample_nearest,
)

if TYPE_CHECKING:
    from einops_arch.discovery import discover, discover_model

__all__ = [
    "__version__",
    "AXES",
    "channel_shuffle",
    "channel_unshuffle",
    "content_loss",
    "depth_to_space",
    "discover",
    "discover_model",
    "flatten_features",
    "flatten_sequence",
    "gram_matrix",
    "merge_directions",
    "merge_heads",
    "patchify",
    "space_to_depth",
    "split_directions",
    "split_heads",
    "style_loss",
    "to_channels_first",
    "to_channels_last",
    "total_variation",
    "unflatten_features",
    "unflatten_sequence",
    "unpatchify",
    "upsample_nearest",
    "CheckpointError",
    "ConfigError",
    "DestinationError",
    "DiscoveryError",
    "DtypeError",
    "EinopsArchError",
    "IndexRangeError",
    "MissingFrameworkError",
    "ParityError",
    "PatternError",
    "PortError",
    "ShapeError",
    "UnknownArchitectureError",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what most users never call when it is asked for."""
    if name in {"discover", "discover_model"}:
        from einops_arch import discovery  # noqa: PLC0415 it would make `import einops_arch` slower for all

        return getattr(discovery, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
