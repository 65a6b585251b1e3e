"""Deep-learning architectures written with einops, the same in PyTorch and Flax.

The cores are here: pure functions over numpy, PyTorch and JAX arrays. The layers and networks are in
`einops_arch.torch` and `einops_arch.flax`, the networks' configs in `einops_arch.architectures`, the way between the
frameworks in `einops_arch.port`, and the evidence that two models are the same in `einops_arch.parity`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from einops_arch._version import __version__

if TYPE_CHECKING:
    from einops_arch.discovery import discover, discover_model
    from einops_arch.errors import (
        CheckpointError,
        ConfigError,
        DestinationError,
        DestinationExistsError,
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
    from einops_arch.translation import translate

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
    "translate",
    "unflatten_features",
    "unflatten_sequence",
    "unpatchify",
    "upsample_nearest",
    "CheckpointError",
    "ConfigError",
    "DestinationError",
    "DestinationExistsError",
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


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for first: `import einops_arch` then costs no more than `import einops`."""
    if name in {"errors", "functional"}:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "translate":
        home = "translation"
    else:
        home = "errors" if name.endswith("Error") else "discovery" if name.startswith("discover") else "functional"
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
