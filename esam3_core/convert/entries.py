# SPDX-License-Identifier: Apache-2.0
"""The entries of a checkpoint, and which of them an import has used: nothing is dropped silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from esam3_core.runtime.errors import CheckpointError


class Entries:
    """A checkpoint's tensors by official name. Each is taken once, or left out with a reason.

    Args:
        tensors: official name -> tensor.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self._open = dict.fromkeys(tensors)  # an ordered set
        self.skipped: dict[str, str] = {}  # name -> why it is not needed

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Tensor:
        """Look at a tensor without using it.

        Raises:
            CheckpointError: the checkpoint lacks it.
        """
        if name not in self._tensors:
            raise CheckpointError(f"the checkpoint lacks {name}: it is of another model or not whole, get it again")
        return self._tensors[name]

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Use a tensor, as float32.

        Raises:
            CheckpointError: the checkpoint lacks it, or it has another shape than the one given.
        """
        tensor = self[name]
        if shape is not None and tuple(tensor.shape) != shape:
            raise CheckpointError(f"{name} has the shape {list(tensor.shape)} where {list(shape)} is needed")
        self._open.pop(name, None)
        return tensor.float()

    def skip(self, names: Iterable[str], reason: str) -> None:
        """Leave out the tensors of these names that the checkpoint has."""
        for name in names:
            if name in self._open:
                del self._open[name]
                self.skipped[name] = reason

    def names(self, prefix: str = "") -> list[str]:
        """All names that start with `prefix`, used or not."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def unused(self, prefix: str = "") -> list[str]:
        """Names that nobody has taken or skipped yet."""
        return [name for name in self._open if name.startswith(prefix)]
