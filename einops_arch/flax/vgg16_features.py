"""VGG-16 features in Flax. The PyTorch twin is `einops_arch/torch/vgg16_features.py`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from einops_arch.architectures.vgg16_features import VGG16FeaturesConfig
from einops_arch.flax._dtypes import Dtype, set_dtypes
from einops_arch.flax._hub import Pretrained
from einops_arch.flax.layers import MaxPool, Sequential
from einops_arch.flax.vgg import convolutions

__all__ = ["VGG16Features"]


class VGG16Features(Pretrained, nnx.Module):
    """What layers of VGG-16 see in images `b h w c`: a tuple of features `b h w c`, one for each layer.

    Args:
        config: which layers, and sizes; the four of Johnson et al. if left out.
        dtype: what is computed in; the widest dtype of input and weights if left out.
        param_dtype: of the weights.
        rngs: random stream `params`.

    Raises:
        ShapeError: the image does not have the channels of the config, or is too small to be halved so often.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556. The parameters have torchvision's names,
    `features.0.weight` and so on. The state of torchvision's `vgg16` has more of them, for deeper layers
    and the classifier; leave them out:
    `load_state_dict(model, {name: state[name] for name in state_dict(model)})`.
    Those weights expect images from 0 to 1, minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225).

    >>> import jax.numpy as jnp
    >>> model = VGG16Features(VGG16FeaturesConfig.tiny(), rngs=nnx.Rngs(0))
    >>> [features.shape for features in model(jnp.zeros((2, 16, 24, 3)))]
    [(2, 16, 24, 4), (2, 8, 12, 5), (2, 4, 6, 6), (2, 2, 3, 7)]
    """

    def __init__(
        self,
        config: VGG16FeaturesConfig | None = None,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config = config or VGG16FeaturesConfig()
        layers: list[nnx.Module] = []
        c_in = config.channels
        for block in config.blocks:
            if layers:
                layers.append(MaxPool((2, 2)))
            layers += convolutions(c_in, block, rngs=rngs)
            c_in = block[-1]
        self.features = Sequential(*layers)
        set_dtypes(self, dtype, param_dtype)

    def __call__(self, image: Array) -> tuple[Array, ...]:
        """Images `b h w c` to one array of features `b h w c` for each layer asked for."""
        self.config.check_inputs(image, channels_last=True)
        results = []
        for position, layer in enumerate(self.features):
            image = layer(image)
            if position in self.config.positions:
                results.append(image)
        return tuple(results)
