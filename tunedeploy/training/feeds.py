"""Rows to tensors for the loop: encoded once where that is small, each time where it is not, or kept features."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunedeploy.device.decisions import Answers, one_a_row
from tunedeploy.device.encoders import Array, Encoder, Features, Row
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.torch_inputs import tensors
from tunedeploy.progress import tracker
from tunedeploy.run.atomic import disk_errors, reserve, temporary
from tunedeploy.training.batches import by_length, lengths_of

BLOCK = 8192  # rows encoded at once
VIEWS = 4  # augmented copies that a frozen trunk sees of each row; more teach a linear head little and cost a pass each


class Feed:
    """Inputs of a model for any rows of a data set.

    Args:
        rows: raw rows, by index.
        assembly: the model, with what turns raw rows into its inputs.
        augment: whether training batches are made by its augmenting encoder, where it has one.
    """

    def __init__(self, rows: Sequence[Row], assembly: Assembly, *, augment: bool = False) -> None:
        self.rows, self.assembly, self.encoder = rows, assembly, assembly.encoder
        self.augmented = assembly.augmented if augment else None
        self.features = encoded(rows, self.encoder) if self.encoder.small else None
        self.lengths: Array = np.ones(len(rows), int) if self.features is None else lengths_of(self.features)

    def batch(self, indices: Array, seed: int | None = None) -> dict[str, Array]:
        """Arrays with the batch first; `seed` asks for a training batch, augmented where that is set."""
        if self.features is not None:
            return self.encoder.collate([self.features[at] for at in indices])
        encoder = self.augmented(seed) if self.augmented is not None and seed is not None else self.encoder
        return encoder.collate(encoder.encode([self.rows[int(at)] for at in indices]))

    def select(self, batch: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """The part of a batch that goes into the model, as tensors."""
        return tensors(self.assembly.graph.select(batch))

    def inputs(self, indices: Array, seed: int | None = None) -> dict[str, torch.Tensor]:
        """As `select`, for a batch of these rows."""
        return self.select(self.batch(indices, seed))

    def answers(self, outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Answers:
        """What the model's outputs for a batch mean."""
        return self.assembly.decision.answers(outputs, batch)

    def by_row(self, answers: Answers) -> Answers:
        """The answers of all rows, as they are."""
        return answers

    def places(self) -> list[Array]:
        """The places of each row's units; 0 for rows whose features are not kept, which have one unit each."""
        if self.features is None:
            return [np.zeros(1, int)] * len(self.rows)
        return [self.assembly.decision.places(row) for row in self.features]

    def units(self) -> Array:
        """How many units each row has, (rows,)."""
        return np.asarray([len(row) for row in self.places()])


def encoded(rows: Sequence[Row], encoder: Encoder) -> list[Features]:
    """Inputs of every row, a block at a time: a tokenizer's own lists take ten times the room of the arrays."""
    update = tracker("encode rows", len(rows)) if len(rows) > BLOCK else None
    features: list[Features] = []
    rest = iter(rows)
    while block := list(islice(rest, BLOCK)):
        features += encoder.encode(block)
        if update is not None:
            update(len(features))
    return features


class View(Feed):
    """One augmented copy of every row, the same each time it is asked for."""

    def __init__(self, feed: Feed, number: int) -> None:
        super().__init__(feed.rows, feed.assembly, augment=True)
        self.number = number

    def batch(self, indices: Array, seed: int | None = None) -> dict[str, Array]:
        """Arrays with the batch first; the copy's number and the batch's first row are the seed."""
        del seed
        return super().batch(indices, self.number * 1_000_003 + int(indices[0]))


class FeatureFeed:
    """Inputs of a head: features (units, width) that the frozen trunk gave once, of the rows or of each view of them.

    Args:
        output: the name of what the head gives.
        views: kept features.
        places: of each row the places of its units, (units,).
    """

    def __init__(self, output: str, *views: Array, places: Sequence[Array]) -> None:
        self.output, self.views = output, views
        self.lengths: Array = np.ones(len(views[0]), int)
        self.row = np.repeat(np.arange(len(places)), [len(row) for row in places])
        self.place = np.concatenate(places)

    def batch(self, indices: Array, seed: int | None = None) -> dict[str, Array]:
        """`features` (batch, width); steps take the views in turn."""
        features = self.views[(seed or 0) % len(self.views)]
        return {"features": np.asarray(features[indices])}

    def select(self, batch: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """A batch as tensors, all of which goes into the head."""
        return tensors(batch)

    def inputs(self, indices: Array, seed: int | None = None) -> dict[str, torch.Tensor]:
        """As `select`, for a batch of these units."""
        return self.select(self.batch(indices, seed))

    def answers(self, outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> Answers:
        """What the head's outputs for a batch mean; `by_row` adds the rows they belong to."""
        del batch
        return one_a_row(outputs[self.output])

    def by_row(self, answers: Answers) -> Answers:
        """The answers of all units as those of their rows."""
        return replace(answers, row=self.row, place=self.place)


def alike(features: Array) -> bool:
    """Whether a trunk tells no row from another: all differences are float32's rounding.

    Working trunks spread by a tenth of their largest value and more, a dead one by a millionth. A head would magnify
    that rounding into answers, and torch and onnxruntime round differently.
    """
    return float(features.std(0, dtype=np.float64).max()) <= 1e-5 * float(np.abs(features).max())


def kept_features(
    assembly: Assembly, feed: Feed, path: Path, *, batch_size: int, progress: Callable[[int], Any]
) -> Array:
    """Features (units, width) of a frozen trunk, float32, memory-mapped at `path`, computed only if missing.

    Args:
        assembly: its model is in eval mode.
        feed: the rows.
        path: named by the content that the features depend on.
        batch_size: rows at once.
        progress: called with the rows done.
    """
    stored = read_features(path, int(feed.units().sum()))
    if stored is not None:
        return stored
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(path)
    try:
        with disk_errors(path):
            write_features(assembly, feed, beside, batch_size=batch_size, progress=progress)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def read_features(path: Path, units: int) -> Array | None:
    """The features that an earlier command kept; None where there are none, or they cannot be read."""
    with contextlib.suppress(OSError, ValueError, EOFError, SyntaxError):  # numpy parses the header as Python
        array = np.load(path, mmap_mode="r")
        if isinstance(array, np.ndarray) and array.dtype == np.float32 and array.ndim == 2 and len(array) == units:
            return array
    return None


def write_features(
    assembly: Assembly, feed: Feed, path: Path, *, batch_size: int, progress: Callable[[int], Any]
) -> None:
    """Compute the features of all rows and write them to `path`, whose room is allocated first."""
    model = assembly.model
    device = next(model.parameters()).device
    starts = np.concatenate([[0], np.cumsum(feed.units())])
    mapped: Any = None
    done = 0
    for indices in by_length(feed.lengths, batch_size):
        batch = feed.batch(indices)
        with torch.inference_mode():
            inputs = {name: value.to(device) for name, value in tensors(assembly.graph.select(batch)).items()}
            features = model.features(**inputs).float().cpu().numpy()
        units = assembly.decision.units(features, batch)
        if mapped is None:
            shape = (int(starts[-1]), units.evidence.shape[1])
            mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            reserve(path)
        mapped[np.concatenate([np.arange(starts[row], starts[row + 1]) for row in indices])] = units.evidence
        done += len(indices)
        progress(done)
    mapped.flush()
