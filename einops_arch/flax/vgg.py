"""VGG in Flax. The PyTorch twin is `einops_arch/torch/vgg.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.vgg import VGGConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dropout,
    FlattenFeatures,
    MaxPool,
    ReLU,
    Sequential,
)
from einops_arch.flax.layers.init import he_normal
from einops_arch.flax.layers.transformer import small_linear

__all__ = ["VGG", "convolutions"]


class VGG(Pretrained, Sequential):
    """Classify images `b h w c` of any size; gives logits `b o`.

    The flatten before the classifier knows its sizes, and keeps PyTorch's order, `b h w c -> b (c h w)`, so that the
    weights after it are PyTorch's. `model.features` gives the feature map.

    Args:
        config: blocks and sizes; those of VGG-16 if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: the image does not have the channels of the config, or is too small to be halved so often.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556. Names, layouts and initial distributions are torchvision's;
    the weights of `torchvision.models.vgg16` and its like load as they are.

    >>> import jax.numpy as jnp
    >>> model = VGG(VGGConfig.tiny(), rngs=nnx.Rngs(0))
    >>> model(jnp.zeros((3, 32, 45, 2))).shape
    (3, 7)
    """

    def __init__(
        self,
        config: VGGConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or VGGConfig()
        c, (h, w) = config.widths[-1], config.grid
        features: list[nnx.Module] = []
        c_in = config.in_channels
        for block in config.blocks():
            features += convolutions(c_in, block, batch_norm=config.batch_norm, rngs=rngs)
            features.append(MaxPool((2, 2)))
            c_in = block[-1]
        layers = {
            "features": Sequential(*features),
            "avgpool": AdaptiveAvgPool(config.grid),
            "flatten": FlattenFeatures(channels=c, spatial=(h, w)),
            "classifier": Sequential(
                small_linear(c * h * w, config.hidden, std=0.01, rngs=rngs),
                ReLU(),
                Dropout(config.dropout, rngs=rngs),
                small_linear(config.hidden, config.hidden, std=0.01, rngs=rngs),
                ReLU(),
                Dropout(config.dropout, rngs=rngs),
                small_linear(config.hidden, config.classes, std=0.01, rngs=rngs),
            ),
        }
        super().__init__(layers)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to logits `b o`."""
        self.config.check_inputs(image, channels_last=True)
        return super().__call__(image)


def convolutions(c_in: int, block: tuple[int, ...], *, batch_norm: bool = False, rngs: nnx.Rngs) -> list[nnx.Module]:
    """The layers of a block up to its pooling: 3x3 convolutions, each with a ReLU and perhaps a batch norm.

    Args:
        c_in: channels of what comes in.
        block: channels after each convolution.
        batch_norm: whether there is a batch norm after each.
        rngs: random stream `params`.
    """
    layers: list[nnx.Module] = []
    zeros = nnx.initializers.zeros_init()
    for c_out in block:
        init = he_normal(c_out * 9)
        layers.append(Conv(c_in, c_out, kernel_size=(3, 3), padding=1, kernel_init=init, bias_init=zeros, rngs=rngs))
        if batch_norm:
            layers.append(BatchNorm(c_out, epsilon=1e-5, momentum=0.1, rngs=rngs))
        layers.append(ReLU())
        c_in = c_out
    return layers
