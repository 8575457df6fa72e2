"""Raw rows to model inputs with numpy alone: the half of preprocessing that runs on a device, without torch.

An encoder has three functions. `encode(rows)` turns raw rows into features, one dict of arrays a row;
`collate(features, size)` turns features into the model's inputs, one array a name with the batch first;
`sizes(features)` says over which sizes (sequence lengths, image sides) the exported file must be tried.
`facts` is what a device needs to know to do the same, as JSON.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Row = Mapping[str, Any]  # a raw row, by the task's canonical columns
Features = Mapping[str, Array]  # one row, ready to be put into a batch
Inputs = dict[str, Array]  # one batch: name of the ONNX input -> (batch, ...)


class Encoder(Protocol):
    """What every encoder does; see the module's docstring."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a device must know to encode alike, JSON."""
        ...

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Raw rows to features, in order."""
        ...

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """Features to one batch; `size` cuts or pads to that length or side instead of the batch's own."""
        ...

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """Sizes to try an exported file at; [None] where the size is fixed."""
        ...


def in_batches(count: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Indices 0..count-1 in order, `batch_size` at a time."""
    return [np.arange(at, min(at + batch_size, count)) for at in range(0, count, batch_size)]
