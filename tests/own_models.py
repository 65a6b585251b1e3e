"""Twelve models of people's own kind, in plain PyTorch, which nobody wrote with a translation in mind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class OwnModel:
    make: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    axes: Any


class DoubleConv(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    def __init__(self, channels: int = 3, base: int = 4) -> None:
        super().__init__()
        self.down1 = DoubleConv(channels, base)
        self.down2 = DoubleConv(base, 2 * base)
        self.bottom = DoubleConv(2 * base, 4 * base)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * base, 2 * base, 2, stride=2)
        self.merge2 = DoubleConv(4 * base, 2 * base)
        self.up1 = nn.ConvTranspose2d(2 * base, base, 2, stride=2)
        self.merge1 = DoubleConv(2 * base, base)
        self.out = nn.Conv2d(base, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        skip1 = self.down1(image)
        skip2 = self.down2(self.pool(skip1))
        x = self.bottom(self.pool(skip2))
        x = self.merge2(torch.cat([self.up2(x), skip2], dim=1))
        x = self.merge1(torch.cat([self.up1(x), skip1], dim=1))
        return image - self.out(x)


class TextCNN(nn.Module):
    def __init__(self, words: int = 50, width: int = 12, filters: int = 6, classes: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(width, filters, k) for k in (2, 3, 4)])
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(3 * filters, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        pooled = [F.relu(conv(x)).max(dim=2)[0] for conv in self.convs]
        return self.fc(self.dropout(torch.cat(pooled, dim=1)))


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = q @ k.transpose(-2, -1) / math.sqrt(c // self.heads)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        weights = self.drop(scores.softmax(dim=-1))
        x = (weights @ v).transpose(1, 2).reshape(b, n, c)
        return self.proj(x)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class TransformerEncoder(nn.Module):
    def __init__(self, words: int = 40, width: int = 24, heads: int = 3, depth: int = 3, length: int = 64) -> None:
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        position = torch.arange(length)[:, None].float()
        rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
        table = torch.zeros(length, width)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        self.register_buffer("positions", table)
        self.layers = nn.ModuleList([EncoderLayer(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x)
        weights = mask[..., None].to(x.dtype)
        return self.head((x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1))


class ConvGRUCell(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(channels + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(channels + hidden, hidden, 3, padding=1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        update, reset = torch.sigmoid(self.gates(torch.cat([x, h], dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([x, reset * h], dim=1)))
        return (1 - update) * h + update * candidate


class ConvGRU(nn.Module):
    def __init__(self, channels: int = 3, hidden: int = 5) -> None:
        super().__init__()
        self.cell = ConvGRUCell(channels, hidden)
        self.out = nn.Conv2d(hidden, 2, 1)

    def forward(self, frames: Tensor) -> Tensor:
        b, t, _, height, width = frames.shape
        h = frames.new_zeros(b, self.cell.hidden, height, width)
        outputs = []
        for step in range(t):
            h = self.cell(frames[:, step], h)
            outputs.append(self.out(h))
        return torch.stack(outputs, dim=1)


class RootMeanSquareNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class LlamaBlock(nn.Module):
    def __init__(self, width: int = 24, heads: int = 4, groups: int = 2, hidden: int = 40) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.norm1 = RootMeanSquareNorm(width)
        self.q = nn.Linear(width, heads * self.size, bias=False)
        self.k = nn.Linear(width, groups * self.size, bias=False)
        self.v = nn.Linear(width, groups * self.size, bias=False)
        self.o = nn.Linear(heads * self.size, width, bias=False)
        self.norm2 = RootMeanSquareNorm(width)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.register_buffer("rates", 10000.0 ** (-torch.arange(0, self.size, 2).float() / self.size))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        angles = torch.arange(t, device=x.device)[:, None] * self.rates[None, :]
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        h = self.norm1(x)
        q = rotate(self.q(h).view(b, t, self.heads, self.size).transpose(1, 2), cos, sin)
        k = rotate(self.k(h).view(b, t, self.groups, self.size).transpose(1, 2), cos, sin)
        v = self.v(h).view(b, t, self.groups, self.size).transpose(1, 2)
        k, v = (item.repeat_interleave(self.heads // self.groups, dim=1) for item in (k, v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(h.transpose(1, 2).reshape(b, t, -1))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class VAE(nn.Module):
    def __init__(self, latent: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU()
        )
        self.mean = nn.Linear(8 * 4 * 4, latent)
        self.log_var = nn.Linear(8 * 4 * 4, latent)
        self.start = nn.Linear(latent, 8 * 4 * 4)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(image).flatten(1)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + noise * torch.exp(0.5 * log_var)
        x = self.start(z).view(-1, 8, 4, 4)
        return self.decoder(x), mean, log_var


class TimeBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(2, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(time, c_out)
        self.norm2 = nn.GroupNorm(2, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.skip(x)


class ImageAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, 3, c, h * w).unbind(1)
        weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q, k) * c**-0.5, dim=-1)
        mixed = torch.einsum("bnm,bcm->bcn", weights, v).view(b, c, h, w)
        return x + self.out(mixed)


class DiffusionUNet(nn.Module):
    def __init__(self, channels: int = 3, base: int = 4, time: int = 8) -> None:
        super().__init__()
        self.time_size = time
        self.time_mlp = nn.Sequential(nn.Linear(time, 2 * time), nn.SiLU(), nn.Linear(2 * time, 2 * time))
        self.inp = nn.Conv2d(channels, base, 3, padding=1)
        self.down = TimeBlock(base, base, 2 * time)
        self.shrink = nn.Conv2d(base, 2 * base, 3, stride=2, padding=1)
        self.middle = TimeBlock(2 * base, 2 * base, 2 * time)
        self.attention = ImageAttention(2 * base)
        self.up = TimeBlock(3 * base, base, 2 * time)
        self.out = nn.Conv2d(base, channels, 3, padding=1)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        half = self.time_size // 2
        rates = torch.exp(-math.log(1000.0) * torch.arange(half, device=x.device, dtype=x.dtype) / half)
        angles = step[:, None].to(x.dtype) * rates[None]
        time = self.time_mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))
        first = self.down(self.inp(x), time)
        h = self.attention(self.middle(self.shrink(first), time))
        h = F.interpolate(h, scale_factor=2, mode="nearest")
        return self.out(self.up(torch.cat([h, first], dim=1), time))


class Generator(nn.Module):
    def __init__(self, latent: int = 10, base: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(latent, 4 * base, 4, 1, 0, bias=False),
            nn.BatchNorm2d(4 * base),
            nn.ReLU(True),
            nn.ConvTranspose2d(4 * base, 2 * base, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * base),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * base, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z[:, :, None, None])


class SpatialTransform(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv1d(size, 8, 1)
        self.conv2 = nn.Conv1d(8, 16, 1)
        self.fc = nn.Linear(16, size * size)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = torch.max(h, 2)[0]
        eye = torch.eye(self.size, device=x.device, dtype=x.dtype)
        return self.fc(h).view(-1, self.size, self.size) + eye


class PointNet(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.transform = SpatialTransform(3)
        self.conv1 = nn.Conv1d(3, 8, 1)
        self.norm1 = nn.BatchNorm1d(8)
        self.conv2 = nn.Conv1d(8, 12, 1)
        self.norm2 = nn.BatchNorm1d(12)
        self.fc1 = nn.Linear(12, 7)
        self.norm3 = nn.BatchNorm1d(7)
        self.fc2 = nn.Linear(7, classes)

    def forward(self, points: Tensor) -> Tensor:
        matrix = self.transform(points)
        x = torch.bmm(points.transpose(2, 1), matrix).transpose(2, 1)
        x = F.relu(self.norm1(self.conv1(x)))
        x = self.norm2(self.conv2(x))
        x = x.max(dim=2, keepdim=True)[0].view(-1, 12)
        x = F.relu(self.norm3(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


class SageLayer(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.own = nn.Linear(c_in, c_out)
        self.neighbors = nn.Linear(c_in, c_out, bias=False)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros_like(x).index_add(0, target, x[source])
        count = x.new_zeros(x.size(0), 1).index_add(0, target, x.new_ones(source.size(0), 1))
        return self.own(x) + self.neighbors(total / count.clamp(min=1))


class GraphSage(nn.Module):
    def __init__(self, features: int = 6, hidden: int = 9, classes: int = 4) -> None:
        super().__init__()
        self.layer1 = SageLayer(features, hidden)
        self.layer2 = SageLayer(hidden, classes)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        x = F.relu(self.layer1(x, source, target))
        return self.layer2(x, source, target)


class DuelingDQN(nn.Module):
    def __init__(self, frames: int = 4, actions: int = 6) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(frames, 8, 8, stride=4), nn.ReLU(), nn.Conv2d(8, 12, 4, stride=2), nn.ReLU()
        )
        self.value = nn.Sequential(nn.Linear(12 * 3 * 3, 16), nn.ReLU(), nn.Linear(16, 1))
        self.advantage = nn.Sequential(nn.Linear(12 * 3 * 3, 16), nn.ReLU(), nn.Linear(16, actions))

    def forward(self, x: Tensor) -> Tensor:
        x = x / 255.0
        x = self.features(x)
        x = x.view(x.size(0), -1)
        value, advantage = self.value(x), self.advantage(x)
        return value + advantage - advantage.mean(dim=1, keepdim=True)


class Seq2Seq(nn.Module):
    def __init__(self, words: int = 30, width: int = 8, hidden: int = 10) -> None:
        super().__init__()
        self.source = nn.Embedding(words, width)
        self.target = nn.Embedding(words, width)
        self.encoder = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.decoder = nn.LSTM(width, hidden, batch_first=True)
        self.score = nn.Linear(hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(3 * hidden, words)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, (h, c) = self.encoder(self.source(source))
        h = torch.tanh(self.bridge(torch.cat([h[0], h[1]], dim=-1)))[None]
        c = torch.tanh(self.bridge(torch.cat([c[0], c[1]], dim=-1)))[None]
        states, _ = self.decoder(self.target(target), (h, c))
        scores = self.score(states) @ memory.transpose(1, 2)
        context = scores.softmax(dim=-1) @ memory
        return self.out(torch.cat([states, context], dim=-1))


def _integers(*shape: int, high: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(0))


def _floats(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


OWN_MODELS = {
    "unet": OwnModel(UNet, lambda: _floats(2, 3, 16, 24), "b c h w"),
    "text_cnn": OwnModel(TextCNN, lambda: _integers(3, 9, high=50), "b t"),
    "transformer_encoder": OwnModel(
        TransformerEncoder,
        lambda: (_integers(2, 7, high=40), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])),
        ["b t", "b t"],
    ),
    "conv_gru": OwnModel(ConvGRU, lambda: _floats(2, 4, 3, 6, 5), "b t 3 h w"),
    "llama_block": OwnModel(LlamaBlock, lambda: _floats(2, 7, 24), "b t 24"),
    "vae": OwnModel(VAE, lambda: (_floats(2, 1, 16, 16), _floats(2, 6)), ["b 1 16 16", "b 6"]),
    "diffusion_unet": OwnModel(DiffusionUNet, lambda: (_floats(2, 3, 8, 12), _integers(2, high=100)), ["b c h w", "b"]),
    "generator": OwnModel(Generator, lambda: _floats(3, 10), "b 10"),
    "point_net": OwnModel(PointNet, lambda: _floats(4, 3, 11), "b 3 n"),
    "graph_sage": OwnModel(GraphSage, lambda: (_floats(7, 6), _integers(2, 12, high=7)), ["n 6", "2 m"]),
    "dueling_dqn": OwnModel(DuelingDQN, lambda: _floats(2, 4, 40, 40), "b 4 40 40"),
    "seq2seq": OwnModel(Seq2Seq, lambda: (_integers(2, 6, high=30), _integers(2, 5, high=30)), ["b t", "b s"]),
}
