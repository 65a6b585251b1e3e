"""ShuffleNet V2 in Flax. The PyTorch twin is `einops_arch/torch/shufflenet_v2.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.shufflenet_v2 import ShuffleNetV2Config, ShuffleNetV2UnitConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import BatchNorm, ChannelShuffle, Conv, Linear, MaxPool, Reduce, ReLU, Sequential
from einops_arch.flax.layers.sequential import Rematerialized

__all__ = ["ShuffleNetV2", "ShuffleNetV2Unit"]


class ShuffleNetV2(Pretrained, Sequential):
    """Classify images `b h w c` of any size; gives logits `b o`.

    `model[:-2]` is the network up to the feature map `b h w c`.

    Args:
        config: sizes; the paper's 1x if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        remat: compute the blocks again in the backward pass, which keeps their inputs in memory and no more.
        rngs: random stream `params`.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: Ma et al. 2018, arXiv:1807.11164. Names, layouts and initial distributions are torchvision's; the weights
    of `torchvision.models.shufflenet_v2_x1_0` and its like load as they are.

    >>> model = ShuffleNetV2(ShuffleNetV2Config.tiny(), rngs=nnx.Rngs(0))
    >>> classify = nnx.jit(lambda model, image: model(image))
    >>> classify(model, jnp.zeros((3, 32, 45, 2))).shape
    (3, 7)
    """

    def __init__(
        self,
        config: ShuffleNetV2Config | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or ShuffleNetV2Config()
        stem, last = config.stem_channels, config.last_channels
        layers: dict[str, nnx.Module] = {
            "conv1": Sequential(
                Conv(config.in_channels, stem, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs),
                BatchNorm(stem, epsilon=1e-5, momentum=0.1, rngs=rngs),
                ReLU(),
            ),
            "maxpool": MaxPool((3, 3), strides=2, padding=1),
        }
        sequence = Rematerialized if remat else Sequential
        for stage, units in enumerate(config.stages(), 2):
            layers[f"stage{stage}"] = sequence(*(ShuffleNetV2Unit(unit, rngs=rngs) for unit in units))
        layers["conv5"] = Sequential(
            Conv(config.stage_channels[-1], last, (1, 1), use_bias=False, rngs=rngs),
            BatchNorm(last, epsilon=1e-5, momentum=0.1, rngs=rngs),
            ReLU(),
        )
        layers["pool"] = Reduce("b h w c -> b c", "mean")
        layers["fc"] = Linear(last, config.classes, rngs=rngs)
        super().__init__(layers)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to logits `b o`."""
        self.config.check_inputs(image, channels_last=True)
        return super().__call__(image)


class ShuffleNetV2Unit(nnx.Module):
    """Features `b h w c` to features: half of the channels worked on, beside the other half, then shuffled.

    The two halves come to lie one channel of each after the other, `b h w (g k) -> b h w (k g)` with two groups, so
    that the next unit splits both.

    Args:
        config: sizes.
        rngs: random stream `params`.
    """

    def __init__(self, config: ShuffleNetV2UnitConfig, *, rngs: nnx.Rngs) -> None:
        self.splits = config.splits
        c, k, stride = config.in_channels, config.branch_channels, config.stride
        if self.splits:
            self.branch1 = Sequential()
            c = k
        else:
            self.branch1 = Sequential(
                Conv(c, c, (3, 3), strides=stride, padding=1, feature_group_count=c, use_bias=False, rngs=rngs),
                BatchNorm(c, epsilon=1e-5, momentum=0.1, rngs=rngs),
                Conv(c, k, (1, 1), use_bias=False, rngs=rngs),
                BatchNorm(k, epsilon=1e-5, momentum=0.1, rngs=rngs),
                ReLU(),
            )
        self.branch2 = Sequential(
            Conv(c, k, (1, 1), use_bias=False, rngs=rngs),
            BatchNorm(k, epsilon=1e-5, momentum=0.1, rngs=rngs),
            ReLU(),
            Conv(k, k, (3, 3), strides=stride, padding=1, feature_group_count=k, use_bias=False, rngs=rngs),
            BatchNorm(k, epsilon=1e-5, momentum=0.1, rngs=rngs),
            Conv(k, k, (1, 1), use_bias=False, rngs=rngs),
            BatchNorm(k, epsilon=1e-5, momentum=0.1, rngs=rngs),
            ReLU(),
        )
        self.shuffle = ChannelShuffle(2)

    def __call__(self, features: Array) -> Array:
        """Features `b h w c` to features `b h w c`."""
        if self.splits:
            left, right = jnp.split(features, 2, axis=-1)
        else:
            left, right = self.branch1(features), features
        return self.shuffle(jnp.concatenate([left, self.branch2(right)], axis=-1))
