"""Whose names a file has, and which of its arrays are weights, where nothing in the file says it."""

from __future__ import annotations

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
import torch
from flax import nnx
from typer.testing import CliRunner

from einops_arch.architectures import ResNetConfig
from einops_arch.checkpoints import open_checkpoint
from einops_arch.cli.app import app
from einops_arch.errors import CheckpointError
from einops_arch.port import to_flax
from einops_arch.torch import ResNet

RUNNER = CliRunner()


def run(*arguments):
    """What a command prints on one line, and its exit code."""
    result = RUNNER.invoke(app, [*map(str, arguments)])
    return " ".join(result.output.split()), result.exit_code


def drawn(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def write(path, arrays):
    """Flat, as each library writes it."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        safetensors.flax.save_file({name: jnp.asarray(value) for name, value in arrays.items()}, path)
    return path


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_a_counter_of_batches_is_in_both_frameworks(ending, separator, tmp_path):
    torch.manual_seed(0)
    model = ResNet(ResNetConfig.tiny())
    for name, value in model.named_buffers():
        value.add_(3 if "tracked" in name else torch.rand_like(value))
    leaves = nnx.to_flat_state(nnx.state(to_flax(model)))
    source = write(
        tmp_path / f"x{ending}", {separator.join(map(str, path)): np.asarray(leaf[...]) for path, leaf in leaves}
    )
    for options in ([], ["--arch", "resnet", "--preset", "tiny"]):
        output, code = run("port", source, tmp_path / "x.pt", "--to", "torch", "--force", *options)
        assert code == 0, output
        assert "resnet, Flax to PyTorch" in output
        back = torch.load(tmp_path / "x.pt")
        assert back.keys() == model.state_dict().keys()
        assert all(torch.equal(value, back[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_a_weight_of_one_axis_beside_kernels_is_that_of_a_norm(ending, separator, tmp_path):
    leaves = {"norm.weight": drawn(4), "q.kernel": drawn(4, 7), "embed.embedding": drawn(9, 4)}
    arrays = {f"params.{name}".replace(".", separator): value for name, value in leaves.items()}
    source = write(tmp_path / f"x{ending}", {**arrays, f"opt_state{separator}mu": drawn(2)})
    output, code = run("port", source, tmp_path / "x.pt", "--to", "torch")
    assert code == 0, output
    assert "taken for Flax's by its leaves" in output
    assert "opt_state: left out: 1 array beside params, which was taken" in output
    state = {name: value.numpy() for name, value in torch.load(tmp_path / "x.pt").items()}
    assert state.keys() == {"norm.weight", "q.weight", "embed.weight"}
    assert (state["q.weight"] == leaves["q.kernel"].T).all()
    assert (state["embed.weight"] == leaves["embed.embedding"]).all()


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_the_state_of_nnx_has_a_part_more_for_each_value(ending, separator, tmp_path):
    leaves = {"layers.0.kernel": drawn(2, 3), "layers.0.bias": drawn(3)}
    arrays = {f"{name}.value".replace(".", separator): value for name, value in leaves.items()}
    output, code = run("port", write(tmp_path / f"x{ending}", arrays), tmp_path / "x.pt", "--to", "torch")
    assert code == 0, output
    state = {name: value.numpy() for name, value in torch.load(tmp_path / "x.pt").items()}
    assert state.keys() == {"layers.0.weight", "layers.0.bias"}
    assert (state["layers.0.weight"] == leaves["layers.0.kernel"].T).all()


def test_kernels_of_pytorch_stay(tmp_path):
    arrays = {"blur.kernel": drawn(3, 2), "fc.weight": drawn(2, 5)}
    source = write(tmp_path / "x.safetensors", arrays)
    with open_checkpoint(source) as reader:
        assert reader.metadata.get("framework", "torch") == "torch"
        assert {name: reader.info(name).shape for name in reader.names()} == {
            "blur.kernel": (3, 2),
            "fc.weight": (2, 5),
        }


def test_names_that_differ_in_slashes_only_are_refused(tmp_path):
    source = write(tmp_path / "x.safetensors", {"fc/kernel": drawn(3, 2), "fc.kernel": drawn(2, 3)})
    with pytest.raises(CheckpointError, match=r"x\.safetensors: two arrays have the same name but for slashes"):
        open_checkpoint(source)


def tree(*paths):
    """A tree of arrays of different sizes."""
    root: dict = {}
    for size, path in enumerate(paths, 2):
        node = root
        for part in path.split("/")[:-1]:
            node = node.setdefault(part, {})
        node[path.split("/")[-1]] = drawn(size)
    return root


def test_statistics_one_level_below_the_train_state_belong_to_the_weights(tmp_path):
    paths = ("params/bn/scale", "model_state/batch_stats/bn/mean", "opt_state/mu", "model_state/cache/x")
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes(tree(*paths)))
    with open_checkpoint(tmp_path / "x.msgpack") as reader:
        assert {name: reader.info(name).shape for name in reader.names()} == {"bn.scale": (2,), "bn.mean": (3,)}
        assert dict(reader.left_out) == {
            "opt_state": "1 array beside params, which was taken",
            "model_state": "1 array beside params, which was taken",
        }
    with open_checkpoint(tmp_path / "x.msgpack", key="params") as reader:
        assert set(reader.names()) == {"bn.scale"}


@pytest.mark.parametrize("other", ["batch_stats/bn/mean", "extra/batch_stats/bn/mean", "opt_state/batch_stats/bn/mean"])
def test_of_several_statistics_none_is_guessed(other, tmp_path):
    paths = ("params/bn/scale", "ema_state/batch_stats/bn/mean", "model_state/batch_stats/bn/mean", other)
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes(tree(*paths)))
    with open_checkpoint(tmp_path / "x.msgpack") as reader:
        expected = {"batch_stats/bn/mean": {"bn.mean": (5,)}, "opt_state/batch_stats/bn/mean": {"bn.mean": (4,)}}
        assert {name: reader.info(name).shape for name in reader.names()} == {
            "bn.scale": (2,),
            **expected.get(other, {}),
        }


def test_haiku_turns_kernels_that_lie_the_other_way(tmp_path):
    # Haiku's kernels have the outputs first, and jax turns them round.
    kernel, image = drawn(3, 2, 5, 7), drawn(1, 4, 6, 7)
    expected = jax.lax.conv_transpose(
        image, kernel, (2, 1), "VALID", dimension_numbers=("NHWC", "HWOI", "NHWC"), precision="highest"
    )
    weight = torch.from_numpy(kernel[::-1, ::-1].transpose(3, 2, 0, 1).copy())
    rise = torch.nn.functional.conv_transpose2d
    received = rise(torch.from_numpy(image).permute(0, 3, 1, 2), weight, stride=(2, 1)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(received.numpy(), expected, atol=1e-5)
    for bias in ({}, {"b": drawn(5)}):
        arrays = {"net/~/conv2_d_transpose": {"w": kernel, **bias}}
        (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes(arrays))
        output, code = run("port", tmp_path / "x.msgpack", tmp_path / "x.pt", "--to", "torch")
        assert code == 2
        assert "net.conv2_d_transpose.w: a kernel of shape (3, 2, 5, 7) of a transposed convolution" in output
        assert not (tmp_path / "x.pt").exists()
