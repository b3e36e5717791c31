# SPDX-License-Identifier: Apache-2.0
"""The tokenizer: fixed length, start and end, case and accents, and that no text breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from esam3_core.distill.text.phrases import corpus
from esam3_core.distill.text.tokenizer import build_tokenizer

CONTEXT = 16
SIZE = 4000


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    build_tokenizer([p.text for p in corpus() if p.noun], SIZE, CONTEXT).save(str(path))
    return Tokenizer.from_file(str(Path(path)))


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    encoding = tokenizer.encode(text)
    return [t for t, real in zip(encoding.tokens, encoding.attention_mask, strict=True) if real]


def test_vocabulary_stays_within_its_size(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() <= SIZE
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))


def test_start_end_and_pads_come_from_the_file(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("red cup").ids
    assert len(ids) == CONTEXT
    assert (ids[0], ids[3]) == (2, 3)
    assert ids[4:] == [0] * 12


def test_plurals_share_the_word(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, "red cups") == ["[CLS]", "red", "cup", "##s", "[SEP]"]


@pytest.mark.parametrize("text", ["RED CUP", " Réd  cup ", "red\tcup", "réd cup"])
def test_case_accents_and_spaces_do_not_count(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text).ids == tokenizer.encode("red cup").ids


def test_unknown_words_fall_into_pieces(tokenizer: Tokenizer) -> None:
    assert "[UNK]" not in pieces(tokenizer, "qwzx blorf")


def test_long_text_is_cut_and_keeps_its_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("cup " * 50).ids
    assert len(ids) == CONTEXT and ids[-1] == 3


@given(st.text(max_size=200))
def test_any_text_gives_ids_of_the_vocabulary(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert len(ids) == CONTEXT
    assert all(0 <= i < SIZE for i in ids)
    assert ids[0] == 2 and 3 in ids
