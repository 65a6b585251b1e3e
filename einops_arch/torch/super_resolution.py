"""Super-resolution in PyTorch. The Flax twin is `einops_arch/flax/super_resolution.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.super_resolution import SuperResolutionConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import DepthToSpace
from einops_arch.torch.layers.sequential import Sequential

__all__ = ["SuperResolution"]


class SuperResolution(Pretrained, Sequential):
    """Upscale images `b c h w` to `b (h r1) (w r2)`, or to `b c (h r1) (w r2)` if there are several channels.

    Each pixel of the last convolution's result holds a whole square of pixels of the large image, one in each
    channel; depth-to-space lays them out.

    Args:
        config: factor and sizes; brightness times three if left out.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: Shi et al. 2016, arXiv:1609.05158. The paper has three convolutions (5, 3, 3) with tanh; the
    network here is that of the super_resolution example of pytorch/examples, four with ReLU, and has its
    parameter names. The code that this replaces gave one channel as `b 1 h w`, and kept the images before
    each ReLU alive; ReLU is in place here.

    >>> import torch
    >>> model = SuperResolution(SuperResolutionConfig.espcn_x3())
    >>> model(torch.zeros(2, 1, 8, 9)).shape
    torch.Size([2, 24, 27])
    """

    def __init__(self, config: SuperResolutionConfig | None = None) -> None:
        self.config = config = config or SuperResolutionConfig()
        c1, c2, c3 = config.hidden
        c4 = config.channels * config.factor**2
        # In place is safe: the gradient of a convolution needs its input and weights, not its result.
        layers = {
            "conv1": nn.Conv2d(config.channels, c1, kernel_size=5, padding=2),
            "relu1": nn.ReLU(inplace=True),
            "conv2": nn.Conv2d(c1, c2, kernel_size=3, padding=1),
            "relu2": nn.ReLU(inplace=True),
            "conv3": nn.Conv2d(c2, c3, kernel_size=3, padding=1),
            "relu3": nn.ReLU(inplace=True),
            "conv4": nn.Conv2d(c3, c4, kernel_size=3, padding=1),
            "depth_to_space": DepthToSpace(config.factor, drop_channel=config.drop_channel),
        }
        super().__init__(layers)

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to larger images `b h w` or `b c h w`."""
        self.config.check_inputs(image)
        return super().forward(image)
