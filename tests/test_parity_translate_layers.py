"""Every row of translate's table of layers, held against PyTorch's layer at sizes that were not traced."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from layer_parity import QUICKLY
from torch import Tensor, nn

from einops_arch.flax import load_state_dict, state_dict
from einops_arch.parity import randomize
from einops_arch.translation import TranslationError, translate
from einops_arch.translation.layers import layer_of


class _Each(nn.Module):
    """Each layer on the same inputs."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, *inputs: Tensor) -> list[Any]:
        return [layer(*inputs) for layer in self.layers]


def _draw(*shapes: tuple[int, ...], seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def _agree(layers: Sequence[nn.Module], traced: Any, untraced: Any, axes: Any) -> str:
    """Translate, and compare at other sizes with random weights; gives the source."""
    assert all(layer_of(layer) is not None for layer in layers)
    model = _Each(layers).eval()
    translation = translate(model, traced, axes=axes, prove=False)
    twin, model = translation.model, copy.deepcopy(model)
    randomize(model)
    load_state_dict(twin, model.state_dict())
    twin.eval()
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(state_dict(twin)[name], tensor.numpy(), err_msg=name)
    places = [names.split().index("c") if "c" in names.split() else None for names in axes]
    given = [
        jnp.asarray(x.numpy() if place in (None, x.ndim - 1) else np.moveaxis(x.numpy(), place, -1))
        for x, place in zip(untraced, places, strict=True)
    ]
    expected = torch.utils._pytree.tree_leaves(model(*untraced))
    graph, leaves = nnx.split(twin)
    run = jax.jit(lambda leaves, arrays: nnx.merge(graph, leaves)(*arrays), compiler_options=QUICKLY)
    received = jax.tree.leaves(run(leaves, given))
    expected = [tensor for tensor in expected if tensor is not None]
    for tensor, array in zip(expected, received, strict=True):
        left, right = tensor.detach().numpy(), np.asarray(array)
        right = right if left.shape == right.shape else np.moveaxis(right, -1, 1)
        np.testing.assert_allclose(right, left, rtol=2e-4, atol=2e-5 * max(1.0, float(np.abs(left).max())))
    return translation.source


POINTWISE = [
    *(nn.ReLU(inplace=False), nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.ReLU6()),
    *(nn.Hardtanh(-0.3, 0.7), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.CELU(0.8), nn.SELU(), nn.Mish(), nn.Softsign()),
    *(nn.Softplus(2.0, 3.0), nn.LogSigmoid(), nn.Softshrink(0.3), nn.Hardshrink(0.4), nn.Tanhshrink()),
    *(nn.Threshold(0.1, -2.0), nn.GELU(), nn.GELU("tanh"), nn.PReLU(), nn.PReLU(7), nn.AlphaDropout(0.3)),
    *(nn.Dropout(0.2), nn.FeatureAlphaDropout(0.4), nn.Dropout2d(0.1), nn.BatchNorm2d(7, track_running_stats=False)),
]


def test_activations_and_dropout_are_layers_of_the_twin() -> None:
    source = _agree(POINTWISE, _draw((2, 7, 4, 6), seed=0)[0], _draw((3, 7, 8, 5), seed=1), ["b c h w"])
    for layer in ("Hardtanh(min_val=-0.3, max_val=0.7)", "LeakyReLU(negative_slope=0.2)", "PReLU(7)", "SiLU()"):
        assert layer in source
    assert "functional." not in source.replace("functional.check_shape", "")


def test_softmax_over_the_last_axis_is_a_layer_and_over_another_axis_is_code() -> None:
    layers = [nn.Softmax(-1), nn.LogSoftmax(-1), nn.Softmin(-1), nn.GLU()]
    _agree(layers, _draw((2, 5, 6), seed=0)[0], _draw((3, 9, 6), seed=1), ["b t 6"])
    assert layer_of(nn.Softmax(1)) is None


IMAGES = [
    *(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d((3, 2), dilation=(1, 2))),
    *(nn.AvgPool2d(3, 2, 1), nn.AvgPool2d((2, 3), ceil_mode=True), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    *(nn.AvgPool2d(2, divisor_override=3), nn.LPPool2d(2, 3, ceil_mode=True), nn.AdaptiveAvgPool2d((3, None))),
    *(nn.AdaptiveMaxPool2d((3, 2)), nn.AdaptiveAvgPool2d(1), nn.ReflectionPad2d((1, 2, 3, 0)), nn.ZeroPad2d(2)),
    *(nn.ReplicationPad2d((1, 2, 0, 3)), nn.CircularPad2d((1, 1, 2, 2)), nn.ConstantPad2d((1, 0, 2, -1), 0.5)),
    *(nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=(1.5, 2.0), mode="bilinear")),
    *(nn.Upsample((9, 7), mode="bicubic", align_corners=True), nn.UpsamplingBilinear2d(scale_factor=2)),
    *(nn.UpsamplingNearest2d(scale_factor=3), nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(4)),
    *(nn.LocalResponseNorm(3, alpha=0.1, k=2.0), nn.Unfold((3, 2), stride=2, padding=1, dilation=(1, 2))),
]


def test_pools_padding_resizing_and_folds_are_layers_of_the_twin() -> None:
    source = _agree(IMAGES, _draw((2, 8, 8, 12), seed=0)[0], _draw((3, 8, 10, 14), seed=1), ["b c h w"])
    for layer in (
        "MaxPool((3, 3), strides=2, ceil_mode=True)",
        "ReflectionPad(((3, 0), (1, 2)))",
        'Upsample(scale_factor=2, mode="bilinear", align_corners=True)',
    ):
        assert layer in source


def test_layers_over_one_and_three_axes_of_space_know_how_many_they_take() -> None:
    line = [nn.MaxPool1d(3, 2), nn.AvgPool1d(2, ceil_mode=True), nn.ReflectionPad1d((1, 2)), nn.ConstantPad1d(1, 2.0)]
    line += [nn.AdaptiveMaxPool1d(3), nn.LPPool1d(3, 2), nn.Dropout1d(0.1), nn.Upsample(scale_factor=2, mode="linear")]
    _agree(line, _draw((2, 5, 8), seed=0)[0], _draw((3, 5, 13), seed=1), ["b c h"])
    volume = [nn.AvgPool3d((1, 2, 2)), nn.ReplicationPad3d((1, 0, 0, 1, 2, 0)), nn.Dropout3d(0.1)]
    _agree(volume, _draw((2, 3, 2, 6, 4), seed=0)[0], _draw((1, 3, 3, 8, 6), seed=1), ["b c d h w"])
    _agree([nn.Fold((6, 8), 2, stride=2)], _draw((2, 12, 12), seed=0)[0], _draw((3, 12, 12), seed=1), ["b 12 12"])


def _transformer_layers() -> list[nn.Module]:
    options: dict[str, Any] = {"dim_feedforward": 20, "batch_first": True}
    layer = nn.TransformerEncoderLayer(12, 3, activation="gelu", norm_first=True, layer_norm_eps=1e-3, **options)
    return [
        layer,
        nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4, **options), 2, nn.LayerNorm(12)),
    ]


def test_recurrent_layers_and_transformers_take_and_give_pytorchs_axes() -> None:
    layers = [
        *(nn.LSTM(12, 5, num_layers=2, batch_first=True, bidirectional=True), nn.LSTM(12, 5, proj_size=3)),
        *(nn.RNN(12, 4, nonlinearity="relu"), nn.GRU(12, 4, bias=False)),
        *_transformer_layers(),
        nn.LayerNorm((5, 12)),
    ]
    source = _agree(layers, _draw((2, 5, 12), seed=0)[0], _draw((3, 5, 12), seed=1), ["b 5 12"])
    assert "TransformerEncoderLayer(" in source
    assert "norm=LayerNorm(12, rngs=rngs)" in source


def test_attention_decoders_and_bilinear_layers_take_several_inputs() -> None:
    options: dict[str, Any] = {"dim_feedforward": 20, "batch_first": True}
    layers = [
        nn.TransformerDecoderLayer(12, 3, **options),
        nn.Transformer(12, 4, 1, 1, 20, batch_first=True),
    ]
    _agree(layers, _draw((2, 5, 12), (2, 7, 12), seed=0), _draw((3, 4, 12), (3, 6, 12), seed=1), ["b t 12", "b s 12"])
    attention = nn.MultiheadAttention(12, 3, add_bias_kv=True, kdim=8, vdim=6, batch_first=True)
    shapes = (2, 5, 12), (2, 7, 8), (2, 7, 6)
    others = (3, 4, 12), (3, 6, 8), (3, 6, 6)
    _agree([attention], _draw(*shapes, seed=0), _draw(*others, seed=1), ["b t 12", "b s 8", "b s 6"])
    _agree([nn.Bilinear(4, 6, 5)], _draw((2, 4), (2, 6), seed=0), _draw((3, 4), (3, 6), seed=1), ["b 4", "b 6"])
    cells = [nn.GRUCell(4, 6), nn.RNNCell(4, 6, nonlinearity="relu")]
    _agree(cells, _draw((2, 4), (2, 6), seed=0), _draw((3, 4), (3, 6), seed=1), ["b 4", "b 6"])


class _Masked(nn.Module):
    """Attention called by position with a hole, with and without weights, and a cell with its pair of states."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.cell = nn.LSTMCell(8, 8)
        self.bag = nn.EmbeddingBag(11, 8, mode="sum")

    def forward(self, x: Tensor, mask: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weights = self.attention(x, x, x, None, True, mask, average_attn_weights=False)
        y, _ = self.attention(x, x, x, need_weights=False)
        h, c = self.cell(y[0], (x[0], x[1]))
        return weights, h + self.bag(tokens), c


def test_settings_of_a_call_are_written_and_none_is_no_argument() -> None:
    model = _Masked().eval()
    mask = torch.zeros(5, 5, dtype=torch.bool).triu(1)
    tokens = torch.arange(6).reshape(2, 3)
    translation = translate(model, (*_draw((5, 2, 8), seed=0), mask, tokens), axes=["5 b 8", "5 5", "b t"], prove=False)
    assert "attn_mask=mask, average_attn_weights=False" in translation.source
    assert "need_weights=False" in translation.source
    translation.model.eval()
    (x,), tokens = _draw((5, 3, 8), seed=1), torch.arange(12).reshape(3, 4) % 11
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    received = translation.model(*(jnp.asarray(item.numpy()) for item in (x, mask, tokens)))
    for tensor, array in zip(model(x, mask, tokens), received, strict=True):
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=2e-4, atol=2e-5)


def _old(norm: Callable[..., nn.Module], layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return norm(layer)


def _normed(norm: Callable[..., nn.Module], layer: nn.Module, **options: Any) -> nn.Module:
    return norm(layer, **options)


def test_normalized_weights_are_wrapped_layers_in_both_forms() -> None:
    from torch.nn.utils import parametrizations, spectral_norm, weight_norm

    layers = [
        _normed(parametrizations.weight_norm, nn.Conv2d(4, 6, 3)),
        _normed(parametrizations.weight_norm, nn.ConvTranspose2d(4, 6, 3), dim=1),
        _old(weight_norm, nn.Conv2d(4, 5, 1)),
        _normed(parametrizations.spectral_norm, nn.Conv2d(4, 6, 3)),
        _normed(spectral_norm, nn.Conv2d(4, 3, 2), eps=1e-8),
    ]
    assert [layer_of(layer).name for layer in layers] == ["WeightNorm"] * 3 + ["SpectralNorm"] * 2
    model = _Each(layers).eval()
    translation = translate(model, _draw((2, 4, 6, 8), seed=0)[0], axes="b c h w", prove=False)
    assert "WeightNorm(Conv(4, 6, (3, 3), rngs=rngs))" in translation.source
    (x,) = _draw((3, 4, 9, 7), seed=1)
    translation.model.eval()
    received = translation.model(jnp.asarray(x.numpy().transpose(0, 2, 3, 1)))
    for tensor, array in zip(model(x), received, strict=True):
        np.testing.assert_allclose(np.moveaxis(array, -1, 1), tensor.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_what_pytorch_computes_otherwise_without_gradients_is_refused() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1)

        def forward(self, x: Tensor, padding: Tensor) -> Tensor:
            return self.encoder(x, src_key_padding_mask=padding)

    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with pytest.raises(TranslationError, match="without gradients"):
        translate(Padded(), (torch.randn(2, 5, 8), padding), axes=["b t 8", "b t"], prove=False)
