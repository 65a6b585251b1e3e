"""Translate PyTorch models: held against PyTorch at sizes that were not traced, and traps that must not pass."""

from __future__ import annotations

import ast
import copy
import inspect
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from own_models import OWN_MODELS
from torch import Tensor

import einops_arch
from einops_arch.errors import ShapeError
from einops_arch.flax import load_state_dict, state_dict
from einops_arch.parity import randomize
from einops_arch.translation import TranslationError, register_op, translate
from einops_arch.translation.prove import Proof

GOLDEN = Path(__file__).parent / "golden" / "translate"


def _twin(model: torch.nn.Module, *inputs: Tensor, axes: object = None, **options: object):
    return translate(model, inputs, axes=axes, prove=False, **options)


def _compare(model: torch.nn.Module, translation, *inputs: Tensor, orders=None) -> None:
    """In float32, with random weights and both in evaluation mode."""
    model = copy.deepcopy(model)
    randomize(model)
    load_state_dict(translation.model, model.state_dict())
    translation.model.eval()
    expected = model.eval()(*inputs)
    given = [
        jnp.asarray(np.transpose(x.numpy(), orders[n]) if orders and orders[n] else x.numpy())
        for n, x in enumerate(inputs)
    ]
    received = translation.model(*given)
    pairs = zip(expected, received, strict=True) if isinstance(expected, tuple) else [(expected, received)]
    for tensor, array in pairs:
        left, right = tensor.detach().numpy(), np.asarray(array)
        # Images come out channels last.
        moved = right if left.shape == right.shape else np.moveaxis(right, -1, 1)
        assert left.shape == moved.shape
        np.testing.assert_allclose(moved, left, rtol=2e-4, atol=2e-4 * float(np.abs(left).max()))
        assert float(np.abs(left).std()) > 0


UNTRACED = {
    "unet": lambda: (torch.randn(3, 3, 40, 8),),
    "text_cnn": lambda: (torch.randint(0, 50, (5, 17)),),
    "transformer_encoder": lambda: (torch.randint(0, 40, (4, 13)), torch.ones(4, 13, dtype=torch.long)),
    "llama_block": lambda: (torch.randn(1, 12, 24),),
    "vae": lambda: (torch.randn(5, 1, 16, 16), torch.randn(5, 6)),
    "diffusion_unet": lambda: (torch.randn(4, 3, 24, 10), torch.randint(0, 100, (4,))),
    "generator": lambda: (torch.randn(7, 10),),
    "point_net": lambda: (torch.randn(6, 3, 23),),
    "graph_sage": lambda: (torch.randn(11, 6), torch.randint(0, 11, (2, 29))),
    "dueling_dqn": lambda: (torch.randn(6, 4, 40, 40),),
    "seq2seq": lambda: (torch.randint(0, 30, (5, 8)), torch.randint(0, 30, (5, 3))),
    "conv_gru": lambda: (torch.randn(5, 4, 3, 10, 7),),
}
LAST = {"unet": [(0, 2, 3, 1)], "diffusion_unet": [(0, 2, 3, 1), None]}


@pytest.mark.parametrize("name", sorted(OWN_MODELS))
def test_a_model_of_peoples_own_kind_agrees_at_sizes_that_were_not_traced(name: str) -> None:
    own = OWN_MODELS[name]
    model = own.make()
    translation = translate(own.make, own.inputs(), axes=own.axes, prove=False)
    golden = (GOLDEN / f"{name}.py").read_text(encoding="utf-8")
    assert translation.source == golden, "renew what is stored with: python tests/golden_translate.py"
    _compare(model, translation, *UNTRACED[name](), orders=LAST.get(name))
    back = state_dict(translation.model)
    assert set(back) == set(model.state_dict())


def test_twins_do_not_grow_beyond_their_originals() -> None:
    shares = {}
    for name, own in OWN_MODELS.items():
        classes = {type(module) for module in own.make().modules() if type(module).__module__ == "own_models"}
        original = sum(lines_of_code(inspect.getsource(kind)) for kind in classes)
        text = (GOLDEN / f"{name}.py").read_text(encoding="utf-8")
        shares[name] = lines_of_code(text[text.index("\nclass ") :]) / original
    # The aim is 1.0 and 1.5.
    assert np.median(list(shares.values())) <= 1.0, shares
    assert max(shares.values()) <= 1.25, shares


def lines_of_code(text: str) -> int:
    """Without blank lines, comments and docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    tree = ast.parse(text)
    skipped = {
        line
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = enumerate(text.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in skipped for n, line in lines)


def test_the_proof_covers_two_sizes_train_mode_gradients_and_the_own_weights() -> None:
    own = OWN_MODELS["text_cnn"]
    translation = einops_arch.translate(own.make, own.inputs(), axes=own.axes)
    assert translation.passed, translation.report
    reports = translation.report.reports
    assert len(reports) == 6
    for size in ("first size", "second size"):
        modes = {report.mode for name, report in reports.items() if name.startswith(size)}
        assert modes == {"eval", "train"}, size
    assert any(report.gradients for report in reports.values())
    assert any("not recorded" in name for name in reports)


def test_a_bare_layer_is_a_model() -> None:
    translation = einops_arch.translate(torch.nn.Linear(3, 5), torch.randn(2, 3), axes="b 3", name="Net")
    assert translation.passed, translation.report
    assert set(state_dict(translation.model)) == {"weight", "bias"}


def test_a_twin_that_differs_does_not_pass() -> None:
    class Erfcx(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.special.erfcx(self.fc(x))

    with pytest.raises(TranslationError, match=r"special_erfcx.*register_op"):
        translate(Erfcx(), torch.randn(2, 3), axes="b 3")
    register_op(torch.special.erfcx, "jnp.exp({})", replace=True)
    translation = translate(Erfcx(), torch.randn(2, 3), axes="b 3")
    assert not translation.passed
    assert translation.report.verdict != "same function"


class _Branch(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class _Item(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.max().item()


class _Numpy(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.sort(x.detach().numpy()))


class _ViewWrite(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        part = y.view(-1)[1:]
        part.mul_(3)
        return y


class _Keeps(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.last = self.last, x * 2
        return x + 1 if before is None else x + before


class _Counter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class _AlwaysDrops(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


class _Noise(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.bernoulli(x.sigmoid())


class _Selected(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0].sum() + x


class _LayerDrop(torch.nn.Module):
    """Layers that are left out now and then in training, as speech models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(5, 5) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if self.training and torch.rand([]) < 0.1:
                continue
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (_Branch(), "another way for other values"),
        (_Item(), "a number is taken out of a tensor"),
        (_Numpy(), "leaves torch for numpy"),
        (_ViewWrite(), "overwritten in place through another"),
        (_Keeps(), "keeps a tensor of the run"),
        (_Counter(), "overwritten in forward"),
        (_AlwaysDrops(), "does not follow the mode"),
        (_Noise(), "draws random numbers"),
        (_Selected(), "depends on values"),
        (_LayerDrop(), "another way by a random draw(.|\n)*layerdrop = 0"),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, torch.nn.Module) else "",
)
def test_what_depends_on_values_is_refused_with_its_place(model: torch.nn.Module, fact: str) -> None:
    with pytest.raises(TranslationError, match=fact) as caught:
        _twin(model, torch.randn(2, 5), axes="b n")
    if not isinstance(model, _Keeps):
        assert "test_parity_translate.py:" in str(caught.value)
    assert "other numbers without gradients" not in str(caught.value)


class _InPlace(torch.nn.Module):
    """A live variable, in-place writes on fresh tensors, and an alias."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(5, 5)
        self.act = torch.nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        z = y
        y = y + 1
        z = z * 3
        h = self.fc(z)
        h += y
        h[:, 0] = x[:, 1]
        h[:, 2:4] *= 2
        return self.act(h) - z


def test_writes_in_place_on_fresh_tensors_become_functional() -> None:
    model = _InPlace()
    translation = _twin(model, torch.randn(2, 5), axes="b 5")
    _compare(model, translation, torch.randn(7, 5))


class _TooLarge(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 8:
            return x[:, :8] + self.table
        return x + self.table[: x.shape[1]]


def test_a_question_about_a_size_is_asked_by_the_twin_too() -> None:
    model = _TooLarge()
    translation = _twin(model, torch.randn(2, 3, 4), axes="b t 4")
    _compare(model, translation, torch.randn(3, 7, 4))
    with pytest.raises(ShapeError, match=r"x.shape\[1\] <= 8"):
        translation.model(jnp.ones((2, 9, 4)))


class _Unrolled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            h = torch.tanh(self.cell(x[:, step]) + h)
        return h


def test_a_size_that_a_loop_was_unrolled_for_is_guarded() -> None:
    translation = _twin(_Unrolled(), torch.randn(2, 3, 4), axes="b t 4")
    assert "t" in translation.fixed
    _compare(_Unrolled(), translation, torch.randn(5, 3, 4))
    with pytest.raises(ShapeError, match=r"shape\[1\] == 3"):
        translation.model(jnp.ones((2, 4, 4)))


class _TwoModes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.extra = torch.nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.fc(x) + self.extra(x)
        return self.fc(x)


def test_a_module_that_does_something_else_in_training_does_so_in_the_twin() -> None:
    model = _TwoModes()
    translation = translate(model, torch.randn(2, 4), axes="b 4")
    assert translation.passed, translation.report
    load_state_dict(translation.model, model.state_dict())
    x = torch.randn(3, 4)
    translation.model.train()
    np.testing.assert_allclose(
        np.asarray(translation.model(jnp.asarray(x.numpy()))), model.train()(x).detach().numpy(), rtol=1e-5, atol=1e-5
    )


class _Functional(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.fc(x), 0.5, self.training)


def test_functional_dropout_is_a_layer_that_follows_the_mode() -> None:
    model = _Functional()
    translation = _twin(model, torch.randn(2, 4), axes="b 4")
    _compare(model, translation, torch.randn(3, 4))
    translation.model.train()
    x = jnp.ones((200, 4))
    zeros = float((translation.model(x) == 0).mean())
    assert 0.3 < zeros < 0.7


class _Shared(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.fc(x), self.fc.weight.t() * math.pi)


def test_a_weight_that_is_used_outside_of_its_layer_is_reached_by_its_path() -> None:
    model = _Shared()
    translation = _twin(model, torch.randn(2, 4), axes="b 4")
    _compare(model, translation, torch.randn(3, 4))
    assert isinstance(translation.model.fc.kernel, nnx.Param)


def test_a_convolutional_network_has_no_rearrange_but_at_its_border() -> None:
    own = OWN_MODELS["unet"]
    source = _twin(own.make(), own.inputs(), axes=own.axes).source
    assert "rearrange" not in source
    assert "for " not in source or "range(" in source


def test_a_list_of_layers_is_a_loop() -> None:
    own = OWN_MODELS["transformer_encoder"]
    translation = translate(own.make, own.inputs(), axes=own.axes, prove=False)
    assert "for layer in self.layers:" in translation.source
    assert translation.classes == {"SelfAttention": 3, "EncoderLayer": 3, "TransformerEncoder": 1}


def test_saving_gives_a_file_its_weights_and_a_test(tmp_path) -> None:
    own = OWN_MODELS["text_cnn"]
    model = own.make()
    translation = translate(model, own.inputs(), axes=own.axes, prove=False)
    translation.save(tmp_path / "twin.py", weights=tmp_path / "twin.safetensors", test=tmp_path / "test_twin.py")
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "twin.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())
    compile((tmp_path / "twin.py").read_text(), "twin.py", "exec")
    compile((tmp_path / "test_twin.py").read_text(), "test_twin.py", "exec")


class _Permute(torch.nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class _ConvNextBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = torch.nn.Sequential(
            torch.nn.Conv2d(6, 6, 3, padding=1, groups=6),
            _Permute(0, 2, 3, 1),
            torch.nn.LayerNorm(6),
            torch.nn.Linear(6, 8),
            torch.nn.GELU(),
            torch.nn.Linear(8, 6),
            _Permute(0, 3, 1, 2),
        )
        self.scale = torch.nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.block(x)


def test_permutes_of_a_block_that_is_channels_last_inside_vanish() -> None:
    translation = translate(_ConvNextBlock(), torch.randn(2, 6, 8, 10), axes="b c h w")
    assert translation.passed, translation.report
    assert translation.source.count("rearrange(") == 1  # of the parameter


def test_a_sequence_of_torch_layers_is_a_class_of_its_own() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    translation = _twin(model, torch.randn(2, 4), axes="b 4")
    assert list(translation.classes) == ["Model"]
    _compare(model, translation, torch.randn(5, 4))


def test_a_last_layer_that_starts_at_zero_leaves_the_proof_to_random_weights() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.Linear(6, 3))
    for parameter in model[2].parameters():
        torch.nn.init.zeros_(parameter)
    report = translate(model, (torch.randn(2, 4),)).report
    assert report.passed
    assert report.reports["own weights"].verdict == "no evidence"
    assert "own weights: no evidence: with these no output changes" in str(report)
    alone = Proof({"own weights": report.reports["own weights"]})
    assert (alone.passed, alone.verdict) == (False, "not proved")
