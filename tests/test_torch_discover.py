"""Old PyTorch code beside the pattern that it is: the pairs of einops' own pages, and PyTorch's own operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from einops_arch import DiscoveryError, discover

GROUPS, HEADS = 3, 4


def flatten_images(x):
    return x.view(-1, 320)


def super_resolution(x):
    return F.pixel_shuffle(x, 2).squeeze(1)


def gram(y):
    b, c, h, w = y.size()
    features = y.view(b, c, h * w)
    return features.bmm(features.transpose(1, 2)) / (h * w)


def decoder_input(output):
    return output.view(output.size(0) * output.size(1), output.size(2))


def decoder_output(decoded):
    return decoded.view(7, -1, decoded.size(1))


def shuffle(x):
    b, c, h, w = x.data.size()
    x = x.view(b, GROUPS, c // GROUPS, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(b, -1, h, w)


def fast_text(embedded):
    embedded = embedded.permute(1, 0, 2)
    return F.avg_pool2d(embedded, (embedded.shape[1], 1)).squeeze(1)


def text_pooling(conved):
    return F.max_pool1d(conved, conved.shape[2]).squeeze(2)


def squeeze(x):
    b, c, h, w = x.size()
    x = x.view(b, c, h // 2, 2, w // 2, 2)
    return x.permute(0, 1, 3, 5, 2, 4).contiguous().view(b, c * 4, h // 2, w // 2)


def unsqueeze(x):
    b, c, h, w = x.size()
    x = x.view(b, c // 4, 2, 2, h, w)
    return x.permute(0, 1, 4, 2, 5, 3).contiguous().view(b, c // 4, h * 2, w * 2)


def split_heads(q):
    b, n, c = q.size()
    q = q.view(b, n, HEADS, c // HEADS)
    return q.permute(2, 0, 1, 3).contiguous().view(-1, n, c // HEADS)


def merge_heads(output):
    hb, n, k = output.size()
    output = output.view(HEADS, hb // HEADS, n, k)
    return output.permute(1, 2, 0, 3).contiguous().view(hb // HEADS, n, -1)


def mask_for_heads(mask):
    return mask.repeat(HEADS, 1, 1)


def yolo(prediction):
    b, _, h, w = prediction.size()
    return prediction.view(b, 3, -1, h, w).permute(0, 1, 3, 4, 2).contiguous()


def yolo_boxes(x):
    return x.view(x.size(0), -1, x.size(4))


def attention_query(x):
    b, _, h, w = x.size()
    return x.view(b, -1, w * h).permute(0, 2, 1)


def attention_energy(query, key):
    return torch.bmm(query, key.permute(0, 2, 1))


def attention_out(x):
    return x.permute(0, 2, 1).contiguous().view(x.size(0), x.size(2), 5, -1)


def steps_of_time(x):
    return torch.stack([step for step in x.chunk(x.size(1), dim=1)])  # noqa: C416 the old code loops


def tacotron(memory):
    return memory.transpose(1, 2)


def tacotron_groups(memory):
    return memory.view(memory.size(0), memory.size(1) // 5, -1)


def theta(x):
    return x.view(-1, 2, 3)


def stn_features(xs):
    return xs.view(-1, 10 * 3 * 3)


PAIRS = {
    "convolutional net": (flatten_images, "b c h w", (2, 20, 4, 4), "b c h w -> b (c h w)"),
    "super-resolution": (super_resolution, "b c h w", (2, 4, 5, 7), "b (h2 w2) h w -> b (h h2) (w w2)"),
    "gram matrix": (gram, "b c h w", (2, 3, 4, 5), "b c h w, b d h w -> b c d"),
    "decoder input": (decoder_input, "t b e", (7, 3, 5), "t b e -> (t b) e"),
    "decoder output": (decoder_output, "n token", (21, 5), "(t b) token -> t b token"),
    "channel shuffle": (shuffle, "b c h w", (2, 12, 5, 7), "b (c1 c2) h w -> b (c2 c1) h w"),
    "FastText": (fast_text, "t b e", (7, 3, 5), "t b e -> b e"),
    "text convolution": (text_pooling, "b c t", (3, 5, 7), "b c t -> b c"),
    "GLOW squeeze": (squeeze, "b c h w", (2, 3, 4, 6), "b c (h h2) (w w2) -> b (c h2 w2) h w"),
    "GLOW unsqueeze": (unsqueeze, "b c h w", (2, 12, 3, 5), "b (c h2 w2) h w -> b c (h h2) (w w2)"),
    "heads apart": (split_heads, "b n c", (2, 5, 12), "b l (head k) -> (head b) l k"),
    "heads together": (merge_heads, "n l k", (8, 5, 3), "(head b) t v -> b t (head v)"),
    "mask for heads": (mask_for_heads, "b i j", (2, 5, 7), "b i j -> (head b) i j"),
    "YOLO head": (yolo, "b c h w", (2, 15, 4, 7), "b (anchor c) h w -> b anchor h w c"),
    "YOLO boxes": (yolo_boxes, "b a h w k", (2, 3, 5, 7, 4), "b a h w k -> b (a h w) k"),
    "attention query": (attention_query, "b c h w", (2, 3, 5, 7), "b c h w -> b (h w) c"),
    "attention energy": (attention_energy, "b i c, b j c", ((2, 3, 4), (2, 5, 4)), "b i c, b j c -> b i j"),
    "attention out": (attention_out, "b n c", (2, 35, 3), "b (h w) c -> b c h w"),
    "time sequence": (steps_of_time, "b t", (3, 7), "b t -> t b 1"),
    "Tacotron": (tacotron, "b t c", (2, 5, 3), "b t c -> b c t"),
    "Tacotron groups": (tacotron_groups, "b t c", (2, 15, 4), "b (t r) c -> b t (r c)"),
    "spatial transformer": (theta, "b n", (5, 6), "b (two three) -> b two three"),
    "spatial transformer features": (stn_features, "b c h w", (2, 10, 3, 3), "b c h w -> b (c h w)"),
}


@pytest.mark.parametrize(("function", "axes", "shapes", "pattern"), PAIRS.values(), ids=PAIRS)
def test_old_code_is_the_known_pattern(function, axes, shapes, pattern):
    found = discover(function, axes, shapes)
    assert found.matches(pattern), found.pattern
    assert found.backend == "torch"
    shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    arrays = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    torch.testing.assert_close(found(*arrays), function(*arrays))


def test_the_seed_of_all_this_is_nonsense_for_larger_images():
    with pytest.raises(DiscoveryError, match=r"element \(1, 180\) from b=1: the reshape crosses b") as error:
        discover(flatten_images, "b c h w", (16, 20, 5, 5))
    assert error.value.kind == "crosses"
    assert {trap.kind for trap in discover(flatten_images, "b c h w", (2, 20, 4, 4)).traps} >= {"-1"}


OPERATIONS = {
    "pixel shuffle": (nn.PixelShuffle(3), "b c h w", (2, 18, 5, 7), "b (c r1 r2) h w -> b c (h r1) (w r2)"),
    "pixel unshuffle": (nn.PixelUnshuffle(3), "b c h w", (2, 2, 6, 9), "b c (h r1) (w r2) -> b (c r1 r2) h w"),
    "channel shuffle": (nn.ChannelShuffle(3), "b c h w", (2, 12, 5, 7), "b (g k) h w -> b (k g) h w"),
    "unfold": (
        lambda x: F.unfold(x, (2, 3), stride=(2, 3)),
        "b c h w",
        (2, 3, 4, 9),
        "b c (h kh) (w kw) -> b (c kh kw) (h w)",
    ),
    "fold": (
        lambda x: F.fold(x, (4, 9), (2, 3), stride=(2, 3)),
        "b c n",
        (2, 18, 6),
        "b (c kh kw) (h w) -> b c (h kh) (w kw)",
    ),
    "flatten": (nn.Flatten(), "b c h w", (2, 3, 5, 7), "b c h w -> b (c h w)"),
    "unflatten": (nn.Unflatten(1, (3, 5)), "b c h", (2, 15, 7), "b (c1 c2) h -> b c1 c2 h"),
    "nearest": (nn.Upsample(scale_factor=2), "b c h w", (2, 3, 5, 7), "b c h w -> b c (h r1) (w r2)"),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 1), "b h n k", (2, 4, 5, 7), "b h n k -> b (h r) n k"),
    "global pooling": (nn.AdaptiveAvgPool2d(1), "b c h w", (2, 3, 4, 6), "b c h w -> b c 1 1"),
    "max pooling": (nn.MaxPool2d((2, 3)), "b c h w", (2, 3, 4, 9), "b c (h kh) (w kw) -> b c h w"),
    "mean pooling": (nn.AvgPool3d(2), "b c d h w", (2, 3, 4, 6, 2), "b c (d i) (h j) (w k) -> b c d h w"),
    "amax": (lambda x: torch.amax(x, (1, 2)), "b c h", (2, 3, 5), "b c h -> b"),
    "matmul": (torch.matmul, "b h i k, b h k j", ((2, 3, 5, 4), (2, 3, 4, 7)), "b h i k, b h k j -> b h i j"),
    "linear": (F.linear, "b i, o i", ((2, 3), (5, 3)), "b i, o i -> b o"),
    "bmm": (torch.bmm, "b i k, b k j", ((2, 3, 4), (2, 4, 5)), "b i k, b k j -> b i j"),
    "trace of a product": (
        lambda x, y: torch.matmul(x, y).diagonal(0, 1, 2).sum(1),
        "b i j, b j i",
        ((2, 3, 4), (2, 4, 3)),
        "b i j, b j i -> b",
    ),
    "cat": (lambda x, y: torch.cat([x, y], -1), "b i, b j", ((2, 3), (2, 4)), "b *"),
}


@pytest.mark.parametrize(("function", "axes", "shapes", "pattern"), OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_of_pytorch_is_its_pattern(function, axes, shapes, pattern):
    found = discover(function, axes, shapes)
    assert found.matches(pattern), found.pattern
    shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    arrays = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    torch.testing.assert_close(found(*arrays), function(*arrays))


REFUSED = {
    "overlapping windows": (lambda x: F.unfold(x, 2), "overlap"),
    "reflected": (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "gather"),
    "padded": (lambda x: F.pad(x, (1, 1)), "padding"),
    "rolled": (lambda x: torch.roll(x, 1, 2), "roll"),
    "turned": (lambda x: torch.flip(x, (3,)), "flip"),
    "strided pooling": (lambda x: F.max_pool2d(x, 3, 2), "values"),
    "dropout": (F.dropout, "random"),
    "in place": (lambda x: x.mul_(2), "side effect"),
    "in place shape": (lambda x: x.unsqueeze_(0), "side effect"),
    "softmax": (nn.Softmax(1), "computes"),
    "logsumexp": (lambda x: torch.logsumexp(x / 500, 1), "computes"),
    "one of two values": (lambda x: x if x.sum() > 0 else torch.flip(x, (0,)), "values"),
    "top": (lambda x: x.topk(2, 1).values, "values"),
}


@pytest.mark.parametrize(("function", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_pattern_is_refused(function, kind):
    with pytest.raises(DiscoveryError) as error:
        discover(function, "b c h w", (2, 3, 7, 9))
    assert error.value.kind == kind


def test_contiguous_is_needed_or_not():
    def texts(function):
        return [trap.text for trap in discover(function, "b n c", (2, 3, 5)).traps if trap.kind == "contiguous"]

    assert texts(lambda x: torch.transpose(x, 1, 2).contiguous().view(x.size(0), -1)) == [
        "contiguous() is needed before the view; rearrange copies only where it has to"
    ]
    assert texts(lambda x: torch.transpose(x, 1, 2).contiguous().reshape(x.size(0), -1)) == [
        "contiguous() copies, and the code runs without it"
    ]
    assert texts(lambda x: torch.relu_(x.clone()) * 0 + x.contiguous().view(x.size(0), -1).view_as(x)) == [
        "contiguous() does nothing here: the tensor is contiguous already"
    ]
    assert texts(lambda x: torch.transpose(x, 1, 2)) == []


def test_code_that_means_something_else_in_numpy_asks_for_the_backend():
    # numpy's transpose(0, 1) of a matrix is the matrix.
    with pytest.raises(DiscoveryError) as error:
        discover(lambda x: x.transpose(0, 1), "i j", (2, 3))
    assert error.value.kind == "backend"
    assert str(error.value).endswith("likely fix: backend='numpy' or backend='torch'")
    assert discover(lambda x: x.transpose(0, 1), "i j", (2, 3), backend="torch").pattern == "i j -> j i"
    assert discover(lambda x: x.transpose(0, 1), "i j", (2, 3), backend="numpy").pattern == "i j -> i j"


def test_a_module_in_float32_runs_and_one_that_takes_indices_is_refused():
    identity = nn.Conv1d(5, 5, 1, groups=5, bias=False)
    nn.init.ones_(identity.weight)
    assert discover(lambda x: identity(x).transpose(1, 2), "b c t", (2, 5, 3)).pattern == "b c t -> b t c"
    table = nn.Embedding(400, 1)
    with pytest.raises(DiscoveryError) as error:
        discover(table, "b t", (3, 5))
    assert error.value.kind == "fails"
    assert "IndexError: index out of range" in str(error.value)


def test_the_number_of_threads_is_as_before():
    torch.set_num_threads(2)
    discover(nn.PixelShuffle(2), "b c h w", (2, 4, 3, 5))
    assert torch.get_num_threads() == 2
