# SPDX-License-Identifier: Apache-2.0
"""Distils the text encoder from the text teacher, on text alone.

    python -m esam3_core.distill.text.train --out DIR

Phase 1 leaves the held-out synonyms out and is what `evaluate` judges; phase 2 goes on a little with all phrases for
the bundle. Writes DIR/text.safetensors, DIR/tokenizer.json, DIR/metrics.json, and the same under DIR/phase1. Run it
again to resume.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from esam3_core.config import StudentConfig, TextConfig
from esam3_core.distill.text.dataset import (
    UNKNOWN,
    TextData,
    build_data,
    cached_embeddings,
    encode,
    strings_of,
)
from esam3_core.distill.text.evaluate import evaluate
from esam3_core.distill.text.lexicon import ATTRIBUTES, CLAIMED
from esam3_core.distill.text.phrases import corpus
from esam3_core.distill.text.teacher import TextTeacher
from esam3_core.distill.text.tokenizer import build_tokenizer
from esam3_core.nn.text import TextEncoder, save_text_encoder


@dataclass(frozen=True)
class TextTraining:
    """How the text encoder is trained."""

    steps: int = 2010  # phase 1, without the held-out phrases
    final_steps: int = 400  # phase 2, with them
    batch: int = 512  # phrases
    claimed_share: float = 0.45  # of a batch: phrases about claimed nouns
    rate: float = 2e-3  # peak learning rate of the trunk
    table_rate: float = 4e-4  # of the token table, which starts from the teacher
    final_rate: float = 0.5  # share of the peak at which phase 2 starts
    final_table_rate: float = 1.2e-3  # phase 2 meets words whose rows were never trained
    weight_decay: float = 0.02
    warm_up: int = 100  # steps
    temperature: float = 0.05  # of the similarities in the batch
    relation_weight: float = 1.0
    label_weight: float = 0.2
    common_words: int = 5000
    save_every: int = 200  # steps
    seed: int = 0


class TextTrainer(nn.Module):
    """The encoder and the auxiliary head that keeps nouns and attributes apart in the summary token."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(config, width)
        self.labels = nn.Linear(config.width, len(CLAIMED) + len(ATTRIBUTES))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids [B, L] -> unit-norm embeddings [B, E], label logits [B, nouns + attributes]."""
        summary = self.encoder.encode(tokens)[:, 0]
        return functional.normalize(self.encoder.sentence(summary), dim=-1), self.labels(summary)


def start_from_teacher(encoder: TextEncoder, tokenizer: Tokenizer, teacher: TextTeacher) -> None:
    """Start the token table from the teacher's embeddings of whole words, reduced by PCA, the head from its inverse."""
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [(word, i) for word, i in vocab if word.isalpha() and len(word) > 1]
    vectors = torch.from_numpy(teacher.embed([word for word, _ in words]))
    mean = vectors.mean(0)
    width = encoder.token.weight.shape[1]
    _, spread, basis = torch.linalg.svd(vectors - mean, full_matrices=False)
    basis = basis[:width]  # [width, E]
    scale = math.sqrt(len(words)) / spread[:width].square().sum().sqrt() * 0.5 * math.sqrt(width)
    with torch.no_grad():
        encoder.token.weight.normal_(0.0, 0.1)
        encoder.token.weight[[i for _, i in words]] = (vectors - mean) @ basis.T * scale
        encoder.sentence.weight.copy_(basis.T / scale)
        encoder.sentence.bias.copy_(mean)


def losses(
    embedding: Tensor, logits: Tensor, target: Tensor, labels: Tensor, training: TextTraining
) -> dict[str, Tensor]:
    """Cosine to the target, divergence of the batch's similarities, binary cross-entropy of the known labels."""
    own = embedding @ embedding.T / training.temperature
    wanted = target @ target.T / training.temperature
    hide = torch.eye(len(target), dtype=torch.bool, device=target.device)
    relation = functional.kl_div(
        own.masked_fill(hide, -1e4).log_softmax(-1),
        wanted.masked_fill(hide, -1e4).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    known = (labels != UNKNOWN).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0.0), reduction="none")
    return {
        "cosine": (1 - (embedding * target).sum(-1)).mean(),
        "relation": relation,
        "labels": (entropy * known).sum(-1).mean(),
    }


def pick_batch(data: TextData, rows: tuple[Tensor, Tensor], step: int, training: TextTraining) -> Tensor:
    """Row indices [batch] of a step: they depend on the seed and the step only, so a resumed run sees the same."""
    random = torch.Generator().manual_seed(training.seed * 1_000_003 + step)
    claimed, other = rows
    count = round(training.batch * training.claimed_share)
    return torch.cat(
        [
            claimed[torch.randint(len(claimed), (count,), generator=random)],
            other[torch.randint(len(other), (training.batch - count,), generator=random)],
        ]
    )


def rate_at(step: int, training: TextTraining) -> float:
    """Factor of the learning rates: warm-up and cosine to 0.1 over phase 1, then down to nearly 0 over phase 2."""
    if step < training.steps:
        turn = math.pi * step / training.steps
        return min(1.0, (step + 1) / training.warm_up) * (0.1 + 0.9 * 0.5 * (1 + math.cos(turn)))
    return training.final_rate * (1 - (step - training.steps) / max(training.final_steps, 1)) + 0.005


def run_steps(
    model: TextTrainer, data: TextData, training: TextTraining, folder: Path, end: int, checkpoint: dict[str, Any]
) -> None:
    """Train up to step `end`, from the checkpoint's step; saves every `save_every` steps and at the end."""
    table = [model.encoder.token.weight]
    rest = [p for n, p in model.named_parameters() if n != "encoder.token.weight" and "project" not in n]
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": table, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=training.rate, weight_decay=training.weight_decay)
    if "optimiser" in checkpoint:
        optimiser.load_state_dict(checkpoint["optimiser"])
    curve: list[dict[str, float]] = checkpoint.setdefault("curve", [])
    start = checkpoint.setdefault("step", 0)
    rows = data.rows(include_held_out=start >= training.steps)
    bar = tqdm(range(start, end), desc="text", initial=start, total=end, mininterval=5)
    for step in bar:
        index = pick_batch(data, rows, step, training)
        tokens = data.tokens[index]
        tokens = tokens[:, : int((tokens != 0).sum(1).max())]
        peaks = (training.rate, training.table_rate if step < training.steps else training.final_table_rate)
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * rate_at(step, training)
        embedding, logits = model(tokens)
        parts = losses(embedding, logits, data.targets[index], data.labels[index], training)
        loss = parts["cosine"] + training.relation_weight * parts["relation"]
        loss = loss + training.label_weight * parts["labels"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 20 == 0:
            curve.append({"step": step, **{k: round(v.item(), 4) for k, v in parts.items()}})
            bar.set_postfix(curve[-1])
        if (step + 1) % training.save_every == 0 or step + 1 == end:
            checkpoint.update(model=model.state_dict(), optimiser=optimiser.state_dict(), step=step + 1, curve=curve)
            partial = folder / "checkpoint.partial"
            torch.save(checkpoint, partial)
            partial.replace(folder / "checkpoint.pt")


def write_result(
    folder: Path, model: TextTrainer, tokenizer: Tokenizer, teacher: TextTeacher, extra: dict[str, Any]
) -> None:
    """Weights, tokenizer and metrics into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    save_text_encoder(model.encoder, folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.save(model.labels.state_dict(), folder / "labels.pt")

    @torch.no_grad()
    def embed(texts: list[str]) -> NDArray[np.float32]:
        return model.encoder.embed(encode(tokenizer, texts)).numpy()

    metrics = {"student": evaluate(embed), "teacher": evaluate(teacher.embed), **extra}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))


def train(folder: Path, config: TextConfig, training: TextTraining) -> None:
    """Both phases; resumes from folder/checkpoint.pt."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    teacher = TextTeacher()
    phrases = corpus(training.seed, teacher.common_words(training.common_words))
    strings = strings_of(phrases)
    embeddings = cached_embeddings(strings, folder / "teacher.npz")
    words = [p.text for p in phrases if p.noun or p.claims is None]  # without nonsense
    tokenizer = build_tokenizer(words, config.vocab_size, config.context)
    data = build_data(phrases, tokenizer, strings, embeddings)
    model = TextTrainer(config, StudentConfig().width)
    saved = folder / "checkpoint.pt"
    checkpoint: dict[str, Any] = torch.load(saved, weights_only=True) if saved.exists() else {}
    if checkpoint:
        model.load_state_dict(checkpoint["model"])
    else:
        start_from_teacher(model.encoder, tokenizer, teacher)
    extra = {
        "training": asdict(training),
        "config": asdict(config),
        "phrases": len(phrases),
        "parameters": sum(p.numel() for p in model.encoder.parameters()),
    }
    for end, target in ((training.steps, folder / "phase1"), (training.steps + training.final_steps, folder)):
        if checkpoint.get("step", 0) < end:
            model.train()
            run_steps(model, data, training, folder, end, checkpoint)
            write_result(target, model, tokenizer, teacher, {**extra, "curve": checkpoint["curve"]})


def main() -> None:
    """Command line: see the module's docstring."""
    defaults = TextTraining()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--final-steps", type=int, default=defaults.final_steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.out, TextConfig(), TextTraining(steps=args.steps, final_steps=args.final_steps, seed=args.seed))


if __name__ == "__main__":
    main()
