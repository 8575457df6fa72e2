"""The parts of a model that need no torch, and what they make of raw rows under any Run."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .decisions import Answers, Decision, joined
from .encoders import Array, Decodes, Encoder, Features, Row
from .programs import SEQUENCES, Program
from .signature import Run

BATCH = 32  # rows; the int8 scale of a batch is shared, so the size is part of what was measured
BLOCK = BATCH * 32  # rows encoded at once: images of a whole data set would not fit into memory


@dataclass(frozen=True, kw_only=True)
class Parts:
    """From raw rows to answers; the graphs themselves are the Run's."""

    encoder: Encoder
    program: Program
    decision: Decision
    batch_rows: int = BATCH

    def one_by_one(self, variant: str) -> "Parts":
        """The same for answers to show: a row a call, unless the variant is float32.

        A dynamic int8 file has one scale for a whole batch, so that a row's answer would depend on its batch mates.
        """
        return self if variant == "fp32" else replace(self, batch_rows=1)

    def answers(
        self,
        run: Run,
        rows: Sequence[Row],
        progress: Callable[[int], Any] | None = None,
        *,
        metric: str | None = None,
    ) -> Answers:
        """The answers for raw rows; rows of like length share a batch, and no output is kept longer than its batch.

        Args:
            run: what runs the graphs.
            rows: raw rows, labelled where the program has steps.
            progress: called with the rows done.
            metric: what the answers will be scored by; where it compares texts, these are generated too.
        """
        parts = []
        for features, numbers in self.blocks(rows):
            parts.append((self.answers_of_features(run, features), numbers))
            if progress is not None:
                progress(int(numbers[-1]) + 1)
        answers = joined(parts)
        if metric is None or not self.decision.metrics[metric].texts:
            return answers
        return replace(answers, texts=self.generated(run, rows))

    def generated(self, run: Run, rows: Sequence[Row], progress: Callable[[int], Any] | None = None) -> tuple[str, ...]:
        """The text that an app gets for each row; the right answers are not used."""
        texts: list[str] = []
        for features, numbers in self.blocks(rows):
            texts += self.generated_of_features(run, features)
            if progress is not None:
                progress(int(numbers[-1]) + 1)
        return tuple(texts)

    def blocks(self, rows: Sequence[Row]) -> Iterator[tuple[list[Features], Array]]:
        """Rows encoded a block at a time, with their numbers."""
        for start in range(0, len(rows), BLOCK):
            numbers = np.arange(start, min(start + BLOCK, len(rows)))
            yield self.encoder.encode([rows[int(at)] for at in numbers]), numbers

    def answers_of_features(self, run: Run, features: Sequence[Features]) -> Answers:
        """The answers for encoded rows."""
        parts = []
        for indices in by_size(features, self.batch_rows):
            batch = self.encoder.collate([features[at] for at in indices])
            parts.append((self.decision.answers(self.program.forward(run, batch), batch), indices))
        return joined(parts)

    def generated_of_features(self, run: Run, features: Sequence[Features]) -> list[str]:
        """The texts for encoded rows."""
        assert isinstance(self.encoder, Decodes), "its program generates nothing"
        texts = [""] * len(features)
        for indices in by_size(features, self.batch_rows):
            batch = self.encoder.collate([features[at] for at in indices])
            ids = self.program.answer(run, batch)[SEQUENCES]
            for at, text in zip(indices, self.encoder.decode(ids), strict=True):
                texts[at] = text
        return texts


def by_size(features: Sequence[Features], batch_rows: int = BATCH) -> Iterator[Array]:
    """Numbers of rows, so many at a time, the shortest first."""
    order = np.argsort([row_size(row) for row in features], kind="stable")
    for number in range(math.ceil(len(features) / batch_rows)):
        yield order[number * batch_rows : (number + 1) * batch_rows]


def row_size(row: Features) -> int:
    """Length of a row's first array."""
    return len(next(iter(row.values())))
