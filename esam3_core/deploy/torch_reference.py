# SPDX-License-Identifier: Apache-2.0
"""The torch student of a bundle, as the reference of its graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from esam3_core.deploy.export import prepare
from esam3_core.deploy.gates import Run
from esam3_core.deploy.graphs import graphs_of
from esam3_core.deploy.watched import Feeds
from esam3_core.deploy.weights import bundle_student
from esam3_core.runtime.bundle import Bundle


def torch_runs(bundle: Bundle) -> dict[str, Run]:
    """Graph -> a call of the same part of the torch student, with the weights that lie in the bundle.

    Raises:
        ValueError: the bundle does not hold every weight, as older bundles with folded normalisation.
    """
    student = prepare(bundle_student(bundle), half=False)
    specs = graphs_of(bundle.student)
    return {graph: _run(specs[graph].build(student).eval(), specs[graph].outputs) for graph in bundle.graphs}


def _run(module: nn.Module, outputs: tuple[str, ...]) -> Run:
    def run(feeds: Feeds) -> dict[str, Any]:
        with torch.inference_mode():
            made = module(**{name: torch.from_numpy(feed.copy()) for name, feed in feeds.items()})
        made = made if isinstance(made, tuple) else (made,)
        return {name: value.numpy() for name, value in zip(outputs, made, strict=True)}

    return run
