"""ConvNet in PyTorch. The Flax twin is `einops_arch/flax/convnet.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.convnet import ConvNetConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import FlattenFeatures

__all__ = ["ConvNet"]


class ConvNet(Pretrained, nn.Module):
    """Small convolutional network for images `b c h w`; gives log-probabilities `b o`.

    The flatten in the middle knows its sizes, so an image of another size is an error and never becomes nonsense.
    With `log_softmax=False` in its config it gives logits, from the same weights.

    Args:
        config: sizes; those of the MNIST example if left out.

    Raises:
        ShapeError: the image does not have the channels and the size of the config.

    Source: the MNIST example of pytorch/examples. The code that this replaces had `Linear(20, 10)` as its last layer,
    which does not take the 50 features of the layer before it.

    >>> import torch
    >>> model = ConvNet(ConvNetConfig.mnist())
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, config: ConvNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ConvNetConfig()
        c1, c2 = config.channels
        h, w = config.feature_map
        self.conv1 = nn.Conv2d(config.in_channels, c1, kernel_size=config.kernel_size)
        self.pool1 = nn.MaxPool2d(kernel_size=2)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c1, c2, kernel_size=config.kernel_size)
        self.conv2_drop = nn.Dropout2d(config.dropout)
        self.pool2 = nn.MaxPool2d(kernel_size=2)
        self.relu2 = nn.ReLU(inplace=True)
        self.flatten = FlattenFeatures(channels=c2, spatial=(h, w))
        self.fc1 = nn.Linear(c2 * h * w, config.hidden)
        self.relu3 = nn.ReLU(inplace=True)
        self.fc1_drop = nn.Dropout(config.dropout)
        self.fc2 = nn.Linear(config.hidden, config.classes)
        self.log_softmax = nn.LogSoftmax(dim=-1) if config.log_softmax else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to log-probabilities `b o`, or to logits."""
        self.config.check_inputs(image)
        x = self.relu1(self.pool1(self.conv1(image)))
        x = self.relu2(self.pool2(self.conv2_drop(self.conv2(x))))
        x = self.relu3(self.fc1(self.flatten(x)))
        return self.log_softmax(self.fc2(self.fc1_drop(x)))
