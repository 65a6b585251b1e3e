"""Layers that `nnx.vmap` stacked are not layers of a higher rank."""

from __future__ import annotations

import pytest
import torch
from flax import nnx

from einops_arch.errors import PortError
from einops_arch.port import transfer


def stacked(layer, *sizes, **settings):
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return layer(*sizes, rngs=rngs, **settings)

    return make(nnx.Rngs(0).split(3))


@pytest.mark.parametrize(
    ("flax_layer", "torch_layer"), [(nnx.Conv, torch.nn.Conv2d), (nnx.ConvTranspose, torch.nn.ConvTranspose2d)]
)
def test_stacked_convolutions_are_no_convolution_of_a_higher_rank(flax_layer, torch_layer):
    class Net(nnx.Module):
        def __init__(self):
            self.conv = stacked(flax_layer, 2, 5, (4,), use_bias=False)

    source = torch.nn.ModuleDict({"conv": torch_layer(2, 5, (3, 4), bias=False)})
    with pytest.raises(PortError, match=r"conv\.kernel: the layout rule of a Conv\w* does not fit it: .* needs 3 axes"):
        transfer(source, Net())


def test_a_kernel_size_that_is_one_number_fits_its_layer():
    source, target = torch.nn.Conv1d(2, 5, 4), nnx.Conv(2, 5, 4, rngs=nnx.Rngs(0))
    transfer(source, target)
    assert target.kernel[...].tolist() == source.weight.detach().permute(2, 1, 0).tolist()
