"""VGG in PyTorch. The Flax twin is `einops_arch/flax/vgg.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.vgg import VGGConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import FlattenFeatures
from einops_arch.torch.layers.sequential import Sequential
from einops_arch.torch.layers.transformer import small_linear

__all__ = ["VGG", "convolutions"]


class VGG(Pretrained, Sequential):
    """Classify images `b c h w` of any size; gives logits `b o`.

    The flatten before the classifier knows its sizes, `b c h w -> b (c h w)`. `model.features` gives the feature map.

    Args:
        config: blocks and sizes; those of VGG-16 if left out.

    Raises:
        ShapeError: the image does not have the channels of the config, or is too small to be halved so often.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556. Names, layouts and initial distributions are torchvision's;
    the weights of `torchvision.models.vgg16` and its like load as they are.

    >>> import torch
    >>> model = VGG(VGGConfig.tiny())
    >>> model(torch.zeros(3, 2, 32, 45)).shape
    torch.Size([3, 7])
    """

    def __init__(self, config: VGGConfig | None = None) -> None:
        self.config = config = config or VGGConfig()
        c, (h, w) = config.widths[-1], config.grid
        features: list[nn.Module] = []
        c_in = config.in_channels
        for block in config.blocks():
            features += convolutions(c_in, block, batch_norm=config.batch_norm)
            features.append(nn.MaxPool2d(kernel_size=2))
            c_in = block[-1]
        layers = {
            "features": nn.Sequential(*features),
            "avgpool": nn.AdaptiveAvgPool2d(config.grid),
            "flatten": FlattenFeatures(channels=c, spatial=(h, w)),
            "classifier": nn.Sequential(
                small_linear(c * h * w, config.hidden, std=0.01),
                nn.ReLU(inplace=True),
                nn.Dropout(config.dropout),
                small_linear(config.hidden, config.hidden, std=0.01),
                nn.ReLU(inplace=True),
                nn.Dropout(config.dropout),
                small_linear(config.hidden, config.classes, std=0.01),
            ),
        }
        super().__init__(layers)

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to logits `b o`."""
        self.config.check_inputs(image)
        return super().forward(image)


def convolutions(c_in: int, block: tuple[int, ...], *, batch_norm: bool = False) -> list[nn.Module]:
    """The layers of a block up to its pooling: 3x3 convolutions, each with a ReLU and perhaps a batch norm.

    Args:
        c_in: channels of what comes in.
        block: channels after each convolution.
        batch_norm: whether there is a batch norm after each.
    """
    layers: list[nn.Module] = []
    for c_out in block:
        conv = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(conv.bias)
        layers.append(conv)
        if batch_norm:
            layers.append(nn.BatchNorm2d(c_out, eps=1e-5, momentum=0.1))
        # In place is safe: what follows, a convolution, a pooling or the caller, reads the result.
        layers.append(nn.ReLU(inplace=True))
        c_in = c_out
    return layers
