# SPDX-License-Identifier: Apache-2.0
"""A bundle whose image encoder computes in int8, so that any measurement can be made of it.

    python bench/int8.py FOLDER --scenes SHARDS [--bundle tabletop] [--pictures 40]
    esam3 eval FOLDER --scenes data/scenes_val --limit 100      # and the same of the bundle itself
    python bench/clips.py data/clips_held --bundle FOLDER --shown-only

The graph is the one that `esam3 build --precision int8` gives to TensorRT, with its quantise and dequantise nodes;
ONNX Runtime computes what they say, at a quarter of the speed. Ranges are measured on pictures of SHARDS. Every product
with a weight is quantised, which is more than the `typed` gate lets pass.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import onnx
import yaml

from esam3_core.data.scenes import SceneShards
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.quantise import quantisable, quantise
from esam3_core.runtime.bundle import Bundle, file_digest
from esam3_core.runtime.preprocess import resize_frame

GRAPH = "image_encoder"


def main() -> None:
    """Write the bundle and say what is in int8."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the new bundle goes; it must not exist")
    parser.add_argument("--scenes", type=Path, required=True, help="shards on which ranges are measured")
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=40, help="default: %(default)s")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    pictures = SceneShards(arguments.scenes)
    count = min(arguments.pictures, len(pictures))
    feeds = [{"image": resize_frame(pictures[i].image, bundle.student.size)[None]} for i in range(count)]
    single = read_graph(bundle.graphs[GRAPH])
    narrow = quantise(single, GRAPH, feeds)
    shutil.copytree(bundle.folder, arguments.folder)
    write_graph(arguments.folder, narrow)
    print(f"{len(quantisable(single))} products of {GRAPH} in int8, ranges from {count} pictures: {arguments.folder}")


def write_graph(folder: Path, model: onnx.ModelProto) -> None:
    """Put a graph in the place of the image encoder's, and its checksum into the card."""
    path, card = folder / f"{GRAPH}.onnx", folder / "student.yaml"
    onnx.save(model, str(path))
    told = yaml.safe_load(card.read_text())
    told["graphs"][GRAPH] = {"file": path.name, "sha256": file_digest(path)}
    card.write_text(yaml.safe_dump(told, sort_keys=False))


if __name__ == "__main__":
    main()
