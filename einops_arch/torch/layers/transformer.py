"""What the transformers share: attention, and linear layers that keep other layouts or begin with small values."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einops_arch.torch.functional import leaf, rearrange

__all__ = ["Conv1D", "DotProductAttention", "PatchLinear", "small_linear"]


def small_linear(in_features: int, out_features: int, *, bias: bool = True, std: float = 0.02) -> nn.Linear:
    """`... i -> ... o`: a linear layer that begins with small weights and no bias.

    Args:
        in_features: i.
        out_features: o.
        bias: whether a bias is added.
        std: the standard deviation of the weights at the start.
    """
    linear = nn.Linear(in_features, out_features, bias=bias)
    nn.init.normal_(linear.weight, std=std)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


class PatchLinear(nn.Module):
    """`b n (c p1 p2) -> b n o`: a linear layer with the weights `o c p1 p2` of the convolution it stands for.

    After `Patchify` it is a convolution whose kernel and stride are the patch. It begins as PyTorch's convolution.

    Args:
        channels: c of the image.
        out_features: o.
        patch: side of the patches, p1 and p2.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929, equation 1.

    >>> PatchLinear(3, 5, patch=2)(torch.ones(1, 4, 12)).shape
    torch.Size([1, 4, 5])
    """

    def __init__(self, channels: int, out_features: int, patch: int) -> None:
        super().__init__()
        limit = 1 / math.sqrt(channels * patch * patch)
        self.weight = nn.Parameter(torch.empty(out_features, channels, patch, patch).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.empty(out_features).uniform_(-limit, limit))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, rearrange(self.weight, "o c p1 p2 -> o (c p1 p2)"), self.bias)

    def extra_repr(self) -> str:
        o, c, p, _ = self.weight.shape
        return f"channels={c}, out_features={o}, patch={p}"


class Conv1D(nn.Module):
    """`... i -> ... o`: a linear layer that keeps its weights as `i o`, under the name that GPT-2's code gave it.

    Args:
        in_features: i.
        out_features: o.
        std: the standard deviation of the weights at the start; the bias is zero.

    Source: https://github.com/openai/gpt-2/blob/master/src/model.py, `conv1d`.

    >>> Conv1D(3, 5).weight.shape
    torch.Size([3, 5])
    """

    def __init__(self, in_features: int, out_features: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features).normal_(std=std))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, rearrange(self.weight, "i o -> o i"), self.bias)

    def extra_repr(self) -> str:
        i, o = self.weight.shape
        return f"in_features={i}, out_features={o}"


class DotProductAttention(nn.Module):
    """`b heads n k, b heads n k, b heads n k -> b heads n k`: each query takes the mean of the values whose keys match.

    softmax(q k^T / sqrt(k)) v. It is PyTorch's own kernel, which does not write the softmax to memory.

    Args:
        dropout: probability of dropping a weight.
        causal: a query sees no key after its own; the last query belongs to the last key.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1.

    >>> q, k, v = torch.randn(3, 1, 2, 5, 4)
    >>> DotProductAttention()(q, k, v).shape
    torch.Size([1, 2, 5, 4])
    """

    def __init__(self, dropout: float = 0.0, *, causal: bool = False) -> None:
        super().__init__()
        self.dropout = dropout
        self.causal = causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Queries `b heads n k`, keys and values of as many or, where it is causal, of more tokens.

        Args:
            q: queries.
            k: keys.
            v: values.
            key_mask: `b n`: 0 or False where a key is hidden from every query. A query that sees no key gives zeros.
        """
        return _attend(q, k, v, self.dropout if self.training else 0.0, self.causal, key_mask)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}, causal={self.causal}"


@leaf
def _attend(q: Tensor, k: Tensor, v: Tensor, dropout: float, causal: bool, key_mask: Tensor | None) -> Tensor:
    queries, keys = int(q.shape[2]), int(k.shape[2])
    mask = None
    if causal and (1 < queries < keys or key_mask is not None):
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    if key_mask is not None:
        shown = rearrange(key_mask.bool(), "b n -> b 1 1 n")
        mask = shown if mask is None else shown & mask
    square = causal and queries == keys and mask is None
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=square)
