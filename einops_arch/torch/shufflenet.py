"""ShuffleNet in PyTorch. The Flax twin is `einops_arch/flax/shufflenet.py`."""

from __future__ import annotations

from torch import Tensor, nn

from einops_arch.architectures.shufflenet import ShuffleNetConfig
from einops_arch.torch._hub import Pretrained
from einops_arch.torch.layers import Reduce
from einops_arch.torch.layers.sequential import Sequential
from einops_arch.torch.shuffle_unit import ShuffleUnit

__all__ = ["ShuffleNet"]


class ShuffleNet(Pretrained, Sequential):
    """Classify images `b c h w` of any size; gives logits `b o`.

    `model.features` is the network without its last layer; `model.features[:-1]` gives the feature map
    `b c h w`. An image in `torch.channels_last` stays in that memory format up to the mean over space, where
    convolutions are faster. All layers begin with PyTorch's initial distributions, as the paper states none.

    Args:
        config: groups and sizes; three groups and the full width if left out.

    Raises:
        ShapeError: the image does not have the channels of the config.

    Source: Zhang et al. 2017, arXiv:1707.01083, Table 1. The module names are those of the public weights of
    pytorchcv (`shufflenet_g1_w1` is `g1`, `shufflenet_g3_wd2` is `g3_x0_5`), which load as they are; that is why
    the shortcut comes last here, unless the config says otherwise.

    >>> import torch
    >>> model = ShuffleNet(ShuffleNetConfig.tiny())
    >>> model(torch.zeros(3, 2, 32, 48)).shape
    torch.Size([3, 5])
    """

    def __init__(self, config: ShuffleNetConfig | None = None) -> None:
        self.config = config = config or ShuffleNetConfig()
        stem = config.stem_channels
        features: dict[str, nn.Module] = {
            "init_block": Sequential(
                {
                    "conv": nn.Conv2d(config.in_channels, stem, kernel_size=3, stride=2, padding=1, bias=False),
                    "bn": nn.BatchNorm2d(stem, eps=1e-5, momentum=0.1),
                    "relu": nn.ReLU(inplace=True),
                    "pool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
                }
            )
        }
        for stage, units in enumerate(config.stages(), 1):
            features[f"stage{stage}"] = Sequential(
                {f"unit{number}": ShuffleUnit(unit) for number, unit in enumerate(units, 1)}
            )
        features["final_pool"] = Reduce("b c h w -> b c", "mean")
        super().__init__(
            {
                "features": Sequential(features),
                "output": nn.Linear(config.stage_channels[-1], config.classes),
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        """Images `b c h w` to logits `b o`."""
        self.config.check_inputs(image)
        return super().forward(image)
