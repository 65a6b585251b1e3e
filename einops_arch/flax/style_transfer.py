"""Style transfer in Flax. The PyTorch twin is `einops_arch/torch/style_transfer.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.style_transfer import StyleTransferConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import Conv, InstanceNorm, ReflectionPad, ReLU, Sequential, UpsampleNearest
from einops_arch.flax.layers.sequential import rematerialized

__all__ = ["ConvLayer", "ResidualBlock", "StyleTransfer", "UpsampleConvLayer"]


class ConvLayer(Sequential):
    """Convolution of images `b h w c` with reflection padding, which leaves no frame around a painted image.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: side of the kernel, odd.
        stride: step of the kernel; the sides of the result are `ceil(side / stride)`.
        rngs: random stream `params`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, rngs: nnx.Rngs
    ) -> None:
        layers = {
            "reflection_pad": ReflectionPad(kernel_size // 2),
            "conv2d": Conv(in_channels, out_channels, (kernel_size, kernel_size), stride, rngs=rngs),
        }
        super().__init__(layers)


class UpsampleConvLayer(Sequential):
    """Enlarge images `b h w c` by repeating pixels, then convolve; leaves no checkerboard.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: side of the kernel, odd.
        upsample: how many times larger the sides become.
        rngs: random stream `params`.

    Source: Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard/
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, upsample: int, *, rngs: nnx.Rngs) -> None:
        layers = {
            "upsample_layer": UpsampleNearest(upsample),
            "reflection_pad": ReflectionPad(kernel_size // 2),
            "conv2d": Conv(in_channels, out_channels, (kernel_size, kernel_size), rngs=rngs),
        }
        super().__init__(layers)


class ResidualBlock(nnx.Module):
    """Two convolutions whose result is added to their input `b h w c`, with no ReLU after the sum.

    Args:
        channels: channels of the input and of the result.
        rngs: random stream `params`.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = ConvLayer(channels, channels, kernel_size=3, rngs=rngs)
        self.in1 = InstanceNorm(channels, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs)
        self.relu = ReLU()
        self.conv2 = ConvLayer(channels, channels, kernel_size=3, rngs=rngs)
        self.in2 = InstanceNorm(channels, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Features `b h w c` to features of the same shape."""
        out = self.relu(self.in1(self.conv1(x)))
        return x + self.in2(self.conv2(out))


class StyleTransfer(Pretrained, Sequential):
    """Paint images `b h w c` in the style that the network was trained for; gives `b h w c`.

    A side that 4 does not divide grows to the next multiple of 4 (`config.output_size`), as in the original.

    Args:
        config: sizes; those of the paper if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        remat: compute the blocks again in the backward pass, which keeps their inputs in memory and no more.
        rngs: random stream `params`.

    Raises:
        ShapeError: the image does not have the channels of the config, or is too small to be reflected.

    Source: Johnson et al. 2016, arXiv:1603.08155, as in the fast_neural_style example of pytorch/examples,
    where the class is called TransformerNet: instance norm for the paper's batch norm, repeated pixels for
    its transposed convolutions, no tanh at the end. Its parameter names are kept, so its weights load. Old
    files hold running statistics that it never used; leave them out:
    `load_state_dict(model, {name: state[name] for name in state_dict(model)})`.

    >>> import jax.numpy as jnp
    >>> model = StyleTransfer(StyleTransferConfig.tiny(), rngs=nnx.Rngs(0))
    >>> model(jnp.zeros((2, 16, 18, 3))).shape
    (2, 16, 20, 3)
    """

    def __init__(
        self,
        config: StyleTransferConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or StyleTransferConfig()
        self.remat = remat
        c1, c2, c3 = config.hidden
        layers = {
            "conv1": ConvLayer(config.channels, c1, config.kernel_size, rngs=rngs),
            "in1": InstanceNorm(c1, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs),
            "relu1": ReLU(),
            "conv2": ConvLayer(c1, c2, kernel_size=3, stride=2, rngs=rngs),
            "in2": InstanceNorm(c2, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs),
            "relu2": ReLU(),
            "conv3": ConvLayer(c2, c3, kernel_size=3, stride=2, rngs=rngs),
            "in3": InstanceNorm(c3, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs),
            "relu3": ReLU(),
            **{f"res{i}": ResidualBlock(c3, rngs=rngs) for i in range(1, config.residual_blocks + 1)},
            "deconv1": UpsampleConvLayer(c3, c2, kernel_size=3, upsample=2, rngs=rngs),
            "in4": InstanceNorm(c2, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs),
            "relu4": ReLU(),
            "deconv2": UpsampleConvLayer(c2, c1, kernel_size=3, upsample=2, rngs=rngs),
            "in5": InstanceNorm(c1, epsilon=1e-5, use_scale=True, use_bias=True, rngs=rngs),
            "relu5": ReLU(),
            "deconv3": ConvLayer(c1, config.channels, config.kernel_size, rngs=rngs),
        }
        super().__init__(layers)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to painted images `b h w c`."""
        self.config.check_inputs(image, channels_last=True)
        for module in self:
            again = self.remat and isinstance(module, ResidualBlock)
            image = rematerialized(module, image) if again else module(image)
        return image
