"""The command classify: the same answer in both frameworks, what an image becomes, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_parity_cli import invoke, refused

import einops_arch.torch
from einops_arch.architectures import ConvNetConfig, ResNetConfig
from einops_arch.architectures.images import IMAGENET, ImagePreprocessing
from einops_arch.checkpoints import Checkpoint, write_checkpoint
from einops_arch.cli.commands.classify import class_names, preprocessing_of
from einops_arch.cli.images import read_image
from einops_arch.errors import CheckpointError
from einops_arch.parity import randomize
from einops_arch.torch import ConvNet, ResNet

CLASSES = 5


@pytest.fixture
def photograph(tmp_path):
    """A picture of 40x30 whose three channels and two sides differ, in bytes as they are written."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


@pytest.fixture
def folder(tmp_path):
    """A folder as the hub has them, of a network small enough for a test."""
    config = dataclasses.replace(ResNetConfig.tiny(), classes=CLASSES)
    model = ResNet(config)
    randomize(model)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    write_checkpoint(tmp_path / "folder.hf", Checkpoint(state, "torch", "resnet", config))
    return tmp_path / "folder.hf"


def say(folder, **fields):
    """Write more into the folder's config, as timm and transformers do."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_both_frameworks_print_the_same(photograph, folder):
    say(folder, label_names=["n0", "n1", "n2", "n3", "n4"], label_descriptions={"n3": "a [bold] thing"})
    results = [
        invoke("classify", photograph, "--checkpoint", folder, "--framework", framework, "--top", 5)
        for framework in ("torch", "flax")
    ]
    assert [result.exit_code for result in results] == [0, 0], results
    assert results[0].stdout == results[1].stdout
    lines = results[0].stdout.splitlines()
    assert len(lines) == CLASSES
    assert any(line.endswith("%  class    3  a [bold] thing") for line in lines)
    shares = [float(line.split("%")[0]) for line in lines]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.03)


def test_it_says_what_the_network_says(photograph, folder):
    result = invoke("classify", photograph, "--checkpoint", folder, "--framework", "torch", "--json")
    said = json.loads(result.stdout)
    model = einops_arch.torch.from_pretrained(folder)
    with torch.no_grad():
        expected = model(torch.from_numpy(read_image(photograph, IMAGENET))).softmax(dim=-1)[0]
    received = torch.zeros(CLASSES)
    for one in said["classes"]:
        received[one["class"]] = one["probability"]
    torch.testing.assert_close(received, expected, rtol=1e-5, atol=1e-7)
    assert [one["name"] for one in said["classes"]] == [None] * CLASSES
    assert said["names"].startswith("the checkpoint has none")


def test_a_plain_file_and_the_names_in_a_file(photograph, tmp_path):
    path, labels = tmp_path / "resnet.pt", tmp_path / "labels.txt"
    torch.save(ResNet(ResNetConfig.tiny()).state_dict(), path)
    labels.write_text("\n".join(f"thing {n}" for n in range(9)))
    options = ("--checkpoint", path, "--arch", "resnet_tiny", "--labels", labels, "--top", 1)
    result = invoke("classify", photograph, *options, "--framework", "torch")
    assert result.exit_code == 0, result.output
    _, _, number, name = result.stdout.split(maxsplit=3)
    assert name == f"thing {number}\n"
    labels.write_text("only one")
    assert refused("classify", photograph, *options) == (
        f"error: {labels}: expected one name on each of 9 lines, received 1 lines"
    )


def test_what_cannot_be_classified(photograph, folder, tmp_path):
    assert refused("classify", folder / "config.json", "--checkpoint", folder).endswith(
        "config.json: cannot be read as an image: no image that pillow knows"
    )
    path = tmp_path / "digits.pt"
    torch.save(ConvNet(ConvNetConfig.tiny()).state_dict(), path)
    assert refused("classify", photograph, "--checkpoint", path, "--arch", "convnet", "--preset", "tiny") == (
        "error: classify: expected a network that classifies colour photographs, received ConvNetConfig"
    )


def test_names_are_those_of_transformers_or_of_nobody(folder):
    config = dataclasses.replace(ResNetConfig.tiny(), classes=2)
    say(folder, id2label={"1": "dog", "0": "cat"})
    assert class_names(folder, config, None) == (["cat", "dog"], "config.json")
    say(folder, id2label={"0": "cat", "2": "dog"})
    assert class_names(folder, config, None)[0] is None


def test_what_an_image_becomes(photograph):
    small = ImagePreprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), size=30, resize=30)
    pixels = np.asarray(Image.open(photograph), np.float64)[:, 5:35] / 255
    expected = (pixels - small.mean) / small.std
    received = read_image(photograph, small)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected.transpose(2, 0, 1)[None], atol=1e-6)


def test_a_small_image_has_black_around_it(photograph):
    wide = ImagePreprocessing(mean=(0.0,) * 3, std=(1.0,) * 3, size=50, resize=30)
    received = read_image(photograph, wide)
    assert received.shape == (1, 3, 50, 50)
    assert received[..., 10:40, 5:45].any(axis=(0, 1)).mean() > 0.99
    received[..., 10:40, 5:45] = 0
    assert not received.any()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, IMAGENET),
        (
            {"crop_pct": 0.95, "interpolation": "bicubic"},
            dataclasses.replace(IMAGENET, resize=235, interpolation="bicubic"),
        ),
        ({"input_size": [3, 288, 288], "crop_pct": 1.0}, dataclasses.replace(IMAGENET, size=288, resize=288)),
        ({"crop_mode": "squash", "crop_pct": 1.0}, dataclasses.replace(IMAGENET, resize=None)),
    ],
)
def test_what_timm_says(fields, expected):
    assert ImagePreprocessing.of_timm(fields) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ImagePreprocessing.of_timm({"interpolation": "nearest"}),
            "expected interpolation 'bilinear' or 'bicubic', received 'nearest'",
        ),
        (lambda: ImagePreprocessing.of_timm({"mean": [0.5]}), "expected mean of three channels, received [0.5]"),
        (
            lambda: ImagePreprocessing.of_timm({"crop_mode": "border"}),
            (
                "config.json: expected a square input_size, and crop_mode 'center', or 'squash' with crop_pct 1, "
                "received None, 'border' and 0.875"
            ),
        ),
        (
            lambda: ImagePreprocessing.of_transformers({"size": {"shortest_edge": 224}}),
            (
                "preprocessor_config.json: expected a size with one height and width and no do_center_crop, received "
                "size={'shortest_edge': 224} and do_center_crop=None"
            ),
        ),
    ],
)
def test_what_is_not_known_is_said(make, message):
    with pytest.raises(CheckpointError) as caught:
        make()
    assert str(caught.value) == message


def test_the_folder_says_what_its_weights_expect(folder):
    config = ResNetConfig.tiny()
    assert preprocessing_of(folder, config) == IMAGENET
    say(folder, pretrained_cfg={"crop_pct": 1.0})
    assert preprocessing_of(folder, config).resize == 224
    (folder / "preprocessor_config.json").write_text('{"size": 96, "resample": 3}')
    assert preprocessing_of(folder, config) == ImagePreprocessing((0.5,) * 3, (0.5,) * 3, 96, None, "bicubic")
