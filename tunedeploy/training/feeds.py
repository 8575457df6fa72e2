"""Rows to tensors for the loop: encoded once where that is small, each time where it is not, or kept features."""

import contextlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunedeploy.device.encoders import Array, Encoder, Features, Row
from tunedeploy.models.classifier import Classifier
from tunedeploy.models.torch_inputs import tensors
from tunedeploy.progress import tracker
from tunedeploy.run.atomic import disk_errors, reserve, temporary
from tunedeploy.training.batches import by_length, lengths_of

BLOCK = 8192  # rows encoded at once
VIEWS = 4  # augmented copies that a frozen trunk sees of each row; more teach a linear head little and cost a pass each
QUIET = 0.1  # of the median spread of a feature


class Feed:
    """Inputs of a model for any rows of a data set.

    Args:
        rows: raw rows, by index.
        encoder: raw rows to inputs.
        augmented: an encoder for each seed, used for training batches instead.
    """

    def __init__(
        self, rows: Sequence[Row], encoder: Encoder, augmented: Callable[[int], Encoder] | None = None
    ) -> None:
        self.rows, self.encoder, self.augmented = rows, encoder, augmented
        # Ids of a text are small and cost time to make; pixels are large and cheap to make again.
        self.kept = None if encoder.facts["kind"] == "image" else encoded(rows, encoder)
        self.lengths: Array = np.ones(len(rows), int) if self.kept is None else lengths_of(self.kept)

    def inputs(self, indices: Array, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Tensors with the batch first; `seed` asks for a training batch, augmented where that is set."""
        if self.kept is not None:
            return tensors(self.encoder.collate([self.kept[at] for at in indices]))
        encoder = self.augmented(seed) if self.augmented is not None and seed is not None else self.encoder
        return tensors(encoder.collate(encoder.encode([self.rows[int(at)] for at in indices])))


def encoded(rows: Sequence[Row], encoder: Encoder) -> list[Features]:
    """Inputs of every row, a block at a time: a tokenizer's own lists take ten times the room of the arrays."""
    update = tracker("encode rows", len(rows)) if len(rows) > BLOCK else None
    made: list[Features] = []
    rest = iter(rows)
    while block := list(islice(rest, BLOCK)):
        made += encoder.encode(block)
        if update is not None:
            update(len(made))
    return made


class View(Feed):
    """One augmented copy of every row, the same each time it is asked for."""

    def __init__(self, feed: Feed, number: int) -> None:
        super().__init__(feed.rows, feed.encoder, feed.augmented)
        self.number = number

    def inputs(self, indices: Array, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Tensors with the batch first; the copy's number and the batch's first row are the seed."""
        del seed
        return super().inputs(indices, self.number * 1_000_003 + int(indices[0]))


class FeatureFeed:
    """Inputs of a head: features (rows, width) that the frozen trunk gave once, of the rows or of each view of them."""

    def __init__(self, *views: Array) -> None:
        self.views = views
        self.lengths: Array = np.ones(len(views[0]), int)

    def inputs(self, indices: Array, seed: int | None = None) -> dict[str, torch.Tensor]:
        """`features` (batch, width); steps take the views in turn."""
        features = self.views[(seed or 0) % len(self.views)]
        return {"features": torch.from_numpy(np.asarray(features[indices]))}


def alike(features: Array) -> bool:
    """Whether a trunk tells no row from another: all differences are float32's rounding.

    Working trunks spread by a tenth of their largest value and more, a dead one by a millionth. A head would magnify
    that rounding into answers, and torch and onnxruntime round apart.
    """
    return float(features.std(0, dtype=np.float64).max()) <= 1e-5 * float(np.abs(features).max())


class HeadOnly(torch.nn.Module):
    """A linear head behind fixed standardisation, which is folded into it at the end.

    Standardised features make one learning rate fit every trunk.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, head: torch.nn.Linear, features: Array) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(head.in_features, head.out_features)
        torch.nn.init.zeros_(self.linear.weight)  # a convex problem: starting from zero is as good and has no seed
        torch.nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.from_numpy(features.mean(0, dtype=np.float64)).float())
        std = features.std(0, dtype=np.float64)
        # A feature that hardly moves carries noise: dividing by its own spread would give it a huge weight, which
        # neither float16 nor int8 can hold beside the others.
        floor = max(QUIET * float(np.median(std)), 1e-6)
        self.register_buffer("std", torch.from_numpy(std.clip(min=floor)).float())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, width) to logits (batch, labels)."""
        logits: torch.Tensor = self.linear((features - self.mean) / self.std)
        return logits

    def write_back(self, head: torch.nn.Linear) -> None:
        """Fold the standardisation into the model's own head, in float64."""
        mean, std = self.mean.cpu().double(), self.std.cpu().double()  # Apple's GPUs have no float64
        weight = self.linear.weight.detach().cpu().double() / std
        bias = self.linear.bias.detach().cpu().double() - weight @ mean
        with torch.no_grad():
            head.weight.copy_(weight.to(head.weight.dtype))
            head.bias.copy_(bias.to(head.bias.dtype))


def kept_features(
    model: Classifier, feed: Feed, path: Path, *, batch_size: int, progress: Callable[[int], Any]
) -> Array:
    """Features (rows, width) of a frozen trunk, float32, memory-mapped at `path` and made only if they are not there.

    Args:
        model: in eval mode.
        feed: the rows.
        path: named by the content that the features depend on.
        batch_size: rows at once.
        progress: called with the rows done.
    """
    there = read_features(path, len(feed.lengths))
    if there is not None:
        return there
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(path)
    try:
        with disk_errors(path):
            write_features(model, feed, beside, batch_size=batch_size, progress=progress)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def read_features(path: Path, rows: int) -> Array | None:
    """The features that an earlier command kept; None where there are none, or they cannot be read."""
    with contextlib.suppress(OSError, ValueError, EOFError, SyntaxError):  # numpy parses the header as Python
        kept = np.load(path, mmap_mode="r")
        if isinstance(kept, np.ndarray) and kept.dtype == np.float32 and kept.ndim == 2 and len(kept) == rows:
            return kept
    return None


def write_features(
    model: Classifier, feed: Feed, path: Path, *, batch_size: int, progress: Callable[[int], Any]
) -> None:
    """The same, run through the trunk and written to `path`, whose room is set aside first."""
    device = next(model.parameters()).device
    whole: Any = None
    done = 0
    for indices in by_length(feed.lengths, batch_size):
        with torch.inference_mode():
            inputs = {name: value.to(device) for name, value in feed.inputs(indices).items()}
            batch = model.features(**inputs).float().cpu().numpy()
        if whole is None:
            shape = (len(feed.lengths), batch.shape[1])
            whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            reserve(path)
        whole[indices] = batch
        done += len(indices)
        progress(done)
    whole.flush()
