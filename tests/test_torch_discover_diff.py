"""The diff that einops would make of old code: what is sure is replaced, all else stays as it is, to the letter."""

from __future__ import annotations

import pytest
import torch

from einops_arch import discover_model
from einops_arch.discovery.rewriting.rewrite import diff, rewrite

HEAD = '"""Old code."""\n\nimport torch\nimport torch.nn.functional as fn\nfrom torch import transpose as turned\n\n'
IMPORTED = HEAD[:-1] + "from einops import rearrange\n\n"


def ran(source, file, shape=(2, 12, 5)):
    """The chains of the function `f` of a file, with the function."""
    file.write_text(source, newline="")
    namespace = {"__name__": "old"}
    exec(compile(source, str(file), "exec"), namespace)
    torch.manual_seed(0)
    return discover_model(namespace["f"], torch.randn(shape)).chains, namespace["f"]


SURE = {
    "a chain over several lines, with comments": (
        (
            "def f(x):\n"
            "    groups = 3\n"
            "    # Before.\n"
            "    y = (\n"
            "        x.view(2, groups, -1, 5)  # apart\n"
            "        .transpose(1, 2)\n"
            "        # and together\n"
            "        .flatten(1, 2)\n"
            "    )  # behind\n"
            "    return y   +   0 # odd  spaces\n"
        ),
        (
            "def f(x):\n"
            "    groups = 3\n"
            "    # Before.\n"
            "    # apart\n"
            "    # and together\n"
            '    y = rearrange(x, "b (n1 n2) c -> b (n2 n1) c", n1=groups)  # behind\n'
            "    return y   +   0 # odd  spaces\n"
        ),
    ),
    "assignments in a row, with comments": (
        (
            "def f(x):\n"
            "    heads = 4\n"
            "\n"
            "    # Into heads.\n"
            "    x = x.view(x.size(0), heads, -1, 5)  # one\n"
            "\n"
            "    # Turn.\n"
            "    x = x.permute(0, 2, 1, 3)  # two\n"
            "    return x + 0\n"
        ),
        (
            "def f(x):\n"
            "    heads = 4\n"
            "\n"
            "    # Into heads.\n"
            "    # one\n"
            "    # Turn.\n"
            '    x = rearrange(x, "b (n1 n2) c -> b n2 n1 c", n1=heads)  # two\n'
            "    return x + 0\n"
        ),
    ),
    "in expressions": (
        "def f(x):\n    a, b = [x.relu().transpose(1, 2).flatten(1), 3]\n    return {'k': a * b}['k']\n",
        "def f(x):\n    a, b = [rearrange(x.relu(), \"b n c -> b (c n)\"), 3]\n    return {'k': a * b}['k']\n",
    ),
    "in the head of a block": (
        "def f(x):\n    if x.transpose(1, 2).sum() > 1e9:\n        return x\n    return x + 1\n",
        'def f(x):\n    if rearrange(x, "b n c -> b c n").sum() > 1e9:\n        return x\n    return x + 1\n',
    ),
    "in a comprehension": (
        "def f(x):\n    return sum(one.transpose(0, 1) + 0 for one in (x, x * 2))\n",
        'def f(x):\n    return sum(rearrange(one, "b n c -> n b c") + 0 for one in (x, x * 2))\n',
    ),
    "functions, and functions by other names": (
        "def f(x):\n    y = turned(x * 2, 1, 2)\n    return torch.permute(fn.relu(y), (2, 0, 1)) + 0\n",
        (
            'def f(x):\n    y = rearrange(x * 2, "b n c -> b c n")\n'
            '    return rearrange(fn.relu(y), "b n c -> c b n") + 0\n'
        ),
    ),
    "arguments by name": (
        "def f(x):\n    y = turned(dim0=1, dim1=2, input=x).flatten(start_dim=0, end_dim=1)\n    return y + 0\n",
        'def f(x):\n    y = rearrange(x, "b n c -> (b c) n")\n    return y + 0\n',
    ),
    "a shape as a tuple, and a star": (
        (
            "def f(x):\n    k = 3\n    y = x.reshape((2, k, 4, -1)).swapaxes(1, 2)\n"
            "    return y.reshape(*y.shape[:2], -1).relu()\n"
        ),
        'def f(x):\n    k = 3\n    return rearrange(x, "b (n1 n2) c -> b n2 (n1 c)", n2=4).relu()\n',
    ),
    "an operation of images": (
        "def f(x):\n    r = 2\n    return fn.pixel_shuffle(x.relu(), r).sigmoid()\n",
        (
            'def f(x):\n    r = 2\n    return rearrange(x.relu(), "b (c1 c2 c3) h w -> b c1 (h c2) (w c3)", c2=r, c3=r)'
            ".sigmoid()\n"
        ),
    ),
    "a copy that nothing needs, and one at the end that may be needed": (
        "def f(x):\n    y = x.contiguous().transpose(1, 2).contiguous()\n    return y.view(2, -1) + y.sum()\n",
        (
            'def f(x):\n    y = rearrange(x.contiguous(), "b n c -> b c n").contiguous()\n'
            "    return y.view(2, -1) + y.sum()\n"
        ),
    ),
    "one in another": (
        "def f(x):\n    return (x.transpose(1, 2) @ x).flatten(0, 1).t() + 0\n",
        'def f(x):\n    return rearrange(rearrange(x, "b n c -> b c n") @ x, "b n k -> k (b n)") + 0\n',
    ),
}


@pytest.mark.parametrize(("old", "new"), SURE.values(), ids=SURE)
def test_what_is_sure_is_replaced_and_nothing_else(old, new, tmp_path):
    shape = (2, 8, 3, 5) if "pixel" in old else (2, 12, 5)
    chains, function = ran(HEAD + old, tmp_path / "old.py", shape)
    found = rewrite(HEAD + old, chains)
    assert found.source == IMPORTED + new
    namespace = {}
    exec(found.source, namespace)
    x = torch.randn(shape)
    torch.testing.assert_close(namespace["f"](x), function(x), rtol=0, atol=0)


LEFT = {
    "a number that holds at this shape only": (
        "return x.view(-1, 60) + 0",
        "the number 60 may hold at this shape only",
    ),
    "two words for one size": (
        "one = two = 2\n    return x.view(-1, one, two, 3, 5).transpose(1, 2) + 0",
        "the sizes of n1 and n2 stand in no one expression each",
    ),
    "a value in between that is read later": (
        "y = x.view(2, 60)\n    z = y.transpose(0, 1)\n    return z.sum() + y.sum()",
        "a value in between may be read later",
    ),
    "a value in between that is read beside": (
        "y = x.unflatten(1, (3, 4))\n    return y.transpose(1, 2) + y.sum()",
        "a value in between may be read later",
    ),
    "an axis of size 1": ("return x[:1].transpose(1, 2) + 0", "an axis of size 1 here may have another size elsewhere"),
    "not one after the other": (
        "y = x.transpose(1, 2)\n    print(end='')\n    y = y.flatten(1)\n    return y + 0",
        "the source is no chain of calls on one another, in one block of statements",
    ),
    "a method by another name": (
        "turn = x.transpose\n    return turn(1, 2) + 0",
        "the source is no chain of calls on one another, in one block of statements",
    ),
    "two of a kind on one line": (
        "return x.transpose(1, 2).sum() if x.sum() > 1e9 else (x + 1).transpose(1, 2) + 0",
        "the lines have several such chains",
    ),
    "an argument that does something": (
        "sizes = iter((2, 3))\n    return x.view(next(sizes), next(sizes), -1, 5).transpose(1, 2) + 0",
        "an argument calls next, which may do more than tell a size",
    ),
    "a value that is written over": (
        "y = x.transpose(1, 2)\n    y.mul_(2)\n    return x + 0",
        "its values were written over, and a rearrange may share them or not",
    ),
    "a copy that is asked for": (
        "return x.transpose(1, 2).clone() + 0",
        "it asks for a copy, and a rearrange may share its memory",
    ),
    "a shape that is computed": (
        "return x.reshape((1,) * 2 + (2, 12, 5)) + 0",
        "a shape is computed, and may have another length elsewhere",
    ),
    "a split that is gone in the end": (
        "k = 3\n    return x.view(-1, k, 4, 5).permute(0, 3, 1, 2).reshape(len(x), -1) + 0",
        "a size of 3 is none of the pattern's, and may not fit at another shape",
    ),
    "a string": (
        "return x + len(f'{x.transpose(1, 2).sum():.2f}')",
        "it is inside of an f-string, whose quotes a pattern would end",
    ),
    "two patterns": (
        "return sum((y.unsqueeze(-1).transpose(1, 2) + 0).sum() for y in (x[0], x))",
        "it ran as several patterns",
    ),
    "both names taken": (
        "rearrange = einops = 0\n    return x.transpose(1, 2) + rearrange",
        "rearrange and einops are names of something else here",
    ),
    "another operation": (
        "return x.repeat_interleave(2, 0) + 0",
        "repeat, and only rearrange is written",
    ),
    "no pattern": ("return x.flip(1) + 0", "no pattern: it turns axis n round"),
    "a comment without a line of its own": (
        "g = lambda: (\n        x.transpose(1, 2)  # why\n        .flatten(1)\n    )\n    return g() + 0",
        "there is a comment in it, and no line to put it on",
    ),
}


@pytest.mark.parametrize(("body", "reason"), LEFT.values(), ids=LEFT)
def test_what_is_not_sure_is_left_alone_and_named(body, reason, tmp_path):
    source = f"{HEAD}def f(x):\n    {body}\n"
    chains, _ = ran(source, tmp_path / "old.py")
    found = rewrite(source, chains)
    assert found.source == source
    assert reason in {said for _, said in found.left}


def test_a_name_that_is_taken_leaves_the_longer_one(tmp_path):
    source = (
        "import torch\n\n\ndef rearrange():\n    return 1\n\n\ndef f(x):\n    return x.transpose(1, 2) + rearrange()\n"
    )
    chains, _ = ran(source, tmp_path / "old.py")
    new = rewrite(source, chains).source
    assert new == source.replace("import torch\n", "import torch\nimport einops\n").replace(
        "x.transpose(1, 2)", 'einops.rearrange(x, "b n c -> b c n")'
    )


@pytest.mark.parametrize(
    "first", ["from einops import rearrange\n", "from einops import rearrange, reduce\n"], ids=["alone", "with others"]
)
def test_an_import_that_is_there_is_used(first, tmp_path):
    source = f"{first}\n\ndef f(x):\n    return x.transpose(1, 2) + 0\n"
    chains, _ = ran(source, tmp_path / "old.py")
    assert rewrite(source, chains).source == source.replace("x.transpose(1, 2)", 'rearrange(x, "b n c -> b c n")')


def test_line_ends_tabs_and_a_last_line_without_an_end_survive(tmp_path):
    source = "import torch\r\n\r\ndef f( x ):\r\n\ty=x.transpose(1,2)\r\n\treturn y+0"
    file = tmp_path / "old.py"
    chains, _ = ran(source, file)
    new = source.replace("torch\r\n", "torch\r\nfrom einops import rearrange\r\n").replace(
        "x.transpose(1,2)", 'rearrange(x, "b n c -> b c n")'
    )
    assert rewrite(source, chains).source == new
    assert diff(chains).text == (
        f"--- {file}\n+++ {file}\n@@ -1,5 +1,6 @@\n import torch\r\n+from einops import rearrange\r\n \r\n"
        ' def f( x ):\r\n-\ty=x.transpose(1,2)\r\n+\ty=rearrange(x, "b n c -> b c n")\r\n \treturn y+0\n'
        "\\ No newline at end of file\n"
    )
    assert file.read_bytes().decode() == source


def test_code_in_no_file_is_named():
    namespace = {}
    exec(compile("def f(x):\n    return x.transpose(1, 2) + 0\n", "<nowhere>", "exec"), namespace)
    found = diff(discover_model(namespace["f"], torch.randn(2, 12, 5)).chains)
    assert (found.text, [reason for _, reason in found.left]) == ("", ["its source is in no file"])
