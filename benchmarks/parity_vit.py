"""How long the comparison of two models of the size of ViT-B takes, and how much memory.

Both are written by hand: 86 million parameters, one image, float64 and float32, every layer. The bounds are 60 seconds
and four times the size of the model's weights in float64, on two cores:

    python -m benchmarks.parity_vit            # prints the numbers, fails where a bound is broken
    python -m benchmarks.parity_vit --depth 2  # a quick look
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import jax
import jax.numpy as jnp
import torch
from einops import rearrange
from flax import nnx

from einops_arch.flax import layers
from einops_arch.parity import compare, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.port import transfer

WIDTH, HEADS, PATCH, SIDE = 768, 12, 16, 224


class TorchAttention(torch.nn.Module):
    """Self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three heads k) -> three b heads n k", three=3, heads=HEADS)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5, dim=-1)
        return self.proj(rearrange(weights @ v, "b heads n k -> b n (heads k)"))


class TorchBlock(torch.nn.Module):
    """Attention and a multi-layer perceptron, each after a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = TorchAttention()
        self.norm2 = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.fc1 = torch.nn.Linear(WIDTH, 4 * WIDTH)
        self.act = torch.nn.GELU()
        self.fc2 = torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class TorchViT(torch.nn.Module):
    """ViT-B/16."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.patch_embed = torch.nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls_token = torch.nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = torch.nn.Parameter(torch.zeros(1, 1 + (SIDE // PATCH) ** 2, WIDTH))
        self.blocks = torch.nn.ModuleList(TorchBlock() for _ in range(depth))
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = torch.nn.Linear(WIDTH, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = rearrange(self.patch_embed(x), "b c h w -> b (h w) c")
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class FlaxAttention(nnx.Module):
    """Self-attention."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.qkv = layers.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.proj = layers.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = rearrange(self.qkv(x), "b n (three heads k) -> three b heads n k", three=3, heads=HEADS)
        weights = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) * (WIDTH // HEADS) ** -0.5, axis=-1)
        return self.proj(rearrange(weights @ v, "b heads n k -> b n (heads k)"))


class FlaxBlock(nnx.Module):
    """Attention and a multi-layer perceptron, each after a norm."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1 = layers.LayerNorm(WIDTH, epsilon=1e-6, rngs=rngs)
        self.attn = FlaxAttention(rngs)
        self.norm2 = layers.LayerNorm(WIDTH, epsilon=1e-6, rngs=rngs)
        self.fc1 = layers.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.act = layers.GELU()
        self.fc2 = layers.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class FlaxViT(nnx.Module):
    """ViT-B/16."""

    def __init__(self, depth: int, rngs: nnx.Rngs) -> None:
        self.patch_embed = layers.Conv(3, WIDTH, (PATCH, PATCH), PATCH, rngs=rngs)
        self.cls_token = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        self.pos_embed = nnx.Param(jnp.zeros((1, 1 + (SIDE // PATCH) ** 2, WIDTH)))
        self.blocks = nnx.List(FlaxBlock(rngs) for _ in range(depth))
        self.norm = layers.LayerNorm(WIDTH, epsilon=1e-6, rngs=rngs)
        self.head = layers.Linear(WIDTH, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = rearrange(self.patch_embed(x), "b h w c -> b (h w) c")
        token = jnp.broadcast_to(self.cls_token[...], (len(x), 1, WIDTH))
        x = jnp.concatenate([token, x], axis=1) + self.pos_embed[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def peak() -> float:
    """The largest memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Measure; 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=12, help="number of blocks")
    parser.add_argument("--wrong", action="store_true", help="another eps in the last block, to be found and explained")
    options = parser.parse_args()
    torch.set_num_threads(2)
    empty = peak()
    torch_model, flax_model = TorchViT(options.depth), nnx.eval_shape(lambda: FlaxViT(options.depth, nnx.Rngs(0)))
    randomize(torch_model)
    transfer(torch_model, flax_model)
    if options.wrong:
        flax_model.blocks[options.depth - 1].norm2.epsilon = 1e-5
    size = 8 * sum(one.numel() for one in torch_model.parameters())
    image = random_numbers("image", (1, 3, SIDE, SIDE))
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    report = compare(torch_model, flax_model, image, axes="b c h w")
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    worst = max(row.difference or 0.0 for row in report.rows)
    print(f"{size / 8e6:.0f}M parameters, {len(report.rows)} modules: {report.verdict}; largest difference {worst:.1e}")
    print(report.cause or "no cause to look for")
    print(f"time: {seconds:.1f} s, {worked:.1f} s of work of all cores")
    for words, least in (("the process without libraries", empty), ("what the comparison added", before)):
        print(f"memory, {words}: {(peak() - least) / 1e9:.2f} GB, {(peak() - least) / size:.2f} of the float64 size")
    return int(seconds > 60 or peak() - empty > 4 * size or report.passed is options.wrong)


if __name__ == "__main__":
    sys.exit(main())
