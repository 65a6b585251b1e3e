"""Names of Flax to PyTorch's by the leaves alone: what the leaves cannot tell is refused by name, or said."""

from __future__ import annotations

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from typer.testing import CliRunner

from einops_arch.cli.app import app

RUNNER = CliRunner()


def port(*arguments):
    """What the command prints on one line, and its exit code."""
    result = RUNNER.invoke(app, ["port", *map(str, arguments)])
    return " ".join(result.output.split()), result.exit_code


def written(path, tree):
    path.write_bytes(flax.serialization.to_bytes(tree))
    return path


class Up(linen.Module):
    name_of_it: str | None = None
    flipped: bool = True

    @linen.compact
    def __call__(self, x):
        options = {"padding": "VALID", "strides": (2, 1), "transpose_kernel": not self.flipped}
        return linen.ConvTranspose(5, (3, 2), name=self.name_of_it, **options)(x)


def made(network, *shape):
    """The variables of a network, drawn, and what it makes of an input."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), variables)
    return variables, x, np.asarray(network.apply(variables, x))


def rise(state, x):
    layer = torch.nn.ConvTranspose2d(3, 5, (3, 2), stride=(2, 1)).double()
    layer.load_state_dict({name.rpartition(".")[2]: value for name, value in state.items()})
    return layer(torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()


class Rising(nnx.Module):
    def __init__(self):
        options = {"strides": (2, 1), "padding": "VALID", "rngs": nnx.Rngs(0)}
        self.ConvTranspose_0 = nnx.ConvTranspose(3, 5, (3, 2), **options)


def test_a_transposed_convolution_is_never_a_convolution(tmp_path, monkeypatch):
    variables, x, expected = made(Up(), 2, 4, 5, 3)
    source = written(tmp_path / "x.msgpack", variables)
    output, code = port(source, tmp_path / "x.pt", "--to", "torch")
    assert code == 2
    assert "ConvTranspose_0.kernel: a kernel of shape (3, 2, 3, 5) of a transposed convolution" in output
    assert "likely fix: --model" in output
    assert not (tmp_path / "x.pt").exists()
    # A layer of Flax says how its kernel lies.
    (tmp_path / "rising.py").write_text(f"from {__name__} import Rising as make\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    output, code = port(source, tmp_path / "x.pt", "--to", "torch", "--model", "rising:make()")
    assert code == 0, output
    np.testing.assert_allclose(rise(torch.load(tmp_path / "x.pt"), x), expected, rtol=0, atol=1e-12)


def test_a_bias_tells_the_kernel_that_is_not_flipped(tmp_path):
    variables, x, expected = made(Up(flipped=False), 2, 4, 5, 3)
    output, code = port(written(tmp_path / "x.msgpack", variables), tmp_path / "x.pt", "--to", "torch")
    assert code == 0, output
    np.testing.assert_allclose(rise(torch.load(tmp_path / "x.pt"), x), expected, rtol=0, atol=1e-12)


def test_that_a_name_does_not_tell_is_said(tmp_path):
    variables, _, _ = made(Up("up"), 2, 4, 5, 3)
    output, code = port(written(tmp_path / "x.msgpack", variables), tmp_path / "x.pt", "--to", "torch")
    assert code == 0
    assert "1 kernel of 3 to 5 axes read as of convolutions; one of a transposed convolution looks the same" in output


class Layer(linen.Module):
    @linen.compact
    def __call__(self, x, _):
        x = linen.Dense(4, name="fc")(x)
        return linen.BatchNorm(use_running_average=True, name="norm")(x), None


class Scanned(linen.Module):
    @linen.compact
    def __call__(self, x):
        axes = {"params": 0, "batch_stats": 0}
        return linen.scan(Layer, variable_axes=axes, split_rngs={"params": True}, length=3)(name="layers")(x, None)[0]


def test_scanned_layers_are_told_and_unstacked(tmp_path):
    variables, x, expected = made(Scanned(), 2, 4)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    expected = np.asarray(Scanned().apply(variables, x))
    source = written(tmp_path / "x.msgpack", variables)
    output, code = port(source, tmp_path / "x.pt", "--to", "torch")
    assert code == 2
    for name, shape in (("fc.kernel", (3, 4, 4)), ("norm.scale", (3, 4)), ("norm.mean", (3, 4)), ("norm.var", (3, 4))):
        kind = name.rpartition(".")[2]
        assert f"layers.{name}: a {kind} of shape {shape}" in output
    # As the message says it.
    packing = output.partition("such as '")[2].partition("'")[0]
    output, code = port(source, tmp_path / "x.pt", "--to", "torch", "--packing", packing)
    assert code == 0, output
    state = torch.load(tmp_path / "x.pt")
    layers = [torch.nn.ModuleDict({"fc": torch.nn.Linear(4, 4), "norm": torch.nn.BatchNorm1d(4)}) for _ in range(3)]
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList(layers)}).double().eval()
    model.load_state_dict(state)
    y = torch.from_numpy(np.array(x))
    for layer in model["layers"]:
        y = layer["norm"](layer["fc"](y))
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("leaves", "text"),
    [
        (
            {"qkv": {"kernel": (6, 3, 2, 4), "bias": (3, 2, 4)}},
            "qkv.kernel: a kernel of shape (6, 3, 2, 4) beside",
        ),
        (
            {"up": {"kernel": (3, 3, 5, 7), "bias": (4,)}},
            "up.kernel: a kernel of shape (3, 3, 5, 7) beside",
        ),
        ({"net/conv2_d_transpose": {"w": (3, 3, 5, 4), "b": (4,)}}, "conv2_d_transpose.w: a kernel of shape"),
        ({"deconv1": {"kernel": (3, 3, 5, 4)}}, "deconv1.kernel: a kernel of shape (3, 3, 5, 4) of a transposed"),
        ({"a": {"kernel": (2, 3, 3, 3, 5, 4)}}, "a.kernel: a kernel of 6 axes"),
    ],
)
def test_what_is_none_of_the_known_leaves_is_refused_by_name(leaves, text, tmp_path):
    tree = {"fc": {"kernel": (3, 5), "bias": (5,)}, **leaves}
    tree = jax.tree.map(np.ones, tree, is_leaf=lambda leaf: isinstance(leaf, tuple))
    output, code = port(written(tmp_path / "x.msgpack", tree), tmp_path / "x.pt", "--to", "torch")
    assert (code, text in output) == (2, True), output


def test_a_file_of_the_other_framework_is_no_likeness(tmp_path):
    torch.save(torch.nn.Linear(3, 5).state_dict(), tmp_path / "x.pt")
    source = written(tmp_path / "x.msgpack", {"kernel": np.ones((3, 5)), "bias": np.ones(5)})
    output, code = port(source, tmp_path / "y.pt", "--to", "torch", "--like", source)
    assert code == 2
    assert "expected names of PyTorch, as the destination has, received those of Flax" in output
    assert "problems" not in output
    assert port(source, tmp_path / "y.pt", "--to", "torch", "--like", tmp_path / "x.pt")[1] == 0


def test_norms_of_haiku_lose_the_axes_of_one(tmp_path):
    scale = np.arange(3.0)
    np.savez(
        tmp_path / "x.npz", **{"net/~/norm/scale": scale.reshape(1, 1, 1, 3), "net/~/norm/offset": np.ones((1, 3))}
    )
    output, code = port(tmp_path / "x.npz", tmp_path / "x.pt", "--to", "torch")
    assert code == 0, output
    state = torch.load(tmp_path / "x.pt")
    assert state["net.norm.weight"].tolist() == scale.tolist()
    assert state["net.norm.bias"].shape == (3,)
