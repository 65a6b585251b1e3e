"""The moves as data: shapes, the pattern for libraries that take patterns, and the code that people write without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MOVES", "Move"]

Manual = Callable[[Any], Any]


@dataclass(frozen=True)
class Move:
    """One move in one data format.

    Args:
        name: of the core.
        layer: the class of the layer, in both frameworks.
        arguments: of the layer.
        first: pattern, shape and code by hand with channels first, as PyTorch has it.
        last: the same with channels last, as Flax has it.
        sizes: the axes that the patterns need.
        native: PyTorch's own functions for it, of `torch.nn.functional` and the tensor, by name.
        image: whether it takes images, which can lie channels last in memory.
    """

    name: str
    layer: str
    arguments: Mapping[str, Any]
    first: tuple[str, tuple[int, ...], Manual]
    last: tuple[str, tuple[int, ...], Manual]
    sizes: Mapping[str, int] = field(default_factory=dict)
    native: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    image: bool = True


def _permuted(x: Any, axes: tuple[int, ...]) -> Any:
    """`permute` in PyTorch, `transpose` in JAX."""
    return x.permute(*axes) if hasattr(x, "permute") else x.transpose(axes)


def _by_hand(split: tuple[int, ...], axes: tuple[int, ...], joined: tuple[int, ...]) -> Manual:
    """The usual three lines: take axes apart, put them in another order, join them."""

    def move(x: Any) -> Any:
        return _permuted(x.reshape(split), axes).reshape(joined)

    return move


MOVES = (
    Move(
        "channel_shuffle",
        "ChannelShuffle",
        {"groups": 3},
        (
            "b (g k) h w -> b (k g) h w",
            (32, 240, 28, 28),
            _by_hand((32, 3, 80, 28, 28), (0, 2, 1, 3, 4), (32, 240, 28, 28)),
        ),
        (
            "b h w (g k) -> b h w (k g)",
            (32, 28, 28, 240),
            _by_hand((32, 28, 28, 3, 80), (0, 1, 2, 4, 3), (32, 28, 28, 240)),
        ),
        {"g": 3},
        {"F.channel_shuffle": lambda functional, x: functional.channel_shuffle(x, 3)},
    ),
    Move(
        "channel_unshuffle",
        "ChannelUnshuffle",
        {"groups": 3},
        (
            "b (k g) h w -> b (g k) h w",
            (32, 240, 28, 28),
            _by_hand((32, 80, 3, 28, 28), (0, 2, 1, 3, 4), (32, 240, 28, 28)),
        ),
        (
            "b h w (k g) -> b h w (g k)",
            (32, 28, 28, 240),
            _by_hand((32, 28, 28, 80, 3), (0, 1, 2, 4, 3), (32, 28, 28, 240)),
        ),
        {"g": 3},
    ),
    Move(
        "depth_to_space",
        "DepthToSpace",
        {"factor": 3},
        (
            "b (c r1 r2) h w -> b c (h r1) (w r2)",
            (1, 576, 128, 128),
            _by_hand((1, 64, 3, 3, 128, 128), (0, 1, 4, 2, 5, 3), (1, 64, 384, 384)),
        ),
        (
            "b h w (c r1 r2) -> b (h r1) (w r2) c",
            (1, 128, 128, 576),
            _by_hand((1, 128, 128, 64, 3, 3), (0, 1, 4, 2, 5, 3), (1, 384, 384, 64)),
        ),
        {"r1": 3, "r2": 3},
        {"F.pixel_shuffle": lambda functional, x: functional.pixel_shuffle(x, 3)},
    ),
    Move(
        "space_to_depth",
        "SpaceToDepth",
        {"factor": 3},
        (
            "b c (h r1) (w r2) -> b (c r1 r2) h w",
            (1, 64, 384, 384),
            _by_hand((1, 64, 128, 3, 128, 3), (0, 1, 3, 5, 2, 4), (1, 576, 128, 128)),
        ),
        (
            "b (h r1) (w r2) c -> b h w (c r1 r2)",
            (1, 384, 384, 64),
            _by_hand((1, 128, 3, 128, 3, 64), (0, 1, 3, 5, 2, 4), (1, 128, 128, 576)),
        ),
        {"r1": 3, "r2": 3},
        {"F.pixel_unshuffle": lambda functional, x: functional.pixel_unshuffle(x, 3)},
    ),
    Move(
        "upsample_nearest",
        "UpsampleNearest",
        {"factor": 2},
        (
            "b c h w -> b c (h r1) (w r2)",
            (8, 64, 64, 64),
            lambda x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(8, 64, 128, 128),
        ),
        ("b h w c -> b (h r1) (w r2) c", (8, 64, 64, 64), lambda x: x.repeat(2, axis=1).repeat(2, axis=2)),
        {"r1": 2, "r2": 2},
        {"F.interpolate": lambda functional, x: functional.interpolate(x, scale_factor=2, mode="nearest")},
    ),
    Move(
        "patchify",
        "Patchify",
        {"patch": 16},
        (
            "b c (h p1) (w p2) -> b (h w) (c p1 p2)",
            (64, 3, 224, 224),
            _by_hand((64, 3, 14, 16, 14, 16), (0, 2, 4, 1, 3, 5), (64, 196, 768)),
        ),
        (
            "b (h p1) (w p2) c -> b (h w) (c p1 p2)",
            (64, 224, 224, 3),
            _by_hand((64, 14, 16, 14, 16, 3), (0, 1, 3, 5, 2, 4), (64, 196, 768)),
        ),
        {"p1": 16, "p2": 16},
    ),
    Move(
        "unpatchify",
        "Unpatchify",
        {"patch": 16, "grid": (14, 14)},
        (
            "b (h w) (c p1 p2) -> b c (h p1) (w p2)",
            (64, 196, 768),
            _by_hand((64, 14, 14, 3, 16, 16), (0, 3, 1, 4, 2, 5), (64, 3, 224, 224)),
        ),
        (
            "b (h w) (c p1 p2) -> b (h p1) (w p2) c",
            (64, 196, 768),
            _by_hand((64, 14, 14, 3, 16, 16), (0, 1, 4, 2, 5, 3), (64, 224, 224, 3)),
        ),
        {"h": 14, "p1": 16, "p2": 16},
        image=False,
    ),
    Move(
        "split_heads",
        "SplitHeads",
        {"heads": 12},
        (
            "b n (heads k) -> b heads n k",
            (64, 197, 768),
            lambda x: x.reshape(64, 197, 12, 64).swapaxes(1, 2),
        ),
        ("b n (heads k) -> b heads n k", (64, 197, 768), lambda x: x.reshape(64, 197, 12, 64).swapaxes(1, 2)),
        {"heads": 12},
        image=False,
    ),
    Move(
        "merge_heads",
        "MergeHeads",
        {},
        ("b heads n k -> b n (heads k)", (64, 12, 197, 64), lambda x: x.swapaxes(1, 2).reshape(64, 197, 768)),
        ("b heads n k -> b n (heads k)", (64, 12, 197, 64), lambda x: x.swapaxes(1, 2).reshape(64, 197, 768)),
        image=False,
    ),
    Move(
        "flatten_sequence",
        "FlattenSequence",
        {},
        ("t b f -> (t b) f", (35, 512, 650), lambda x: x.reshape(17920, 650)),
        ("t b f -> (t b) f", (35, 512, 650), lambda x: x.reshape(17920, 650)),
        image=False,
    ),
    Move(
        "unflatten_sequence",
        "UnflattenSequence",
        {"b": 512},
        ("(t b) f -> t b f", (17920, 650), lambda x: x.reshape(35, 512, 650)),
        ("(t b) f -> t b f", (17920, 650), lambda x: x.reshape(35, 512, 650)),
        {"b": 512},
        image=False,
    ),
    Move(
        "flatten_features",
        "FlattenFeatures",
        {},
        ("b c h w -> b (c h w)", (256, 512, 7, 7), lambda x: x.reshape(256, 25088)),
        ("b h w c -> b (c h w)", (256, 7, 7, 512), _by_hand((256, 7, 7, 512), (0, 3, 1, 2), (256, 25088))),
    ),
    Move(
        "unflatten_features",
        "UnflattenFeatures",
        {"channels": 512, "spatial": (7, 7)},
        ("b (c h w) -> b c h w", (256, 25088), lambda x: x.reshape(256, 512, 7, 7)),
        ("b (c h w) -> b h w c", (256, 25088), lambda x: _permuted(x.reshape(256, 512, 7, 7), (0, 2, 3, 1))),
        {"c": 512, "h": 7},
        image=False,
    ),
    Move(
        "split_directions",
        "SplitDirections",
        {},
        ("(layer direction) b h -> layer direction b h", (4, 4096, 650), lambda x: x.reshape(2, 2, 4096, 650)),
        ("(layer direction) b h -> layer direction b h", (4, 4096, 650), lambda x: x.reshape(2, 2, 4096, 650)),
        {"direction": 2},
        image=False,
    ),
    Move(
        "merge_directions",
        "MergeDirections",
        {},
        ("layer direction b h -> (layer direction) b h", (2, 2, 4096, 650), lambda x: x.reshape(4, 4096, 650)),
        ("layer direction b h -> (layer direction) b h", (2, 2, 4096, 650), lambda x: x.reshape(4, 4096, 650)),
        image=False,
    ),
)
