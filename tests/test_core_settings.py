"""Wrong settings are refused with one wording, by cores, layers and configs alike."""

from __future__ import annotations

import math

import numpy as np
import pytest

from einops_arch import _settings
from einops_arch.architectures import ConvNetConfig, GPT2Config
from einops_arch.errors import ConfigError
from einops_arch.functional import channel_shuffle


def message(call, *args, **kwargs):
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    return str(error.value)


NOT_WHOLE = [0, -1, True, False, 2.0, "3", None, math.nan, (3,), np.float32(3)]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number_of_at_least_one_is_refused_everywhere(value):
    text = message(_settings.check_whole, "owner", "size", value)
    assert text == f"owner: size needs a whole number of at least 1, received {value!r}"
    assert message(_settings.per_axis, "owner", "size", [2, value], ("h", "w")) == text
    if not isinstance(value, tuple):
        core = message(channel_shuffle, np.zeros((1, 6, 2, 2)), value)
        assert core.partition(": ")[2] == text.partition(": ")[2].replace("size", "groups")
        config = message(ConvNetConfig, hidden=value)
        assert config.partition(": ")[2] == text.partition(": ")[2].replace("size", "hidden")


@pytest.mark.parametrize("value", [1, 7, np.int8(1), np.uint64(2**63)], ids=repr)
def test_integers_of_numpy_are_whole_numbers_and_no_json(value):
    _settings.check_whole("owner", "size", value)
    assert _settings.is_plain(value) == (type(value) is int)


def test_a_range_has_both_ends():
    for value in (-2, 3):
        _settings.check_whole("owner", "axis", value, -2, 3)
    for value in (-3, 4):
        assert "from -2 to 3, received" in message(_settings.check_whole, "owner", "axis", value, -2, 3)


ENDS = {"[0, 1]": (True, True), "[0, 1)": (True, False), "(0, 1]": (False, True), "(0, 1)": (False, False)}


@pytest.mark.parametrize("interval", ENDS)
def test_the_brackets_of_a_fraction_say_which_ends_belong_to_it(interval):
    for value, belongs in zip((0, 1), ENDS[interval], strict=True):
        if belongs:
            _settings.check_fraction("owner", "rate", value, interval)
        else:
            assert f"in {interval}, received {value}" in message(
                _settings.check_fraction, "owner", "rate", value, interval
            )
    _settings.check_fraction("owner", "rate", 0.5, interval)
    for value in (-1e-9, 1.1, math.nan, math.inf, True, "0.5", None, 10**400):
        assert repr(value) in message(_settings.check_fraction, "owner", "rate", value, interval)


def test_a_number_is_finite_and_large_enough():
    _settings.check_number("owner", "epsilon", np.float32(1e-5))
    for value in (-1e-9, math.inf, math.nan, "1", False):
        assert "a number of at least 0" in message(_settings.check_number, "owner", "epsilon", value)


def test_a_choice_is_offered_the_nearest_word():
    text = message(_settings.check_choice, "owner", "mode", "bicubik", ("nearest", "bicubic"))
    assert text == "owner: mode needs 'nearest' or 'bicubic', received 'bicubik'; likely fix: mode='bicubic'"
    assert message(_settings.check_choice, "owner", "mode", 3, ("row",)) == "owner: mode needs 'row', received 3"


def test_flags_and_multiples_name_what_was_received():
    assert message(_settings.check_flag, "owner", "last", 1) == "owner: last needs True or False, received 1"
    assert message(GPT2Config, heads=7).endswith("embedding needs a multiple of heads=7, received 768")
