# SPDX-License-Identifier: Apache-2.0
"""CLIP's tokenizer: the ids of OpenCLIP's, for 10 000 odd strings and at every context length."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from esam3_core.convert.tokenizer import PIECES, build_clip_tokenizer
from esam3_core.runtime.clean import clean
from tests.convert.odd_strings import letters, odd_strings
from tests.convert.vectors import VARIANTS, expected, needs_vectors


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """OpenCLIP's tokenizer; the rest of the package is not imported, since it needs torchvision."""
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the reference is OpenCLIP's tokenizer: pip install '.[test]'")
    path = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """With a context of 77, through its file."""
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    build_clip_tokenizer(77).save(str(path))
    return Tokenizer.from_file(str(path))


def test_the_vocabulary_is_clips(tokenizer: Tokenizer, reference: ModuleType) -> None:
    assert tokenizer.get_vocab() == reference._tokenizer.encoder
    assert tokenizer.get_vocab_size() == 49408


def test_ten_thousand_odd_strings_get_the_reference_ids(tokenizer: Tokenizer, reference: ModuleType) -> None:
    texts = odd_strings(10_000)
    wanted = reference.tokenize(texts).tolist()
    got = [encoding.ids for encoding in tokenizer.encode_batch([clean(text) for text in texts])]
    wrong = [(text, w, g) for text, w, g in zip(texts, wanted, got, strict=True) if w != g]
    assert not wrong, f"{len(wrong)} differ, such as {wrong[0]}"


def test_every_letter_of_unicode_is_cut_as_in_the_reference(tokenizer: Tokenizer, reference: ModuleType) -> None:
    split = pre_tokenizers.Split(Regex(PIECES), "removed", invert=True)
    known = letters()
    text = "".join(f"a{letter}!{letter}1" for letter in known[:12_000] + known[12_000::10])
    assert [piece for piece, _ in split.pre_tokenize_str(text)] == reference._tokenizer.pat.findall(text)


@pytest.mark.parametrize("context", [16, 32, 77])
def test_every_context_starts_ends_pads_and_cuts_as_the_reference(context: int, reference: ModuleType) -> None:
    texts = ["", "cup", "a red mug on the table", "cup " * 13, "cup " * 14, "cup " * 15, "cup " * 80]
    got = [encoding.ids for encoding in build_clip_tokenizer(context).encode_batch([clean(text) for text in texts])]
    assert got == reference.tokenize(texts, context_length=context).tolist()
    assert [row[0] for row in got] == [49406] * len(texts)
    assert got[-1][-1] == 49407


def test_the_file_alone_lowers_case_and_joins_spaces(tokenizer: Tokenizer, reference: ModuleType) -> None:
    for text in (" Red\u00a0\t MUG\n", "ÉCLAIR", "e\u0301clair", "Dog's HOUSE", "x86_64"):
        assert tokenizer.encode(text).ids == reference.tokenize([text])[0].tolist()


@needs_vectors
@pytest.mark.parametrize(("part", "text"), [("text0", "cup"), ("text1", "a red mug on the table")])
def test_the_tokens_of_the_parity_vectors(part: str, text: str) -> None:
    wanted = expected(VARIANTS[0], part)["tokens"]
    np.testing.assert_array_equal(build_clip_tokenizer(16).encode(text).ids, wanted)
