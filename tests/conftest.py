# SPDX-License-Identifier: Apache-2.0
"""A student small enough to build, train and export in seconds. torch is imported only by those who need it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from esam3_core.config import StudentConfig, TextConfig
from esam3_core.scenes.vocabulary import COLOURS, NOUNS

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")  # no test may depend on how fast the machine is
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads must not slow the tests beside them

if TYPE_CHECKING:
    from esam3_core.nn.student import Student

TINY_TEXT = TextConfig(vocab_size=1024, context=8, width=32, layers=1, heads=2, ffn=32, embedding=16)
TINY = StudentConfig(
    variant="ev_s",
    size=64,
    width=32,
    heads=4,
    ffn=64,
    encoder_layers=1,
    decoder_layers=2,
    queries=8,
    masks=4,
    pixel_width=8,
    text=TINY_TEXT,
)


@pytest.fixture(scope="session")
def tiny_config() -> StudentConfig:
    """The sizes of the tiny student."""
    return TINY


@pytest.fixture(scope="session")
def tiny_student() -> Student:
    """A random tiny student in evaluation mode, the same at every run. Copy it before changing it."""
    pytest.importorskip("torch", reason="students need torch: pip install '.[train]'")
    import torch

    from esam3_core.nn.student import Student

    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = Student(TINY)
    for module in student.modules():  # untrained statistics would hide errors of BatchNorm
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
    return student.eval()


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the tokenizer and random weights of the tiny text encoder."""
    pytest.importorskip("torch", reason="students need torch: pip install '.[train]'")
    import torch

    from esam3_core.distill.text.tokenizer import build_tokenizer
    from esam3_core.nn.text import TextEncoder, save_text_encoder

    folder = tmp_path_factory.mktemp("text")
    phrases = [f"{colour} {noun}" for colour in COLOURS for noun in NOUNS]
    build_tokenizer(phrases, TINY_TEXT.vocab_size, TINY_TEXT.context).save(str(folder / "tokenizer.json"))
    torch.manual_seed(1)
    save_text_encoder(TextEncoder(TINY_TEXT, TINY.width), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_student: Student, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny student's exported bundle. Copy it before changing it."""
    pytest.importorskip("onnxscript", reason="export needs onnxscript: pip install '.[deploy]'")
    from esam3_core.deploy.export import export_bundle

    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return export_bundle(tiny_student, tiny_text / "tokenizer.json", folder, "tiny", ["cup", "mug"])
