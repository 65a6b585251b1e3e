"""What is decided: rounding is excused with full evidence, dtypes and their constants are those that users have."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.parity import Verdict, compare
from einops_arch.port import transfer

NN = torch.nn
ROWS = np.random.default_rng(0).normal(size=(4, 6))
MASK = (np.random.default_rng(1).random((4, 6)) > 0.5) * 1.0


class TorchBlock(NN.Module):
    def __init__(self):
        super().__init__()
        self.fc = NN.Linear(6, 6)

    def forward(self, x, mask=None):
        y = torch.tanh(self.fc(x))
        return y if mask is None else y * mask


class FlaxBlock(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(6, 6, rngs=nnx.Rngs(0))

    def __call__(self, x, mask=None):
        y = jnp.tanh(self.fc(x))
        return y if mask is None else y * mask


class TorchTwice(NN.Module):
    def __init__(self):
        super().__init__()
        self.b = TorchBlock()

    def forward(self, x, mask):
        return self.b(self.b(x), mask)


class FlaxTwice(nnx.Module):
    def __init__(self, *, masks, factor=1.0):
        self.b = FlaxBlock()
        self.masks, self.factor = masks, factor

    def __call__(self, x, mask):
        return self.b(self.b(x) * self.factor, *[mask] * self.masks)


@pytest.mark.parametrize(("masks", "factor", "passes"), [(1, 1.0, True), (0, 1.0, False), (1, 1 + 1e-6, False)])
def test_rounding_is_excused_with_full_evidence_only(masks, factor, passes):
    models = TorchTwice(), FlaxTwice(masks=masks, factor=factor)
    transfer(*models)
    found = compare(*models, (ROWS, MASK))
    assert found.passed is passes, str(found)
    assert not any("magnifies" in note for note in found.notes)


class TorchNorm(NN.Module):
    def __init__(self, *, functional=False, finfo=False):
        super().__init__()
        self.norm = NN.RMSNorm(8)
        self.functional, self.finfo = functional, finfo

    def forward(self, x):
        if self.finfo:
            eps = torch.finfo(x.dtype).eps
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * self.norm.weight
        return NN.functional.rms_norm(x, (8,), self.norm.weight) if self.functional else self.norm(x)


class FlaxNorm(nnx.Module):
    def __init__(self, eps):
        self.norm = nnx.RMSNorm(8, epsilon=eps or 1e-6, rngs=nnx.Rngs(0))
        self.eps = eps

    def __call__(self, x):
        if self.eps is None:
            eps = jnp.finfo(x.dtype).eps
            return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps) * self.norm.scale
        return self.norm(x)


@pytest.mark.parametrize("scale", [1.0, 0.02, 1e-3])
@pytest.mark.parametrize("settings", [{}, {"functional": True}, {"finfo": True}], ids=["module", "function", "finfo"])
def test_an_eps_of_the_dtype_is_that_of_the_models_own(settings, scale):
    x = (scale * np.random.default_rng(0).normal(size=(2, 6, 8))).astype("float32")
    own, wide = (float(np.finfo(name).eps) for name in ("float32", "float64"))
    for eps, verdict in ((own, True), (None, True), (wide, False), (1e-6, False)):
        models = TorchNorm(**settings), FlaxNorm(eps)
        transfer(models[0].norm, models[1].norm)
        assert compare(*models, x, axes="b t c", causes=False).passed is verdict, eps
    assert torch.finfo(torch.float64).eps == jnp.finfo("float64").eps == wide


class TorchCast(NN.Module):
    def __init__(self):
        super().__init__()
        self.weight = NN.Parameter(torch.linspace(0.5, 2, 8))

    def forward(self, x):
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class FlaxCast(nnx.Module):
    def __init__(self, eps):
        self.weight = nnx.Param(jnp.linspace(0.5, 2, 8, dtype=jnp.float32))
        self.eps = eps

    def __call__(self, x):
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.eps)
        return self.weight[...] * wide.astype(x.dtype)


@pytest.mark.parametrize("scale", [1.0, 0.02, 1e-3])
def test_a_literal_under_a_cast_is_what_was_written(scale):
    x = (scale * np.random.default_rng(0).normal(size=(2, 6, 8))).astype("float32")
    for eps, passes in ((1e-6, True), (1e-5, False), (1.01e-6, False)):
        ours, theirs = TorchCast(), FlaxCast(eps)
        theirs.weight[...] = ours.weight.detach().numpy()
        found = compare(ours, theirs, x, axes="b t c", causes=False)
        assert found.passed is passes, (eps, str(found))


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
@pytest.mark.parametrize("side", ["torch", "flax"])
def test_a_layer_that_computes_in_less_is_seen_on_either_side(side, narrow):
    class Torch(NN.Module):
        def __init__(self):
            super().__init__()
            self.fc = NN.Linear(6, 50)

        def forward(self, x):
            kind = getattr(torch, narrow)
            if side == "torch" and x.dtype == torch.float32:
                return NN.functional.linear(x.to(kind), self.fc.weight.to(kind), self.fc.bias.to(kind)).float()
            return self.fc(x)

    class Flax(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(6, 50, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.fc(x)

    models = Torch(), Flax()
    transfer(*models)
    assert compare(*models, ROWS, causes=False).passed is (side == "flax")
    if side == "flax":
        models[1].fc.dtype = getattr(jnp, narrow)
        assert compare(*models, ROWS, causes=False).verdict is Verdict.ROUNDING


class TorchCounts(NN.Module):
    """A buffer that changes, and changes what the next step gives, if it is used."""

    def __init__(self, *, used, persistent):
        super().__init__()
        self.fc = NN.Linear(6, 5)
        self.register_buffer("seen", torch.ones(()), persistent=persistent)
        self.used = used

    def forward(self, x):
        y = self.fc(x) * (self.seen if self.used else 1.0)
        self.seen += 0.5
        return y


class FlaxCounts(nnx.Module):
    def __init__(self, *, name, step=0.5, used=False):
        self.fc = nnx.Linear(6, 5, rngs=nnx.Rngs(0))
        self.name, self.step, self.used = name, step, used
        if name:
            setattr(self, name, nnx.Variable(jnp.ones((), jnp.float32)))

    def __call__(self, x):
        count = getattr(self, self.name) if self.name else None
        y = self.fc(x) * (count[...] if self.used else 1.0)
        if count is not None:
            count[...] += self.step
        return y


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("mode", [{"mode": "train", "steps": 3}, {"mode": "eval"}], ids=["train", "eval"])
def test_buffers_that_change_are_compared(mode, persistent):
    def found(used=False, **keywords):
        ours, theirs = TorchCounts(used=used, persistent=persistent), FlaxCounts(used=used, **keywords)
        transfer(ours.fc, theirs.fc)
        return compare(ours, theirs, ROWS, causes=False, **mode)

    assert found(name="seen").passed
    assert found(name="seen", used=True).passed
    assert found(name="").verdict is Verdict.MISSING
    assert found(name="counted").verdict is Verdict.MISSING
    assert found(name="seen", step=0.25).verdict is Verdict.SEMANTIC


def test_outputs_of_every_step_are_compared():
    torch_model, flax_model = TorchCounts(used=True, persistent=True), FlaxCounts(name="seen", step=0.25, used=True)
    transfer(torch_model.fc, flax_model.fc)
    report = compare(torch_model, flax_model, ROWS, mode="train", steps=3, causes=False)
    assert [(row.path, row.verdict.passed) for row in report.outputs] == [
        ("output", True),
        ("output of step 2", False),
        ("output of step 3", False),
    ]


class TorchDrops(NN.Module):
    def __init__(self, rate):
        super().__init__()
        self.fc, self.drop, self.rate = NN.Linear(6, 50), NN.Dropout(rate), rate

    def forward(self, x):
        return NN.functional.dropout(self.drop(self.fc(x)), self.rate, self.training)


class FlaxDrops(nnx.Module):
    def __init__(self, rate, module_rate):
        rngs = nnx.Rngs(0)
        self.fc, self.drop, self.rate = nnx.Linear(6, 50, rngs=rngs), nnx.Dropout(module_rate, rngs=rngs), rate

    def __call__(self, x):
        return self.drop(self.fc(x))


def test_rates_are_read_and_compared_and_randomness_is_stopped_in_every_form():
    for rate, other, passes in ((0.1, 0.1, True), (0.1, 0.5, False), (0.1, 0.0, False)):
        ours, theirs = TorchDrops(rate), FlaxDrops(rate, other)
        transfer(ours, theirs)
        found = compare(ours, theirs, ROWS, mode="train", causes=False)
        assert found.passed is passes, str(found)
        assert found.outputs[0].verdict.passed
        assert compare(ours, theirs, ROWS, causes=False).passed
        assert (ours.drop.p, theirs.drop.rate) == (rate, other)
        if not passes:
            assert f"rate 0.1 in PyTorch, {other:g} in Flax" in str(found)


def test_attention_with_dropout_takes_the_path_of_training():
    ours = NN.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
    theirs = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=nnx.Rngs(0))
    transfer(ours, theirs)

    class Torch(NN.Module):
        def __init__(self):
            super().__init__()
            self.attention = ours

        def forward(self, x):
            return self.attention(x, x, x)[0]

    class Flax(nnx.Module):
        def __init__(self):
            self.attention = theirs

        def __call__(self, x):
            return self.attention(x)

    x = np.random.default_rng(0).normal(size=(2, 5, 8))
    for mode in ("eval", "train"):
        found = compare(Torch(), Flax(), x, axes="b t c", mode=mode, causes=False)
        assert found.passed, str(found)
        assert any("attention" in one for one in found.seen.not_seen)


class TorchTurned(NN.Module):
    def __init__(self):
        super().__init__()
        self.fc = NN.Linear(6, 5)

    def forward(self, x):
        return self.fc(x)


class FlaxTurned(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(6, 5, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.fc(x.swapaxes(0, 1)).swapaxes(0, 1)


def test_one_tensor_of_two_modules_lies_as_is_said_of_each():
    torch_model, flax_model = TorchTurned(), FlaxTurned()
    transfer(torch_model, flax_model)
    layouts = {"fc": "b t c -> t b c", "": "b t c -> b t c"}
    report = compare(torch_model, flax_model, ROWS.reshape(2, 2, 6).repeat(3, 1), axes="b t 6", layouts=layouts)
    assert report.passed, report


class TorchNarrow(NN.Module):
    """Makes float32 by name, which a weight in float64 does not take."""

    def __init__(self):
        super().__init__()
        self.fc = NN.Linear(6, 5)

    def forward(self, x):
        return self.fc(torch.sin(x.float() * torch.arange(6, dtype=torch.float32)))


class FlaxNarrow(nnx.Module):
    def __init__(self, shift):
        self.fc = nnx.Linear(6, 5, rngs=nnx.Rngs(0))
        self.shift = shift

    def __call__(self, x):
        return self.fc(jnp.sin(x.astype(jnp.float32) * jnp.arange(6, dtype=jnp.float32)) + self.shift)


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (1e-6, False)])
def test_a_model_that_does_not_run_in_float64_is_compared_with_casts_lifted(shift, same):
    torch_model, flax_model = TorchNarrow(), FlaxNarrow(shift)
    transfer(torch_model, flax_model)
    report = compare(torch_model, flax_model, ROWS, axes="b 6")
    assert report.passed is same
    assert not same or ("all casts lifted" in str(report) and report.outputs[0].difference < 1e-12)
