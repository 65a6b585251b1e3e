"""Modules of one class that are called in other ways, or that settings lead other ways, are one class of the twin."""

from __future__ import annotations

import random

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from einops_arch.flax import load_state_dict
from einops_arch.parity import compare
from einops_arch.translation import translate
from einops_arch.translation.variants import one_body
from einops_arch.translation.ways import Question


class Attend(nn.Module):
    """As T5's: over itself or a context, with a bias that it makes, is given, or that is zero."""

    def __init__(self, width: int, heads: int, has_table: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.has_table, self.causal = heads, has_table, causal
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        if has_table:
            self.table = nn.Embedding(40, heads)

    def forward(self, x: Tensor, context: Tensor | None = None, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        current = x if context is None else context
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key = self.key(current).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        value = self.value(current).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if bias is None:
            if self.has_table:
                places = torch.arange(x.shape[1])
                bias = self.table(places[:, None] - places[None, :] + 20).permute(2, 0, 1)[None]
            else:
                bias = torch.zeros(1, self.heads, x.shape[1], current.shape[1], dtype=x.dtype)
            if self.causal:
                bias = bias.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -1e4)
        scores = query @ key.transpose(-1, -2) + bias
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2)), bias


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, first: bool, crosses: bool) -> None:
        super().__init__()
        self.attention = Attend(width, heads, first, crosses)
        self.cross = Attend(width, heads) if crosses else None
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, bias: Tensor | None = None, cross_bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        mixed, bias = self.attention(x, bias=bias)
        x = self.norm(x + mixed)
        if self.cross is not None:
            mixed, cross_bias = self.cross(x, context, cross_bias)
            x = x + mixed
        return x, bias, cross_bias


class BothSides(nn.Module):
    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([Layer(width, heads, n == 0, False) for n in range(2)])
        self.decoder = nn.ModuleList([Layer(width, heads, n == 0, True) for n in range(2)])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        bias = cross_bias = None
        for layer in self.encoder:
            x, bias, _ = layer(x, bias=bias)
        bias = None
        for layer in self.decoder:
            y, bias, cross_bias = layer(y, x, bias, cross_bias)
        return y


@pytest.fixture(scope="module")
def both_sides():
    torch.manual_seed(0)
    model = BothSides()
    inputs = (torch.randn(2, 5, 12), torch.randn(2, 7, 12))
    return model, translate(lambda: model, inputs, axes=("b t 12", "b u 12"), prove=False)


def test_arguments_that_some_calls_leave_out_are_optional_in_one_class(both_sides) -> None:
    _, twin = both_sides
    assert dict(twin.classes) == {"Attend": 6, "Layer": 4, "BothSides": 1}
    assert "x: Array, context: Array | None = None, bias: Array | None = None" in twin.source
    assert "current = context if context is not None else x" in twin.source


def test_one_class_for_six_ways_to_attend_computes_what_each_computed(both_sides) -> None:
    model, twin = both_sides
    load_state_dict(twin.model, model.state_dict())
    for sizes in ((3, 4, 9), (1, 11, 6)):
        x, y = torch.randn(sizes[0], sizes[1], 12), torch.randn(sizes[0], sizes[2], 12)
        received = twin.model(jnp.asarray(x.numpy()), jnp.asarray(y.numpy()))
        np.testing.assert_allclose(np.asarray(received), model.eval()(x, y).detach().numpy(), rtol=1e-4, atol=1e-5)


class Cross(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        return (x @ self.key(context).transpose(1, 2)).softmax(-1) @ context


class Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).tanh()


class Before(nn.Module):
    """The norm before whatever it is given, with whatever that takes."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, **kwargs: Tensor) -> Tensor:
        return self.fn(self.norm(x), **kwargs)


class Latents(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Before(width, Cross(width)), Before(width, Cross(width)), Before(width, Wide(width))]
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        cross, attend, wide = self.layers
        x = x + cross(x, context=context)
        return wide(attend(x) + x)


def test_what_is_handed_on_is_taken_by_every_child_of_the_class() -> None:
    torch.manual_seed(0)
    model = Latents()
    twin = translate(model, (torch.randn(2, 3, 6), torch.randn(2, 5, 6)), axes=("b t 6", "b u 6"))
    assert twin.passed, str(twin.report)
    x, context = torch.randn(3, 4, 6), torch.randn(3, 7, 6)
    received = twin.model(jnp.asarray(x.numpy()), jnp.asarray(context.numpy()))
    np.testing.assert_allclose(np.asarray(received), model.eval()(x, context).detach().numpy(), rtol=1e-4, atol=1e-5)


ASKED = ("a is not None", "b is not None", "self.c", "self.deterministic")


@pytest.mark.parametrize("seed", range(40))
def test_each_way_through_one_body_is_the_body_that_it_was(seed: int) -> None:
    draw = random.Random(seed)
    texts = [f"seen.append({n})" for n in range(9)] + ["a = seen.append('a')", "b = 1", "seen.append(repr(b))"]
    texts += ["seen.append((a, 'a'))", "seen.append((b, 'a'))", "seen.append((a, 2))", "seen.append((b, 2))"]
    answers = draw.sample([tuple(draw.choice((True, False)) for _ in ASKED) for _ in range(30)], 6)
    answers = list(dict.fromkeys(answers))
    base = draw.choices(texts, k=8)
    bodies = []
    for _ in answers:
        lines = [line for line in base if draw.random() < 0.7]
        for _ in range(draw.randrange(4)):
            lines.insert(draw.randrange(len(lines) + 1), draw.choice(texts))
        bodies.append([*lines, f"return {draw.randrange(3)}"])
    questions = [
        Question(
            test,
            test.replace(" is not None", " is None") if " is not " in test else f"not {test}",
            frozenset(row for row, answer in enumerate(answers) if answer[n]),
            argument=test[0] if " is not " in test else "",
        )
        for n, test in enumerate(ASKED)
    ]
    lines, _ = one_body(bodies, questions, {frozenset(("a", "b")): "current"})
    for answer, body in zip(answers, bodies, strict=True):
        assert _run(lines, answer) == _run(body, answer), "\n".join(lines)


def _run(lines: list[str], answer: tuple[bool, ...]) -> tuple[list[object], object]:
    """What a body does and gives, for an argument that is there or not and settings that are on or off."""
    seen: list[object] = []
    text = "\n".join(f"    {line}" for part in lines for line in part.splitlines())
    names: dict[str, object] = {}
    exec(f"def body(self, seen, a, b):\n{text}", names)
    settings = type("Settings", (), {"c": answer[2], "deterministic": answer[3]})
    body = names["body"]
    assert callable(body)
    return seen, body(settings, seen, 1 if answer[0] else None, 2 if answer[1] else None)


class _Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.idle = nn.Linear(4, 4), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.idle(self.fc(x))


def test_a_layer_that_gives_what_it_is_given_is_not_missed_where_the_other_side_has_none() -> None:
    from flax import nnx

    from einops_arch.flax.layers import Linear

    class Holder(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs) -> None:
            self.fc = Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return self.fc(x)

    model, twin = _Holder(), Holder(rngs=nnx.Rngs(0))
    load_state_dict(twin, model.state_dict())
    report = compare(model, twin, torch.randn(5, 4))
    assert report.passed
    assert report.seen.not_seen == ()


class _Split(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(12, 36)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(x.shape[0], -1, self.heads, 36 // self.heads).transpose(1, 2).chunk(3, dim=-1)
        return q * k + v


def test_a_number_of_the_original_is_no_attribute_that_happens_to_have_its_value() -> None:
    model = _Split(3)
    twin = translate(lambda: model, torch.randn(2, 5, 12), axes="b t 12", prove=False)
    assert "jnp.split(" in twin.source
    assert "self.heads, axis" not in twin.source
    assert ", 3, axis=-1)" in twin.source
