"""Style transfer in PyTorch. The Flax twin is `einops_arch/flax/style_transfer.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.style_transfer import StyleTransferConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import UpsampleNearest
from einops_arch.torch.layers.sequential import Sequential

__all__ = ["ConvLayer", "ResidualBlock", "StyleTransfer", "UpsampleConvLayer"]


class ConvLayer(Sequential):
    """Convolution of images `b c h w` with reflection padding, which leaves no frame around a painted image.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: side of the kernel, odd.
        stride: step of the kernel; the sides of the result are `ceil(side / stride)`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        layers = {
            "reflection_pad": nn.ReflectionPad2d(kernel_size // 2),
            "conv2d": nn.Conv2d(in_channels, out_channels, kernel_size, stride),
        }
        super().__init__(layers)


class UpsampleConvLayer(Sequential):
    """Enlarge images `b c h w` by repeating pixels, then convolve; leaves no checkerboard.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: side of the kernel, odd.
        upsample: how many times larger the sides become.

    Source: Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard/
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, upsample: int) -> None:
        layers = {
            "upsample_layer": UpsampleNearest(upsample),
            "reflection_pad": nn.ReflectionPad2d(kernel_size // 2),
            "conv2d": nn.Conv2d(in_channels, out_channels, kernel_size),
        }
        super().__init__(layers)


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input `b c h w`, with no ReLU after the sum.

    Args:
        channels: channels of the input and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, kernel_size=3)
        self.in1 = nn.InstanceNorm2d(channels, eps=1e-5, affine=True)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = ConvLayer(channels, channels, kernel_size=3)
        self.in2 = nn.InstanceNorm2d(channels, eps=1e-5, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features `b c h w` to features of the same shape."""
        out = self.relu(self.in1(self.conv1(x)))
        return x + self.in2(self.conv2(out))


class StyleTransfer(Pretrained, Sequential):
    """Paint images `b c h w` in the style that the network was trained for; gives `b c h w`.

    A side that 4 does not divide grows to the next multiple of 4 (`config.output_size`), as in the original.

    Args:
        config: sizes; those of the paper if left out.

    Raises:
        ShapeError: the image does not have the channels of the config, or is too small to be reflected.

    Source: Johnson et al. 2016, arXiv:1603.08155, as in the fast_neural_style example of pytorch/examples,
    where the class is called TransformerNet: instance norm for the paper's batch norm, repeated pixels for
    its transposed convolutions, no tanh at the end. Its parameter names are kept, so its weights load. Old
    files hold running statistics that it never used; leave them out:
    `model.load_state_dict({name: state[name] for name in model.state_dict()})`.

    >>> import torch
    >>> model = StyleTransfer(StyleTransferConfig.tiny())
    >>> model(torch.zeros(2, 3, 16, 18)).shape
    torch.Size([2, 3, 16, 20])
    """

    def __init__(self, config: StyleTransferConfig | None = None) -> None:
        self.config = config = config or StyleTransferConfig()
        c1, c2, c3 = config.hidden
        # In place is safe: the gradient of a norm needs its input and statistics, not its result.
        layers = {
            "conv1": ConvLayer(config.channels, c1, config.kernel_size),
            "in1": nn.InstanceNorm2d(c1, eps=1e-5, affine=True),
            "relu1": nn.ReLU(inplace=True),
            "conv2": ConvLayer(c1, c2, kernel_size=3, stride=2),
            "in2": nn.InstanceNorm2d(c2, eps=1e-5, affine=True),
            "relu2": nn.ReLU(inplace=True),
            "conv3": ConvLayer(c2, c3, kernel_size=3, stride=2),
            "in3": nn.InstanceNorm2d(c3, eps=1e-5, affine=True),
            "relu3": nn.ReLU(inplace=True),
            **{f"res{i}": ResidualBlock(c3) for i in range(1, config.residual_blocks + 1)},
            "deconv1": UpsampleConvLayer(c3, c2, kernel_size=3, upsample=2),
            "in4": nn.InstanceNorm2d(c2, eps=1e-5, affine=True),
            "relu4": nn.ReLU(inplace=True),
            "deconv2": UpsampleConvLayer(c2, c1, kernel_size=3, upsample=2),
            "in5": nn.InstanceNorm2d(c1, eps=1e-5, affine=True),
            "relu5": nn.ReLU(inplace=True),
            "deconv3": ConvLayer(c1, config.channels, config.kernel_size),
        }
        super().__init__(layers)

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to painted images `b c h w`."""
        self.config.check_inputs(image)
        return super().forward(image)
