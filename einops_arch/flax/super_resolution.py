"""Super-resolution in Flax. The PyTorch twin is `einops_arch/torch/super_resolution.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.super_resolution import SuperResolutionConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import Conv, DepthToSpace, ReLU, Sequential

__all__ = ["SuperResolution"]


class SuperResolution(Pretrained, Sequential):
    """Upscale images `b h w c` to `b (h r1) (w r2)`, or to `b (h r1) (w r2) c` if there are several channels.

    Each pixel of the last convolution's result holds a whole square of pixels of the large image, one in each
    channel; depth-to-space lays them out.

    Args:
        config: factor and sizes; brightness times three if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random stream `params`.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: Shi et al. 2016, arXiv:1609.05158. The paper has three convolutions (5, 3, 3) with tanh; the
    network here is that of the super_resolution example of pytorch/examples, four with ReLU, and has its
    parameter names. The code that this replaces gave one channel as `b 1 h w`.

    >>> import jax.numpy as jnp
    >>> model = SuperResolution(SuperResolutionConfig.espcn_x3(), rngs=nnx.Rngs(0))
    >>> model(jnp.zeros((2, 8, 9, 1))).shape
    (2, 24, 27)
    """

    def __init__(
        self,
        config: SuperResolutionConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or SuperResolutionConfig()
        c1, c2, c3 = config.hidden
        c4 = config.channels * config.factor**2
        layers = {
            "conv1": Conv(config.channels, c1, kernel_size=(5, 5), padding=2, rngs=rngs),
            "relu1": ReLU(),
            "conv2": Conv(c1, c2, kernel_size=(3, 3), padding=1, rngs=rngs),
            "relu2": ReLU(),
            "conv3": Conv(c2, c3, kernel_size=(3, 3), padding=1, rngs=rngs),
            "relu3": ReLU(),
            "conv4": Conv(c3, c4, kernel_size=(3, 3), padding=1, rngs=rngs),
            "depth_to_space": DepthToSpace(config.factor, drop_channel=config.drop_channel),
        }
        super().__init__(layers)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> Array:
        """Images `b h w c` to larger images `b h w` or `b h w c`."""
        self.config.check_inputs(image, channels_last=True)
        return super().__call__(image)
