"""Rows of the table of operations, translated and held against PyTorch with gradients at sizes never recorded."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor, nn

from einops_arch.translation import TranslationError, translate

Function = Callable[[Tensor], Tensor]
MATRIX = torch.linspace(-1, 1, 20).reshape(5, 4).sin()
EDGES = torch.tensor([-1.0, -0.25, 0.3, 1.1])

# Of a tensor b 4; the batch is free.
OF_ROWS: dict[str, Function] = {
    "fmod": lambda x: torch.fmod(x * 3, 0.7),
    "fmod of integers": lambda x: torch.fmod((x * 9).long(), 4) * x,
    "integers divided towards zero": lambda x: torch.div((x * 9).long(), -2, rounding_mode="trunc") * x,
    "a negative base": lambda x: (-2) ** (x * 4).round().detach() * x,
    "logaddexp": lambda x: torch.logaddexp(x, x.flip(1)),
    "xlogy": lambda x: torch.xlogy(x, x.abs() + 1),
    "copysign": lambda x: torch.copysign(x, x.flip(1)),
    "heaviside": lambda x: torch.heaviside(x.detach(), x.detach()[:1] * 0 + 0.5) * x,
    "sinc": torch.sinc,
    "frac": torch.frac,
    "erfinv": lambda x: torch.erfinv(torch.tanh(x)),
    "lgamma": lambda x: torch.lgamma(x.abs() + 0.5),
    "exp2": torch.exp2,
    "asinh": torch.asinh,
    "logit": lambda x: torch.logit(torch.sigmoid(x * 4), 0.1),
    "addcdiv": lambda x: torch.addcdiv(x, x, x * x + 1, value=0.5),
    "hardshrink": F.hardshrink,
    "softshrink": lambda x: F.softshrink(x, 0.3),
    "threshold": lambda x: F.threshold(x, 0.1, 20.0),
    "isclose": lambda x: torch.isclose(x, x.round(), atol=0.2) * x,
    "nan_to_num": lambda x: torch.nan_to_num(x.detach() / (x > 0), posinf=2.0, neginf=-3.0) * x,
    "buckets": lambda x: torch.bucketize(x.detach(), EDGES.to(x.dtype), right=True) * x,
    "places in a row": lambda x: torch.searchsorted(EDGES.to(x.dtype), x.detach()) * x,
    "the median of all": torch.median,
    "the median of all, shared": lambda x: torch.median(x.detach().sign() * 2 + 0 * x),
    "the median of rows": lambda x: torch.median(x, 1).values,
    "where the median is": lambda x: x * torch.median(x, dim=0, keepdim=True).indices,
    "the third of a row": lambda x: torch.kthvalue(x, 3, dim=1).values,
    "quantile": lambda x: torch.quantile(x, 0.3, dim=1),
    "the smallest two": lambda x: torch.topk(x, 2, dim=0, largest=False).values,
    "the largest two along the first axis": lambda x: torch.topk(x, 2, dim=0).values,
    "running maxima": lambda x: torch.cummax(x, 1).values,
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "aminmax": lambda x: torch.aminmax(x, dim=1).max - torch.aminmax(x).min,
    "diagonal": lambda x: torch.diagonal(x[:, :, None] * x[:, None], dim1=1, dim2=2),
    "diag_embed": torch.diag_embed,
    "trace": lambda x: torch.trace(x.T @ x),
    "cross": lambda x: torch.cross(x[:, :3], x[:, 1:].flip(1), dim=-1),
    "cdist": lambda x: torch.cdist(x, torch.flip(x, (0,)) + 1),
    "pairwise_distance": lambda x: F.pairwise_distance(x, x.flip(1) + 1),
    "tensordot": lambda x: torch.tensordot(x, MATRIX.to(x.dtype), dims=([1], [1])),
    "kron": lambda x: torch.kron(x, MATRIX[:1, :2].to(x.dtype)),
    "the inverse of matrices": lambda x: torch.linalg.inv(torch.eye(4, dtype=x.dtype) * 3 + x[:, :, None] * x[:, None]),
    "solve": lambda x: torch.linalg.solve(torch.eye(4, dtype=x.dtype) * 3 + x[:, :, None] * x[:, None], x[..., None]),
    "rot90": lambda x: torch.rot90(x, 1, (0, 1)),
    "index_copy": lambda x: x.index_copy(1, torch.tensor([2, 0]), x[:, :2] * 3),
    "index_fill": lambda x: x.index_fill(1, torch.tensor([3]), 7.0),
    "index_put": lambda x: x.index_put((torch.tensor([0, 0]), torch.tensor([1, 1])), x[0, :2], accumulate=True),
    "take": lambda x: torch.take(x, torch.tensor([1, 3])),
    "means of scattered rows": lambda x: torch.zeros(3, 4, dtype=x.dtype).scatter_reduce(
        0, (x.detach() > 0).long()[:, :1].expand(-1, 4), x, "mean", include_self=False
    ),
    "sums of scattered rows": lambda x: torch.ones(3, 4, dtype=x.dtype).scatter_reduce(
        0, (x.detach() > 0).long()[:, :1].expand(-1, 4), x, "sum"
    ),
    "the largest of scattered rows": lambda x: torch.full((3, 4), -0.1, dtype=x.dtype).scatter_reduce(
        0, (x.detach() > 0).long()[:, :1].expand(-1, 4), x, "amax"
    ),
    "the smallest of scattered rows alone": lambda x: torch.full((3, 4), -9.0, dtype=x.dtype).scatter_reduce(
        0, (x.detach() > 0).long()[:, :1].expand(-1, 4), x, "amin", include_self=False
    ),
    "slogdet": lambda x: torch.slogdet(torch.eye(4, dtype=x.dtype) * 3 + x[:, :, None] * x[:, None])[1],
    "logdet": lambda x: torch.logdet(torch.eye(4, dtype=x.dtype) * 3 + x[:, :, None] * x[:, None]),
    "a triangular system": lambda x: torch.linalg.solve_triangular(
        torch.eye(4, dtype=x.dtype) * 3 + x[:, :, None] * x[:, None].tanh(), x[..., None], upper=False
    ),
    "bilinear": lambda x: F.bilinear(
        x, x[:, 1:] * 2, MATRIX.to(x.dtype)[:, :3, None].repeat(1, 1, 4).mT, x.new_ones(5)
    ),
    "block_diag": lambda x: torch.block_diag(x[:1], x[:2, 1:] * 2),
    "angle": lambda x: torch.angle(torch.complex(x, x.flip(1))),
    "conj": lambda x: torch.view_as_real(torch.complex(x, x.flip(1)).conj() * x).sum(-1),
    "hypot": lambda x: torch.hypot(x, x.flip(1) + 1),
    "fmax": lambda x: torch.fmax(x, x.flip(1) * 2),
    "entr": lambda x: torch.special.entr(x.abs() + 0.1),
    "log_ndtr": torch.special.log_ndtr,
    "windows": lambda x: (
        x[:, :1] * (torch.hann_window(5, dtype=x.dtype) + torch.hamming_window(5, False, dtype=x.dtype))
    ),
    "frequencies": lambda x: x[:, :3] * torch.fft.rfftfreq(4, 0.5, dtype=x.dtype),
    "a tensor of another's kind": lambda x: x[:, :2] * x.new_tensor([1.0, -2.0]),
    "numbers of numpy": lambda x: x * np.float32(0.5) + np.int64(2),
    "no part at all": lambda x: x[:, ::1] * 2,
    "triplets": lambda x: F.triplet_margin_loss(x, x.flip(1), x + 0.1, swap=True),
    "each triplet": lambda x: F.triplet_margin_loss(x, x.flip(1), x.roll(1, 1), 0.3, 1.5, reduction="none"),
    "stft": lambda x: torch.stft(
        x.repeat(1, 5), 6, 2, 5, torch.hann_window(5, dtype=x.dtype), normalized=True, return_complex=True
    ).abs(),
    "stft of the parts alone": lambda x: (
        torch.stft(x.repeat(1, 5), 6, None, center=False, onesided=False, return_complex=True).real
    ),
    "masked_scatter": lambda x: x.masked_scatter(x > 0.2, x * 5),
    "hstack": lambda x: torch.hstack([x, x * 2]),
    "column_stack": lambda x: torch.column_stack([x[:, 0], x]),
    "broadcast_tensors": lambda x: torch.broadcast_tensors(x, x[:1])[1] * 2,
    "the triangle": lambda x: x[:, torch.tril_indices(4, 4)[0]],
}
# Of an image b 6 h w, whose height and width are free.
OF_IMAGES: dict[str, Function] = {
    "channels that are shuffled": lambda x: F.max_pool2d(F.channel_shuffle(x, 3), 1),
    "an affine grid": lambda x: F.grid_sample(
        x,
        F.affine_grid(
            torch.eye(2, 3, dtype=x.dtype)[None] * x.mean((1, 2, 3)).tanh()[:, None, None], x.shape, align_corners=True
        ),
        align_corners=False,
    ),
    "a transposed convolution": lambda x: F.conv_transpose2d(
        x, MATRIX.to(x.dtype).repeat(2, 3)[:6, :9].reshape(6, 1, 3, 3), x.new_ones(3), (2, 1), (1, 0), (1, 0), 3, (1, 2)
    ),
    "instance norm": lambda x: F.instance_norm(x, weight=torch.arange(6, dtype=x.dtype), bias=x.new_ones(6)),
    "norms of windows": lambda x: F.lp_pool2d(x, 2, (2, 3), 2),
}


class _All(nn.Module):
    def __init__(self, functions: list[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in self.functions)


def _hold(functions: dict[str, Function], recorded: Tensor, axes: str, x: Tensor) -> None:
    model = _All(list(functions.values()))
    twin = translate(model, recorded, axes=axes, prove=False)
    assert not twin.fixed
    last = x.ndim == 4
    x.requires_grad_()
    expected = model(x)
    moved = jnp.asarray(np.moveaxis(x.detach().numpy(), 1, -1) if last else x.detach().numpy())
    graph, state = nnx.split(twin.model)

    def run(array: jax.Array) -> tuple[jax.Array, ...]:
        return nnx.merge(graph, state)(array)

    @jax.jit
    def all_of_it(array: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        results, pull = jax.vjp(run, array)
        return results, pull(tuple(jnp.asarray(_weights(item.shape, n)) for n, item in enumerate(results)))[0]

    results, slope = all_of_it(moved)
    total: Tensor = torch.zeros(())
    for n, (name, right, received) in enumerate(zip(functions, expected, results, strict=True)):
        first = np.moveaxis(np.asarray(received), -1, 1) if last else np.asarray(received)
        np.testing.assert_allclose(first, right.detach().numpy(), rtol=1e-4, atol=1e-5, err_msg=name, strict=True)
        turned = right.movedim(1, -1) if last else right
        total = total + (turned * torch.from_numpy(_weights(received.shape, n))).sum()
    (gradient,) = torch.autograd.grad(total, x)
    slope = np.moveaxis(np.asarray(slope), -1, 1) if last else np.asarray(slope)
    np.testing.assert_allclose(slope, gradient.numpy(), rtol=1e-3, atol=1e-3, err_msg="the gradient of all of them")


def _weights(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Others for each entry and each function, so that no error is hidden by another."""
    return np.cos(np.arange(np.prod(shape, dtype=int)) + 0.7 * number).reshape(shape).astype("float32")


def test_functions_of_rows_agree_at_a_batch_that_was_not_recorded() -> None:
    torch.manual_seed(0)
    _hold(OF_ROWS, torch.randn(3, 4), "b 4", torch.randn(5, 4))


def test_further_functions_of_images_agree_at_a_size_that_was_not_recorded() -> None:
    torch.manual_seed(0)
    _hold(OF_IMAGES, torch.randn(2, 6, 6, 8), "b 6 h w", torch.randn(3, 6, 7, 5))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.masked_select(x, x > 0), "masked_select: the shape of the result depends on values"),
        (torch.unique, "the shape of the result depends on values"),
        (lambda x: x.scatter_reduce(0, x[:1].long() * 0, x, "amax"), "an index of another shape"),
    ],
)
def test_what_has_no_twin_is_refused_by_name(function: Function, reason: str) -> None:
    with pytest.raises(TranslationError) as caught:
        translate(_All([function]), torch.rand(3, 4), axes="b 4", prove=False)
    assert reason in str(caught.value)
