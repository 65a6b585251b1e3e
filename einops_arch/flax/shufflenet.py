"""ShuffleNet in Flax. The PyTorch twin is `einops_arch/torch/shufflenet.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.shufflenet import ShuffleNetConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import BatchNorm, Conv, Linear, MaxPool, Reduce, ReLU, Sequential
from einops_arch.flax.layers.sequential import Rematerialized
from einops_arch.flax.shuffle_unit import ShuffleUnit

__all__ = ["ShuffleNet"]


class ShuffleNet(Pretrained, Sequential):
    """Classify images `b h w c` of any size; gives logits `b o`.

    `model.features` is the network without its last layer; `model.features[:-1]` gives the feature map
    `b h w c`. All layers begin with PyTorch's initial distributions, as the paper states none.

    Args:
        config: groups and sizes; three groups and the full width if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        remat: compute the blocks again in the backward pass, which keeps their inputs in memory and no more.
        rngs: random stream `params`.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: Zhang et al. 2017, arXiv:1707.01083, Table 1. The module names are those of the public weights of
    pytorchcv (`shufflenet_g1_w1` is `g1`, `shufflenet_g3_wd2` is `g3_x0_5`), which load as they are; that is why
    the shortcut comes last here, unless the config says otherwise.

    >>> import jax.numpy as jnp
    >>> model = ShuffleNet(ShuffleNetConfig.tiny(), rngs=nnx.Rngs(0))
    >>> classify = nnx.jit(lambda model, image: model(image))
    >>> classify(model, jnp.zeros((3, 32, 48, 2))).shape
    (3, 5)
    """

    def __init__(
        self,
        config: ShuffleNetConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or ShuffleNetConfig()
        stem = config.stem_channels
        features: dict[str, nnx.Module] = {
            "init_block": Sequential(
                {
                    "conv": Conv(config.in_channels, stem, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs),
                    "bn": BatchNorm(stem, epsilon=1e-5, momentum=0.1, rngs=rngs),
                    "relu": ReLU(),
                    "pool": MaxPool((3, 3), strides=2, padding=1),
                }
            )
        }
        sequence = Rematerialized if remat else Sequential
        for stage, units in enumerate(config.stages(), 1):
            features[f"stage{stage}"] = sequence(
                {f"unit{number}": ShuffleUnit(unit, rngs=rngs) for number, unit in enumerate(units, 1)}
            )
        features["final_pool"] = Reduce("b h w c -> b c", "mean")
        super().__init__(
            {
                "features": Sequential(features),
                "output": Linear(config.stage_channels[-1], config.classes, rngs=rngs),
            }
        )
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to logits `b o`."""
        self.config.check_inputs(image, channels_last=True)
        return super().__call__(image)
