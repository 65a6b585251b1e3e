"""The ShuffleNet unit in Flax. The PyTorch twin is `einops_arch/torch/shuffle_unit.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.shuffle_unit import ShuffleUnitConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import AvgPool, BatchNorm, ChannelShuffle, Conv

__all__ = ["ShuffleUnit"]


class ShuffleUnit(Pretrained, nnx.Module):
    """Features `b h w c` to features, through a bottleneck of grouped convolutions beside a shortcut.

    Compress (1x1, grouped), shuffle (`b h w (g k) -> b h w (k g)`), 3x3 depthwise, expand (1x1, grouped), each
    convolution with a batch norm; then add the shortcut, or put it beside the result and halve the image.
    All layers begin with PyTorch's initial distributions.

    Args:
        config: sizes and the way to combine; the paper's "add" unit of 240 channels if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random stream `params`.

    Raises:
        ShapeError: the features do not have the channels of the config.

    Source: Zhang et al. 2017, arXiv:1707.01083, Figure 2. The parameter names are those of the public weights
    (pytorchcv's `shufflenet_g3_w1` and its like). The code that this replaces cannot be built: it says
    `BatchNordm2d`, and builds `g_conv_1x1_compress` and `g_conv_conv_1x1_expand` but calls `g_con_1x1_compress` and
    `g_conv_1x1_expand`. What it means is this, with the shortcut first; it shuffles after an ungrouped convolution
    too, where that changes nothing but the order of that convolution's channels.

    >>> unit = ShuffleUnit(ShuffleUnitConfig.concat(), rngs=nnx.Rngs(0))
    >>> unit(jnp.zeros((2, 7, 6, 240))).shape
    (2, 4, 3, 480)
    """

    def __init__(
        self,
        config: ShuffleUnitConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or ShuffleUnitConfig()
        c, mid, out = config.in_channels, config.bottleneck_channels, config.expanded_channels
        if config.combine == "concat":
            # The zeros of the padding count in the mean.
            self.shortcut = AvgPool((3, 3), strides=2, padding=1, count_include_pad=True)
        self.compress_conv1 = Conv(
            c, mid, kernel_size=(1, 1), feature_group_count=config.compress_groups, use_bias=False, rngs=rngs
        )
        self.compress_bn1 = BatchNorm(mid, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.c_shuffle = ChannelShuffle(config.groups)
        self.dw_conv2 = Conv(
            mid,
            mid,
            kernel_size=(3, 3),
            strides=config.stride,
            padding=1,
            feature_group_count=mid,
            use_bias=False,
            rngs=rngs,
        )
        self.dw_bn2 = BatchNorm(mid, epsilon=1e-5, momentum=0.1, rngs=rngs)
        self.expand_conv3 = Conv(
            mid, out, kernel_size=(1, 1), feature_group_count=config.groups, use_bias=False, rngs=rngs
        )
        self.expand_bn3 = BatchNorm(out, epsilon=1e-5, momentum=0.1, rngs=rngs)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, features: Array) -> Array:
        """Features `b h w c` to features `b h w c`."""
        self.config.check_inputs(features, channels_last=True)
        if (dtype := self.compress_conv1.dtype) is not None:
            features = features.astype(dtype)  # for the shortcut too, which has no weights
        right = nnx.relu(self.compress_bn1(self.compress_conv1(features)))
        right = self.dw_bn2(self.dw_conv2(self.c_shuffle(right)))
        right = self.expand_bn3(self.expand_conv3(right))
        if self.config.combine == "add":
            return nnx.relu(features + right)
        left = self.shortcut(features)
        both = [left, right] if self.config.shortcut_first else [right, left]
        return nnx.relu(jnp.concatenate(both, axis=-1))
