"""The parts of a model that need no torch, and what they make of raw rows under any Run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .decisions import Answers, Decision, joined
from .encoders import Encoder, Features, Row
from .programs import Program
from .signature import Run

BATCH = 32  # rows; the int8 scale of a batch is shared, so the size is part of what was measured
BLOCK = BATCH * 32  # rows encoded at once: images of a whole data set would not fit into memory


@dataclass(frozen=True, kw_only=True)
class Parts:
    """From raw rows to answers; the graphs themselves are the Run's."""

    encoder: Encoder
    program: Program
    decision: Decision

    def answers(self, run: Run, rows: Sequence[Row], progress: Callable[[int], Any] | None = None) -> Answers:
        """The answers for raw rows; rows of like length share a batch, and no output is kept longer than its batch.

        Args:
            run: what runs the graphs.
            rows: raw rows.
            progress: called with the rows done.
        """
        parts = []
        for start in range(0, len(rows), BLOCK):
            numbers = np.arange(start, min(start + BLOCK, len(rows)))
            features = self.encoder.encode([rows[int(at)] for at in numbers])
            parts.append((self.answers_of_features(run, features), numbers))
            if progress is not None:
                progress(start + len(features))
        return joined(parts)

    def answers_of_features(self, run: Run, features: Sequence[Features]) -> Answers:
        """The answers for encoded rows."""
        order = np.argsort([row_size(row) for row in features], kind="stable")
        parts = []
        for number in range(math.ceil(len(features) / BATCH)):
            indices = order[number * BATCH : (number + 1) * BATCH]
            batch = self.encoder.collate([features[at] for at in indices])
            parts.append((self.decision.answers(self.program.forward(run, batch), batch), indices))
        return joined(parts)


def row_size(row: Features) -> int:
    """Length of a row's first array."""
    return len(next(iter(row.values())))
