"""From the files of users to a model: prefixes, packing, folding, adapters, Linen's names, sizes by shapes."""

from __future__ import annotations

import json

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import linen, nnx
from torch import nn
from torch.nn.utils import parametrizations
from typer.testing import CliRunner

from einops_arch.architectures import ConvNetConfig, LanguageModelConfig
from einops_arch.checkpoints.reader import MemoryReader
from einops_arch.cli import main
from einops_arch.cli.app import app
from einops_arch.errors import PatternError, PortError
from einops_arch.layouts.packing import Packing
from einops_arch.port import port_checkpoint, transfer
from einops_arch.port.convert import Port
from einops_arch.port.ties import same_arrays
from einops_arch.torch import ConvNet, LanguageModel

RUNNER = CliRunner()


def port(*arguments):
    """What the command prints, and its exit code."""
    result = RUNNER.invoke(app, ["port", *map(str, arguments)])
    return result.output, result.exit_code


def load(path):
    return safetensors.torch.load_file(path)


@pytest.fixture(scope="module")
def convnet():
    torch.manual_seed(0)
    return ConvNet(ConvNetConfig.tiny()).state_dict()


PREFIXES = {
    "DataParallel": lambda name: f"module.{name}",
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "Lightning": lambda name: f"model.{name}",
    "a Lightning module that was compiled": lambda name: f"model._orig_mod.{name}",
    "FSDP": lambda name: "_fsdp_wrapped_module." + name.replace(".", "._fsdp_wrapped_module."),
    "checkpointing": lambda name: name.replace("conv1.", "conv1._checkpoint_wrapped_module."),
    "somebody": lambda name: f"learner.net.{name}",
}


@pytest.mark.parametrize("wrapper", PREFIXES)
@pytest.mark.parametrize("to", ["flax", "torch"])
def test_the_prefixes_of_wrappers_are_taken_off_and_said(wrapper, to, convnet, tmp_path):
    wrapped = {PREFIXES[wrapper](name): value for name, value in convnet.items()}
    torch.save(wrapped, tmp_path / "x.pt")
    torch.save(convnet, tmp_path / "plain.pt")
    size = ["--arch", "convnet", "--preset", "tiny"]
    output, code = port(tmp_path / "x.pt", tmp_path / "x.safetensors", "--to", to, *size)
    assert code == 0, output
    assert "taken off" in output
    assert port(tmp_path / "plain.pt", tmp_path / "plain.safetensors", "--to", to, *size)[1] == 0
    received, expected = load(tmp_path / "x.safetensors"), load(tmp_path / "plain.safetensors")
    assert set(received) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in received.items())


def test_an_average_of_weights_as_pytorch_keeps_it(convnet, tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(ConvNet(ConvNetConfig.tiny()))
    averaged.module.load_state_dict(convnet)
    torch.save(averaged.state_dict(), tmp_path / "x.pt")
    output, code = port(tmp_path / "x.pt", tmp_path / "x.hf", "--to", "torch", "--arch", "convnet", "--preset", "tiny")
    assert code == 0, output
    assert "n_averaged: left out: a counter of the wrapper" in output
    assert all(torch.equal(value, convnet[n]) for n, value in load(tmp_path / "x.hf/model.safetensors").items())


def test_a_prefix_stays_where_the_rest_does_not_fit_and_is_said_once(convnet, tmp_path):
    wrapped = {f"module.{name}": value for name, value in convnet.items() if name != "conv1.bias"}
    torch.save(wrapped, tmp_path / "x.pt")
    output, code = port(tmp_path / "x.pt", tmp_path / "y.hf", "--to", "flax", "--arch", "convnet", "--preset", "tiny")
    assert code == 2
    lines = output.replace("\n  ", "\n").splitlines()
    assert len(lines) == 3, output
    assert "all 7 names begin with 'module.'" in output
    assert r"--rename '^module\.='" in output
    assert "conv1.bias" in lines[-1]


def test_transfer_takes_prefixes_off_renames_and_ignores(convnet, caplog):
    model = ConvNet(ConvNetConfig.tiny())
    transfer({f"module.{name}": value for name, value in convnet.items()}, model)
    assert "module. was taken off" in caplog.text
    assert all(torch.equal(value, convnet[name]) for name, value in model.state_dict().items())
    other = ConvNet(ConvNetConfig.tiny())
    foreign = {f"features.{n}" if n.startswith("conv") else f"head.{n}": value for n, value in convnet.items()}
    foreign["head.position_ids"] = torch.arange(3)
    transfer(foreign, other, rename=[(r"^head\.", "")], paths={"features": ""}, ignore=["position_ids"])
    assert all(torch.equal(value, convnet[name]) for name, value in other.state_dict().items())
    with pytest.raises(PortError, match="ignore nothing: matches none of the 9 names"):
        transfer(foreign, other, rename=[(r"^head\.", "")], paths={"features": ""}, ignore=["nothing"])
    with pytest.raises(PortError, match="paths: the source has nothing at 'body'"):
        transfer(foreign, other, paths={"body": ""})
    with pytest.raises(PortError, match=r"conv1: the new name of conv1\.weight and of conv1\.bias"):
        transfer(convnet, other, rename=[(r"^conv1\..*", "conv1")])


class Apart(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(5, 6), nn.Linear(5, 4), nn.Linear(5, 4)


class Fused(nnx.Module):
    def __init__(self, rngs):
        self.qkv = nnx.Linear(5, 14, rngs=rngs)


FUSE = (
    "q_proj.weight k_proj.weight v_proj.weight -> qkv.weight: q i, k i, v i -> (q + k + v) i",
    "q_proj.bias k_proj.bias v_proj.bias -> qkv.bias: q, k, v -> (q + k + v)",
)


def test_packing_from_model_to_model_and_back():
    torch.manual_seed(0)
    apart, fused = Apart(), Fused(nnx.Rngs(0))
    transfer(apart, fused, packing=FUSE)
    layers = (apart.q_proj, apart.k_proj, apart.v_proj)
    expected = torch.cat([layer.weight for layer in layers]).detach().numpy()
    assert (expected == fused.qkv.kernel[...].T).all()
    other = Apart()
    transfer(fused, other, packing=[str(Packing.parse(text).inverse()) for text in FUSE])
    assert all(torch.equal(value, apart.state_dict()[name]) for name, value in other.state_dict().items())
    with pytest.raises(PortError, match=r"v_proj\.weight: missing, and packed with q_proj\.weight"):
        transfer({n: v for n, v in apart.state_dict().items() if n != "v_proj.weight"}, fused, packing=FUSE[:1])


def test_packing_in_the_command(tmp_path):
    torch.manual_seed(0)
    apart = Apart()
    torch.save(apart.state_dict(), tmp_path / "x.pt")
    packing = [part for text in FUSE for part in ("--packing", text)]
    output, code = port(tmp_path / "x.pt", tmp_path / "fused.safetensors", "--to", "torch", *packing, "--check")
    assert code == 0, output
    assert "qkv.weight: packed from q_proj.weight, k_proj.weight, v_proj.weight" in output
    fused = load(tmp_path / "fused.safetensors")
    assert torch.equal(fused["qkv.bias"], torch.cat([apart.q_proj.bias, apart.k_proj.bias, apart.v_proj.bias]))
    back = [part for text in FUSE for part in ("--packing", f"{Packing.parse(text).inverse()}, q=6, k=4")]
    assert port(tmp_path / "fused.safetensors", tmp_path / "back.pt", "--to", "torch", *back)[1] == 0
    state = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(value, apart.state_dict()[name]) for name, value in state.items())
    output, code = port(
        tmp_path / "fused.safetensors",
        tmp_path / "no.pt",
        "--to",
        "torch",
        *back[:1],
        str(Packing.parse(FUSE[0]).inverse()),
    )
    assert code == 2
    assert "the shapes do not say the size of q" in output.replace("\n", " ")


PACKINGS = {
    "grouped heads, one block for each group": (
        "*.q *.k *.v -> *.wqkv: (g r d) i, (g a d) i, (g b d) i -> (g (r + a + b) d) i, g=2, r=3, a=1, b=1",
        {"l.q": (24, 5), "l.k": (8, 5), "l.v": (8, 5)},
        lambda s: {"l.wqkv": np.concatenate([s[f"l.{n}"].reshape(2, -1, 4, 5) for n in "qkv"], axis=1).reshape(40, 5)},
    ),
    "rotary pairs to halves": (
        "q -> q: (h half two) i -> (h two half) i, h=3, two=2",
        {"q": (12, 2)},
        lambda s: {"q": s["q"].reshape(3, 2, 2, 2).swapaxes(1, 2).reshape(12, 2)},
    ),
    "layers in one": (
        "layers.*.fc.* -> layers.fc.*: ... -> l ...",
        {f"layers.{n}.fc.{leaf}": size for n in range(11) for leaf, size in (("weight", (3, 4)), ("bias", (3,)))},
        lambda s: {
            f"layers.fc.{leaf}": np.stack([s[f"layers.{n}.fc.{leaf}"] for n in range(11)])
            for leaf in ("weight", "bias")
        },
    ),
    "layers in one, and packed": (
        "h.{}.q h.{}.k -> h.qk: q i, k i -> l (q + k) i",
        {f"h.{n}.{leaf}": (size, 2) for n in range(3) for leaf, size in (("q", 3), ("k", 4))},
        lambda s: {"h.qk": np.stack([np.concatenate([s[f"h.{n}.q"], s[f"h.{n}.k"]]) for n in range(3)])},
    ),
    "heads apart": ("w -> w: (h k) i -> h k i, h=3", {"w": (12, 5)}, lambda s: {"w": s["w"].reshape(3, 4, 5)}),
    "an axis of one": ("w -> w: o i -> o 1 i 1", {"w": (3, 5)}, lambda s: {"w": s["w"][:, None, :, None]}),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_what_a_packing_says_and_its_way_back(name):
    text, shapes, reference = PACKINGS[name]
    rng = np.random.default_rng(0)
    state = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
    packing = Packing.parse(text)
    made, back = {}, {}
    for group in packing.match(state)[0]:
        made |= group.make(state)
    expected = reference(state)
    assert set(made) == set(expected)
    assert all(np.array_equal(made[key], value) for key, value in expected.items())
    # The target's shapes say how the way back divides what was united.
    for group in packing.inverse().match(made)[0]:
        back |= group.make(made, shapes)
    assert set(back) == set(state)
    assert all(np.array_equal(back[key], value) for key, value in state.items())
    assert Packing.parse(str(packing)) == packing
    assert packing.inverse().inverse() == packing


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a -> b: x y -> x", "the same tensors on both sides"),
        ("a: i", "expected 'names -> names"),
        ("a b -> c: i, j -> (i + k)", "the same tensors"),
        ("a b -> c: i -> i", "a pattern for each of 2 names, received 1"),
        ("a.* -> b.*.*.*", "one wildcard more"),
        ("a.* -> b: i -> i", "one axis more for the layers, received none"),
        ("a -> b: (x -> x", "not closed"),
        ("a -> b: x x -> x", "axis 'x' is there twice"),
        ("a -> b: x? -> x", "received '\\?'"),
    ],
)
def test_packings_that_do_not_parse(text, reason):
    with pytest.raises(PatternError, match=reason):
        Packing.parse(text)


def test_layers_that_are_missing_or_unlike():
    packing = Packing.parse("layers.*.w -> layers.w: i -> l i")
    _, problems = packing.match(["layers.0.w", "layers.2.w"])
    assert "expected layers 0, 1, ..., received 0, 2" in problems[0]
    with pytest.raises(ValueError, match="one shape of all layers"):
        packing.match(["layers.0.w", "layers.1.w"])[0][0].shapes({"layers.0.w": (2,), "layers.1.w": (3,)})


def normed(old):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(2, 3, 5), nn.ConvTranspose2d(3, 4, (2, 5)), nn.Linear(3, 7), nn.Linear(4, 4))
    if old:
        nn.utils.weight_norm(net[0])
        nn.utils.weight_norm(net[2], dim=None)
        nn.utils.spectral_norm(net[1], n_power_iterations=20)
        nn.utils.spectral_norm(net[3], n_power_iterations=20)
    else:
        parametrizations.weight_norm(net[0])
        parametrizations.weight_norm(net[2], dim=1)
        parametrizations.spectral_norm(net[1], n_power_iterations=20)
        parametrizations.spectral_norm(net[3], n_power_iterations=20)
    net.train()
    net[1](torch.zeros(1, 3, 4, 4)), net[3](torch.zeros(1, 4))
    return net.eval()


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("old", [True, False])
def test_computed_weights_are_folded_when_asked(old, tmp_path):
    net = normed(old).double()
    with torch.no_grad():
        net[0](torch.zeros(1, 2, 6, dtype=torch.double)), net[1](torch.zeros(1, 3, 4, 4, dtype=torch.double))
        net[2](torch.zeros(1, 3, dtype=torch.double)), net[3](torch.zeros(1, 4, dtype=torch.double))
    torch.save(net.state_dict(), tmp_path / "x.pt")
    output, code = port(tmp_path / "x.pt", tmp_path / "x.safetensors", "--to", "torch", "--fold")
    assert code == 0, output
    folded = load(tmp_path / "x.safetensors")
    assert set(folded) == {f"{n}.{leaf}" for n in range(4) for leaf in ("weight", "bias")}
    for number in range(4):
        assert torch.allclose(folded[f"{number}.weight"], net[number].weight, rtol=1e-12, atol=1e-14), number
    assert "0.weight: weight norm folded into one weight, changed by at most" in output
    assert "1.weight: spectral norm folded into one weight, changed by at most" in output
    # Nothing is folded unasked.
    assert port(tmp_path / "x.pt", tmp_path / "same.safetensors", "--to", "torch")[1] == 0
    assert set(load(tmp_path / "same.safetensors")) == set(net.state_dict())


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_what_cannot_be_folded_is_said(tmp_path):
    torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / "plain.pt")
    output, code = port(tmp_path / "plain.pt", tmp_path / "y.safetensors", "--to", "torch", "--fold")
    assert (code, "no weight has a weight norm" in output) == (2, True)
    net = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 7)))
    with pytest.raises(PortError, match=r"2 names such as 0.weight_g are parts of .*--fold"):
        transfer(net, nn.Sequential(nn.Linear(3, 7)))


def adapter(folder, names, config, **options):
    torch.manual_seed(2)
    rank = 2
    tensors = {}
    for name, (down, up) in names.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, *down)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(up, rank, *[1] * (len(down) - 1))
    tensors |= options.get("more", {})
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tensors, folder / "adapter_model.safetensors"


def test_an_adapter_is_merged(tmp_path):
    torch.manual_seed(0)
    net = nn.ModuleDict({"fc": nn.Linear(3, 5), "conv": nn.Conv2d(4, 6, (3, 5)), "head": nn.Linear(2, 2)})
    torch.save(net.state_dict(), tmp_path / "x.pt")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "alpha_pattern": {"conv": 3}, "lora_dropout": 0.1}
    head = {"base_model.model.head.weight": torch.full((2, 2), 7.0)}
    parts, path = adapter(tmp_path, {"fc": ((3,), 5), "conv": ((4, 3, 5), 6)}, config, more=head)
    output, code = port(tmp_path / "x.pt", tmp_path / "y.safetensors", "--to", "torch", "--merge-lora", path, "--check")
    assert code == 0, output
    merged = load(tmp_path / "y.safetensors")
    a, b = (parts[f"base_model.model.fc.lora_{side}.weight"].double() for side in "AB")
    assert torch.allclose(merged["fc.weight"].double(), net["fc"].weight.double() + 3.0 * b @ a, atol=1e-6)
    a, b = (parts[f"base_model.model.conv.lora_{side}.weight"] for side in "AB")
    # As PEFT computes it: one convolution behind the other.
    x = torch.randn(2, 4, 7, 9)
    behind = net["conv"](x) + 1.5 * nn.functional.conv2d(nn.functional.conv2d(x, a), b)
    assert torch.allclose(nn.functional.conv2d(x, merged["conv.weight"], net["conv"].bias), behind, atol=1e-4)
    assert torch.equal(merged["head.weight"], head["base_model.model.head.weight"])
    assert "fc.weight: the adapter's product merged, 3 times, changed by at most" in output
    assert "head.weight: replaced by the adapter's" in output


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (None, "nothing says how strong the product is"),
        ({"lora_alpha": 6, "use_dora": True}, "use_dora=True"),
        ({"lora_alpha": 6, "bias": "lora_only"}, "bias='lora_only'"),
        ({"lora_alpha": 6, "magic": 1}, "magic=1"),
    ],
)
def test_adapters_that_mean_more_are_refused_by_name(config, text, tmp_path):
    torch.save({"fc.weight": torch.ones(5, 3)}, tmp_path / "x.pt")
    _, path = adapter(tmp_path, {"fc": ((3,), 5)}, config)
    output, code = port(tmp_path / "x.pt", tmp_path / "y.safetensors", "--to", "torch", "--merge-lora", path)
    assert code == 2
    assert text in " ".join(output.split())
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_the_folder_of_an_adapter_is_merged_as_its_file_is(name, tmp_path):
    torch.save({"fc.weight": torch.ones(5, 3)}, tmp_path / "x.pt")
    parts, path = adapter(tmp_path, {"fc": ((3,), 5)}, {"lora_alpha": 2})
    if name.endswith(".bin"):
        path.unlink()
        torch.save(parts, path.parent / name)
    assert (path.parent / name).is_file()
    port_checkpoint(tmp_path / "x.pt", tmp_path / "file.safetensors", "torch", merge_lora=path.parent / name)
    port_checkpoint(tmp_path / "x.pt", tmp_path / "folder.safetensors", "torch", merge_lora=path.parent)
    merged = load(tmp_path / "folder.safetensors")["fc.weight"]
    assert torch.equal(merged, load(tmp_path / "file.safetensors")["fc.weight"])
    assert not torch.equal(merged, torch.ones(5, 3))


def test_an_adapter_of_other_weights(tmp_path):
    torch.save({"fc.weight": torch.ones(5, 4)}, tmp_path / "x.pt")
    _, path = adapter(tmp_path, {"fc": ((3,), 5)}, {"lora_alpha": 2})
    output, code = port(tmp_path / "x.pt", tmp_path / "y.safetensors", "--to", "torch", "--merge-lora", path)
    assert (code, "fc.weight: expected a product of shape (5, 4)" in " ".join(output.split())) == (2, True)
    _, path = adapter(tmp_path, {"other": ((3,), 5)}, {"lora_alpha": 2})
    output, code = port(tmp_path / "x.pt", tmp_path / "y.safetensors", "--to", "torch", "--merge-lora", path)
    assert (code, "the file has no such weight" in " ".join(output.split())) == (2, True)


def test_to_flax_alone_where_one_network_fits(convnet, tmp_path):
    torch.save(convnet, tmp_path / "x.pt")
    output, code = port(tmp_path / "x.pt", tmp_path / "x.safetensors", "--to", "flax")
    assert code == 0, output
    assert "convnet --preset tiny by its names and shapes" in " ".join(output.split())
    torch.save({f"model.{name}": value for name, value in convnet.items()}, tmp_path / "y.pt")
    output, code = port(tmp_path / "y.pt", tmp_path / "y.safetensors", "--to", "flax")
    assert code == 0, output
    assert "model. was taken off" in output
    ten = {**convnet, "fc2.weight": torch.zeros(9, 7), "fc2.bias": torch.zeros(9)}
    torch.save(ten, tmp_path / "z.pt")
    output, code = port(tmp_path / "z.pt", tmp_path / "z.safetensors", "--to", "flax")
    assert code == 0, output
    assert "classes=9" in output
    del ten["conv2.bias"]
    torch.save(ten, tmp_path / "w.pt")
    output, code = port(tmp_path / "w.pt", tmp_path / "w.safetensors", "--to", "flax")
    assert code == 2
    assert (
        "convnet --preset tiny: 5 of 8 names and shapes; fc2.weight: expected shape (4, 7), received (9, 7)" in output
    )


def test_into_a_model_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine_here.py").write_text(
        "from flax import nnx\n"
        "def make():\n"
        "    rngs = nnx.Rngs(0)\n"
        "    return nnx.Sequential(nnx.Conv(2, 3, (5, 4), rngs=rngs), nnx.Conv(3, 7, (1, 2), rngs=rngs))\n"
        "def torch_model():\n"
        "    import torch\n"
        "    return torch.nn.Linear(2, 3)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    net = nn.Sequential(nn.Conv2d(2, 3, (5, 4)), nn.Conv2d(3, 7, (1, 2)))
    torch.save({"state_dict": {f"model.{n}": v for n, v in net.state_dict().items()}}, "x.ckpt")
    output, code = port("x.ckpt", "x.safetensors", "--to", "flax", "--model", "mine_here:make()", "--check")
    assert code == 0, output
    kernel = load("x.safetensors")["1.kernel"]
    assert torch.equal(kernel, net[1].weight.permute(2, 3, 1, 0))
    assert port("x.safetensors", "y.pt", "--to", "torch", "--model", "mine_here:make()")[1] == 0
    state = torch.load("y.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    output, code = port("x.ckpt", "z.safetensors", "--to", "flax", "--model", "mine_here:torch_model()")
    assert (code, "expected a Flax model" in output) == (2, True)
    output, code = port("x.ckpt", "z.safetensors", "--to", "flax", "--model", "mine_here:make()", "--arch", "convnet")
    assert (code, "--model takes the place of --arch" in output) == (2, True)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Embed(11, 6, name="embed")(x)
        x = linen.MultiHeadDotProductAttention(num_heads=2, name="attn")(x)
        x = linen.LayerNorm(name="norm")(x)
        x = linen.Conv(5, (3,), name="conv")(x)
        return linen.Dense(4, name="fc")(x)


class Twin(nn.Module):
    """The same in PyTorch, written down by hand."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(11, 6), nn.LayerNorm(6, eps=1e-6)
        self.attn = nn.ModuleDict({name: nn.Linear(6, 6) for name in ("query", "key", "value", "out")})
        self.conv, self.fc = nn.Conv1d(6, 5, 3, padding=1), nn.Linear(5, 4)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = (self.attn[name](x).unflatten(-1, (2, 3)).transpose(1, 2) for name in ("query", "key", "value"))
        x = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.norm(self.attn["out"](x))
        return self.fc(self.conv(x.transpose(1, 2)).transpose(1, 2))


def test_linen_to_pytorchs_names_by_the_leaves_alone(tmp_path):
    tokens = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    variables = jax.jit(Linen().init)(jax.random.key(0), jnp.asarray(tokens))
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    output, code = port(tmp_path / "x.msgpack", tmp_path / "x.safetensors", "--to", "torch")
    assert code == 0, output
    assert "by their names and numbers of axes" in " ".join(output.split())
    twin = Twin()
    twin.load_state_dict(load(tmp_path / "x.safetensors"))
    expected = np.asarray(Linen().apply(variables, jnp.asarray(tokens)))
    assert np.abs(twin(torch.from_numpy(tokens)).detach().numpy() - expected).max() < 2e-6


def test_the_flax_file_of_a_hub_folder_under_pytorchs_names(tmp_path):
    """As transformers 4 wrote it: nested names, `kernel`, `scale`, `embedding`, and no collection around them."""
    rng = np.random.default_rng(0)
    tree = {
        "bert": {
            "embeddings": {"word_embeddings": {"embedding": rng.standard_normal((11, 6))}},
            "encoder": {"layer": {"0": {"attention": {"self": {"query": {"kernel": rng.standard_normal((6, 4))}}}}}},
            "pooler": {"dense": {"kernel": rng.standard_normal((6, 5)), "bias": rng.standard_normal(5)}},
        },
        "norm": {"scale": rng.standard_normal(6)},
    }
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "flax_model.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    output, code = port(folder, tmp_path / "x.safetensors", "--to", "torch")
    assert code == 0, output
    state = load(tmp_path / "x.safetensors")
    query = tree["bert"]["encoder"]["layer"]["0"]["attention"]["self"]["query"]["kernel"]
    assert torch.equal(state["bert.encoder.layer.0.attention.self.query.weight"], torch.from_numpy(query.T.copy()))
    assert set(state) == {
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "norm.weight",
    }


def test_a_lightning_checkpoint_beside_its_loss(convnet, tmp_path):
    state = {**{f"model.{name}": value for name, value in convnet.items()}, "loss.weight": torch.ones(3)}
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{}]}, tmp_path / "last.ckpt")
    size = ["--arch", "convnet", "--preset", "tiny", "--to", "flax"]
    output, code = port(tmp_path / "last.ckpt", tmp_path / "x.safetensors", *size)
    assert code == 2
    output, code = port(tmp_path / "last.ckpt", tmp_path / "x.safetensors", *size, "--only", "model.")
    assert code == 0, output
    assert "loss.weight: left out: its name does not begin with model." in output


def test_a_tied_model_whose_file_has_a_prefix(tmp_path):
    model = LanguageModel(LanguageModelConfig.tiny_tied())
    state = {f"module.{name}": value for name, value in model.state_dict().items() if name != "decoder.weight"}
    torch.save(state, tmp_path / "x.pt")
    remarks = port_checkpoint(
        tmp_path / "x.pt", tmp_path / "x.safetensors", "flax", config=LanguageModelConfig.tiny_tied()
    )
    assert any("module. was taken off" in line for line in remarks)
    assert main(["port", str(tmp_path / "x.safetensors"), str(tmp_path / "back.pt"), "--to", "torch"]) == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(value, back[name]) for name, value in model.state_dict().items())


class Attends(nnx.Module):
    """A language model of Flax that gives its logits by the embedding itself."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 4, rngs=rngs)
        self.norm = nnx.LayerNorm(4, rngs=rngs)

    def __call__(self, tokens):
        return self.embed.attend(self.norm(self.embed(tokens)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(7, 4), nn.LayerNorm(4, eps=1e-6)
        self.lm_head = nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, tokens):
        return self.lm_head(self.norm(self.embed(tokens)))


class Apiece(nnx.Module):
    def __init__(self, rngs):
        self.embed, self.norm = nnx.Embed(7, 4, rngs=rngs), nnx.LayerNorm(4, rngs=rngs)
        self.lm_head = nnx.Linear(4, 7, use_bias=False, rngs=rngs)


def test_a_tied_layer_goes_into_an_embedding_that_attends(tmp_path):
    torch.manual_seed(0)
    source, target, tokens = Tied(), Attends(nnx.Rngs(0)), np.array([[3, 1, 4]])
    transfer(source, target)
    expected = source(torch.from_numpy(tokens)).detach().numpy()
    assert np.abs(np.asarray(target(jnp.asarray(tokens))) - expected).max() < 1e-6
    torch.save(source.state_dict(), tmp_path / "x.pt")
    remarks = port_checkpoint(tmp_path / "x.pt", tmp_path / "x.safetensors", "flax", model=Attends(nnx.Rngs(1)))
    assert remarks == ["lm_head.weight: left out: tied to embed.weight, under which the model has it"]
    assert torch.equal(load(tmp_path / "x.safetensors")["embed.embedding"], source.embed.weight)
    # Two tensors of the same values are two.
    apart = {name: value.clone() for name, value in source.state_dict().items()}
    with pytest.raises(PortError, match=r"lm_head\.weight: not in the model"):
        transfer(apart, target)


def test_ties_are_not_broken_in_silence(caplog, tmp_path):
    source = Tied()
    transfer(source, Apiece(nnx.Rngs(0)))
    assert "embed.weight and lm_head.weight: one tensor in the source, and several in the model" in caplog.text
    torch.save(source.state_dict(), tmp_path / "x.pt")
    remarks = port_checkpoint(tmp_path / "x.pt", tmp_path / "x.safetensors", "flax", model=Apiece(nnx.Rngs(1)))
    assert "embed.weight and lm_head.weight: one tensor in the source, and several in the model" in remarks
    caplog.clear()
    transfer(source, Tied())
    assert caplog.text == ""


def test_tensors_are_tied_only_if_they_read_the_same_memory_in_the_same_way():
    numbers, array = torch.tensor([[1 + 2j, 3 - 1j]]), np.ones(2, "f4")
    negative = torch.view_as_complex(torch.ones(2, 2)).conj().imag
    assert negative.is_neg()
    assert same_arrays({"w": numbers, "conj": numbers.conj(), "again": numbers.view(1, 2)}) == [["w", "again"]]
    assert same_arrays({"x": array, "bits": array.view("i4"), "y": array[:]}) == [["x", "y"]]
    assert same_arrays({"x": negative, "y": torch._neg_view(negative)}) == []
    floats = torch.ones(3)
    assert same_arrays({"x": floats, "bits": floats.view(torch.int32)}) == []
    assert same_arrays({"x": torch.empty(2, device="meta"), "y": torch.empty(2, device="meta")}) == []


def test_a_counter_of_a_wrapper_has_one_element_and_is_named(caplog):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    with pytest.raises(PortError, match=r"(?s)decay.*step|step.*decay"):
        transfer({**state, "step": torch.zeros(5), "decay": torch.zeros(7, 7)}, target)
    transfer({**state, "n_averaged": torch.tensor(3), "step": torch.zeros(1)}, target)
    assert torch.equal(target.weight, source.weight)
    assert "n_averaged: left out" in caplog.text
    assert "step: left out" in caplog.text


def test_the_plan_has_the_names_of_the_file_and_what_becomes_of_each(convnet, tmp_path):
    shapes = {"params/attn/query/kernel": (6, 2, 3), "params/fc/kernel": (2, 3)}
    np.savez(tmp_path / "x.npz", **{name: np.ones(shape, "f4") for name, shape in shapes.items()})
    with Port.open(tmp_path / "x.npz", "torch", rename=[("^attn", "attention")]) as plan:
        rows = {row.name: (row.sources, row.pattern) for row in plan.tensors}
        assert rows == {
            "attention.query.weight": (("attn.query.kernel",), "e heads k -> (heads k) e"),
            "fc.weight": (("fc.kernel",), "i o -> o i"),
        }
        notes = " ".join(plan.notes)
        assert "taken for Flax's by its leaves" in notes
        assert "framework=torch" in notes
        assert "1 arrays were read as those of an attention" in notes
    wrapped = {f"module.{name}": value.numpy() for name, value in convnet.items()}
    reader = MemoryReader(wrapped, {"framework": "torch"})
    with Port.open(reader, "flax", config=ConvNetConfig.tiny()) as plan:
        assert {source for row in plan.tensors for source in row.sources} <= set(wrapped)
    stacked = MemoryReader({"w": np.ones((2, 3, 4), "f4")}, {"framework": "torch"})
    text = "w -> w.{}: l ... -> ..."
    with Port.open(stacked, "torch", packing=[text]) as plan:
        assert [(row.sources, row.pattern) for row in plan.tensors] == [(("w",), text)] * 2
