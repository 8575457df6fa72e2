"""Training targets as tensors: those of any rows of a data set, padded to a batch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tunedeploy.contracts.task import IGNORE
from tunedeploy.device.encoders import Array


class Targets:
    """Targets of every row, or of every unit of kept features.

    Args:
        entries: arrays by name, one mapping a row.
        weights: (rows,), the number of losses in each row's sum.
    """

    def __init__(self, entries: Sequence[Mapping[str, Array]], weights: Array) -> None:
        self.entries, self.weights = entries, weights

    def batch(self, indices: Array) -> dict[str, torch.Tensor]:
        """The targets of some rows, by name: (batch, ...)."""
        chosen = [self.entries[int(at)] for at in indices]
        return {name: torch.from_numpy(stacked([entry[name] for entry in chosen])) for name in chosen[0]}


def stacked(values: Sequence[Array]) -> Array:
    """Arrays in a batch; the first axis is padded to the longest, integers with IGNORE and floats with zero."""
    arrays = [np.asarray(value) for value in values]
    if arrays[0].ndim == 0 or len({len(array) for array in arrays}) == 1:
        return np.stack(arrays)
    fill = IGNORE if arrays[0].dtype.kind == "i" else 0
    shape = (len(arrays), max(len(array) for array in arrays), *arrays[0].shape[1:])
    padded = np.full(shape, fill, dtype=arrays[0].dtype)
    for at, array in enumerate(arrays):
        padded[at, : len(array)] = array
    return padded
