"""ConvNet in PyTorch. The Flax twin is `einops_arch/flax/convnet.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.convnet import ConvNetConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import FlattenFeatures
from einops_arch.torch.layers.sequential import NamedSequential

__all__ = ["ConvNet"]


class ConvNet(Pretrained, NamedSequential):
    """Small convolutional network for images `b c h w`; gives log-probabilities `b o`.

    The flatten in the middle knows its sizes, so an image of another size is an error and never becomes nonsense.
    `model[:-1]` is the network without its log-softmax.

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
        config = config or ConvNetConfig()
        c1, c2 = config.channels
        h, w = config.feature_map
        layers = {
            "conv1": nn.Conv2d(config.in_channels, c1, kernel_size=config.kernel_size),
            "pool1": nn.MaxPool2d(kernel_size=2),
            "relu1": nn.ReLU(inplace=True),
            "conv2": nn.Conv2d(c1, c2, kernel_size=config.kernel_size),
            "conv2_drop": nn.Dropout2d(config.dropout),
            "pool2": nn.MaxPool2d(kernel_size=2),
            "relu2": nn.ReLU(inplace=True),
            "flatten": FlattenFeatures(channels=c2, spatial=(h, w)),
            "fc1": nn.Linear(c2 * h * w, config.hidden),
            "relu3": nn.ReLU(inplace=True),
            "fc1_drop": nn.Dropout(config.dropout),
            "fc2": nn.Linear(config.hidden, config.classes),
        }
        if config.log_softmax:
            layers["log_softmax"] = nn.LogSoftmax(dim=-1)
        super().__init__(layers)
        self.config = config
        self._image = (config.in_channels, *config.image_size)

    def forward(self, image: Tensor) -> Tensor:
        # The full check costs as much as a small layer, which is much in a network as small as this one.
        if image.shape[1:] != self._image:
            self.config.check_inputs(image)
        for layer in self._modules.values():  # as in `run`, with a call less
            image = layer(image)
        return image
