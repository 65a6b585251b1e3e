"""The checks of tokens and lengths, on the arrays of each backend."""

from __future__ import annotations

import numpy as np
import pytest

from einops_arch.architectures import Axes
from einops_arch.architectures._tokens import check_lengths, check_tokens
from einops_arch.errors import IndexRangeError

TOKENS = Axes("tokens", "t b", dtype="int64", high=17, least={"t": 1})


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_the_first_and_the_last_word_are_words(xp, dtype):
    check_tokens(TOKENS, xp.array(np.array([[0, 16, 3]], dtype)), values=True)


@pytest.mark.parametrize(
    ("tokens", "received"),
    [([[0, 1], [2, 3], [17, 4]], "17 at t=2, b=0"), ([[0, 1], [2, -3], [-1, 4]], "-3 at t=1, b=1")],
)
def test_the_word_farthest_outside_is_named_with_its_place(xp, tokens, received):
    with pytest.raises(IndexRangeError) as error:
        check_tokens(TOKENS, xp.array(np.array(tokens)), values=True)
    assert str(error.value) == (
        f"tokens: expected integers from 0 to 16, received {received}; "
        "likely fix: give the unknown words an index of the vocabulary"
    )


def test_values_are_looked_at_only_where_they_may_be(xp):
    check_tokens(TOKENS, xp.array(np.array([[17, -1]])), values=False)
    check_lengths(xp.array(np.array([0, 4])), xp.array(np.zeros((3, 2), np.int64)), values=False)


def test_no_sentences_at_all_are_no_error(xp):
    tokens = xp.array(np.zeros((3, 0), np.int64))
    check_tokens(TOKENS, tokens, values=True)
    check_lengths(xp.array(np.zeros(0, np.int64)), tokens, values=True)


def test_the_shortest_and_the_longest_sentence(xp):
    tokens = xp.array(np.zeros((3, 2), np.int64))
    check_lengths(xp.array(np.array([1, 3])), tokens, values=True)
    with pytest.raises(IndexRangeError) as error:
        check_lengths(xp.array(np.array([1, 4])), tokens, values=True)
    assert str(error.value) == (
        "lengths: expected integers from 1 to 3, received 4 at b=1; "
        "likely fix: leave out sentences without words, or pad the tokens to the longest sentence"
    )
