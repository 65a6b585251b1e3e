"""Old jax code, and the chains of an NNX module with their lines."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from einops_arch import DiscoveryError, discover, discover_model
from einops_arch.discovery.rewriting.rewrite import diff


@jax.jit
def windows(x):
    b, h, w, c = x.shape
    x = jnp.reshape(x, (b, h // 2, 2, w // 3, 3, c))
    return jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(-1, 6, c)


FUNCTIONS = {
    "windows": (windows, "b h w c", (2, 4, 9, 5), "b (h kh) (w kw) c -> (b h w) (kh kw) c"),
    "mapped": (jax.vmap(lambda x: jnp.swapaxes(x, 0, 1)), "b n c", (2, 3, 5), "b n c -> b c n"),
    "mean": (lambda x: jnp.mean(x, (1, 2)), "b h w c", (2, 4, 9, 5), "b h w c -> b c"),
    "repeat": (lambda x: jnp.repeat(x, 3, 1), "b c", (2, 5), "b c -> b (c r)"),
    "pooling": (
        lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 3, 1), (1, 2, 3, 1), "VALID"),
        "b h w c",
        (2, 4, 9, 5),
        "b (h kh) (w kw) c -> b h w c",
    ),
}


@pytest.mark.parametrize(("function", "axes", "shapes", "pattern"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_old_code_is_the_known_pattern(function, axes, shapes, pattern):
    found = discover(function, axes, shapes, backend="jax")
    assert found.matches(pattern), found.pattern
    assert found.backend == "jax"
    shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    arrays = [jax.random.normal(jax.random.key(0), shape) for shape in shapes]
    np.testing.assert_allclose(found(*arrays), function(*arrays), rtol=1e-5, atol=1e-6)


def test_float32_is_enough():
    # Without x64 jax has no float64.
    with jax.enable_x64(False):
        found = discover(lambda x: jnp.mean(x, (1, 2)), "b h w c", (2, 16, 9, 5))
    assert (found.pattern, found.reduction) == ("b h w c -> b c", "mean")


def test_the_framework_is_seen_from_the_code():
    assert discover(windows, "b h w c", (2, 4, 9, 5)).backend == "jax"
    with pytest.raises(DiscoveryError, match="it rolls axis c by 1"):
        discover(lambda x: jnp.roll(x, 1, 1), "b c", (2, 5))


class Attention(nnx.Module):
    def __init__(self, rngs):
        self.qkv = nnx.Linear(12, 36, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)

    def __call__(self, x):
        b, n, c = x.shape
        h = self.qkv(self.norm(x)).reshape(b, n, 3, 4, 3)
        h = jnp.moveaxis(h, 2, 0).transpose(0, 1, 3, 2, 4)
        q, k, v = h[0], h[1], h[2]  # what `q, k, v = h` becomes depends on the version of jax
        a = jax.nn.softmax(q @ k.swapaxes(-1, -2), -1)
        y = merged(a @ v)
        return jnp.concatenate([y, x + jnp.ones(c)], axis=1)


@jax.jit
def merged(y):
    return jnp.transpose(y, (0, 2, 1, 3)).reshape(y.shape[0], y.shape[2], -1)


def test_each_chain_of_a_module_has_its_line_and_its_pattern():
    module = Attention(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.state(module))
    report = discover_model(module, jnp.ones((2, 5, 12), jnp.float32))
    lines, start = inspect.getsourcelines(Attention)

    def line(text):
        return start + next(number for number, one in enumerate(lines) if text in one)

    moves = [
        (chain.steps[0].line, chain.discovery.pattern)
        for chain in report.chains
        if chain.discovery is not None and chain.steps[0].operation not in {"squeeze", "slice"}
    ]
    assert moves == [
        (line("self.qkv(self"), "b n (c1 c2 c3) -> c1 b c2 n c3"),
        (inspect.getsourcelines(merged)[1] + 2, "b heads n k -> b n (heads k)"),
        (line("jnp.concatenate"), "b * k"),
    ]
    assert {chain.steps[0].file for chain in report.chains} == {__file__}
    assert report.counts["pure"] == report.counts["pure expressed"]
    assert all(chain.recorded for chain in report.chains if chain.discovery is not None)
    # The keys are turned at the line that says so; the statistics of the batch are left alone.
    assert line("k.swapaxes") in {step.line for chain in report.chains for step in chain.steps}
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, nnx.state(module)))


def test_the_diff_puts_rearrange_where_the_module_turns_and_splits_axes():
    report = discover_model(Attention(nnx.Rngs(0)), jnp.ones((2, 5, 12), jnp.float32))
    text = diff(report.chains).text
    assert "+from einops import rearrange\n" in text
    assert '+    return rearrange(y, "b heads n k -> b n (heads k)")\n' in text
    assert '+        h = rearrange(self.qkv(self.norm(x)), "b n (c1 c2 c3) -> c1 b c2 n c3", c2=4, c3=3)\n' in text


def test_what_broadcasts_on_its_own_is_no_chain():
    report = discover_model(lambda x: x + jnp.ones(3) * x.mean(1, keepdims=True), jnp.ones((2, 3)))
    assert report.chains == ()
    (chain,) = discover_model(lambda x: x[:, None] + 0, jnp.ones((2, 3))).chains
    assert chain.discovery.pattern == "b c -> b 1 c"


PACKS = {
    "stack": (lambda x: jnp.stack([x, x * 2], 1), "pack", "b * c"),
    "concatenate": (lambda x: jnp.concatenate([x, x * 2], 1), "pack", "b *"),
    "unstack": (lambda x: sum(jnp.unstack(x, axis=1)), "unpack", "b *"),
    "split": (lambda x: sum(jnp.split(x, 2, 1)), "unpack", "b *"),
}


@pytest.mark.parametrize(("function", "kind", "pattern"), PACKS.values(), ids=PACKS)
def test_what_puts_together_or_takes_apart_is_a_pack_or_an_unpack(function, kind, pattern, request):
    name = request.node.callspec.id
    (chain,) = [chain for chain in discover_model(function, jnp.ones((2, 4))).chains if chain.kind != "move"]
    # Before it had an operation for it, jax stacked and unstacked by moves beside one of the other two.
    moved = name in ("stack", "unstack") and not hasattr(jax.lax, name)
    assert chain.operations == ({"stack": "concatenate", "unstack": "split"}[name] if moved else name)
    assert (chain.kind, chain.discovery.operation, chain.discovery.pattern) == (kind, kind, pattern)


def test_a_loop_is_run_as_a_whole():
    def scanned(x):
        _, y = jax.lax.scan(lambda carry, one: (carry + one, one * 2), x[0] * 0, x)
        return y.T

    (chain,) = [
        chain
        for chain in discover_model(scanned, jnp.ones((4, 3))).chains
        if chain.pure and len(chain.shapes[0]) == 2 and 1 not in chain.shapes[0]
    ]
    assert chain.discovery.pattern == "b c -> c b"


def test_other_shapes_are_run_in_numpy_with_what_jax_gives():
    from einops_arch.discovery.tracing.jax_quick import Quick

    def function(x, y):
        # By jax's own operations: what an index becomes depends on its version.
        every_second = jax.lax.slice_in_dim(jax.lax.rev(jnp.swapaxes(x, 0, 1), [0]), 1, 4, 2, axis=2)
        z = jnp.concatenate([every_second, x.transpose(1, 0, 2)[:, :, :2]], 2)
        z = jnp.einsum("nbk,bjk->bnj", jnp.broadcast_to(z[None], (3, *z.shape)).mean(0), y[:, :, :4] * 2)
        return jnp.squeeze(z[:, None], 1).max(0), jax.jit(jnp.sum)(z), z.min((0, 1)), jnp.prod(z, 2).reshape(-1)

    random = np.random.default_rng(0)
    values = [random.standard_normal(shape) for shape in ((2, 5, 7), (2, 3, 4))]
    quick = Quick(function)(values)
    for mine, theirs in zip(quick, function(*map(jnp.asarray, values)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert Quick(jnp.sin)(values[:1]) is None
    # What looks at its values is left to jax, which says what is wrong with it.
    assert Quick(lambda x: x if x.sum() > 0 else -x)(values[:1]) is None
