"""Every chain of shape operations of a PyTorch model, with its line, and the diff that einops would make of it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import einops
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from einops_arch import DiscoveryError, discover_model
from einops_arch.discovery.rewriting.rewrite import diff, rewrite

OLD = '''"""A block of Swin's kind."""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, features=30, heads=5, window=2):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(features, 3 * features)
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        b, h, w, c = x.shape
        size = self.window
        x = torch.roll(x, 1, 1)
        # Into windows.
        x = x.view(b, h // size, size, w // size, size, c)
        x = x.permute(0, 1, 3, 2, 4, 5).contiguous()
        x = x.view(-1, size * size, c)
        n = x.shape[1]
        qkv = self.qkv(x).reshape(x.shape[0], n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q @ k.transpose(-2, -1)).softmax(-1)
        x = (scores @ v).transpose(1, 2).reshape(x.shape[0], n, c)  # heads together
        x = self.norm(x)
        first, second = x.chunk(2, dim=2)
        x = torch.cat([second, first], dim=2)
        x = x[:, None].expand(-1, 3, -1, -1)
        return x.flatten(2)[:, 1]
'''


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The module above, imported from a file: the lines of its chains are those of the file."""
    (tmp_path / "old_block.py").write_text(OLD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "old_block", raising=False)
    import old_block

    torch.manual_seed(0)
    yield old_block.Block().eval()
    del sys.modules["old_block"]


def line_of(text):
    return next(number for number, line in enumerate(OLD.splitlines(), start=1) if text in line)


def test_each_chain_has_its_line_and_its_pattern(old):
    report = discover_model(nn.Sequential(nn.Identity(), old), torch.randn(2, 4, 6, 30))
    assert report.backend == "torch"
    found = [
        (chain.operations, chain.steps[0].line, chain.discovery and chain.discovery.pattern) for chain in report.chains
    ]
    assert found == [
        ("roll", line_of("torch.roll"), None),
        ("view permute contiguous view", line_of("x.view(b"), "b (h1 h2) (w1 w2) c -> (b h1 w1) (h2 w2) c"),
        ("reshape permute", line_of("self.qkv(x)"), "b n (c1 c2 c3) -> c1 b c2 n c3"),
        ("unbind", line_of("unbind"), "* b c d e"),
        ("transpose", line_of("q @ k"), "b heads n k -> b heads k n"),
        ("transpose reshape", line_of("heads together"), "b heads n k -> b n (heads k)"),
        ("chunk", line_of("chunk"), "b n *"),
        ("cat", line_of("torch.cat"), "b n *"),
        ("__getitem__ expand flatten", line_of("expand"), "b n c -> b r (n c)"),
        ("__getitem__", line_of("flatten(2)"), None),
    ]
    assert {Path(chain.steps[0].file).name for chain in report.chains} == {"old_block.py"}
    assert {chain.module for chain in report.chains} == {"1"}
    assert all(chain.recorded for chain in report.chains if chain.discovery is not None)
    assert report.chains[0].reason == "it rolls axis h by 1"
    assert report.chains[-1].reason == "it takes index 1 of axis n of size 3"
    assert report.counts == {"found": 10, "pure": 5, "pure expressed": 5, "expressed": 8, "refused": 2}
    assert str(report).splitlines()[-1].startswith("chains: 10 found, 5 pure")


def test_the_model_is_left_as_it_is(old):
    before = {name: value.clone() for name, value in old.state_dict().items()}
    x = torch.randn(2, 4, 6, 30)
    expected = old(x)
    discover_model(old, x)
    assert not old._forward_hooks
    assert not old._forward_pre_hooks
    torch.testing.assert_close(old(x), expected, rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in old.state_dict().items())


def test_a_layer_that_runs_twice_is_one_site():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Flatten(2)

        def forward(self, x, *, other):
            return self.flat(x).sum() + self.flat(other).sum()

    report = discover_model(Twice(), {"x": torch.randn(2, 3, 4, 5), "other": torch.randn(2, 3, 6, 7)})
    ((chain, times),) = report.sites()
    assert (times, chain.module, chain.discovery.pattern) == (2, "flat", "b c h w -> b c (h w)")


def test_two_patterns_in_a_row_are_two_chains():
    def turned_twice(x):
        # Seven columns of eight, and then eight of seven: no one split of the axis serves both.
        x = x.view(2, 8, 7, 5).transpose(1, 2).reshape(2, 56, 5)
        return x.view(2, 8, 7, 5).transpose(1, 2) + 0

    report = discover_model(turned_twice, torch.randn(2, 56, 5))
    assert [(chain.operations, chain.discovery.pattern) for chain in report.chains] == [
        ("view transpose reshape", "b (n1 n2) c -> b (n2 n1) c"),
        ("view transpose", "b (n1 n2) c -> b n2 n1 c"),
    ]


def test_a_reshape_across_axes_is_counted_as_pure_and_refused():
    def mixed(x):
        return x.reshape(8, 15).t() + 0

    (crossing,) = discover_model(mixed, torch.randn(12, 10)).chains
    assert (crossing.discovery, crossing.pure, crossing.kind) == (None, True, "crosses")
    assert crossing.reason.endswith("the reshape crosses b")


def test_a_value_that_is_written_over_is_not_called_recorded():
    def old(x):
        y = x.transpose(1, 2)
        z = F.relu(y)
        y.mul_(2)
        return z

    (chain,) = discover_model(old, torch.randn(2, 3, 5)).chains
    assert chain.discovery.pattern == "b n c -> b c n"
    assert not chain.recorded


def test_a_wrong_pattern_would_be_noticed(monkeypatch):
    from einops_arch.discovery.solving import chains

    monkeypatch.setattr(chains, "name_axes", lambda structure, inputs: {0: "b", 1: "c", 2: "n"})
    monkeypatch.setattr(chains, "decompose", lambda origin, shape: chains_structure(shape))

    def chains_structure(shape):
        from einops_arch.discovery.solving.structure import Structure

        return Structure((((0,), (1,), (2,)),), ((0,), (1,), (2,)), tuple(shape))

    (chain,) = discover_model(lambda x: x.transpose(1, 2) + 1, torch.randn(2, 3, 5)).chains
    assert (chain.discovery, chain.kind) == (None, "wrong")


def test_the_diff_replaces_what_is_sure_and_nothing_else(old):
    # No two sizes are equal, so no two expressions are.
    x = torch.randn(5, 6, 8, 30)
    report = discover_model(old, x)
    file = inspect.getfile(type(old))
    new = rewrite(OLD, report.chains).source
    assert "from torch import nn\nfrom einops import rearrange\n" in new
    expected = [
        (
            '        x = rearrange(x, "b (h1 h2) (w1 w2) c -> (b h1 w1) (h2 w2) c", h2=size, w2=size)\n'
            "        n = x.shape[1]"
        ),
        '        qkv = rearrange(self.qkv(x), "b n (c1 c2 c3) -> c1 b c2 n c3", c1=3, c2=self.heads)',
        '        scores = (q @ rearrange(k, "b heads n k -> b heads k n")).softmax(-1)',
        '        x = rearrange(scores @ v, "b heads n k -> b n (heads k)")  # heads together',
    ]
    for lines in expected:
        assert lines in new
    # What repeats, cuts and rolls stays, and so does the comment.
    for line in ("        # Into windows.", "x = torch.roll(x, 1, 1)", "x[:, None].expand(-1, 3, -1, -1)"):
        assert line in new
    assert Path(file).read_text() == OLD
    text = diff(report.chains).text
    assert text.startswith(f"--- {file}\n+++ {file}\n")
    assert text.count("\n-") == 6
    namespace = {"__name__": "new_block"}
    exec(compile(new, "new_block.py", "exec"), namespace)
    block = namespace["Block"]().eval()
    block.load_state_dict(old.state_dict())
    torch.testing.assert_close(block(x), old(x), rtol=0, atol=0)
    # At another shape too: the sizes are the old code's own names.
    other = torch.randn(3, 8, 2, 30)
    torch.testing.assert_close(block(other), old(other), rtol=0, atol=0)


def test_code_of_einops_itself_is_found_at_the_callers_line():
    (chain,) = discover_model(
        lambda x: einops.rearrange(x, "b (h k) n -> h b n k", h=3) + 0, torch.randn(2, 12, 5)
    ).chains
    assert chain.discovery.matches("b (h k) n -> h b n k")
    assert Path(chain.steps[0].file).name == Path(__file__).name


def test_arrays_of_neither_framework_are_refused():
    with pytest.raises(DiscoveryError, match="expected arrays of torch or jax, received list"):
        discover_model(lambda x: x, {"x": [1, 2]})
