"""The demo, hardly trained: its files, and that both frameworks say the same."""

from __future__ import annotations

import json
import re
import runpy
import shlex

import numpy as np
import pytest
import torch
from flax import nnx
from PIL import Image
from test_parity_cli import invoke, refused

from einops_arch.architectures import ConvNetConfig
from einops_arch.checkpoints import read_checkpoint
from einops_arch.cli.declarations.examples import EXAMPLES
from einops_arch.cli.demo.data import digits, photographs, resized, to_colors
from einops_arch.cli.demo.denoise import noisy
from einops_arch.flax.convnet import ConvNet as FlaxConvNet
from einops_arch.flax.state import load_state_dict
from einops_arch.layouts.arrays import same_bits
from einops_arch.port.convert import convert
from einops_arch.torch.convnet import ConvNet

FILES = [
    "convnet.flax.safetensors",
    "convnet.torch.safetensors",
    "denoised.png",
    "digits.png",
    "index.html",
    "report.json",
    "super_resolution.flax.safetensors",
    "super_resolution.torch.safetensors",
    "unet.py",
    "unet.safetensors",
    "upscaled.png",
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new" / "demo-output"
    result = invoke(*shlex.split(EXAMPLES["demo"][0])[1:], "--output", folder)
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture(scope="module")
def report(shown):
    return json.loads((shown[0] / "report.json").read_text())


def test_the_files(shown):
    folder, result = shown
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert f"look at {folder / 'index.html'}" in result.stdout
    assert "Train the ConvNet in PyTorch on 1,347 handwritten digits" in result.stderr


def test_both_frameworks_say_the_same(report):
    assert report["passed"] is True
    assert report["digits"]["equal_predictions"] == report["digits"]["tested_on"] == 450
    assert report["digits"]["accuracy"]["torch"] == report["digits"]["accuracy"]["flax"]
    assert report["photograph"]["psnr"]["torch"] == pytest.approx(report["photograph"]["psnr"]["flax"], abs=1e-4)
    for one in (report["digits"], report["photograph"]):
        assert one["parity"]["passed"] is True
        assert 0 < one["largest_float32_difference"] < 1e-4
        assert one["round_trip"]["changed"] == []
        assert one["round_trip"]["tensors"] == 8
        assert max(row["difference"] for row in one["parity"]["modules"]) < 1e-12


def test_a_network_that_has_no_twin_is_translated_and_takes_out_the_same_noise(shown, report):
    folder, _ = shown
    translated = report["translated"]
    assert len(translated["proof"]) >= 4
    assert all(line.endswith(": same function") for line in translated["proof"])
    assert translated["classes"] == {"Double": 5, "UNet": 1}
    assert translated["psnr"]["torch"] == pytest.approx(translated["psnr"]["flax"], abs=1e-3)
    assert 0 < translated["largest_float32_difference"] < 1e-3
    # The file stands by itself, and its weights give the picture that was measured.
    namespace = runpy.run_path(str(folder / "unet.py"))
    twin = namespace["UNet"](rngs=nnx.Rngs(0))
    load_state_dict(twin, read_checkpoint(folder / "unet.safetensors").tensors)
    twin.eval()
    _, held_out = photographs(4)
    image = np.asarray(twin(noisy(held_out.bright)[None, ..., None]))[0, ..., 0]
    error = np.clip(image[4:-4, 4:-4], 0, 1).astype(np.float64) - held_out.bright[4:-4, 4:-4]
    assert -10 * np.log10(np.mean(error**2)) == pytest.approx(translated["psnr"]["flax"], abs=1e-3)


def test_sixty_steps_teach_something(report):
    assert report["digits"]["accuracy"]["torch"] > 0.3


def test_the_checkpoints_are_those_that_were_measured(shown, report):
    folder, _ = shown
    data = digits()
    ours, theirs = (read_checkpoint(folder / f"convnet.{kind}.safetensors") for kind in ("torch", "flax"))
    assert (ours.framework, theirs.framework) == ("torch", "flax")
    assert ours.config == theirs.config == ConvNetConfig.digits()
    back = convert(theirs, "torch", theirs.config).tensors
    assert all(same_bits(ours.tensors[name], back[name]) for name in ours.tensors)

    model = ConvNet(ours.config).eval()
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in ours.tensors.items()})
    with torch.no_grad():
        read = model(torch.from_numpy(data.test)).argmax(dim=1).numpy()
    assert float((read == data.test_labels).mean()) == report["digits"]["accuracy"]["torch"]
    twin = FlaxConvNet(theirs.config, rngs=nnx.Rngs(0))
    load_state_dict(twin, back)
    twin.eval()
    assert np.array_equal(np.asarray(twin(data.test.transpose(0, 2, 3, 1))).argmax(axis=1), read)


def test_the_pictures_show_something(shown):
    for name in ("digits.png", "upscaled.png"):
        with Image.open(shown[0] / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 50


def test_the_page_needs_nothing_else(shown):
    page = (shown[0] / "index.html").read_text()
    assert "$" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', page) == []
    assert page.count("<img ") == 48
    assert "class Double(nnx.Module):" in page
    assert "450 of 450" in page
    assert "prefers-color-scheme: dark" in page
    for path in ("conv2", "depth_to_space", "fc1.weight"):
        assert f"<td>{path}</td>" in page


def test_the_test_images_are_not_trained_on():
    data = digits()
    assert (len(data.train), len(data.test)) == (1347, 450)
    images = [image.tobytes() for image in (*data.train, *data.test)]
    assert len(set(images)) == 1797
    train, held_out = photographs(3)
    assert held_out.name not in {one.name for one in train}
    assert len({one.bright.shape for one in (*train, held_out)}) > 1


def test_colours_come_back():
    _, photograph = photographs(2)
    assert photograph.bright.shape == tuple(2 * side for side in photograph.small.shape)
    # With the true brightness, what is left of the error is colour.
    back = to_colors(photograph.bright, photograph.small_colors)
    blurred = to_colors(resized(photograph.small, *photograph.bright.shape), photograph.small_colors)
    errors = [float(np.mean((image - photograph.colors) ** 2)) for image in (back, blurred)]
    assert errors[0] < 0.25 * errors[1]


def test_a_folder_that_cannot_be_made(tmp_path):
    file = tmp_path / "file"
    file.write_text("dear")
    assert refused("demo", "--output", file, "--quick") == f"error: {file} cannot be written: File exists"
    inside = file / "demo"
    assert refused("demo", "--output", inside, "--quick") == f"error: {inside} cannot be written: Not a directory"
    assert file.read_text() == "dear"
