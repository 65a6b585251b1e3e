"""ResNet in Flax. The PyTorch twin is `einops_arch/torch/resnet.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.resnet import ResNetBlockConfig, ResNetConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import BatchNorm, Conv, Identity, Linear, MaxPool, Reduce, ReLU, Sequential
from einops_arch.flax.layers.init import he_normal
from einops_arch.flax.layers.sequential import Rematerialized

__all__ = ["BasicBlock", "Bottleneck", "ResNet"]


class ResNet(Pretrained, Sequential):
    """Classify images `b h w c` of any size; gives logits `b o`.

    The mean over space is a pattern, `b h w c -> b c`, and needs no flattening after it. `model[:-2]` is the network
    up to the feature map `b h w c`, which any layers can follow.

    Args:
        config: blocks and sizes; those of ResNet-50 if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        remat: compute the blocks again in the backward pass, which keeps their inputs in memory and no more.
        rngs: random stream `params`.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: He et al. 2015, arXiv:1512.03385. Names, layouts and initial distributions are torchvision's; the weights
    of `torchvision.models.resnet50` and its like load as they are, and so do timm's of the same names.

    >>> import jax.numpy as jnp
    >>> model = ResNet(ResNetConfig.tiny(), rngs=nnx.Rngs(0))
    >>> classify = nnx.jit(lambda model, image: model(image))
    >>> classify(model, jnp.zeros((2, 32, 45, 3))).shape
    (2, 9)
    """

    def __init__(
        self,
        config: ResNetConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or ResNetConfig()
        stem = config.stem_channels
        layers: dict[str, nnx.Module] = {
            "conv1": _conv(config.in_channels, stem, kernel_size=7, stride=2, rngs=rngs),
            "bn1": BatchNorm(stem, epsilon=1e-5, momentum=0.1, rngs=rngs),
            "relu": ReLU(),
            "maxpool": MaxPool((3, 3), strides=2, padding=1),
        }
        sequence = Rematerialized if remat else Sequential
        for stage, blocks in enumerate(config.stages(), 1):
            layers[f"layer{stage}"] = sequence(*(_BLOCKS[block.kind](block, rngs=rngs) for block in blocks))
        layers["avgpool"] = Reduce("b h w c -> b c", "mean")
        layers["fc"] = Linear(config.features, config.classes, rngs=rngs)
        super().__init__(layers)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to logits `b o`."""
        self.config.check_inputs(image, channels_last=True)
        return super().__call__(image)


class BasicBlock(nnx.Module):
    """Features `b h w c` to features: two 3x3 convolutions beside a shortcut.

    Args:
        config: sizes.
        rngs: random stream `params`.
    """

    def __init__(self, config: ResNetBlockConfig, *, rngs: nnx.Rngs) -> None:
        c, inner, out = config.in_channels, config.inner_channels, config.out_channels
        self.conv1 = _conv(c, inner, kernel_size=3, stride=config.stride, rngs=rngs)
        self.bn1 = BatchNorm(inner, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.relu = ReLU()
        self.conv2 = _conv(inner, out, kernel_size=3, rngs=rngs)
        self.bn2 = BatchNorm(out, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.downsample = _shortcut(config, rngs=rngs)

    def __call__(self, features: Array) -> Array:
        """Features `b h w c` to features `b h w c`."""
        x = self.relu(self.bn1(self.conv1(features)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + self.downsample(features))


class Bottleneck(nnx.Module):
    """Features `b h w c` to features: a 3x3 convolution between two of 1x1, beside a shortcut.

    Args:
        config: sizes.
        rngs: random stream `params`.
    """

    def __init__(self, config: ResNetBlockConfig, *, rngs: nnx.Rngs) -> None:
        c, inner, out = config.in_channels, config.inner_channels, config.out_channels
        self.conv1 = _conv(c, inner, kernel_size=1, rngs=rngs)
        self.bn1 = BatchNorm(inner, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.conv2 = _conv(inner, inner, kernel_size=3, stride=config.stride, groups=config.groups, rngs=rngs)
        self.bn2 = BatchNorm(inner, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.conv3 = _conv(inner, out, kernel_size=1, rngs=rngs)
        self.bn3 = BatchNorm(out, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.relu = ReLU()
        self.downsample = _shortcut(config, rngs=rngs)

    def __call__(self, features: Array) -> Array:
        """Features `b h w c` to features `b h w c`."""
        x = self.relu(self.bn1(self.conv1(features)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + self.downsample(features))


_BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


def _shortcut(config: ResNetBlockConfig, *, rngs: nnx.Rngs) -> nnx.Module:
    if not config.projects:
        return Identity()
    return Sequential(
        _conv(config.in_channels, config.out_channels, kernel_size=1, stride=config.stride, rngs=rngs),
        BatchNorm(config.out_channels, epsilon=1e-5, momentum=0.1, rngs=rngs),
    )


def _conv(c_in: int, c_out: int, kernel_size: int, stride: int = 1, groups: int = 1, *, rngs: nnx.Rngs) -> Conv:
    """Centred, with no bias as a norm follows, and with the initial distribution of He et al."""
    sides, padding = (kernel_size, kernel_size), kernel_size // 2
    return Conv(
        c_in,
        c_out,
        sides,
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=he_normal(c_out * kernel_size**2),
        rngs=rngs,
    )
