"""What a layer does with axes: one table of what each type takes and gives, which users extend for their own layers.

By the type's full name, so that no framework is imported. A layer of a pattern (`Rearrange`, `Reduce`) says it itself.
A name in the table holds for subclasses as well.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["layer_axes", "register_axes"]


def register_axes(kind: type | str, takes: Sequence[str] | str, gives: Sequence[str] | str) -> None:
    """Say what a layer of your own takes and gives, so that `einops-arch show` has names for its axes.

    Args:
        kind: the class, or its full name, such as `"my_package.layers.Mixer"`.
        takes: the axes of each array that it is called with, such as `"b n e"`; dots stand for any.
        gives: those of each array that it returns.

    >>> class Mixer:
    ...     pass
    >>> register_axes(Mixer, "b n e", "b e")
    >>> layer_axes(Mixer)
    (('b n e',), ('b e',))
    """
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    _AXES[name] = (_several(takes), _several(gives))


def layer_axes(kind: type) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The axes that a type of layer takes and gives; None where nobody has said them.

    >>> layer_axes(type("Unknown", (), {})) is None
    True
    """
    for base in kind.__mro__:
        if (axes := _AXES.get(f"{base.__module__}.{base.__qualname__}")) is not None:
            return axes
    return None


def _several(axes: Sequence[str] | str) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else tuple(axes)


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
    "... (n c) -> ... c": ("einops_arch.flax.layers.activation.GLU",),
    "... c -> ... c": (
        "einops_arch.flax.layers.activation.PReLU",
        "einops_arch.flax.layers.norm.LayerNorm",
        "einops_arch.flax.layers.norm.RMSNorm",
    ),
    "b l e, b s e, b s e -> b l e": ("einops_arch.flax.layers.attention.MultiheadAttention",),
    "... i, ... j -> ... o": ("einops_arch.flax.layers.bilinear.Bilinear",),
    "b ... c -> b ... c": (
        "einops_arch.flax.layers.dropout.Dropout2d",
        "einops_arch.flax.layers.dropout.FeatureAlphaDropout",
        "einops_arch.flax.layers.norm.BatchNorm",
        "einops_arch.flax.layers.norm.InstanceNorm",
        "einops_arch.flax.layers.norm.LocalResponseNorm",
        "einops_arch.flax.layers.norm.FrozenBatchNorm",
    ),
    "b t c -> b t c": ("einops_arch.flax.layers.dropout.Dropout1d",),
    "b d h w c -> b d h w c": ("einops_arch.flax.layers.dropout.Dropout3d",),
    "b ... -> b ...": (
        "einops_arch.flax.layers.dropout.StochasticDepth",
        "einops_arch.flax.layers.dropout.DropPath",
    ),
    "b n -> b e": ("einops_arch.flax.layers.embedding.EmbeddingBag",),
    "b l e -> b l e": (
        "einops_arch.flax.layers.encoder_decoder.TransformerEncoderLayer",
        "einops_arch.flax.layers.encoder_decoder.TransformerEncoder",
    ),
    "b l e, b s e -> b l e": (
        "einops_arch.flax.layers.encoder_decoder.TransformerDecoderLayer",
        "einops_arch.flax.layers.encoder_decoder.TransformerDecoder",
    ),
    "b s e, b l e -> b l e": ("einops_arch.flax.layers.encoder_decoder.Transformer",),
    "b ... -> b (...)": ("einops_arch.flax.layers.folds.Flatten",),
    "... (...) ... -> ...": ("einops_arch.flax.layers.folds.Unflatten",),
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
        "torch.nn.modules.rnn.LSTM",
        "torch.nn.modules.rnn.GRU",
        "torch.nn.modules.rnn.RNN",
    ),
    "b i -> b hidden": (
        "einops_arch.flax.layers.recurrent.LSTMCell",
        "einops_arch.flax.layers.recurrent.GRUCell",
        "einops_arch.flax.layers.recurrent.RNNCell",
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

_AXES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    name: (tuple(takes.split(", ")), tuple(gives.split(", ")))
    for takes, _, gives in (text.partition(" -> ") for text in _TABLE)
    for name in _TABLE[f"{takes} -> {gives}"]
}
