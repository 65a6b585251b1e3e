"""What users have: shards of Flax, an index to hold names against, files of other sizes, and what is said of each."""

from __future__ import annotations

import json

import flax.serialization
import numpy as np
import pytest
import safetensors.flax
import safetensors.torch
import torch
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from typer.testing import CliRunner

from einops_arch import flax as twins
from einops_arch.architectures import ConvNetConfig, ShuffleNetV2Config, ViTConfig
from einops_arch.checkpoints import open_checkpoint
from einops_arch.cli.app import app
from einops_arch.errors import CheckpointError, PortError
from einops_arch.port import port_checkpoint, transfer
from einops_arch.torch import ConvNet, ShuffleNetV2, ViT

RUNNER = CliRunner()


def run(*arguments):
    """What the command prints on one line, and its exit code."""
    result = RUNNER.invoke(app, [*map(str, arguments)])
    return " ".join(result.output.split()), result.exit_code


def variables():
    """Those of a convolution and a norm in Linen, with their collections."""
    rng = np.random.default_rng(0)
    arrays = {
        "params/conv/kernel": (3, 5, 2, 7),
        "params/norm/scale": (7,),
        "params/norm/bias": (7,),
        "batch_stats/norm/mean": (7,),
        "batch_stats/norm/var": (7,),
    }
    return {name: rng.standard_normal(shape) for name, shape in arrays.items()}


def shards(folder, arrays, *parts):
    """As transformers 4 wrote them: a tree in each file, and the paths with slashes in the index."""
    folder.mkdir()
    where = {}
    for number, names in enumerate(parts):
        file = f"flax_model-{number + 1:05d}-of-{len(parts):05d}.msgpack"
        tree = unflatten_dict({name: arrays[name] for name in names}, sep="/")
        (folder / file).write_bytes(flax.serialization.to_bytes(tree))
        where |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(array.nbytes for array in arrays.values())}, "weight_map": where}
    (folder / "flax_model.msgpack.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "some"}', encoding="utf-8")
    return folder


@pytest.fixture
def sharded(tmp_path):
    """A collection goes through two shards, and one shard has a collection alone."""
    arrays = variables()
    names = list(arrays)
    return shards(tmp_path / "hub", arrays, names[:2], names[2:4], names[4:]), arrays


def test_the_shards_of_a_flax_model_are_one_tree(sharded, tmp_path):
    folder, arrays = sharded
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes(unflatten_dict(arrays, sep="/")))
    for path in (folder, folder / "flax_model.msgpack.index.json"):
        output, code = run("port", path, tmp_path / "x.safetensors", "--to", "torch", "--check", "--force")
        assert code == 0, output
        assert "Flax to PyTorch" in output
        assert run("port", tmp_path / "x.msgpack", tmp_path / "whole.safetensors", "--to", "torch", "--force")[1] == 0
        received, expected = (safetensors.torch.load_file(tmp_path / f"{n}.safetensors") for n in ("x", "whole"))
        assert set(received) == {
            "conv.weight",
            *(f"norm.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
        }
        assert all(torch.equal(value, expected[name]) for name, value in received.items())
        assert (received["conv.weight"].numpy() == arrays["params/conv/kernel"].transpose(3, 2, 0, 1)).all()


def test_an_index_of_flax_and_its_shards_must_agree(sharded):
    folder, arrays = sharded
    path = folder / "flax_model.msgpack.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    first, last = list(dict.fromkeys(index["weight_map"].values()))[::2]
    moved = {**index["weight_map"], "params/conv/kernel": last}
    more = {**index["weight_map"], "params/other/kernel": first}
    less = {name: file for name, file in index["weight_map"].items() if name != "params/norm/scale"}
    outside = {**index["weight_map"], "params/conv/kernel": "../x.msgpack"}
    for changed, text in (
        (moved, f"'params/conv/kernel' is not in .*{last}|conv/kernel.* is not in the index"),
        (more, f"params/other/kernel.* is not in {first}"),
        (less, "params/norm/scale.* is not in the index"),
        (outside, "not in its folder"),
    ):
        path.write_text(json.dumps({"weight_map": changed}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=text):
            open_checkpoint(folder)
    assert flatten_dict(unflatten_dict(arrays, sep="/"), sep="/").keys() == arrays.keys()


def test_names_of_flax_are_held_against_an_index_of_pytorch(sharded, tmp_path):
    folder, _ = sharded
    names = ["conv.weight", *(f"norm.{n}" for n in ("weight", "bias", "running_mean", "running_var"))]
    index = tmp_path / "pytorch_model.bin.index.json"
    counters = ["norm.num_batches_tracked"]
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names + counters, "gone.bin")}), encoding="utf-8")
    output, code = run("port", folder, tmp_path / "x.safetensors", "--to", "torch", "--like", index)
    assert code == 0, output
    assert "only names were held against" in output
    assert "1 counter of batches" in output
    index.write_text(json.dumps({"weight_map": dict.fromkeys([*names[1:], "fc.weight"], "gone")}), encoding="utf-8")
    output, code = run("port", folder, tmp_path / "y.safetensors", "--to", "torch", "--like", index)
    assert code == 2
    assert "fc.weight: missing" in output
    assert "conv.weight: not in the index" in output
    assert not (tmp_path / "y.safetensors").exists()
    # A whole checkpoint tells the shapes as well, and what is tied.
    state = {name: torch.ones(size) for name, size in zip(names, [(7, 2, 3, 5), *[(7,)] * 4], strict=True)}
    torch.save(
        {**state, "again.bias": state["norm.bias"], "norm.num_batches_tracked": torch.tensor(3)}, tmp_path / "z.pt"
    )
    notes = port_checkpoint(folder, tmp_path / "z.safetensors", "torch", like=tmp_path / "z.pt")
    assert any("again.bias: tied to norm.bias" in line for line in notes)
    assert any("1 counter of batches" in line for line in notes)
    torch.save({**state, "conv.weight": torch.ones(7, 2, 5, 3)}, tmp_path / "w.pt")
    with pytest.raises(PortError, match=r"conv\.weight: expected shape \(7, 2, 5, 3\), received \(7, 2, 3, 5\)"):
        port_checkpoint(folder, tmp_path / "w.safetensors", "torch", like=tmp_path / "w.pt")


def test_a_file_that_says_nothing_is_told_by_its_kernels(tmp_path):
    kernel = np.random.default_rng(0).standard_normal((3, 2)).astype("float32")
    cases = {
        "silent": (None, "taken for Flax's by its leaves"),
        "says": ({"framework": "flax"}, "held against no network"),
        "format": ({"format": "flax"}, "held against no network"),
    }
    for name, (metadata, text) in cases.items():
        safetensors.flax.save_file({"fc.kernel": kernel}, tmp_path / f"{name}.safetensors", metadata)
        output, code = run("port", tmp_path / f"{name}.safetensors", tmp_path / f"{name}.hf", "--to", "torch")
        assert code == 0, output
        assert text in output
        assert ("by its leaves" in output) == (name == "silent")
        weight = safetensors.torch.load_file(tmp_path / f"{name}.hf/model.safetensors")["fc.weight"]
        assert (weight.numpy() == kernel.T).all()
    safetensors.torch.save_file({"fc.kernel": torch.ones(3, 2)}, tmp_path / "x.safetensors", {"format": "pt"})
    run("port", tmp_path / "x.safetensors", tmp_path / "x.hf", "--to", "torch")
    assert set(safetensors.torch.load_file(tmp_path / "x.hf/model.safetensors")) == {"fc.kernel"}


@pytest.fixture(scope="module")
def convnet():
    torch.manual_seed(0)
    return ConvNet(ConvNetConfig.tiny()).state_dict()


@pytest.mark.parametrize("key", ["model_ema", "state_dict_ema", "params_ema", "g_ema", "ema"])
def test_weights_of_which_there_is_an_average_only(key, convnet, tmp_path):
    torch.save({key: convnet, "epoch": 3}, tmp_path / "x.pt")
    port_checkpoint(tmp_path / "x.pt", tmp_path / "x.safetensors", "torch", config=ConvNetConfig.tiny())
    received = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(value, convnet[name]) for name, value in received.items())
    assert set(received) == set(convnet)


def test_inspect_needs_no_counters_of_batches(tmp_path):
    state = ShuffleNetV2(ShuffleNetV2Config.tiny()).state_dict()
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, tmp_path / "x.pt")
    assert "fits: shufflenet_v2 --preset tiny" in run("inspect", tmp_path / "x.pt")[0]


def test_a_vision_transformer_as_its_authors_wrote_it_in_numpy(tmp_path):
    """The names of the original weights, whose attention has axes for the heads."""
    rng = np.random.default_rng(0)
    block = "Transformer/encoderblock_0"
    attention = f"{block}/MultiHeadDotProductAttention_1"
    arrays = {
        f"{attention}/query/kernel": rng.standard_normal((6, 2, 3)),
        f"{attention}/query/bias": rng.standard_normal((2, 3)),
        f"{attention}/out/kernel": rng.standard_normal((2, 3, 6)),
        f"{block}/MlpBlock_3/Dense_0/kernel": rng.standard_normal((6, 10)),
        f"{block}/LayerNorm_0/scale": rng.standard_normal(6),
        "Transformer/posembed_input/pos_embedding": rng.standard_normal((1, 5, 6)),
        "embedding/kernel": rng.standard_normal((4, 4, 3, 6)),
        "cls": rng.standard_normal((1, 1, 6)),
    }
    np.savez(tmp_path / "ViT.npz", **arrays)
    output, code = run("port", tmp_path / "ViT.npz", tmp_path / "x.safetensors", "--to", "torch", "--check")
    assert code == 0, output
    received = {name: value.numpy() for name, value in safetensors.torch.load_file(tmp_path / "x.safetensors").items()}
    heads = attention.replace("/", ".")
    assert (received[f"{heads}.query.weight"] == arrays[f"{attention}/query/kernel"].reshape(6, 6).T).all()
    assert (received[f"{heads}.query.bias"] == arrays[f"{attention}/query/bias"].ravel()).all()
    assert (received[f"{heads}.out.weight"] == arrays[f"{attention}/out/kernel"].reshape(6, 6).T).all()
    assert (received["embedding.weight"] == arrays["embedding/kernel"].transpose(3, 2, 0, 1)).all()
    assert (received["cls"] == arrays["cls"]).all()
    assert len(received) == len(arrays)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "learner.net."])
def test_inspect_sees_through_a_wrapper(prefix, convnet, tmp_path):
    torch.save({prefix + name: value for name, value in convnet.items()}, tmp_path / "x.pt")
    output, code = run("inspect", tmp_path / "x.pt")
    assert code == 0
    assert "fits: convnet --preset tiny" in output
    assert "taken off 8 names" in output


def test_another_published_size_is_named_in_one_line(convnet, tmp_path):
    torch.save(convnet, tmp_path / "x.pt")
    size = ["--to", "flax", "--arch", "convnet", "--preset", "mnist"]
    lines = RUNNER.invoke(app, ["port", str(tmp_path / "x.pt"), str(tmp_path / "x.hf"), *size]).output.splitlines()
    assert len(lines) == 2, lines
    assert "likely fix: --arch convnet --preset tiny" in lines[1]
    with pytest.raises(PortError, match="those of convnet --preset tiny;"):
        transfer(convnet, twins.ConvNet(ConvNetConfig.mnist(), rngs=nnx.Rngs(0)))


def test_the_size_of_images_is_told_by_the_patches(tmp_path):
    config = ViTConfig.tiny()
    state = ViT(config).state_dict()
    tokens, features = 6 * 6 + 1, config.embedding
    torch.save({**state, "pos_embed": torch.randn(1, tokens, features)}, tmp_path / "x.pt")
    output, code = run("port", tmp_path / "x.pt", tmp_path / "x.safetensors", "--to", "flax")
    assert code == 0, output
    side = 6 * config.patch_size
    assert f"image_size=({side}, {side})" in output
    output, code = run(
        "port", tmp_path / "x.pt", tmp_path / "y.hf", "--to", "flax", "--arch", "vit", "--preset", "tiny"
    )
    assert code == 2
    assert "pos_embed: expected shape" in output
    assert f"a config with image_size=({side}, {side})" in output


def test_an_adapter_alone_is_told_from_weights(tmp_path):
    parts = {f"base_model.model.fc.lora_{n}.weight": torch.ones(size) for n, size in (("A", (2, 3)), ("B", (5, 2)))}
    torch.save(parts, tmp_path / "x.pt")
    for command in (["port", tmp_path / "x.pt", tmp_path / "y.hf", "--to", "flax"], ["inspect", tmp_path / "x.pt"]):
        assert "2 names of a LoRA adapter" in run(*command)[0]
        assert "--merge-lora" in run(*command)[0]


ODD = {
    "sparse": (lambda w: w.to_sparse(), r"sparse_coo; likely fix: \.to_dense"),
    "quantized": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), r"quantized .*\.dequantize"),
    "without values": (lambda w: w.to("meta"), "on the meta device"),
    "nested": (lambda w: torch.nested.nested_tensor([w[0], w[1, :3]]), "a nested tensor"),
}


@pytest.mark.filterwarnings("ignore:.*(quantiz|nested tensors).*")
@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_that_is_no_plain_array_is_refused_by_its_name(kind, convnet):
    make, text = ODD[kind]
    target = twins.ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))
    state = {**convnet, "fc1.weight": make(convnet["fc1.weight"])}
    with pytest.raises(PortError, match=rf"fc1\.weight: expected a plain tensor, received .*{text}"):
        transfer(state, target)


HINTS = {
    "two beginnings": (lambda n: f"net.{n}" if n.startswith("conv") else f"head.{n}", r"^(net|head)\.", ""),
    "another word for the leaf": (lambda n: n.replace("weight", "gamma"), r"\bgamma\b", "weight"),
    "another word within": (lambda n: n.replace("fc1", "hidden"), r"\bhidden\b", "fc1"),
}


@pytest.mark.parametrize("case", HINTS)
def test_one_line_says_what_all_names_have(case, convnet):
    change, pattern, replacement = HINTS[case]
    state = {change(name): value for name, value in convnet.items()}
    target = twins.ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))
    with pytest.raises(PortError) as caught:
        transfer(state, target)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2, lines
    assert f"--rename '{pattern}={replacement}'" in lines[1]
    transfer(state, target, rename=[(pattern, replacement)])
    assert (np.asarray(target.fc1.bias) == convnet["fc1.bias"].numpy()).all()


def test_nothing_is_suggested_that_does_not_fit(convnet):
    target = twins.ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))
    with pytest.raises(PortError) as caught:
        transfer({f"x{n}.{m}": value for n, m in enumerate("abcdefgh") for value in [torch.ones(2, n + 1)]}, target)
    assert "likely fix" not in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_two_names_of_one_tensor_may_become_one(tmp_path):
    weight, other = torch.ones(2, 3), torch.zeros(2, 3)
    target = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False))
    rename = [("^(a|b)$", "0.weight")]
    transfer({"a": weight, "b": weight}, target, rename=rename)
    assert torch.equal(target[0].weight, weight)
    with pytest.raises(PortError, match=r"0\.weight: the new name of a and of b"):
        transfer({"a": weight, "b": other}, target, rename=rename)
    torch.save({"a": weight, "b": weight}, tmp_path / "x.pt")
    port_checkpoint(tmp_path / "x.pt", tmp_path / "x.safetensors", "torch", rename=rename)
    assert set(safetensors.torch.load_file(tmp_path / "x.safetensors")) == {"0.weight"}
    torch.save({"a": weight, "b": other}, tmp_path / "y.pt")
    with pytest.raises(PortError, match=r"0\.weight: the new name of a and of b"):
        port_checkpoint(tmp_path / "y.pt", tmp_path / "y.safetensors", "torch", rename=rename)


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens, self.lm_head = torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.embed_tokens.weight


class TiedTwin(nnx.Module):
    def __init__(self, rngs):
        self.embed_tokens = nnx.Embed(7, 4, rngs=rngs)
        self.lm_head = twins.TiedLinear(self.embed_tokens, use_bias=False, rngs=rngs)


def test_one_name_of_a_tied_layer_is_enough_and_two_must_agree(caplog):
    weight = torch.randn(7, 4)
    for target in (Tied(), TiedTwin(nnx.Rngs(0))):
        transfer({"embed_tokens.weight": weight}, target)
        transfer(target, source := Tied())
        assert torch.equal(source.lm_head.weight, weight)
        with pytest.raises(PortError, match=r"lm_head\.weight: expected the same values as embed_tokens\.weight"):
            transfer({"embed_tokens.weight": weight, "lm_head.weight": weight + 1}, target)
    assert caplog.text == ""
