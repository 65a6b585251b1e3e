"""Rows for recurrent layers, attention, transformers and bags of words; they take and give PyTorch's axes."""

from __future__ import annotations

from typing import Any

from einops_arch.translation.layers.table import Layer, changed, row

__all__: list[str] = []


@row("torch.nn.modules.rnn.LSTM", "torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn.RNN")
def _recurrent(module: Any) -> Layer:
    name = next(base.__name__ for base in type(module).__mro__ if base.__name__ in ("LSTM", "GRU", "RNN"))
    kwargs = changed(
        num_layers=(module.num_layers, 1),
        use_bias=(module.bias, True),
        batch_first=(module.batch_first, False),
        dropout=(module.dropout, 0.0),
        bidirectional=(module.bidirectional, False),
    )
    if name == "LSTM":
        kwargs |= changed(proj_size=(module.proj_size, 0))
    if name == "RNN":
        kwargs |= changed(nonlinearity=(module.nonlinearity, "tanh"))
    return Layer(name, (repr(module.input_size), repr(module.hidden_size)), kwargs, "plain", rngs=True)


@row("torch.nn.modules.rnn.LSTMCell", "torch.nn.modules.rnn.GRUCell", "torch.nn.modules.rnn.RNNCell")
def _cell(module: Any) -> Layer:
    name = next(base.__name__ for base in type(module).__mro__ if base.__name__.endswith("Cell"))
    kwargs = changed(use_bias=(module.bias, True))
    if name == "RNNCell":
        kwargs |= changed(nonlinearity=(module.nonlinearity, "tanh"))
    leaves: dict[str, tuple[str, tuple[int, ...]]] = {leaf: (leaf, (1, 0)) for leaf in ("weight_ih", "weight_hh")}
    leaves |= {leaf: (leaf, (0,)) for leaf in ("bias_ih", "bias_hh")}
    sizes = (repr(module.input_size), repr(module.hidden_size))
    return Layer(name, sizes, kwargs, "plain", rngs=True, parameters=leaves)


@row("torch.nn.modules.linear.Bilinear")
def _bilinear(module: Any) -> Layer:
    sizes = (module.in1_features, module.in2_features, module.out_features)
    kwargs = changed(use_bias=(module.bias is not None, True))
    return Layer("Bilinear", tuple(map(repr, sizes)), kwargs, "plain", rngs=True)


@row("torch.nn.modules.sparse.EmbeddingBag")
def _bag(module: Any) -> Layer | None:
    if module.max_norm is not None or module.scale_grad_by_freq:
        return None
    kwargs = changed(
        mode=(module.mode, "mean"),
        padding_idx=(module.padding_idx, None),
        include_last_offset=(module.include_last_offset, False),
    )
    sizes = (repr(module.num_embeddings), repr(module.embedding_dim))
    parameters = {"weight": ("embedding", (0, 1))}
    return Layer("EmbeddingBag", sizes, kwargs, "plain", rngs=True, parameters=parameters)


@row("torch.nn.modules.activation.MultiheadAttention")
def _attention(module: Any) -> Layer:
    kwargs = changed(
        dropout_rate=(module.dropout, 0.0),
        use_bias=(module.in_proj_bias is not None, True),
        add_bias_kv=(module.bias_k is not None, False),
        add_zero_attn=(module.add_zero_attn, False),
        kdim=(module.kdim, module.embed_dim),
        vdim=(module.vdim, module.embed_dim),
        batch_first=(module.batch_first, False),
    )
    return Layer("MultiheadAttention", (repr(module.embed_dim), repr(module.num_heads)), kwargs, "plain", rngs=True)


@row("torch.nn.modules.transformer.TransformerEncoderLayer", "torch.nn.modules.transformer.TransformerDecoderLayer")
def _transformer_layer(module: Any) -> Layer | None:
    name = next(base.__name__ for base in type(module).__mro__ if base.__name__.startswith("Transformer"))
    activation = _activation(module.activation)
    attentions = [item for key, item in module.named_children() if key in ("self_attn", "multihead_attn")]
    norms = [item for key, item in module.named_children() if key.startswith("norm")]
    if activation is None or not _stock(module, activation) or not _alike(module, attentions, norms):
        return None
    kwargs = changed(
        dim_feedforward=(module.linear1.out_features, 2048),
        dropout_rate=(module.dropout.p, 0.1),
        activation=(activation, "relu"),
        epsilon=(norms[0].eps, 1e-5),
        batch_first=(module.self_attn.batch_first, False),
        norm_first=(module.norm_first, False),
        use_bias=(module.linear1.bias is not None, True),
    )
    sizes = (repr(module.self_attn.embed_dim), repr(module.self_attn.num_heads))
    return Layer(name, sizes, kwargs, "plain", rngs=True)


@row("torch.nn.modules.transformer.TransformerEncoder", "torch.nn.modules.transformer.TransformerDecoder")
def _transformer_stack(module: Any) -> Layer | None:
    from einops_arch.translation.layers.table import layer_of

    name = next(base.__name__ for base in type(module).__mro__ if base.__name__.startswith("Transformer"))
    layers = [layer_of(layer) for layer in module.layers]
    first = layers[0] if layers else None
    if first is None or any(layer != first for layer in layers) or first.name != f"{name}Layer":
        return None
    norm = layer_of(module.norm) if module.norm is not None else None
    if module.norm is not None and (norm is None or norm.axes == "nothing"):
        return None
    imports = [f"from {item.home} import {item.name}" for item in (first, norm) if item is not None]
    kwargs = {} if norm is None else {"norm": norm.code}
    return Layer(name, (first.code, repr(len(layers))), kwargs, "plain", imports=tuple(imports))


@row("torch.nn.modules.transformer.Transformer")
def _transformer(module: Any) -> Layer | None:
    from einops_arch.translation.layers.table import layer_of

    halves = [module.encoder, module.decoder]
    stacks = [layer_of(half) for half in halves]
    if any(stack is None for stack in stacks) or any(half.norm is None for half in halves):
        return None
    layers = [layer_of(half.layers[0]) for half in halves]
    if layers[0] is None or layers[1] is None or layers[0].kwargs != layers[1].kwargs:
        return None
    norms = [layer_of(half.norm) for half in halves]
    epsilon = layers[0].kwargs.get("epsilon", "1e-05")
    if any(norm is None or norm.kwargs.get("epsilon", "1e-05") != epsilon for norm in norms):
        return None
    kwargs = changed(num_encoder_layers=(len(halves[0].layers), 6), num_decoder_layers=(len(halves[1].layers), 6))
    return Layer("Transformer", layers[0].args, kwargs | layers[0].kwargs, "plain", rngs=True)


def _activation(function: Any) -> str | None:
    import torch
    import torch.nn.functional as F

    if function is F.relu or function is torch.relu:
        return "relu"
    return "gelu" if function is F.gelu else None


def _stock(module: Any, activation: str) -> bool:
    """Whether all parts are what PyTorch's constructor makes, and the flag of its fast way says the same."""
    from einops_arch.translation.layers.table import layer_of

    expected = {
        "self_attn": "MultiheadAttention",
        "multihead_attn": "MultiheadAttention",
        "linear1": "Linear",
        "linear2": "Linear",
        "norm1": "LayerNorm",
        "norm2": "LayerNorm",
        "norm3": "LayerNorm",
        "dropout": "Dropout",
        "dropout1": "Dropout",
        "dropout2": "Dropout",
        "dropout3": "Dropout",
    }
    flag = getattr(module, "activation_relu_or_gelu", None)
    if flag is not None and flag != {"relu": 1, "gelu": 2}[activation]:
        return False
    for name, child in module.named_children():
        layer = layer_of(child)
        idle = layer is not None and layer.axes == "nothing" and name.startswith("dropout") and not child.p
        if layer is None or name not in expected or (layer.name != expected[name] and not idle):
            return False
    return True


def _alike(module: Any, attentions: list[Any], norms: list[Any]) -> bool:
    """Whether one rate, one eps and one choice of biases hold for all parts, as in PyTorch's constructor."""
    dropouts = [child.p for name, child in module.named_children() if name.startswith("dropout")]
    rates = {*dropouts, *(item.dropout for item in attentions)}
    biases = {item.bias is not None for item in (module.linear1, module.linear2, *norms)}
    biases |= {item.in_proj_bias is not None for item in attentions}
    kinds = {(item.embed_dim, item.num_heads, item.batch_first, item.kdim, item.vdim) for item in attentions}
    plain = all(item.bias_k is None and not item.add_zero_attn and item.kdim == item.embed_dim for item in attentions)
    epsilons = {item.eps for item in norms}
    return len(rates) == len(biases) == len(kinds) == len(epsilons) == 1 and plain
