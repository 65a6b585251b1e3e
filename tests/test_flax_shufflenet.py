"""ShuffleNet in Flax: Table 1 of the paper from shapes alone, and the numbers of parameters of the public weights."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from einops_arch.architectures import ShuffleNetConfig
from einops_arch.flax.shufflenet import ShuffleNet

# groups: channels of the stages, parameters.
TABLE_1 = {
    1: ((144, 288, 576), 1_531_936),
    2: ((200, 400, 800), 1_733_848),
    3: ((240, 480, 960), 1_865_728),
    4: ((272, 544, 1088), 1_968_344),
    8: ((384, 768, 1536), 2_434_768),
}


@pytest.mark.parametrize("groups", list(TABLE_1))
def test_sizes_channels_and_parameters_are_those_of_table_1(groups: int) -> None:
    channels, parameters = TABLE_1[groups]
    counted = []

    def blocks(image: jax.Array) -> list[jax.Array]:
        model = ShuffleNet(ShuffleNetConfig.preset(f"g{groups}"), rngs=nnx.Rngs(0))
        counted.extend(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
        model.eval()
        outputs = []
        for block in [*model.features, model.output]:
            image = block(image)
            outputs.append(image)
        return outputs

    # Nothing is computed: only the shapes go through the network.
    outputs = jax.eval_shape(blocks, jnp.zeros((1, 224, 224, 3)))
    stages = [(1, side, side, c) for side, c in zip((28, 14, 7), channels, strict=True)]
    assert [o.shape for o in outputs] == [(1, 56, 56, 24), *stages, (1, channels[-1]), (1, 1000)]
    assert sum(counted) == parameters
