"""VGG-16 features in PyTorch. The Flax twin is `einops_arch/flax/vgg16_features.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.vgg16_features import VGG16FeaturesConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.vgg import convolutions

__all__ = ["VGG16Features"]


class VGG16Features(Pretrained, nn.Module):
    """What layers of VGG-16 see in images `b c h w`: a tuple of features `b c h w`, one for each layer.

    Args:
        config: which layers, and sizes; the four of Johnson et al. if left out.

    Raises:
        ShapeError: the image does not have the channels of the config, or is too small to be halved so often.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556. The parameters have torchvision's names,
    `features.0.weight` and so on. The state of torchvision's `vgg16` has more of them, for deeper layers
    and the classifier; leave them out:
    `model.load_state_dict({name: state[name] for name in model.state_dict()})`.
    Those weights expect images from 0 to 1, minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225).

    >>> import torch
    >>> model = VGG16Features(VGG16FeaturesConfig.tiny())
    >>> [tuple(features.shape) for features in model(torch.zeros(2, 3, 16, 24))]
    [(2, 4, 16, 24), (2, 5, 8, 12), (2, 6, 4, 6), (2, 7, 2, 3)]
    """

    def __init__(self, config: VGG16FeaturesConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VGG16FeaturesConfig()
        layers: list[nn.Module] = []
        c_in = config.channels
        for block in config.blocks:
            if layers:
                layers.append(nn.MaxPool2d(kernel_size=2))
            layers += convolutions(c_in, block)
            c_in = block[-1]
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Images `b c h w` to one array of features `b c h w` for each layer asked for."""
        self.config.check_inputs(image)
        results = []
        for position, layer in enumerate(self.features):
            image = layer(image)
            if position in self.config.positions:
                results.append(image)
        return tuple(results)
