"""What a layer does with axes: one table of what each type takes and gives, which users extend for their own layers.

By the type's full name, so that no framework is imported. A layer of a pattern (`Rearrange`, `Reduce`) says it itself.
A name in the table holds for subclasses as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

__all__ = [
    "Sides",
    "channel_place",
    "is_image",
    "layer_axes",
    "may_hold_channels",
    "register_axes",
    "works_on_last_axis",
]

Sides: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""The axes of each array that a layer takes, and of each that it gives."""


def register_axes(kind: type | str, takes: Sequence[str] | str, gives: Sequence[str] | str) -> None:
    """Say what a layer of your own takes and gives: `einops-arch show` names its axes, `compare` knows its channels.

    Args:
        kind: the class, or its full name, such as `"my_package.layers.Mixer"`.
        takes: the axes of each array that it is called with, such as `"b n e"`; dots stand for any. An axis `c` of a
            PyTorch layer holds channels, which Flax has last; all other axes are the same in both frameworks.
        gives: those of each array that it returns.

    >>> class Mixer:
    ...     pass
    >>> register_axes(Mixer, "b n e", "b e")
    >>> layer_axes(Mixer)
    (('b n e',), ('b e',))
    """
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    _AXES[name] = (_several(takes), _several(gives))


def layer_axes(kind: type) -> Sides | None:
    """The axes that a type of layer takes and gives; None where nobody has said them.

    >>> layer_axes(type("Unknown", (), {})) is None
    True
    """
    for base in kind.__mro__:
        if (axes := _AXES.get(f"{base.__module__}.{base.__qualname__}")) is not None:
            return axes
    return None


def channel_place(side: str, rank: int) -> int | None:
    """Which axis of an array holds the channels `c`; None where the names say nothing of it.

    The batch may be left out where every other axis is named.

    >>> channel_place("b c h w", 4), channel_place("b c h w", 3), channel_place("b c ...", 3)
    (1, 0, 1)
    >>> channel_place("b n e", 3) is None
    True
    """
    names = side.split()
    if "c" not in names:
        return None
    at = names.index("c")
    if "..." not in names[:at]:
        at = at if "..." in names else rank - len(names) + at
        return at if 0 <= at < rank and len(names) - 1 <= rank else None
    at += rank - len(names)
    return at if names.index("...") <= at < rank else None


def works_on_last_axis(sides: Sides) -> bool:
    """Whether a layer works on the last axis of whatever it is given, which is so in both frameworks.

    >>> works_on_last_axis((("... i",), ("... o",))), works_on_last_axis((("b n e",), ("b n e",)))
    (True, False)
    """
    return all(re.fullmatch(r"\.\.\. \w+", side) for group in sides for side in group)


def may_hold_channels(side: str) -> bool:
    """Whether the second axis of a side holds channels, alone or with what is moved in and out of them.

    >>> [may_hold_channels(side) for side in ("b c ...", "b (g k) ...", "b (c r1 r2) h w")]
    [True, True, True]
    >>> [may_hold_channels(side) for side in ("b (c ...)", "b c1 c2", "b (h w) (c p1 p2)")]
    [False, False, False]
    """
    axes = re.findall(r"\([^)]*\)|\S+", side)
    in_space = [bool(re.search(r"\.\.\.|\b[dhw]\b", axis)) for axis in axes[2:]]
    return len(axes) > 2 and all(in_space) and (axes[1] == "c" or axes[1].startswith("("))


def is_image(side: str) -> bool:
    """Whether the axes are those of an image, a volume or a signal, with the channels at either end.

    >>> is_image("b c h w"), is_image("b ... c"), is_image("b n c")
    (True, True, False)
    """
    names = side.split()
    return bool(names) and names[0] == "b" and "c" in names and set(names) <= {"b", "c", "d", "h", "w", "..."}


def _several(axes: Sequence[str] | str) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else tuple(axes)


_PADS = ("CircularPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "ZeroPad")
_POOLS = ("AvgPool", "MaxPool", "LPPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "FractionalMaxPool", "MaxUnpool")

# What is taken and given, and who does.
_TABLE = {
    "b t -> b t e": (
        "einops_arch.torch.gpt2.Transformer",
        "einops_arch.flax.gpt2.Transformer",
    ),
    "b t e -> b t e": (
        "einops_arch.torch.gpt2.Block",
        "einops_arch.torch.gpt2.Attention",
        "einops_arch.flax.gpt2.Block",
        "einops_arch.flax.gpt2.Attention",
    ),
    "b c ... -> b (c ...)": ("einops_arch.torch.layers.reshapes.FlattenFeatures",),
    "b (c ...) -> b c ...": ("einops_arch.torch.layers.reshapes.UnflattenFeatures",),
    "t b ... -> (t b) ...": (
        "einops_arch.torch.layers.reshapes.FlattenSequence",
        "einops_arch.flax.layers.reshapes.FlattenSequence",
    ),
    "(t b) ... -> t b ...": (
        "einops_arch.torch.layers.reshapes.UnflattenSequence",
        "einops_arch.flax.layers.reshapes.UnflattenSequence",
    ),
    "b n (heads k) -> b heads n k": (
        "einops_arch.torch.layers.reshapes.SplitHeads",
        "einops_arch.flax.layers.reshapes.SplitHeads",
    ),
    "b heads n k -> b n (heads k)": (
        "einops_arch.torch.layers.reshapes.MergeHeads",
        "einops_arch.flax.layers.reshapes.MergeHeads",
    ),
    "(layer direction) b h -> layer direction b h": (
        "einops_arch.torch.layers.reshapes.SplitDirections",
        "einops_arch.flax.layers.reshapes.SplitDirections",
    ),
    "layer direction b h -> (layer direction) b h": (
        "einops_arch.torch.layers.reshapes.MergeDirections",
        "einops_arch.flax.layers.reshapes.MergeDirections",
    ),
    "b n (c p1 p2) -> b n o": (
        "einops_arch.torch.layers.transformer.PatchLinear",
        "einops_arch.flax.layers.transformer.PatchLinear",
    ),
    "... i -> ... o": (
        "einops_arch.torch.layers.transformer.Conv1D",
        "einops_arch.flax.layers.basic.Linear",
        "einops_arch.flax.layers.transformer.Conv1D",
        "flax.nnx.nn.linear.Linear",
        "torch.nn.modules.linear.Linear",
    ),
    "b heads n k, b heads n k, b heads n k -> b heads n k": (
        "einops_arch.torch.layers.transformer.DotProductAttention",
        "einops_arch.flax.layers.transformer.DotProductAttention",
    ),
    "b c ... -> b c1 c2": ("einops_arch.torch.layers.wrappers.GramMatrix",),
    "b (g k) ... -> b (k g) ...": ("einops_arch.torch.layers.wrappers.ChannelShuffle",),
    "b (k g) ... -> b (g k) ...": ("einops_arch.torch.layers.wrappers.ChannelUnshuffle",),
    "b (c r1 r2) h w -> b c (h r1) (w r2)": ("einops_arch.torch.layers.wrappers.DepthToSpace",),
    "b c (h r1) (w r2) -> b (c r1 r2) h w": ("einops_arch.torch.layers.wrappers.SpaceToDepth",),
    "b c h w -> b c (h r1) (w r2)": ("einops_arch.torch.layers.wrappers.UpsampleNearest",),
    "b c (h p1) (w p2) -> b (h w) (c p1 p2)": ("einops_arch.torch.layers.wrappers.Patchify",),
    "b (h w) (c p1 p2) -> b c (h p1) (w p2)": ("einops_arch.torch.layers.wrappers.Unpatchify",),
    "b c h w -> b c h w": (
        "einops_arch.torch.resnet.BasicBlock",
        "einops_arch.torch.resnet.Bottleneck",
        "einops_arch.torch.shuffle_unit.ShuffleUnit",
        "einops_arch.torch.shufflenet_v2.ShuffleNetV2Unit",
        "einops_arch.torch.style_transfer.ConvLayer",
        "einops_arch.torch.style_transfer.UpsampleConvLayer",
        "einops_arch.torch.style_transfer.ResidualBlock",
    ),
    "b n e -> b n e": (
        "einops_arch.torch.vit.Block",
        "einops_arch.torch.vit.Attention",
        "einops_arch.flax.vit.Block",
        "einops_arch.flax.vit.Attention",
    ),
    "... (n c) -> ... c": ("einops_arch.flax.layers.softmax.GLU",),
    "... c -> ... c": (
        "einops_arch.flax.layers.activation.PReLU",
        "einops_arch.flax.layers.norm.LayerNorm",
        "einops_arch.flax.layers.norm.RMSNorm",
        "torch.nn.modules.normalization.LayerNorm",
        "torch.nn.modules.normalization.RMSNorm",
    ),
    "b l e, b s e, b s e -> b l e": ("einops_arch.flax.layers.attention.MultiheadAttention",),
    "l b e, s b e, s b e -> l b e": ("torch.nn.modules.activation.MultiheadAttention",),
    "... i, ... j -> ... o": (
        "einops_arch.flax.layers.bilinear.Bilinear",
        "torch.nn.modules.linear.Bilinear",
    ),
    "... -> ... e": (
        "einops_arch.flax.layers.embedding.Embed",
        "flax.nnx.nn.linear.Embed",
        "torch.nn.modules.sparse.Embedding",
    ),
    "b ... c -> b ... c": (
        "einops_arch.flax.layers.dropout.Dropout2d",
        "einops_arch.flax.layers.dropout.FeatureAlphaDropout",
        "einops_arch.flax.layers.batch_norm.BatchNorm",
        "einops_arch.flax.layers.batch_norm.InstanceNorm",
        "einops_arch.flax.layers.norm.LocalResponseNorm",
        "einops_arch.flax.layers.batch_norm.FrozenBatchNorm",
        *(f"einops_arch.flax.layers.pool.{name}" for name in _POOLS),
        *(f"einops_arch.flax.layers.padding.{name}" for name in _PADS),
        "einops_arch.flax.layers.resize.Upsample",
        *(f"flax.nnx.nn.linear.{name}" for name in ("Conv", "ConvTranspose")),
        *(f"flax.nnx.nn.normalization.{name}" for name in ("BatchNorm", "InstanceNorm")),
    ),
    "b t c -> b t c": ("einops_arch.flax.layers.dropout.Dropout1d",),
    "b d h w c -> b d h w c": ("einops_arch.flax.layers.dropout.Dropout3d",),
    "b ... -> b ...": (
        "einops_arch.flax.layers.dropout.StochasticDepth",
        "einops_arch.flax.layers.dropout.DropPath",
    ),
    "b n -> b e": (
        "einops_arch.flax.layers.embedding.EmbeddingBag",
        "torch.nn.modules.sparse.EmbeddingBag",
    ),
    "b l e -> b l e": (
        "einops_arch.flax.layers.encoder_decoder_layers.TransformerEncoderLayer",
        "einops_arch.flax.layers.encoder_decoder.TransformerEncoder",
    ),
    "b l e, b s e -> b l e": (
        "einops_arch.flax.layers.encoder_decoder_layers.TransformerDecoderLayer",
        "einops_arch.flax.layers.encoder_decoder.TransformerDecoder",
    ),
    "b s e, b l e -> b l e": ("einops_arch.flax.layers.encoder_decoder.Transformer",),
    "b ... -> b (...)": (
        "einops_arch.flax.layers.folds.Flatten",
        "torch.nn.modules.flatten.Flatten",
    ),
    "... (...) ... -> ...": (
        "einops_arch.flax.layers.folds.Unflatten",
        "torch.nn.modules.flatten.Unflatten",
    ),
    "... c h w -> ... c h w": (
        "torch.nn.modules.activation.Softmax2d",
        "torch.nn.modules.pixelshuffle.PixelShuffle",
        "torch.nn.modules.pixelshuffle.PixelUnshuffle",
    ),
    "b c ... -> b c ...": (
        "torch.nn.modules.batchnorm._BatchNorm",
        "torch.nn.modules.channelshuffle.ChannelShuffle",
        "torch.nn.modules.dropout.FeatureAlphaDropout",
        "torch.nn.modules.normalization.GroupNorm",
        "torch.nn.modules.normalization.LocalResponseNorm",
        "torch.nn.modules.upsampling.Upsample",
    ),
    "l b e -> l b e": (
        "torch.nn.modules.transformer.TransformerEncoderLayer",
        "torch.nn.modules.transformer.TransformerEncoder",
    ),
    "l b e, s b e -> l b e": (
        "torch.nn.modules.transformer.TransformerDecoderLayer",
        "torch.nn.modules.transformer.TransformerDecoder",
    ),
    "s b e, l b e -> l b e": ("torch.nn.modules.transformer.Transformer",),
    "b h w c -> b h w c": (
        "einops_arch.flax.layers.activation.Softmax2d",
        "einops_arch.flax.layers.norm.LayerNorm2d",
        "einops_arch.flax.resnet.BasicBlock",
        "einops_arch.flax.resnet.Bottleneck",
        "einops_arch.flax.shuffle_unit.ShuffleUnit",
        "einops_arch.flax.shufflenet_v2.ShuffleNetV2Unit",
        "einops_arch.flax.style_transfer.ConvLayer",
        "einops_arch.flax.style_transfer.UpsampleConvLayer",
        "einops_arch.flax.style_transfer.ResidualBlock",
    ),
    "b ... (groups k) -> b ... (groups k)": ("einops_arch.flax.layers.norm.GroupNorm",),
    "t b i -> t b (direction hidden)": (
        "einops_arch.flax.layers.recurrent.LSTM",
        "einops_arch.flax.layers.recurrent.GRU",
        "einops_arch.flax.layers.recurrent.RNN",
        "torch.nn.modules.rnn.RNNBase",
    ),
    "b i -> b hidden": (
        "einops_arch.flax.layers.recurrent_cells.LSTMCell",
        "einops_arch.flax.layers.recurrent_cells.GRUCell",
        "einops_arch.flax.layers.recurrent_cells.RNNCell",
        "torch.nn.modules.rnn.RNNCellBase",
    ),
    "b ... c -> b (c ...)": ("einops_arch.flax.layers.reshapes.FlattenFeatures",),
    "b (c ...) -> b ... c": ("einops_arch.flax.layers.reshapes.UnflattenFeatures",),
    "... h -> ... token": ("einops_arch.flax.layers.tied.TiedLinear",),
    "b ... c -> b c1 c2": ("einops_arch.flax.layers.wrappers.GramMatrix",),
    "b ... (g k) -> b ... (k g)": ("einops_arch.flax.layers.wrappers.ChannelShuffle",),
    "b ... (k g) -> b ... (g k)": ("einops_arch.flax.layers.wrappers.ChannelUnshuffle",),
    "b h w (c r1 r2) -> b (h r1) (w r2) c": ("einops_arch.flax.layers.wrappers.DepthToSpace",),
    "b (h r1) (w r2) c -> b h w (c r1 r2)": ("einops_arch.flax.layers.wrappers.SpaceToDepth",),
    "b h w c -> b (h r1) (w r2) c": ("einops_arch.flax.layers.wrappers.UpsampleNearest",),
    "b (h p1) (w p2) c -> b (h w) (c p1 p2)": ("einops_arch.flax.layers.wrappers.Patchify",),
    "b (h w) (c p1 p2) -> b (h p1) (w p2) c": ("einops_arch.flax.layers.wrappers.Unpatchify",),
}

# PyTorch's layers whose names end in the number of spatial axes.
_SPATIAL = {
    "conv": ("Conv", "ConvTranspose"),
    "dropout": ("Dropout",),
    "instancenorm": ("InstanceNorm", "LazyInstanceNorm"),
    "padding": _PADS,
    "pooling": _POOLS,
}
_TABLE |= {
    f"b c {space} -> b c {space}": (
        *_TABLE.get(f"b c {space} -> b c {space}", ()),
        *(f"torch.nn.modules.{file}.{name}{n}d" for file, names in _SPATIAL.items() for name in names),
    )
    for n, space in ((1, "w"), (2, "h w"), (3, "d h w"))
}

_AXES: dict[str, Sides] = {
    name: (tuple(takes.split(", ")), tuple(gives.split(", ")))
    for takes, _, gives in (text.partition(" -> ") for text in _TABLE)
    for name in _TABLE[f"{takes} -> {gives}"]
}
