"""The networks of the seed of this project in plain PyTorch: `view`, `permute` and PyTorch's own functions, no einops.

They are what the networks here are measured against, where no public package has the network. The parameters have our
names, so that the weights of one load into the other as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einops_arch.architectures import (
    ConvNetConfig,
    LanguageModelConfig,
    SentimentRNNConfig,
    ShuffleNetConfig,
    ShuffleUnitConfig,
    StyleTransferConfig,
    SuperResolutionConfig,
    VGG16FeaturesConfig,
)

__all__ = ["PLAIN"]


class PlainConvNet(nn.Sequential):
    """The digit classifier, as one `nn.Sequential`."""

    def __init__(self, config: ConvNetConfig) -> None:
        c1, c2 = config.channels
        h, w = config.feature_map
        layers = {
            "conv1": nn.Conv2d(config.in_channels, c1, config.kernel_size),
            "pool1": nn.MaxPool2d(2),
            "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(c1, c2, config.kernel_size),
            "conv2_drop": nn.Dropout2d(config.dropout),
            "pool2": nn.MaxPool2d(2),
            "relu2": nn.ReLU(),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(c2 * h * w, config.hidden),
            "relu3": nn.ReLU(),
            "fc1_drop": nn.Dropout(config.dropout),
            "fc2": nn.Linear(config.hidden, config.classes),
            "log_softmax": nn.LogSoftmax(dim=1),
        }
        super().__init__(OrderedDict(layers))


class PlainSuperResolution(nn.Module):
    """The upscaler with `nn.PixelShuffle`."""

    def __init__(self, config: SuperResolutionConfig, *, inplace: bool = False) -> None:
        super().__init__()
        c1, c2, c3 = config.hidden
        self.relu = nn.ReLU(inplace=inplace)
        self.conv1 = nn.Conv2d(config.channels, c1, 5, padding=2)
        self.conv2 = nn.Conv2d(c1, c2, 3, padding=1)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv4 = nn.Conv2d(c3, config.channels * config.factor**2, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(config.factor)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        x = self.relu(self.conv3(x))
        x = self.pixel_shuffle(self.conv4(x))
        return x.squeeze(1)


class _Padded(nn.Module):
    def __init__(self, c_in: int, c_out: int, side: int, stride: int = 1, larger: int = 1) -> None:
        super().__init__()
        self.larger = larger
        self.reflection_pad = nn.ReflectionPad2d(side // 2)
        self.conv2d = nn.Conv2d(c_in, c_out, side, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.larger > 1:
            x = F.interpolate(x, scale_factor=self.larger, mode="nearest")
        return self.conv2d(self.reflection_pad(x))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _Padded(channels, channels, 3)
        self.in1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = _Padded(channels, channels, 3)
        self.in2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))


class PlainStyleTransfer(nn.Module):
    """The image transformation network."""

    def __init__(self, config: StyleTransferConfig) -> None:
        super().__init__()
        c1, c2, c3 = config.hidden
        self.blocks = config.residual_blocks
        self.conv1 = _Padded(config.channels, c1, config.kernel_size)
        self.in1 = nn.InstanceNorm2d(c1, affine=True)
        self.conv2 = _Padded(c1, c2, 3, stride=2)
        self.in2 = nn.InstanceNorm2d(c2, affine=True)
        self.conv3 = _Padded(c2, c3, 3, stride=2)
        self.in3 = nn.InstanceNorm2d(c3, affine=True)
        for number in range(1, self.blocks + 1):
            setattr(self, f"res{number}", _Residual(c3))
        self.deconv1 = _Padded(c3, c2, 3, larger=2)
        self.in4 = nn.InstanceNorm2d(c2, affine=True)
        self.deconv2 = _Padded(c2, c1, 3, larger=2)
        self.in5 = nn.InstanceNorm2d(c1, affine=True)
        self.deconv3 = _Padded(c1, config.channels, config.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.in1(self.conv1(x)))
        x = F.relu(self.in2(self.conv2(x)))
        x = F.relu(self.in3(self.conv3(x)))
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"res{number}")(x)
        x = F.relu(self.in4(self.deconv1(x)))
        x = F.relu(self.in5(self.deconv2(x)))
        return self.deconv3(x)


class PlainVGG16Features(nn.Module):
    """A slice of torchvision's `vgg16().features`, with results taken on the way."""

    def __init__(self, config: VGG16FeaturesConfig) -> None:
        super().__init__()
        from torchvision.models import vgg16  # only this network needs it

        self.wanted = set(config.positions)
        self.features = vgg16(weights=None).features[: max(self.wanted) + 1]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        results = []
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in self.wanted:
                results.append(x)
        return tuple(results)


class PlainShuffleUnit(nn.Module):
    """The unit with `F.channel_shuffle`."""

    def __init__(self, config: ShuffleUnitConfig) -> None:
        super().__init__()
        c, mid, out = config.in_channels, config.bottleneck_channels, config.expanded_channels
        self.groups, self.adds, self.shortcut_first = config.groups, config.combine == "add", config.shortcut_first
        self.compress_conv1 = nn.Conv2d(c, mid, 1, groups=config.compress_groups, bias=False)
        self.compress_bn1 = nn.BatchNorm2d(mid)
        self.dw_conv2 = nn.Conv2d(mid, mid, 3, stride=config.stride, padding=1, groups=mid, bias=False)
        self.dw_bn2 = nn.BatchNorm2d(mid)
        self.expand_conv3 = nn.Conv2d(mid, out, 1, groups=config.groups, bias=False)
        self.expand_bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.compress_bn1(self.compress_conv1(x)))
        y = F.channel_shuffle(y, self.groups)
        y = self.expand_bn3(self.expand_conv3(self.dw_bn2(self.dw_conv2(y))))
        if self.adds:
            return self.relu(x + y)
        left = F.avg_pool2d(x, 3, stride=2, padding=1)
        both = (left, y) if self.shortcut_first else (y, left)
        return self.relu(torch.cat(both, dim=1))


class PlainShuffleNet(nn.Module):
    """ShuffleNet v1 with `F.channel_shuffle`."""

    def __init__(self, config: ShuffleNetConfig) -> None:
        super().__init__()
        stem = config.stem_channels
        init_block = nn.Sequential()
        init_block.add_module("conv", nn.Conv2d(config.in_channels, stem, 3, stride=2, padding=1, bias=False))
        init_block.add_module("bn", nn.BatchNorm2d(stem))
        init_block.add_module("relu", nn.ReLU(inplace=True))
        init_block.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        self.features = nn.Sequential()
        self.features.add_module("init_block", init_block)
        for number, units in enumerate(config.stages(), 1):
            stage = nn.Sequential()
            for position, unit in enumerate(units, 1):
                stage.add_module(f"unit{position}", PlainShuffleUnit(unit))
            self.features.add_module(f"stage{number}", stage)
        self.output = nn.Linear(config.stage_channels[-1], config.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.features(x).mean(dim=(2, 3)))


class PlainLanguageModel(nn.Module):
    """The word language model, with two `view`s around the decoder."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.drop = nn.Dropout(config.dropout)
        self.encoder = nn.Embedding(config.vocabulary, config.embedding)
        self.rnn = nn.LSTM(config.embedding, config.hidden, config.layers, dropout=config.dropout_between)
        self.decoder = nn.Linear(config.hidden, config.vocabulary)
        if config.tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Any:
        output, state = self.rnn(self.drop(self.encoder(tokens)))
        output = self.drop(output)
        decoded = self.decoder(output.view(output.size(0) * output.size(1), output.size(2)))
        return decoded.view(output.size(0), output.size(1), decoded.size(1)), state


class PlainSentimentRNN(nn.Module):
    """The sentence classifier, which joins the two last states of both directions."""

    def __init__(self, config: SentimentRNNConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=config.padding_index)
        self.rnn = nn.LSTM(
            config.embedding, config.hidden, config.layers, bidirectional=True, dropout=config.dropout_between
        )
        self.fc = nn.Linear(2 * config.hidden, config.classes)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (hidden, _) = self.rnn(self.dropout(self.embedding(tokens)))
        last = torch.cat((hidden[-2], hidden[-1]), dim=1)
        return self.fc(self.dropout(last))


PLAIN = {
    "convnet": PlainConvNet,
    "super_resolution": PlainSuperResolution,
    "style_transfer": PlainStyleTransfer,
    "vgg16_features": PlainVGG16Features,
    "shuffle_unit": PlainShuffleUnit,
    "shufflenet": PlainShuffleNet,
    "language_model": PlainLanguageModel,
    "sentiment_rnn": PlainSentimentRNN,
}
"""By the name of the architecture."""
