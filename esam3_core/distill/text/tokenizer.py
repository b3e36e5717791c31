# SPDX-License-Identifier: Apache-2.0
"""The student's tokenizer: lower-cased WordPiece whose vocabulary is everyday words first, pieces of words second."""

from __future__ import annotations

import re
from collections import Counter

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")  # ids 0..3
PIECES = 1800  # entries kept for letters and pieces of words
CONTINUED = "##"


def _blank(vocab: dict[str, int]) -> Tokenizer:
    """A tokenizer over a vocabulary: lower case, no accents, split at spaces and punctuation."""
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=SPECIAL[1], max_input_chars_per_word=64))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def count_words(phrases: list[str]) -> Counter[str]:
    """How often each plain word stands in the phrases."""
    return Counter(word for phrase in phrases for word in re.findall(r"[a-z]+", phrase.lower()))


def learn_pieces(counts: Counter[str], size: int) -> list[str]:
    """Letters and the commonest beginnings and inner parts of these words, the inner ones with ##.

    Not the trainer of `tokenizers`: it breaks ties at random, and a resumed training needs the same ids again.
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    single = [*letters, *(CONTINUED + c for c in letters), *"-'&.,%+/", *(CONTINUED + e for e in ("s", "es", "ies"))]
    found: Counter[str] = Counter()
    for word in counts:  # each word once: pieces serve rare words
        for length in (2, 3, 4):
            found[word[:length]] += length
            for start in range(1, len(word) - length + 1):
                found[CONTINUED + word[start : start + length]] += length
    ranked = sorted(found, key=lambda piece: (-found[piece], piece))
    return list(dict.fromkeys([*single, *ranked]))[:size]


def is_inflected(word: str, words: Counter[str]) -> bool:
    """Whether a word is another one with a plural ending: it is then spelled as that word and ##s."""
    return any(word.endswith(e) and word[: -len(e)] in words for e in ("s", "es"))


def build_tokenizer(phrases: list[str], size: int, context: int) -> Tokenizer:
    """A tokenizer of at most `size` entries that gives `context` ids for every text.

    Args:
        phrases: the corpus; its most frequent words become single tokens.
        size: entries of the vocabulary.
        context: tokens per text, start and end included; longer texts are cut, shorter ones padded with id 0.
    """
    counts = count_words(phrases)
    vocab = dict.fromkeys([*SPECIAL, *learn_pieces(counts, PIECES)])
    for word in sorted(counts, key=lambda w: (-counts[w], w)):
        if len(vocab) >= size:
            break
        if not is_inflected(word, counts):
            vocab.setdefault(word)
    tokenizer = _blank({entry: i for i, entry in enumerate(vocab)})
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(context)
    tokenizer.enable_padding(length=context, pad_id=0, pad_token=SPECIAL[0])
    return tokenizer
