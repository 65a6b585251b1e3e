"""ConvNet in Flax. The PyTorch twin is `einops_arch/torch/convnet.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.convnet import ConvNetConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import (
    Conv,
    Dropout,
    Dropout2d,
    FlattenFeatures,
    Identity,
    Linear,
    LogSoftmax,
    MaxPool,
    ReLU,
)

__all__ = ["ConvNet"]


class ConvNet(Pretrained, nnx.Module):
    """Small convolutional network for images `b h w c`; gives log-probabilities `b o`.

    The flatten in the middle knows its sizes, so an image of another size is an error and never becomes nonsense.
    It keeps PyTorch's order `(c h w)`, so that the weights after it are PyTorch's.
    With `log_softmax=False` in its config it gives logits, from the same weights.

    Args:
        config: sizes; those of the MNIST example if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random streams `params` and `dropout`.

    Raises:
        ShapeError: the image does not have the channels and the size of the config.

    Source: the MNIST example of pytorch/examples. The code that this replaces had `Linear(20, 10)` as its last layer,
    which does not take the 50 features of the layer before it.

    >>> import jax.numpy as jnp
    >>> model = ConvNet(ConvNetConfig.mnist(), rngs=nnx.Rngs(0))
    >>> model(jnp.zeros((2, 28, 28, 1))).shape
    (2, 10)
    """

    def __init__(
        self,
        config: ConvNetConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or ConvNetConfig()
        c1, c2 = config.channels
        h, w = config.feature_map
        kernel_size = (config.kernel_size, config.kernel_size)
        self.conv1 = Conv(config.in_channels, c1, kernel_size=kernel_size, rngs=rngs)
        self.pool1 = MaxPool((2, 2))
        self.relu1 = ReLU()
        self.conv2 = Conv(c1, c2, kernel_size=kernel_size, rngs=rngs)
        self.conv2_drop = Dropout2d(config.dropout, rngs=rngs)
        self.pool2 = MaxPool((2, 2))
        self.relu2 = ReLU()
        self.flatten = FlattenFeatures(channels=c2, spatial=(h, w))
        self.fc1 = Linear(c2 * h * w, config.hidden, rngs=rngs)
        self.relu3 = ReLU()
        self.fc1_drop = Dropout(config.dropout, rngs=rngs)
        self.fc2 = Linear(config.hidden, config.classes, rngs=rngs)
        self.log_softmax = LogSoftmax(axis=-1) if config.log_softmax else Identity()
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to log-probabilities `b o`, or to logits."""
        self.config.check_inputs(image, channels_last=True)
        x = self.relu1(self.pool1(self.conv1(image)))
        x = self.relu2(self.pool2(self.conv2_drop(self.conv2(x))))
        x = self.relu3(self.fc1(self.flatten(x)))
        return self.log_softmax(self.fc2(self.fc1_drop(x)))
