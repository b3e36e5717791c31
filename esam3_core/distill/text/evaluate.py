# SPDX-License-Identifier: Apache-2.0
"""Judges a sentence embedding by what the detector needs: the right noun, the right attribute, distance to nonsense.

    python -m esam3_core.distill.text.evaluate DIR [DIR ...]     prints the table of docs/bundles/text.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from esam3_core.distill.text.lexicon import (
    ATTRIBUTE_GROUPS,
    ATTRIBUTES,
    CLAIMED,
    HELD_OUT,
    HELD_OUT_ATTRIBUTES,
)
from esam3_core.distill.text.phrases import negative_nouns

Embed = Callable[[list[str]], NDArray[np.float32]]

NONSENSE = ("qwzx", "blorf", "asdfghjkl", "xkcdq", "zzzz", "fnord grep", "vrmpt", "1234", "§§§", "ghjk wqpl",
            "oooooooo")  # fmt: skip
ABSENT = ("laptop", "table", "chair", "dog", "car", "person", "hand", "keyboard", "scissors", "pizza", "teddy bear",
          "toothbrush", "clock", "potted plant", "kettle", "frying pan", "sofa", "tree", "shoe", "candle")  # fmt: skip
FRAMES = ("a {}", "red {}", "the small {} on the table", "{}s", "a photo of a white {}")


def nearest(queries: list[str], answers: list[str], embed: Embed) -> tuple[list[str], NDArray[np.float32]]:
    """The nearest answer of each query and its cosine."""
    cosine = embed(queries) @ embed(answers).T  # [queries, answers]
    return [answers[i] for i in cosine.argmax(1)], cosine.max(1)


def judge_synonyms(embed: Embed) -> dict[str, Any]:
    """Held-out synonyms alone and inside phrases: share whose nearest claimed noun is right."""
    words = list(HELD_OUT)
    found, cosine = nearest(words, list(CLAIMED), embed)
    right = [f in HELD_OUT[w] for w, f in zip(words, found, strict=True)]
    phrases = [(frame.format(w), frame, w) for frame in FRAMES for w in words]
    hits = 0
    for frame in FRAMES:
        answers = [frame.format(noun) for noun in CLAIMED]
        inside, _ = nearest([p for p, f, _ in phrases if f == frame], answers, embed)
        hits += sum(CLAIMED[answers.index(i)] in HELD_OUT[w] for i, w in zip(inside, words, strict=True))
    return {
        "synonym": float(np.mean(right)),
        "synonym_in_phrase": hits / len(phrases),
        "synonym_cosine": float(np.mean(cosine)),
        "synonym_errors": {w: f for w, f, ok in zip(words, found, right, strict=True) if not ok},
    }


def judge_attributes(embed: Embed) -> dict[str, Any]:
    """Held-out attribute words: is "scarlet cup" nearest to "red cup" among the plain attributes of its kind?"""
    group_of = {name: group for group, names in ATTRIBUTE_GROUPS.items() for name in names}
    hits: list[bool] = []
    errors: dict[str, str] = {}
    for word, plain in HELD_OUT_ATTRIBUTES.items():
        rivals = list(ATTRIBUTE_GROUPS[group_of[plain]])
        for noun in CLAIMED:
            answers = [f"{rival} {noun}" for rival in rivals]
            found, _ = nearest([f"{word} {noun}"], answers, embed)
            hits.append(found[0] == f"{plain} {noun}")
            if not hits[-1]:
                errors[f"{word} {noun}"] = found[0]
    wrong = {w: sum(k.startswith(w) for k in errors) for w in HELD_OUT_ATTRIBUTES}
    return {"attribute": float(np.mean(hits)), "attribute_errors": {w: n for w, n in wrong.items() if n}}


def judge_contrast(embed: Embed) -> dict[str, Any]:
    """How far attributes and nouns lie apart: mean cosines of pairs that a detector must tell apart."""
    colours = ("red", "blue", "green", "yellow", "black", "white")
    same_noun, same_colour = [], []
    for noun in CLAIMED:
        cosine = embed([f"{c} {noun}" for c in colours])
        same_noun.append((cosine @ cosine.T)[np.triu_indices(len(colours), 1)].mean())
    for colour in colours:
        cosine = embed([f"{colour} {noun}" for noun in CLAIMED])
        same_colour.append((cosine @ cosine.T)[np.triu_indices(len(CLAIMED), 1)].mean())
    return {"cosine_other_colour": float(np.mean(same_noun)), "cosine_other_noun": float(np.mean(same_colour))}


def judge_silence(embed: Embed) -> dict[str, Any]:
    """How near nonsense and absent things come to a claimed noun, and how often nearer than a held-out synonym does."""
    _, synonyms = nearest(list(HELD_OUT), list(CLAIMED), embed)
    result: dict[str, Any] = {}
    negatives = negative_nouns()
    others = negatives[:: max(1, len(negatives) // 1000)]
    for name, texts in (("nonsense", list(NONSENSE)), ("absent", list(ABSENT)), ("other_nouns", others)):
        _, cosine = nearest(texts, list(CLAIMED), embed)
        result[f"{name}_cosine"] = float(cosine.mean())
        result[f"{name}_cosine_max"] = float(cosine.max())
        # chance that a synonym lies nearer to its best claimed noun than such a text does (area under the ROC curve)
        result[f"{name}_auc"] = float((synonyms[:, None] > cosine[None]).mean())
    return result


def judge_head(head: Embed) -> dict[str, Any]:
    """What a linear layer reads in the summary token (position 0 of the prompt) of phrases never trained on.

    Args:
        head: list of phrases -> logits [n, nouns + attributes] of the auxiliary head.
    """
    column = {name: i for i, name in enumerate((*CLAIMED, *ATTRIBUTES))}
    nouns = head(list(HELD_OUT))[:, : len(CLAIMED)]
    group_of = {name: group for group, names in ATTRIBUTE_GROUPS.items() for name in names}
    hits = []
    for word, plain in HELD_OUT_ATTRIBUTES.items():
        logits = head([f"{word} {noun}" for noun in CLAIMED])
        group = [i for name, i in column.items() if name.startswith(group_of[plain] + ":")]
        best = np.array(group)[logits[:, group].argmax(1)]
        hits.append((best == column[f"{group_of[plain]}:{plain}"]).mean())
    right = [CLAIMED[i] in HELD_OUT[w] for w, i in zip(HELD_OUT, nouns.argmax(1), strict=True)]
    others = negative_nouns()[::8]
    return {
        "head_synonym": float(np.mean(right)),
        "head_synonym_fires": float((nouns.max(1) > 0).mean()),
        "head_attribute": float(np.mean(hits)),
        "head_other_fires": float((head(others)[:, : len(CLAIMED)].max(1) > 0).mean()),
        "head_nonsense_fires": float((head(list(NONSENSE))[:, : len(CLAIMED)].max(1) > 0).mean()),
    }


def evaluate(embed: Embed) -> dict[str, Any]:
    """All measures of one embedding.

    Args:
        embed: list of phrases -> unit-norm embeddings [n, E].
    """
    return {**judge_synonyms(embed), **judge_attributes(embed), **judge_contrast(embed), **judge_silence(embed)}


ROWS = (
    ("synonym", "held-out synonym -> right noun"),
    ("synonym_in_phrase", "the same inside phrases"),
    ("attribute", "held-out attribute word -> right attribute"),
    ("cosine_other_colour", "cosine, same noun, other colour (lower is better)"),
    ("cosine_other_noun", "cosine, same colour, other noun (lower is better)"),
    ("synonym_cosine", "cosine of synonyms to their nearest claimed noun"),
    ("absent_cosine", "cosine of absent things to it (lower is better)"),
    ("nonsense_cosine", "cosine of nonsense to it (lower is better)"),
    ("other_nouns_auc", "synonym nearer than an unclaimed noun (AUC)"),
    ("nonsense_auc", "synonym nearer than nonsense (AUC)"),
    ("head_synonym", "linear head on the summary token: held-out synonym -> right noun"),
    ("head_attribute", "the same for held-out attribute words"),
    ("head_synonym_fires", "head says some claimed noun for a held-out synonym"),
    ("head_other_fires", "head says some claimed noun for an unclaimed noun (lower is better)"),
    ("head_nonsense_fires", "head says some claimed noun for nonsense (lower is better)"),
)


def table(columns: dict[str, dict[str, Any]]) -> str:
    """Markdown table, one column for each embedding."""
    lines = ["| measure | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for key, label in ROWS:
        cells = (f"{c[key]:.3f}" if key in c else "–" for c in columns.values())  # noqa: RUF001
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def load_student(folder: Path) -> tuple[Embed, Embed]:
    """The embedding and the auxiliary head of a trained text encoder, as functions of a list of phrases."""
    import torch

    from esam3_core.config import TextConfig, from_dict
    from esam3_core.nn.text import TextEncoder, load_text_encoder

    config = from_dict(TextConfig, json.loads((folder / "metrics.json").read_text())["config"])
    encoder = load_text_encoder(folder, config, config.width).eval()
    assert isinstance(encoder, TextEncoder)  # what the training writes
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    labels = torch.load(folder / "labels.pt", weights_only=True)

    def tokens(texts: list[str]) -> torch.Tensor:
        return torch.tensor([e.ids for e in tokenizer.encode_batch(texts)])

    @torch.no_grad()
    def embed(texts: list[str]) -> NDArray[np.float32]:
        return encoder.embed(tokens(texts)).numpy()

    @torch.no_grad()
    def head(texts: list[str]) -> NDArray[np.float32]:
        return (encoder.encode(tokens(texts))[:, 0] @ labels["weight"].T + labels["bias"]).numpy()

    return embed, head


def main() -> None:
    """Command line: see the module's docstring."""
    from esam3_core.distill.text.teacher import TextTeacher

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="output folders of train")
    parser.add_argument("--json", type=Path, help="write the measures here")
    args = parser.parse_args()
    columns = {"MiniLM (teacher)": evaluate(TextTeacher().embed)}
    for folder in args.folders:
        embed, head = load_student(folder)
        columns[folder.name] = {**evaluate(embed), **judge_head(head)}
    print(table(columns))
    for name, values in columns.items():
        print(f"\n{name}: wrong synonyms {values['synonym_errors']}; wrong attributes {values['attribute_errors']}")
    if args.json:
        args.json.write_text(json.dumps(columns, indent=1))


if __name__ == "__main__":
    main()
