"""The cores on torch tensors: equal to torch's own operations, differentiable, compiled, mapped, exported."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from functional_cases import MOVES, SMALL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from einops_arch.functional import (
    channel_shuffle,
    channel_unshuffle,
    depth_to_space,
    flatten_features,
    flatten_sequence,
    gram_matrix,
    patchify,
    space_to_depth,
    unflatten_features,
    unflatten_sequence,
    unpatchify,
    upsample_nearest,
)


@pytest.fixture
def normal(device):
    """Random tensors on the device, the same ones in every run."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).to(device)

    return draw


def assert_same(result: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def onnx_depth_to_space(x: Tensor, blocksize: int, mode: str) -> Tensor:
    """The reference code in ONNX's operator documentation, DepthToSpace-13, numpy calls put in torch's words."""
    b, c, h, w = x.shape
    if mode == "DCR":
        tmp = x.reshape(b, blocksize, blocksize, c // (blocksize**2), h, w)
        tmp = tmp.permute(0, 3, 4, 1, 5, 2)
    else:
        tmp = x.reshape(b, c // (blocksize**2), blocksize, blocksize, h, w)
        tmp = tmp.permute(0, 1, 4, 2, 5, 3)
    return tmp.reshape(b, c // (blocksize**2), h * blocksize, w * blocksize)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_depth_to_space_is_pixel_shuffle(normal, memory_format):
    x = normal(2, 45, 5, 7).to(memory_format=memory_format)
    assert_same(depth_to_space(x, 3), F.pixel_shuffle(x, 3))
    large = normal(2, 5, 6, 15).to(memory_format=memory_format)
    assert_same(space_to_depth(large, 3), F.pixel_unshuffle(large, 3))


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
def test_depth_to_space_is_the_reference_code_of_onnx(normal, mode):
    x = normal(2, 45, 5, 7)
    assert_same(depth_to_space(x, 3, order=mode), onnx_depth_to_space(x, 3, mode))


def test_dcr_order_is_the_example_of_tensorflow(device):
    # The documentation of tf.nn.space_to_depth: a 4x4 image with one channel, blocks of two.
    image = torch.tensor([[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]], device=device)
    deep = torch.arange(1, 17, device=device).reshape(1, 2, 2, 4)
    last = {"order": "DCR", "data_format": "channels_last"}
    assert_same(space_to_depth(image[None, :, :, None], 2, **last), deep)
    # And that of tf.nn.depth_to_space: one position of twelve channels becomes a 2x2 image of three.
    deep = torch.arange(1, 13, device=device).reshape(1, 1, 1, 12)
    image = torch.tensor([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], device=device)
    assert_same(depth_to_space(deep, 2, **last), image[None])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_channel_shuffle_is_torchs(normal, memory_format):
    x = normal(2, 15, 5, 7).to(memory_format=memory_format)
    assert_same(channel_shuffle(x, 3), F.channel_shuffle(x, 3))
    assert_same(channel_unshuffle(F.channel_shuffle(x, 3), 3), x)


@pytest.mark.parametrize(("space", "factor"), [((7,), (3,)), ((5, 7), (3, 2)), ((2, 5, 7), (1, 3, 2))])
def test_upsample_nearest_is_interpolate(normal, space, factor):
    x = normal(2, 3, *space)
    scale = tuple(float(f) for f in factor)
    assert_same(upsample_nearest(x, factor), F.interpolate(x, scale_factor=scale, mode="nearest"))


def test_patchify_is_unfold_and_a_linear_after_it_is_a_convolution(normal):
    x, patch = normal(2, 5, 6, 14, dtype=torch.float64), (3, 2)
    tokens = patchify(x, patch)
    assert_same(tokens, F.unfold(x, patch, stride=patch).mT)
    assert_same(unpatchify(tokens, patch, (2, 7)), F.fold(tokens.mT, (6, 14), patch, stride=patch))
    weight = normal(11, 5, 3, 2, dtype=torch.float64)
    convolved = F.conv2d(x, weight, stride=patch).flatten(2).mT
    torch.testing.assert_close(tokens @ weight.flatten(1).mT, convolved, rtol=1e-12, atol=1e-12)


def test_features_are_flatten_and_unflatten(normal):
    x = normal(2, 3, 5, 7)
    assert_same(flatten_features(x), torch.nn.Flatten()(x))
    assert_same(unflatten_features(x.flatten(1), 3, (5, 7)), torch.nn.Unflatten(1, (3, 5, 7))(x.flatten(1)))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gram_matrix_is_einsum(normal, memory_format):
    x = normal(2, 3, 5, 7, dtype=torch.float64).to(memory_format=memory_format)
    sums = torch.einsum("bchw,bdhw->bcd", x, x)
    for divisor, normalize in ((35, "spatial"), (105, "full"), (1, "none")):
        gram = gram_matrix(x, normalize=normalize)
        torch.testing.assert_close(gram, sums / divisor, rtol=1e-13, atol=1e-13)
    last = gram_matrix(x.permute(0, 2, 3, 1), data_format="channels_last")
    torch.testing.assert_close(last, sums / 35, rtol=1e-13, atol=1e-13)


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_gram_matrix_copies_no_image_in_either_memory_format(device, data_format):
    x = torch.zeros(2, 3, 5, 7, device=device)
    for image in (x, x.to(memory_format=torch.channels_last)):
        view = image if data_format == "channels_first" else image.permute(0, 2, 3, 1)
        with Operations() as seen:
            gram_matrix(view, data_format=data_format)
        assert "bmm" in seen.names
        assert not {"clone", "copy_", "_to_copy"} & set(seen.names)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_the_gradient_of_a_move_is_the_move_backwards(case, device):
    x = torch.zeros(case.shape, dtype=torch.float64, device=device, requires_grad=True)
    cotangent = np.random.default_rng(0).normal(size=case.source.shape)
    case.call(x).backward(torch.from_numpy(cotangent).to(device))
    expected = np.zeros(x.numel())
    np.add.at(expected, case.source, cotangent)
    np.testing.assert_allclose(x.grad.cpu().numpy().ravel(), expected, rtol=1e-14)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("normalize", ["spatial", "full", "none"])
def test_gram_matrix_has_the_gradients_of_its_differences(normal, normalize, data_format):
    x = normal(2, 3, 1, 4, dtype=torch.float64).requires_grad_()
    call = functools.partial(gram_matrix, normalize=normalize, data_format=data_format)
    assert torch.autograd.gradcheck(call, x)
    assert torch.autograd.gradgradcheck(call, x)


def every_core(xs: list[Tensor]) -> list[Tensor]:
    moved = [case.call(x) for case, x in zip(SMALL, xs[:-1], strict=True)]
    return [*moved, gram_matrix(xs[-1]), gram_matrix(xs[-1], normalize="full", data_format="channels_last")]


@pytest.fixture
def inputs(normal):
    return [normal(*shape, dtype=torch.float64) for shape in (*(case.shape for case in SMALL), (2, 3, 5, 7))]


# "aot_eager" traces forward and backward as the default backend does, without waiting for a C++ compiler.
def test_every_core_compiles_whole_and_so_do_the_gradients(inputs):
    torch._dynamo.reset()
    inputs = [x.requires_grad_() for x in inputs]
    compiled = torch.compile(every_core, fullgraph=True, backend="aot_eager")
    results, expected = compiled(inputs), every_core(inputs)
    gradients = [torch.autograd.grad(sum(y.square().sum() for y in ys), inputs) for ys in (results, expected)]
    for ours, theirs in zip([*results, *gradients[0]], [*expected, *gradients[1]], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def with_sizes_of_its_own(x: Tensor) -> tuple[Tensor, ...]:
    """What a model does: the sizes that undo a move come from the tensor."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    return (
        unflatten_sequence(flatten_sequence(x), t=x.shape[0]),
        unflatten_features(flatten_features(x), x.shape[1], tuple(x.shape[2:])),
        unpatchify(patchify(x, 2), 2, (h, w)),
        depth_to_space(space_to_depth(x, 2), 2),
        upsample_nearest(channel_shuffle(x, 3), (2, 1)),
        gram_matrix(x),
    )


def test_one_compiled_graph_serves_other_sizes(normal):
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = torch.compile(with_sizes_of_its_own, fullgraph=True, backend="eager", dynamic=True)
        for shape in ((4, 6, 8, 10), (5, 6, 12, 14)):
            x = normal(*shape)
            for result, expected in zip(compiled(x), with_sizes_of_its_own(x), strict=True):
                assert_same(result, expected)


def test_an_exported_program_serves_other_sizes(normal):
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return with_sizes_of_its_own(x)

    sizes = {0: torch.export.Dim("b"), 2: 2 * torch.export.Dim("h"), 3: 2 * torch.export.Dim("w")}
    program = torch.export.export(Model(), (normal(4, 6, 8, 10),), dynamic_shapes=(sizes,)).module()
    x = normal(5, 6, 12, 14)
    for result, expected in zip(program(x), with_sizes_of_its_own(x), strict=True):
        assert_same(result, expected)


@pytest.mark.parametrize("in_dim", [0, -1])
def test_every_core_is_mapped_over_one_more_axis(inputs, in_dim):
    stacked = [torch.stack([x, x + 1, 2 * x], dim=in_dim) for x in inputs]
    mapped = torch.func.vmap(lambda *xs: every_core(list(xs)), in_dims=in_dim)(*stacked)
    each = [every_core([x.select(in_dim, i) for x in stacked]) for i in range(3)]
    for result, *expected in zip(mapped, *each, strict=True):
        torch.testing.assert_close(result, torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_a_fresh_tensor_never_shares_what_a_core_repeats(normal):
    # einops expands and then reshapes; the result can be written to.
    x = normal(1, 1, 2)
    result = upsample_nearest(x, 2)
    result[..., 0] = 7
    assert result[..., 1].item() == x[..., 0].item() != 7


def test_sizes_that_do_not_fit_are_an_error_in_a_compiled_graph_too(device):
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: channel_shuffle(x, 3), backend="eager")
    with pytest.raises(ValueError, match=r"needs channels divisible by 3, received 10 in shape \(1, 10, 4\)"):
        compiled(torch.zeros(1, 10, 4, device=device))


def test_every_move_runs_on_a_tensor_without_memory():
    for case in MOVES:
        assert case.call(torch.zeros(case.shape, device="meta")).shape == case.source.shape
