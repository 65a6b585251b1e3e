"""The gram matrix in pieces is the core, within rounding, with its gradients, on the platform where it pays."""

from __future__ import annotations

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from einops_arch.flax import GramMatrix
from einops_arch.functional import gram_matrix

SHAPES = [(1, 64, 64, 5), (3, 64, 66, 4), (2, 4096, 3), (1, 16, 16, 16, 2), (2, 3, 5, 512)]
WHOLE = [(4, 64, 64, 5), (1, 63, 65, 5), (1, 8, 8, 5), (0, 64, 64, 5), (1, 64, 64, 256), (1, 3, 5, 512)]


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape))


@pytest.mark.parametrize("normalize", ["spatial", "full", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_give_the_core(shape, normalize):
    x = images(*shape)
    layer = GramMatrix(normalize)
    assert "platform_index" in str(jax.make_jaxpr(layer)(x))
    expected, back = jax.vjp(lambda x: gram_matrix(x, normalize=normalize, data_format="channels_last"), x)
    received, ours = jax.vjp(layer, x)
    np.testing.assert_allclose(received, expected, rtol=1e-12, atol=1e-12 * float(jnp.abs(expected).max()))
    g = images(*expected.shape)
    np.testing.assert_allclose(ours(g)[0], back(g)[0], rtol=1e-12, atol=1e-12 * float(jnp.abs(back(g)[0]).max()))
    stacked = jax.vmap(layer)(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(stacked[1], 4 * expected, rtol=1e-12, atol=1e-12 * float(jnp.abs(stacked).max()))


@pytest.mark.parametrize("shape", WHOLE)
def test_where_pieces_do_not_pay_it_is_the_core_itself(shape):
    assert "platform_index" not in str(jax.make_jaxpr(GramMatrix())(images(*shape)))


def test_only_a_cpu_gets_pieces():
    x = images(1, 64, 64, 5)
    texts = {}
    for platform in ("cpu", "cuda"):
        exported = jax.export.export(jax.jit(GramMatrix()), platforms=[platform])(x)
        texts[platform] = exported.mlir_module()
    assert "4x1024x5" in texts["cpu"]
    assert "4x1024x5" not in texts["cuda"]
