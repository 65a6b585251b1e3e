"""The commands that read no file: list, show, verify, and what they say to wrong usage."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys

import jax
import pytest
from flax import nnx
from typer.testing import CliRunner

import einops_arch.port
from einops_arch import __version__, architectures
from einops_arch.cli.app import app
from einops_arch.cli.models import count_parameters
from einops_arch.cli.output import console
from einops_arch.cli.summary.summary import summarize
from einops_arch.flax.state import named_modules

PRESETS = [(name, preset) for name in architectures.names() for preset in architectures.get(name).config.PRESETS]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def refused(*arguments):
    """The one clean message of a command that must fail with exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.removesuffix("\n")


def in_a_process(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "einops_arch", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def test_version():
    done = in_a_process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"einops-arch {__version__}\n", "")


def test_list_names_every_architecture_and_preset():
    result = invoke("list")
    assert result.exit_code == 0
    for name, preset in PRESETS:
        assert name in result.stdout
        assert preset in result.stdout
    assert "\x1b" not in result.stdout


def test_list_as_json():
    result = invoke("list", "--json")
    assert result.exit_code == 0
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert list(found) == list(architectures.names())
    convnet = found["convnet"]
    assert convnet["parameters"] == 10 * 25 + 10 + 20 * 10 * 25 + 20 + 320 * 50 + 50 + 50 * 10 + 10
    assert convnet["preset"] == "mnist"
    assert convnet["presets"] == list(convnet["sizes"]) == ["mnist", "digits", "tiny"]
    assert found["resnet"]["sizes"]["wide_resnet101_2"] == 126_886_696
    assert convnet["inputs"] == [
        {
            "name": "image",
            "axes": "b c h w",
            "flax_axes": "b h w c",
            "sizes": {"c": 1, "h": 28, "w": 28},
            "dtype": "float32",
        }
    ]
    assert [one["axes"] for one in convnet["outputs"]] == ["b o"]


@pytest.mark.parametrize("name", architectures.names())
def test_both_frameworks_count_the_same_parameters(name):
    architecture = architectures.get(name)
    config = architecture.config.preset("tiny")
    model = architecture.torch_class()(config)
    numbers = sum(one.numel() for one in model.parameters())
    state = nnx.state(architecture.flax_class()(config, rngs=nnx.Rngs(0)), nnx.Param)
    assert count_parameters(architecture, config) == numbers == sum(one.size for one in jax.tree.leaves(state))


def test_the_count_without_torch(monkeypatch):
    architecture = architectures.get("language_model")
    config = architecture.config.preset("tiny_tied")
    expected = count_parameters(architecture, config)
    monkeypatch.setattr("einops_arch.cli.models.installed", lambda framework: framework == "flax")
    assert count_parameters(architecture, config) == expected
    monkeypatch.setattr("einops_arch.cli.models.installed", lambda framework: False)
    assert count_parameters(architecture, config) is None


def test_show_as_json():
    result = invoke("show", "convnet", "--preset", "tiny", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["config"]["image_size"] == [17, 12]
    (conv,) = (module for module in found["modules"] if module["path"] == "conv1")
    assert conv == {
        "path": "conv1",
        "torch": "Conv2d",
        "flax": "Conv",
        "calls": 1,
        "inputs": [{"axes": ["b", "c", "h", "w"], "shape": [1, 2, 17, 12]}],
        "outputs": [{"axes": ["b", "c", "h", "w"], "shape": [1, 3, 15, 10]}],
        "parameters": 3 * 2 * 3 * 3 + 3,
        "multiply_adds": 15 * 10 * 3 * 2 * 3 * 3,
    }
    rows = {row["name"]: row for row in found["state"]}
    assert rows["conv1.weight"] == {
        "name": "conv1.weight",
        "torch_shape": [3, 2, 3, 3],
        "pattern": "o i *k -> *k i o",
        "flax": [{"path": "conv1.kernel", "shape": [3, 3, 2, 3]}],
    }
    assert sum(math.prod(row["torch_shape"]) for row in found["state"]) == found["parameters"]


@pytest.mark.parametrize("name", architectures.names())
def test_show_tells_the_same_of_both_twins(name):
    """Axes are named whatever the framework, and parameters and multiply-adds are equal module by module."""
    architecture = architectures.get(name)
    for preset in (preset for preset in architecture.config.PRESETS if preset.startswith("tiny")):
        config = architecture.config.preset(preset)
        ours, theirs = (
            {one.path: one for one in summarize(architecture, config, framework).modules}
            for framework in ("torch", "flax")
        )
        assert len(ours.keys() & theirs.keys()) >= 0.9 * len(ours)
        for path in ours.keys() & theirs.keys():
            one, other = ours[path], theirs[path]
            assert (one.parameters, one.calls) == (other.parameters, other.calls), path
            assert one.multiply_adds == other.multiply_adds, path
            # The same axes with the same sizes; where they stand is each framework's own.
            for arrays, others in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
                sizes = [sorted(size for _, size in array) for array in arrays]
                assert sizes == [sorted(size for _, size in array) for array in others], path
        stated = {axis for axes in (*config.inputs(), *config.outputs()) for axis in axes.axes.split()}
        assert stated == {axis for array in (*ours[""].inputs, *ours[""].outputs) for axis, _ in array}


@pytest.mark.parametrize("name", ["resnet", "vgg", "shufflenet_v2", "vit"])
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    architecture = architectures.get(name)
    first, *_, last = architecture.config.PUBLISHED
    for preset in (first, last):
        network = summarize(architecture, architecture.config.preset(preset), "torch").modules[0]
        parameters, multiply_adds = architecture.config.PUBLISHED[preset]
        assert network.parameters == parameters
        assert abs(network.multiply_adds / 1e9 - multiply_adds) <= 0.001


def test_show_prints_a_tree(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    tree = [line.rstrip() for line in invoke("show", "resnet_tiny").stdout.splitlines()[4:]]
    assert tree[:8] == [
        "PyTorch module                   input -> output                         parameters  multiply-adds",
        "ResNet                           b c=3 h=224 w=224 -> b o=9                   2,120         11.3 M",
        "├─ conv1  Conv2d                 b c=3 h=224 w=224 -> b c=5 h=112 w=112         735         9.22 M",
        "├─ bn1  BatchNorm2d              b c=5 h=112 w=112                               10              -",
        "├─ relu  ReLU                    b c=5 h=112 w=112                                -              -",
        "├─ maxpool  MaxPool2d            b c=5 h=112 w=112 -> b c=5 h=56 w=56             -              -",
        "├─ layer1  Sequential            b c=5 h=56 w=56                                470         1.41 M",
        "│  └─ 0  BasicBlock              b c=5 h=56 w=56                                470         1.41 M",
    ]
    assert tree[-1] == "2,120 parameters (8.48 kB in float32), 11.3 M multiply-adds for b=1 c=3 h=224 w=224"

    monkeypatch.setenv("COLUMNS", "80")
    tree = [line.rstrip() for line in invoke("show", "gpt2_tiny", "--framework", "flax").stdout.splitlines()[4:]]
    assert max(map(len, tree[:-1])) <= 80
    assert "│  ├─ h.0..1  Block (each of 2)                                  784      12.2 k" in tree
    assert "│  │  │  ├─ split  Rearrange                                       -           -" in tree
    assert "│  │  │  │    b n=13 (qkv heads k)=30 -> qkv=3 b heads=2 n=13 k=5" in tree


def test_show_goes_as_deep_and_takes_as_large_images_as_asked():
    lines = invoke("show", "vgg_tiny", "--depth", "1", "--size", "h=32", "--size", "w=16").stdout
    assert "h=32 w=16" in lines
    assert "features  Sequential" in lines
    assert "Conv2d" not in lines
    assert len(invoke("show", "vgg_tiny", "--depth", "0").stdout.splitlines()) == 8


@pytest.mark.parametrize("name", ["sentiment_rnn", "style_transfer"])
def test_show_prints_the_pattern_of_every_parameter(name):
    words = invoke("show", name, "--preset", "tiny", "--parameters").stdout.split()
    assert set(architectures.get(name).torch_class()(architectures.get(name).config.tiny()).state_dict()) <= set(words)


def test_a_size_is_a_name_too():
    for name, preset in (("vgg16_bn", "vgg16_bn"), ("gpt2-medium", "gpt2_medium"), ("shufflenet_v2_x1_0", "x1_0")):
        assert architectures.resolve(name)[1] == preset
    assert json.loads(invoke("show", "shufflenet_v2_x0_5", "--json").stdout)["parameters"] == 1_366_792
    assert refused("show", "resnet-500") == (
        "error: no architecture and no preset is named 'resnet-500': did you mean 'resnet50' or 'resnet' or "
        "'resnet152'?"
    )
    assert refused("show", "tiny") == (
        f"error: 'tiny' is a preset of {len(architectures.names())} architectures; likely fix: say which, such as "
        "'convnet_tiny'"
    )
    assert refused("show", "vgg16", "--preset", "vgg19") == (
        "error: vgg16 says the preset vgg16 of vgg already, received --preset vgg19 too"
    )
    assert refused("show", "vgg16", "--size", "h=16") == "error: expected h>=32, received h=16"
    assert refused("show", "vit", "--size", "w=100") == "error: expected w>=16, a multiple of 16, received w=100"
    assert refused("show", "vgg16", "--size", "c=4") == "error: expected sizes of b, h, w, received c=4"
    assert refused("show", "vgg16", "--size", "h") == "error: expected --size such as h=96, received 'h'"


def test_show_takes_a_config_file(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"factor": 5, "hidden": [2, 3, 4]}')
    found = json.loads(invoke("show", "super_resolution", "--config", file, "--json").stdout)
    assert found["config"] == {"factor": 5, "channels": 1, "hidden": [2, 3, 4]}


@pytest.mark.parametrize("missing", ["torch", "flax"])
def test_show_with_one_framework_only(missing, monkeypatch):
    monkeypatch.setattr("einops_arch.cli.commands.show.installed", lambda framework: framework != missing)
    found = json.loads(invoke("show", "convnet", "--json").stdout)
    (conv,) = (module for module in found["modules"] if module["path"] == "conv1")
    (weight,) = (row for row in found["state"] if row["name"] == "conv1.weight")
    assert conv[missing] is None
    assert weight["torch_shape"] == [10, 1, 5, 5]
    assert weight["pattern"] == (None if missing == "flax" else "o i *k -> *k i o")
    assert invoke("show", "convnet").exit_code == 0


def test_config_errors(tmp_path):
    absent, text, unknown = (tmp_path / name for name in ("absent.json", "text.json", "unknown.json"))
    text.write_text("kernel_size: 3")
    unknown.write_text('{"kernel": 3}')
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x80")

    assert refused("show", "convnt") == (
        "error: no architecture and no preset is named 'convnt': did you mean 'convnet' or 'convnet_mnist' or "
        "'convnet_digits'?"
    )
    assert refused("show", "convnet", "--preset", "mnits") == (
        "error: ConvNetConfig has no preset 'mnits': did you mean 'mnist'?"
    )
    assert refused("show", "convnet", "--preset", "tiny", "--config", text) == (
        f"error: expected --preset or --config, received both: tiny and {text}"
    )
    assert refused("show", "convnet", "--config", absent) == (
        f"error: {absent}: cannot be read as a config: No such file or directory"
    )
    assert refused("show", "convnet", "--config", binary) == (
        f"error: {binary}: cannot be read as a config: not a text file"
    )
    assert refused("show", "convnet", "--config", text) == (
        f"error: {text}: ConvNetConfig: expected a JSON object, received 'kernel_size: 3' "
        "(Expecting value: line 1 column 1 (char 0))"
    )
    assert refused("show", "convnet", "--config", unknown) == (
        f"error: {unknown}: ConvNetConfig has no field 'kernel': did you mean 'kernel_size'?"
    )
    unknown.write_text('{"kernel_size": 0}')
    assert refused("show", "convnet", "--config", unknown) == (
        f"error: {unknown}: ConvNetConfig: kernel_size needs a whole number of at least 1, received 0"
    )


def test_wrong_usage_has_exit_code_2():
    assert "No such command 'prot'" in refused("prot")
    assert "No such option: --presets" in refused("show", "convnet", "--presets", "tiny")
    assert "'jax' is not one of 'torch', 'flax'" in refused("port", "a.pt", "b.pt", "--to", "jax")
    assert "Missing option '--to'" in refused("port", "a.pt", "b.pt")
    assert refused("verify") == "error: verify: expected names, files, or --all"
    assert refused("verify", "convnet", "--all") == "error: verify: expected names, files, or --all, received both"
    assert refused("verify", "convnet", "--arch", "convnet") == (
        "error: verify: --arch is for files, received it with convnet"
    )
    assert refused("verify", "convnt") == (
        "error: no architecture is named 'convnt': did you mean 'convnet'? There is no file of that name either."
    )
    assert refused("verify", "absent.safetensors") == "error: absent.safetensors: no such file or folder"


def test_verify_prints_the_verdict_first_and_the_tables_where_asked_for():
    arguments = ("verify", "super_resolution", "--mode", "eval")
    short = invoke(*arguments).stdout.splitlines()
    assert short[:4] == [
        "super_resolution: SuperResolutionConfig(factor=3, channels=1, hidden=(5, 7, 4))",
        "round trip: 8 tensors, bit for bit",
        "eval mode: same function",
        "",
    ]
    assert short[4:6] == [
        "what was seen",
        "compared: 1 output (1 changes with the inputs; 540 numbers), 9 modules in 9 calls, 9 gradients",
    ]
    result = invoke(*arguments, "--rows", "all")
    assert result.exit_code == 0, result.output
    for title in ("modules (eval mode)", "outputs (eval mode)", "gradients (eval mode)"):
        assert title in result.stdout
    assert "\x1b" not in result.stdout


def test_verify_takes_every_part_of_a_comparison():
    result = invoke("verify", "convnet", "--mode", "eval", "--no-gradients", "--teacher", "--training")
    assert result.exit_code == 0, result.output
    assert "each module was given the inputs that PyTorch's had" in result.stdout
    assert "3 steps of SGD(lr=0.01" in result.stdout
    assert result.stdout.splitlines()[2:5] == [
        "eval mode: same function",
        "each module with the same inputs: same function",
        "training: same function",
    ]
    assert invoke("verify", "a:b", "--against", "a:c", "--teacher").exit_code == 2


def test_verify_as_json_compares_statistics_after_three_steps(monkeypatch):
    monkeypatch.setattr("einops_arch.cli.commands.verify._IMAGE", {"h": 16, "w": 24})
    result = invoke("verify", "shuffle_unit", "--preset", "tiny", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["passed"] is True
    (one,) = found["results"]
    assert one["architecture"] == "shuffle_unit"
    assert one["round_trip"]["changed"] == []
    evaluation, training = one["reports"]
    assert (evaluation["mode"], training["mode"]) == ("eval", "train")
    assert evaluation["statistics"] == []
    assert {row["path"].rpartition(".")[2] for row in training["statistics"]} >= {"running_mean", "running_var"}
    assert all(row["difference"] <= 1e-12 for report in one["reports"] for row in report["gradients"])
    assert len(evaluation["gradients"]) > 3


def test_verify_leaves_out_what_it_is_told_to():
    arguments = ("super_resolution", "convnet", "--preset", "tiny", "--mode", "eval", "--no-gradients")
    found = json.loads(invoke("verify", *arguments, "--json").stdout)
    assert [one["target"] for one in found["results"]] == ["super_resolution", "convnet"]
    for one in found["results"]:
        (report,) = one["reports"]
        assert (report["mode"], report["gradients"]) == ("eval", [])


def test_verify_finds_another_weight(monkeypatch):
    port = einops_arch.port.to_flax

    def slip(model):
        twin = port(model)
        twin.fc2.bias.set_value(twin.fc2.bias[...].at[1].add(1e-3))
        return twin

    monkeypatch.setattr(einops_arch.port, "to_flax", slip)
    result = invoke("verify", "convnet", "--preset", "tiny", "--mode", "eval", "--no-gradients")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    place = lines.index("round trip: 1 of 8 tensors changed: fc2.bias")
    assert lines[place + 1].startswith("eval mode: semantic difference; first divergence at fc2 (Linear and Linear)")


def test_verify_finds_another_epsilon(monkeypatch):
    port = einops_arch.port.to_flax
    paths = []

    def slip(model):
        twin = port(model)
        path, norm = next((p, one) for p, one in named_modules(twin) if type(one).__name__ == "BatchNorm")
        norm.epsilon = 1e-3
        paths.append(path)
        return twin

    monkeypatch.setattr(einops_arch.port, "to_flax", slip)
    monkeypatch.setattr("einops_arch.cli.commands.verify._IMAGE", {"h": 6, "w": 7})
    result = invoke("verify", "shuffle_unit", "--preset", "tiny", "--mode", "eval", "--no-gradients", "--json")
    assert result.exit_code == 1
    (one,) = json.loads(result.stdout)["results"]
    assert one["round_trip"]["changed"] == []
    assert one["reports"][0]["first_divergence"] == paths[0]


def test_the_summary_of_several_names_the_one_that_differs(monkeypatch):
    port = einops_arch.port.to_flax

    def slip(model):
        twin = port(model)
        if hasattr(twin, "fc2"):
            twin.fc2.bias.set_value(twin.fc2.bias[...] + 1e-3)
        return twin

    monkeypatch.setattr(einops_arch.port, "to_flax", slip)
    arguments = ("convnet", "super_resolution", "--preset", "tiny", "--mode", "eval", "--no-gradients")
    result = invoke("verify", *arguments)
    assert result.exit_code == 1
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if line.startswith("│")]
    assert [(row[0].strip(), row[-1].strip()) for row in rows] == [
        ("convnet", "semantic difference"),
        ("super_resolution", "same function"),
    ]
    assert "convnet: round trip: 1 of 8 tensors changed: fc2.bias" in result.stdout.splitlines()


def test_colours_are_for_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def printed(stream):
        monkeypatch.setattr(sys, "stdout", stream)
        console().print("[green]same function[/]")
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert printed(io.StringIO()) == "same function\n"
    assert "\x1b[32m" in printed(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in printed(Terminal())
