# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF001 - letters that look like others are what this is about
"""Strings that tokenizers disagree about."""

from __future__ import annotations

import html
import random
import sys
import unicodedata

WORDS = """
cup red mug table Straße ΣΊΣΥΦΟΣ naïve ﬁre ﬂoor İstanbul ĲSSEL résumé can't you're it'S dog's 'tis rock'n'roll 'ſ ſtart
KELVIN\u212a re\u0301sume\u0301 茶杯 красная кружка चाय कप ถ้วย كوب 찻잔 e-mail x86_64 3.14 1,000 v2 ½ ²³ Ⅷ ①
&amp; &lt;b&gt; &#39; &#x1F600; &amp;amp; &amp;lt; &nbsp; &eacute; &Eacute; &AMP; &amp &notit; &#0; &#x80; &bogus;
schÃ¶n â€œquotedâ€\u009d donâ€™t Â© “curly” ‘single’ … — – ＦＵＬＬ ｗｉｄｔｈ 😀 👩\u200d👩\u200d👧 🏳️\u200d🌈 🇩🇪 ☕️
\u200b \ufeff \u00ad <start_of_text> <end_of_text> <End_Of_Text> <|endoftext|> </w> !!! !? ... ''' "" _ __ #hash @at
50% $5 a/b \\ ^^ ``
"""
SPACES = (" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\x0b", "\x0c", "\x1f", "\x85", "\u2028")
LONG = ("a" * 1000, "é" * 300, "cup " * 500, "&amp;" * 200, "😀" * 200, "!?" * 200)


def odd_strings(count: int, seed: int = 0) -> list[str]:
    """Half of them words, entities, emoji and spaces in any order, half of them random letters of Unicode."""
    chance = random.Random(seed)
    words = WORDS.split(" ")
    known = letters()
    latin = [letter for letter in known if ord(letter) < 0x250]
    found = ["", " ", "!", "\n", *LONG]
    while len(found) < count:
        kind = chance.random()
        if kind < 0.5:
            parts = chance.choices(words, k=chance.randint(1, 8))
            text = "".join(part + (chance.choice(SPACES) if chance.random() < 0.8 else "") for part in parts)
            text = chance.choice((text, text.upper(), text.lower(), text.title()))
        else:
            text = "".join(chance.choices(latin if kind < 0.75 else known, k=chance.randint(1, 20)))
        found.append(html.escape(text) if kind > 0.9 else text)
    return found


def letters() -> list[str]:
    """Every letter that this Python's Unicode knows, without surrogates and private ones."""
    everything = map(chr, range(sys.maxunicode + 1))
    return [letter for letter in everything if unicodedata.category(letter) not in ("Cn", "Cs", "Co")]
