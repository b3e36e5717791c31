# SPDX-License-Identifier: Apache-2.0
"""CLIP's byte-pair tokenizer, which every official text encoder reads, as a tokenizer of the `tokenizers` library.

`clip_merges.txt.gz` holds the 48,894 merges that CLIP uses, the first lines of its bpe_simple_vocab_16e6.txt.gz (MIT
licence, see NOTICE); the vocabulary follows from them. Cleaning of broken text is not part of a tokenizer.json: it is
`runtime.clean.clean`, which the runtime applies to every concept.
"""

from __future__ import annotations

import gzip
from importlib.resources import files

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

START, END = "<start_of_text>", "<end_of_text>"
PAD_ID = 0  # the id of "!", as upstream has it
WORD_END = "</w>"
# Upstream's pattern ignores case, though all is in lower case by then: the long s (U+017F) counts as an s, and the
# iota below (U+0345) neither as a letter nor as anything else.
PIECES = r"'[s\x{17F}]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+"
# "<end_of_text>" in a text is the end token, but not where its "<" belongs to the punctuation before it. A space after
# that "<" changes no other piece.
INNER_TOKEN = rf"(?<=[^\s\p{{L}}\p{{N}}])(?<!{START}|{END})<(?=(?:start|end)_of_text>)"
NEXT_INNER_TOKEN = r"(?<=< start_of_text>|< end_of_text>)<(?=(?:start|end)_of_text>)"


def build_clip_tokenizer(context: int) -> Tokenizer:
    """CLIP's tokenizer, giving `context` ids for every text: start 49406, end 49407, pads 0; longer texts are cut.

    Source: Radford et al. 2021, section 2.4.
    """
    merges = _merges()
    letters = _byte_letters()
    words = [*letters, *(letter + WORD_END for letter in letters), *("".join(merge) for merge in merges), START, END]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=WORD_END))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFC(),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(INNER_TOKEN), "< "),
        normalizers.Replace(Regex(NEXT_INNER_TOKEN), "< "),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=True) for token in (START, END)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, vocabulary[token]) for token in (START, END)]
    )
    tokenizer.enable_truncation(context)
    tokenizer.enable_padding(length=context, pad_id=PAD_ID, pad_token=letters[PAD_ID])
    return tokenizer


def _merges() -> list[tuple[str, str]]:
    """Pairs of word pieces, in the order in which they are joined."""
    packed = files("esam3_core.convert").joinpath("clip_merges.txt.gz").read_bytes()
    pairs = []
    for line in gzip.decompress(packed).decode().splitlines():
        first, second = line.split()
        pairs.append((first, second))
    return pairs


def _byte_letters() -> list[str]:
    """The printable letters that stand for the 256 bytes, in the order of CLIP's vocabulary.

    Printable bytes of Latin-1 stand for themselves; the others follow, as letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(0x100 + index) for index in range(others)]
