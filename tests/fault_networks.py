"""Four small networks in PyTorch, and their twins in Flax, whose text the table of faults edits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from einops_arch.flax import layers


class TorchConvolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.bn2 = nn.BatchNorm2d(8, eps=1e-3)
        self.conv3 = nn.Conv2d(8, 12, (3, 5), padding=(1, 2))
        self.norm = nn.GroupNorm(3, 12)
        self.fc1 = nn.Linear(12, 6)
        self.fc2 = nn.Linear(6, 12)
        self.head = nn.Linear(24 * 4 * 6, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = x + F.leaky_relu(self.bn2(self.conv2(x)), 0.2)
        x = F.max_pool2d(x, 3, 2, 1)
        x = F.gelu(self.norm(self.conv3(x)))
        s = torch.sigmoid(self.fc2(F.silu(self.fc1(x.mean((2, 3))))))
        x = x * s[:, :, None, None]
        a = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        x = torch.cat([x, F.interpolate(a, scale_factor=2, mode="bilinear")], 1)
        return self.head(x.flatten(1)), s


class Convolutional(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(3, 8, (3, 3), strides=2, padding=1, rngs=rngs)
        self.bn1 = nnx.BatchNorm(8, epsilon=1e-5, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(8, 8, (3, 3), padding=2, kernel_dilation=2, feature_group_count=2, rngs=rngs)
        self.bn2 = nnx.BatchNorm(8, epsilon=1e-3, momentum=0.9, rngs=rngs)
        self.conv3 = nnx.Conv(8, 12, (3, 5), padding=((1, 1), (2, 2)), rngs=rngs)
        self.norm = nnx.GroupNorm(12, num_groups=3, epsilon=1e-5, rngs=rngs)
        self.fc1 = nnx.Linear(12, 6, rngs=rngs)
        self.fc2 = nnx.Linear(6, 12, rngs=rngs)
        self.head = nnx.Linear(24 * 4 * 6, 10, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.bn1(self.conv1(x)))
        x = x + jax.nn.leaky_relu(self.bn2(self.conv2(x)), 0.2)
        x = nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = jax.nn.gelu(self.norm(self.conv3(x)), approximate=False)
        s = jax.nn.sigmoid(self.fc2(jax.nn.silu(self.fc1(x.mean((1, 2))))))
        x = x * s[:, None, None, :]
        a = nnx.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)
        x = jnp.concatenate([x, jax.image.resize(a, (*x.shape[:3], 12), "linear", antialias=False)], -1)
        return self.head(x.transpose(0, 3, 1, 2).reshape(len(x), -1)), s


class TorchRecurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(19, 10, padding_idx=0)
        self.position = nn.Embedding(9, 10)
        self.norm = nn.LayerNorm(10)
        self.rnn = nn.LSTM(10, 6, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 8, batch_first=True)
        self.query = nn.Linear(8, 8)
        self.mix = nn.Linear(20, 8)
        self.last = nn.LayerNorm(8, eps=1e-6)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens, keep):
        x = self.embed(tokens) * math.sqrt(10) + self.position(torch.arange(tokens.shape[1]))
        x = self.norm(x)
        y, (h, _) = self.rnn(x)
        y, _ = self.gru(torch.tanh(y))
        scores = (self.query(y) @ y.transpose(1, 2)) / math.sqrt(8)
        scores = scores.masked_fill(~keep[:, None, :], -1e9)
        y = y + torch.softmax(scores, -1) @ y
        pooled = y.mean(1)
        state = torch.cat([pooled, h[0], h[1]], -1)
        z = self.last(F.elu(self.mix(state)) + pooled)
        return F.log_softmax(self.head(z), -1), y


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(19, 10, rngs=rngs)
        self.position = nnx.Embed(9, 10, rngs=rngs)
        self.norm = nnx.LayerNorm(10, epsilon=1e-5, rngs=rngs)
        self.rnn = layers.LSTM(10, 6, bidirectional=True, batch_first=True, rngs=rngs)
        self.gru = layers.GRU(12, 8, batch_first=True, rngs=rngs)
        self.query = nnx.Linear(8, 8, rngs=rngs)
        self.mix = nnx.Linear(20, 8, rngs=rngs)
        self.last = nnx.LayerNorm(8, epsilon=1e-6, rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, tokens, keep):
        x = self.embed(tokens) * math.sqrt(10) + self.position(jnp.arange(tokens.shape[1]))
        x = self.norm(x)
        y, (h, _) = self.rnn(x)
        y, _ = self.gru(jnp.tanh(y))
        scores = (self.query(y) @ y.swapaxes(1, 2)) / math.sqrt(8)
        scores = jnp.where(keep[:, None, :], scores, -1e9)
        y = y + jax.nn.softmax(scores, -1) @ y
        pooled = y.mean(1)
        state = jnp.concatenate([pooled, h[0], h[1]], -1)
        z = self.last(jax.nn.elu(self.mix(state)) + pooled)
        return jax.nn.log_softmax(self.head(z), -1), y


class TorchRMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def torch_rotate(x):
    size = x.shape[-1]
    angles = torch.arange(x.shape[2], dtype=x.dtype)[:, None] / 10000 ** (
        torch.arange(0, size, 2, dtype=x.dtype) / size
    )
    angles = torch.cat([angles, angles], -1)
    a, b = x.chunk(2, -1)
    return x * torch.cos(angles) + torch.cat([-b, a], -1) * torch.sin(angles)


class TorchAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(24, 24, bias=False)
        self.kv = nn.Linear(24, 24, bias=False)
        self.out = nn.Linear(24, 24)

    def forward(self, x, keep):
        b, t, _ = x.shape
        q = self.q(x).reshape(b, t, 4, 6).transpose(1, 2)
        k, v = self.kv(x).reshape(b, t, 2, 2, 6).permute(2, 0, 3, 1, 4)
        q, k = torch_rotate(q), torch_rotate(k)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = q @ k.transpose(2, 3) / math.sqrt(6)
        seen = torch.ones(t, t, dtype=torch.bool).tril() & keep[:, None, None, :]
        scores = scores.masked_fill(~seen, -1e9)
        y = torch.softmax(scores, -1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, 24))


class TorchBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = TorchRMSNorm(24), TorchRMSNorm(24)
        self.attention = TorchAttention()
        self.gate, self.up, self.down = nn.Linear(24, 40), nn.Linear(24, 40), nn.Linear(40, 24)

    def forward(self, x, keep):
        x = x + self.attention(self.norm1(x), keep)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class TorchTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(23, 24)
        self.blocks = nn.ModuleList([TorchBlock(), TorchBlock()])
        self.norm = TorchRMSNorm(24)
        self.head = nn.Linear(24, 23, bias=False)

    def forward(self, tokens, keep):
        x = self.embed(tokens) * math.sqrt(24)
        for block in self.blocks:
            x = block(x, keep)
        logits = self.head(self.norm(x))
        return 30 * torch.tanh(logits / 30)


class RMSNorm(nnx.Module):
    def __init__(self, width):
        self.weight = nnx.Param(jnp.ones(width))

    def __call__(self, x):
        return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * self.weight[...]


def rotate(x):
    size = x.shape[-1]
    angles = jnp.arange(x.shape[2])[:, None] / 10000.0 ** (jnp.arange(0, size, 2) / size)
    angles = jnp.concatenate([angles, angles], -1)
    a, b = jnp.split(x, 2, -1)
    return x * jnp.cos(angles) + jnp.concatenate([-b, a], -1) * jnp.sin(angles)


class Attention(nnx.Module):
    def __init__(self, rngs):
        self.q = nnx.Linear(24, 24, use_bias=False, rngs=rngs)
        self.kv = nnx.Linear(24, 24, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(24, 24, rngs=rngs)

    def __call__(self, x, keep):
        b, t, _ = x.shape
        q = self.q(x).reshape(b, t, 4, 6).transpose(0, 2, 1, 3)
        k, v = self.kv(x).reshape(b, t, 2, 2, 6).transpose(2, 0, 3, 1, 4)
        q, k = rotate(q), rotate(k)
        k, v = jnp.repeat(k, 2, 1), jnp.repeat(v, 2, 1)
        scores = q @ k.swapaxes(2, 3) / math.sqrt(6)
        seen = jnp.tril(jnp.ones((t, t), bool)) & keep[:, None, None, :]
        scores = jnp.where(seen, scores, -1e9)
        y = jax.nn.softmax(scores, -1) @ v
        return self.out(y.transpose(0, 2, 1, 3).reshape(b, t, 24))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm1, self.norm2 = RMSNorm(24), RMSNorm(24)
        self.attention = Attention(rngs)
        self.gate = nnx.Linear(24, 40, rngs=rngs)
        self.up = nnx.Linear(24, 40, rngs=rngs)
        self.down = nnx.Linear(40, 24, rngs=rngs)

    def __call__(self, x, keep):
        x = x + self.attention(self.norm1(x), keep)
        y = self.norm2(x)
        return x + self.down(jax.nn.silu(self.gate(y)) * self.up(y))


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(23, 24, rngs=rngs)
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.norm = RMSNorm(24)
        self.head = nnx.Linear(24, 23, use_bias=False, rngs=rngs)

    def __call__(self, tokens, keep):
        x = self.embed(tokens) * math.sqrt(24)
        for block in self.blocks:
            x = block(x, keep)
        logits = self.head(self.norm(x))
        return 30 * jnp.tanh(logits / 30)


class TorchDouble(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1, padding_mode="reflect")
        self.norm1, self.norm2 = nn.BatchNorm2d(o), nn.GroupNorm(2, o, eps=1e-6)
        self.skip = nn.Conv2d(i, o, 1)

    def forward(self, x):
        y = F.mish(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(y)) + self.skip(x))


class TorchUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.middle = TorchDouble(3, 4), TorchDouble(4, 6), TorchDouble(6, 8)
        self.time = nn.Linear(10, 8)
        self.up2 = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.join2 = TorchDouble(12, 6)
        self.up1 = nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1)
        self.join1 = TorchDouble(8, 4)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x, t):
        rates = torch.exp(-math.log(10000) * torch.arange(5, dtype=x.dtype) / 5)
        angles = t[:, None] * rates
        time = self.time(torch.cat([torch.cos(angles), torch.sin(angles)], -1))
        a = self.down1(2 * x - 1)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.avg_pool2d(b, 3, 2, 1)) * (1 + F.softplus(time))[:, :, None, None]
        y = self.join2(torch.cat([self.up2(c), b], 1))
        y = self.join1(torch.cat([self.up1(y), a], 1))
        y = F.pad(y, (1, 1, 1, 1), mode="replicate")[:, :, 1:-1, 1:-1] / math.sqrt(2)
        return torch.sigmoid(self.out(y)), time


class Double(nnx.Module):
    def __init__(self, i, o, rngs):
        self.conv1 = nnx.Conv(i, o, (3, 3), padding=1, rngs=rngs)
        self.conv2 = layers.Conv(o, o, (3, 3), padding=1, padding_mode="reflect", rngs=rngs)
        self.norm1 = nnx.BatchNorm(o, epsilon=1e-5, momentum=0.9, rngs=rngs)
        self.norm2 = nnx.GroupNorm(o, num_groups=2, epsilon=1e-6, rngs=rngs)
        self.skip = nnx.Conv(i, o, (1, 1), rngs=rngs)

    def __call__(self, x):
        y = jax.nn.mish(self.norm1(self.conv1(x)))
        return jax.nn.silu(self.norm2(self.conv2(y)) + self.skip(x))


class UNet(nnx.Module):
    def __init__(self, rngs):
        self.down1, self.down2, self.middle = Double(3, 4, rngs), Double(4, 6, rngs), Double(6, 8, rngs)
        self.time = nnx.Linear(10, 8, rngs=rngs)
        self.up2 = layers.ConvTranspose(8, 6, (2, 2), strides=2, padding=0, rngs=rngs)
        self.join2 = Double(12, 6, rngs)
        self.up1 = layers.ConvTranspose(6, 4, (4, 4), strides=2, padding=1, rngs=rngs)
        self.join1 = Double(8, 4, rngs)
        self.out = nnx.Conv(4, 2, (1, 1), rngs=rngs)

    def __call__(self, x, t):
        rates = jnp.exp(-math.log(10000) * jnp.arange(5) / 5)
        angles = t[:, None] * rates
        time = self.time(jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1))
        a = self.down1(2 * x - 1)
        b = self.down2(nnx.max_pool(a, (2, 2), (2, 2)))
        c = self.middle(nnx.avg_pool(b, (3, 3), (2, 2), ((1, 1), (1, 1)))) * (1 + jax.nn.softplus(time))[:, None, None]
        y = self.join2(jnp.concatenate([self.up2(c), b], -1))
        y = self.join1(jnp.concatenate([self.up1(y), a], -1))
        y = jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")[:, 1:-1, 1:-1] / math.sqrt(2)
        return jax.nn.sigmoid(self.out(y)), time
