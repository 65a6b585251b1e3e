"""The report: one page that needs nothing else, maps that show where it differs, and numbers that JSON can hold."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.parity import Report, Row, Verdict, compare
from einops_arch.parity.report.error_maps import error_maps
from einops_arch.parity.report.table import rich_tables
from einops_arch.port import transfer

IMAGES = (0, 2, 3, 1)
_VOID = {"meta"}


class Page(HTMLParser):
    """Tags that close in the order in which they opened, all attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.text, self.tags = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _row(path, verdict=Verdict.SAME_FUNCTION, difference=1e-16, ratio=1.0):
    return Row(path, "Linear", "Linear", (3, 2), difference, 1e-8, 1e-8, ratio, verdict)


def _images(shape=(2, 6, 7, 9)):
    one = np.random.default_rng(0).normal(size=shape)
    return one, np.ascontiguousarray(one.transpose(IMAGES))


class Padded(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, padding=1, padding_mode="replicate")

    def forward(self, x):
        return self.conv(x)


class Zeros(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(2, 4, (3, 3), padding=1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.conv(x)


@pytest.fixture(scope="module")
def padded():
    ours, theirs = Padded(), Zeros()
    transfer(ours, theirs)
    images = np.random.default_rng(0).normal(size=(2, 2, 7, 9)).astype("float32")
    return compare(ours, theirs, images, axes="b c h w", causes=False)


def test_a_wrong_padding_is_a_ring(padded):
    assert padded.maps.path == "conv"
    assert padded.maps.reading == (
        "the difference is at the border alone (top 1, bottom 1, left 1, right 1), as of another padding",
    )
    positions = np.array(padded.maps.positions)
    assert positions.shape == (7, 9)
    assert positions[1:-1, 1:-1].max() < 1e-12 < positions[0].min()
    assert len(padded.maps.channels) == 4
    assert padded.maps.reading[0] in str(padded)


def test_the_page_needs_nothing_else_and_is_whole(padded):
    page = padded.to_html(title="<mine> & yours")
    read = Page(page)
    assert {"script", "link", "img", "iframe"}.isdisjoint(read.tags)
    assert not [value for name, value in read.attributes if name in ("href", "src", "srcset")]
    assert "url(" not in page
    assert "@import" not in page
    assert re.findall(r"https?://", page) == []
    text = " ".join(read.text)
    assert "<mine> & yours" in text
    assert "semantic difference" in text
    assert "First divergence at conv (Conv2d and Conv)" in text
    assert "as of another padding" in text
    for limit in ("FLOAT64 = 1e-12", "RATIO = 4"):
        assert limit in text
    # A mark for each module in both charts, a cell for each position, a bar for each channel.
    assert text.count("limit 1e-12") == 1
    assert page.count('class="cell"') == 7 * 9
    assert page.count('class="bar"') == 4


def test_shapes_have_the_names_of_their_axes(padded):
    text = Page(padded.to_html()).text
    assert text.count("b=2 c=4 h=7 w=9") == 2  # the network and its convolution
    module = next(row for row in json.loads(padded.to_json())["modules"] if row["path"] == "conv")
    assert module["axes"] == ["b", "c", "h", "w"]
    assert module["shape"] == [2, 4, 7, 9]


def test_names_that_a_pattern_gives_and_those_that_nobody_said_are_told_apart():
    torch_model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Unflatten(2, (2, 2)))
    flax_model = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), lambda x: x.reshape(*x.shape[:2], 2, 2))
    transfer(torch_model, flax_model)
    report = compare(torch_model, flax_model, np.ones((5, 6, 3), "float32"), axes="b t e")
    linear = next(row for row in report.rows if row.path == "0")
    assert linear.axes == ("b", "t", "o")


class Flattened(torch.nn.Linear):
    """A layer of features that makes fewer axes, and which gives no tensor where it is not asked for one."""

    def forward(self, x):
        return super().forward(x.flatten(1)) if x.ndim > 2 else {}


class Counted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = Flattened(6, 4)

    def forward(self, x):
        self.layer(x[:, 0])
        return self.layer(x)


class CountedTwin(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(6, 4, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x.reshape(len(x), 6))


def test_layers_that_do_what_their_kind_does_not_do_are_compared_without_names():
    torch_model, flax_model = Counted(), CountedTwin()
    transfer(torch_model, flax_model)
    report = compare(torch_model, flax_model, np.ones((5, 2, 3), "float32"), axes="b t e", causes=False)
    assert report.outputs[0].difference < 1e-15
    assert not any(name for row in report.rows if row.path == "layer" for name in row.axes)


def test_names_cannot_write_into_the_page():
    rows = (_row("<b>bold</b>"), _row('"><script>', Verdict.SEMANTIC, math.inf))
    report = Report(rows, (), notes=("<i>note</i>",), causes=("<u>cause</u>",))
    assert {"b", "i", "u", "script"}.isdisjoint(Page(report.to_html()).tags)


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [(Verdict.BIT_EQUAL, "good"), (Verdict.ROUNDING, "doubt"), (Verdict.SEMANTIC, "bad"), (Verdict.NAN, "bad")],
)
def test_the_verdict_is_on_top(verdict, kind):
    numbers = {"difference": None, "ratio": None} if verdict is Verdict.NAN else {}
    page = Report((_row("a", verdict, **numbers),), ()).to_html()
    assert f'<header class="{kind}">' in page
    assert page.index("<header") < page.index("<section")
    assert f"</span>{verdict}</h1>" in page


def test_a_report_of_nothing_and_one_of_many_modules_are_pages():
    Page(Report((), ()).to_html())
    many = Page(Report(tuple(_row(f"blocks.{n}") for n in range(300)), ()).to_html())
    assert "last of 300 modules, in call order" in many.text


def test_channels_in_another_order_are_a_comb():
    one, other = _images()
    order = np.array([0, 3, 2, 5, 4, 1])
    maps = error_maps("shuffle", one, other[..., order], IMAGES)
    assert maps.reading == ("only channels 0, 2, 4 ... (a comb) are right, as of another order of the channels",)


def test_single_channels_are_listed():
    one, other = _images()
    other[..., 4] += 1
    assert error_maps("a", one, other, IMAGES).reading == ("1 of 6 channels differ: 4",)


def test_one_side_of_the_border_is_named():
    one, other = _images()
    other[:, :, -2:] += 0.1
    (said,) = error_maps("a", one, other, IMAGES).reading
    assert "(right 2)" in said


def test_a_wrong_corner_or_a_wrong_middle_is_no_ring():
    one, other = _images()
    other[:, 3, 3] += 1
    assert error_maps("a", one, other, IMAGES).reading == ()
    other[:, 0, 0] += 1
    assert error_maps("a", one, other, IMAGES).reading == ()


def test_a_sequence_shows_where_it_begins_to_differ():
    one = np.random.default_rng(0).normal(size=(5, 3, 4))
    other = one.copy()
    other[3:, 1] += 1
    maps = error_maps("lstm", one, other, (0, 1, 2))
    assert maps.reading == (
        "along the first axis only these differ: 3, 4",
        "along the second axis only these differ: 1",
    )
    assert np.array(maps.positions).shape == (5, 3)


def test_large_maps_are_made_smaller_and_keep_what_they_show():
    one = np.ones((1, 700, 90, 130))
    other = one.transpose(IMAGES).copy()
    other[0, 70, 80] = 3
    maps = error_maps("a", one, other, IMAGES)
    positions = np.array(maps.positions)
    assert positions.shape == (64, 64)
    assert len(maps.channels) == 256
    assert np.count_nonzero(positions) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_map(value):
    one, other = _images()
    other[0, 0, 0, 0] = value
    assert error_maps("a", one, other, IMAGES) is None


def test_other_shapes_and_integers_have_no_map():
    one, other = _images()
    assert error_maps("a", one, other[:, :-1], IMAGES) is None
    assert error_maps("a", np.arange(4).reshape(2, 2), np.arange(4).reshape(2, 2), (0, 1)) is None


def test_the_json_has_everything_that_the_page_has(padded):
    read = json.loads(padded.to_json())
    assert read["maps"]["path"] == "conv"
    assert len(read["maps"]["positions"]) == 7
    assert set(read) >= {"verdict", "passed", "modules", "outputs", "training", "limits", "notes", "cause", "casts"}
    assert (
        json.loads(Report((_row("a", Verdict.SEMANTIC, math.inf),), ()).to_json())["modules"][0]["difference"] == "inf"
    )


def test_every_verdict_and_section_has_its_table():
    rows = tuple(_row(str(verdict), verdict) for verdict in Verdict)
    report = Report(rows, rows[:1], training=rows[:2])
    tables = rich_tables(report)
    assert [table.title for table in tables] == ["modules (eval mode)", "outputs (eval mode)", "training (eval mode)"]
    assert tables[0].row_count == len(Verdict)


def test_a_report_that_passed_has_no_map():
    report = Report((_row("a"),), ())
    assert report.maps is None
    assert dataclasses.replace(report, maps=None) == report
