"""The counted layers of public models: what is stored holds the bar, and rows of it still agree when they are run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "hooks"))

import coverage_pages  # noqa: E402

from benchmarks.layer_proof import difference  # noqa: E402
from benchmarks.layer_settings import setting_of  # noqa: E402
from benchmarks.layers import SAME, settings_in  # noqa: E402

STORED = json.loads((ROOT / "docs" / "coverage" / "layers.json").read_text(encoding="utf-8"))
ROWS = STORED["rows"]
# Of each type the setting that most models have; all of them are run when they are counted.
TYPICAL = {row["torch"].partition("(")[0]: row for row in reversed(ROWS)}


def test_every_setting_of_two_models_or_more_has_a_counterpart():
    assert [row["torch"] for row in ROWS if row["models"] > 1 and "missing" in row] == []


def test_all_layers_of_95_of_100_models_have_one():
    listed = (ROOT / "benchmarks" / "models.jsonl").read_text(encoding="utf-8").splitlines()
    assert STORED["models"] + len(STORED["not built"]) > len(listed), "detection, video and optical flow are there too"
    assert STORED["whole"] == STORED["models"] - len(STORED["incomplete"])
    assert STORED["whole"] >= 0.95 * (STORED["models"] + len(STORED["not built"]))


@pytest.mark.parametrize("name", TYPICAL)
def test_a_row_agrees_when_it_is_run(name):
    row = TYPICAL[name]
    assert difference(row["torch"], row["flax"], row["inputs"], plain=row["plain"]) <= SAME


def test_a_wrong_counterpart_is_seen():
    wrong = {
        "another eps": ("BatchNorm2d(3)", "BatchNorm(3, epsilon=1e-3, rngs=rngs)", ["2 3 5 4"]),
        "another form": ("GELU()", "GELU(approximate=True)", ["2 5 6"]),
        "another padding": ("MaxPool2d(3, 2, 1)", "MaxPool((3, 3), (2, 2), (1, 1), ceil_mode=True)", ["2 3 6 6"]),
    }
    for what, (torch_text, flax_text, inputs) in wrong.items():
        try:
            assert difference(torch_text, flax_text, inputs, plain=False) > 1e-6, what
        except ValueError as error:
            assert "expected shape" in str(error)  # noqa: PT017 one of both must be


def test_settings_are_read_from_the_modules_of_a_model():
    model = torch.nn.Sequential(
        torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(10, 20, 5, stride=2, groups=10, bias=False)),
        torch.nn.MultiheadAttention(12, 4, kdim=9, batch_first=True),
        torch.nn.Bilinear(2, 3, 4),
        torch.nn.CosineSimilarity(),
    )
    settings, _ = settings_in(model)
    assert {setting.torch: bool(setting.flax) for setting in settings} == {
        "utils.parametrizations.weight_norm(Conv1d(3, 6, (5,), stride=2, groups=3, bias=False))": True,
        "MultiheadAttention(6, 3, kdim=5, batch_first=True)": True,
        "Bilinear(3, 5, 7)": True,
        "CosineSimilarity()": False,
    }


def test_layers_that_no_counted_model_has_are_read_and_agree_too():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True)
    modules = [
        torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False),
        torch.nn.GRU(3, 5, 2, bidirectional=True, batch_first=True),
        torch.nn.Upsample(scale_factor=1.5, mode="bicubic", align_corners=True),
        torch.nn.ReflectionPad2d((1, 2, 0, 3)),
        torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 4)),
        torch.nn.PixelUnshuffle(3),
        torch.nn.AvgPool3d(3, 2, 1, ceil_mode=True, divisor_override=5),
        torch.nn.EmbeddingBag(9, 3, mode="sum"),
    ]
    for module in modules:
        setting = setting_of(module)
        assert difference(setting.torch, setting.flax, setting.inputs, plain=setting.plain) <= SAME, setting.torch


def test_the_page_shows_every_type():
    table = coverage_pages.types()
    assert len(table.splitlines()) == 2 + len(STORED["types"])
    assert f"{STORED['models']} models" in coverage_pages.summary()
