# SPDX-License-Identifier: Apache-2.0
"""A bundle: the folder with everything needed to run a student."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from esam3_core.config import BUNDLE_FORMAT, DetectorConfig, StudentConfig, TrackerConfig, from_dict
from esam3_core.runtime.errors import BundleError

GRAPHS = ("image_encoder", "text_encoder", "detector")
MEMORY_GRAPHS = ("propagator", "memorizer")
OFFICIAL_MEMORY_GRAPHS = ("memory_neck", "pointer_encoder")  # SAM 3's tracker has features of its own
NEAR_GRAPH = "propagator_near"  # looks for a track near where it was; bundles made before there was one have none
REFINER_GRAPH = "refiner"  # sharpens the masks that are shown; not every bundle has one
OPTIONAL_GRAPHS = (*MEMORY_GRAPHS, NEAR_GRAPH, *OFFICIAL_MEMORY_GRAPHS, "exemplar_encoder", REFINER_GRAPH)
SHIPPED = Path(__file__).resolve().parent.parent / "bundles"
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where PyYAML has it: ten times faster
COPY_AGAIN = "copy the bundle again, or make it again with `esam3 export`"

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files have been checked; nothing is loaded yet."""

    name: str
    folder: Path
    student: StudentConfig
    concepts: tuple[str, ...]  # nouns it claims to know
    detector: DetectorConfig
    tracker: TrackerConfig
    graphs: dict[str, Path]  # graph name -> ONNX file
    digests: dict[str, str]  # graph name -> sha256
    tokenizer: Path
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    licence: str

    @classmethod
    def load(cls, name_or_path: str | Path) -> Bundle:
        """Find a bundle and check that its files are whole.

        Raises:
            BundleError: it is missing, broken or of another version; the message names the remedy.
        """
        folder = find_bundle(name_or_path)
        card = _read_card(folder / "student.yaml")
        graphs, digests = _check_graphs(folder, card)
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.is_file():
            raise BundleError(f"{tokenizer} is missing: {COPY_AGAIN}")
        return cls(
            name=str(card.get("name", folder.name)),
            folder=folder,
            student=_config(StudentConfig, card, "student", folder),
            concepts=tuple(str(concept) for concept in card.get("concepts") or ()),
            detector=_config(DetectorConfig, card, "detector", folder),
            tracker=_config(TrackerConfig, card, "tracker", folder),
            graphs=graphs,
            digests=digests,
            tokenizer=tokenizer,
            provenance=dict(card.get("provenance") or {}),
            metrics=dict(card.get("metrics") or {}),
            licence=str(card.get("licence", "")),
        )

    @property
    def has_memory(self) -> bool:
        """Whether tracks can remember."""
        return self.student.memory.kind != "none" and all(name in self.graphs for name in MEMORY_GRAPHS)

    @property
    def digest(self) -> str:
        """sha256 of all graphs together: memories are exchanged only between bundles that share it."""
        return self.digest_but_for()

    def digest_but_for(self, *graphs: str) -> str:
        """sha256 of all graphs together but some."""
        lines = [f"{name} {digest}\n" for name, digest in sorted(self.digests.items()) if name not in graphs]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def graph(self, name: str) -> Path:
        """The file of a graph that a bundle need not have.

        Raises:
            BundleError: this one has none; the message says what to do.
        """
        if name in self.graphs and (name not in MEMORY_GRAPHS or self.has_memory):
            return self.graphs[name]
        if name in MEMORY_GRAPHS:
            raise BundleError(
                f"no memory in this bundle ({self.name}): take a bundle that was distilled with memory, or choose "
                "the tracker iou, which follows what its concepts find"
            )
        raise BundleError(
            f"no {name} in this bundle ({self.name}), so nothing can be shown to it: name what you look for, or take "
            "a bundle that was distilled with exemplars"
        )


def bundle_folders() -> list[Path]:
    """Folders that hold bundles: those of ESAM3_BUNDLES (separated as in PATH), then the shipped ones."""
    named = os.environ.get("ESAM3_BUNDLES", "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in named if folder), SHIPPED]


def known_bundles() -> list[str]:
    """Names of the bundles that `find_bundle` finds by name, sorted."""
    cards = (card for folder in bundle_folders() for card in folder.glob("*/student.yaml"))
    return sorted({card.parent.name for card in cards})


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle, by name or path.

    Raises:
        BundleError: there is none; the message lists the bundles that there are.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path).strip() in ("", "."):
        raise BundleError(f"a bundle needs a name or a path; known bundles: {_listing()}")
    is_name = len(path.parts) == 1 and not path.is_absolute()
    candidates = [*(folder / path for folder in bundle_folders()), path] if is_name else [path]
    for candidate in candidates:
        if (candidate / "student.yaml").is_file():
            return candidate
    if path.is_dir():
        raise BundleError(f"{path} is not a bundle, it has no student.yaml; known bundles: {_listing()}")
    raise BundleError(f"no bundle {str(name_or_path)!r}: give a path, or one of the known bundles: {_listing()}")


def _listing() -> str:
    return ", ".join(known_bundles()) or "none (set ESAM3_BUNDLES to a folder of bundles)"


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = yaml.load(path.read_text(encoding="utf-8"), SAFE_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path} is not readable YAML ({reason}): {COPY_AGAIN}") from error
    if not isinstance(card, dict) or "format" not in card:
        raise BundleError(f"{path} does not describe a bundle, it has no `format`: {COPY_AGAIN}")
    if card["format"] != BUNDLE_FORMAT:
        newer = isinstance(card["format"], int) and card["format"] > BUNDLE_FORMAT
        remedy = "upgrade esam3" if newer else "make the bundle again with `esam3 export`"
        raise BundleError(f"{path} has bundle format {card['format']!r}, this esam3 reads {BUNDLE_FORMAT}: {remedy}")
    return card


def _config(cls: type[ConfigT], card: dict[str, Any], key: str, folder: Path) -> ConfigT:
    values = card.get(key) or {}
    try:
        if not isinstance(values, dict):
            raise ValueError("it must hold names and values")
        return from_dict(cls, values)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"{folder / 'student.yaml'}: `{key}` cannot be used ({error}): correct it, or {COPY_AGAIN}"
        ) from error


def _check_graphs(folder: Path, card: dict[str, Any]) -> tuple[dict[str, Path], dict[str, str]]:
    listed = card.get("graphs")
    paths: dict[str, Path] = {}
    digests: dict[str, str] = {}
    optional = [name for name in OPTIONAL_GRAPHS if isinstance(listed, dict) and name in listed]
    for name in (*GRAPHS, *optional):
        entry = listed.get(name) if isinstance(listed, dict) else None
        if not isinstance(entry, dict) or "file" not in entry or "sha256" not in entry:
            raise BundleError(f"{folder / 'student.yaml'} names no file and sha256 for {name}: {COPY_AGAIN}")
        path = folder / str(entry["file"])
        if not path.is_file():
            raise BundleError(f"{path} is missing: {COPY_AGAIN}")
        digest = file_digest(path)
        if digest != entry["sha256"]:
            raise BundleError(
                f"{path} ({path.stat().st_size} bytes) does not match its checksum, it is cut short or changed: "
                f"{COPY_AGAIN}"
            )
        paths[name], digests[name] = path, digest
    return paths, digests


def file_digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
