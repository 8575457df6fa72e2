"""What an answer is: how outputs become it, and when two of them differ; a file here is a kind of answer.

Answers are counted in units: a unit is a row where rows get one answer each, a word where words do. What is kept of the
outputs is the evidence, (units, k), from which all else follows: the answer, how sure it is, whether another file's
evidence makes another answer, and the metrics.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from .. import typed
from ..agreement import within
from ..encoders import Array, Features, Row
from ..errors import RunError
from ..review import Review
from ..signature import Arrays, Value

NEAR_TIE = 4.0  # margins below this many times the typical change may flip without anything being wrong
FLIPS = 0.02  # share of units that may flip outside near-ties after quantization


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The evidence for some rows' answers.

    Attributes:
        evidence: (units, k), float32.
        row: (units,), the row that a unit is of, ascending.
        place: (units,), which of its row's units it is.
        texts: what was generated for each row, (rows,); None where nothing is, or nobody asked for it.
    """

    evidence: Array
    row: Array
    place: Array
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """How many units there are."""
        return len(self.evidence)

    def of_rows(self, rows: Array) -> "Answers":
        """Those of some rows, (rows,), ascending; renumbered from 0."""
        chosen = np.isin(self.row, rows)
        return Answers(
            evidence=self.evidence[chosen], row=np.searchsorted(rows, self.row[chosen]), place=self.place[chosen],
            texts=None if self.texts is None else tuple(self.texts[int(at)] for at in rows),
        )  # fmt: skip


def one_a_row(evidence: Array) -> Answers:
    """Answers of rows that are each one unit, (rows, k)."""
    return Answers(evidence=evidence, row=np.arange(len(evidence)), place=np.zeros(len(evidence), np.int64))


def joined(parts: Sequence[tuple[Answers, Array]]) -> Answers:
    """Answers of several batches as those of all rows, in order; each batch with its rows' numbers, (rows,)."""
    row = np.concatenate([rows[answers.row] for answers, rows in parts])
    place = np.concatenate([answers.place for answers, _ in parts])
    evidence = np.concatenate([answers.evidence for answers, _ in parts])
    order = np.lexsort((place, row))
    return Answers(evidence=evidence[order], row=row[order], place=place[order])


class AllOfTheOutput:
    """The evidence of decisions that keep the output as it is."""

    @property
    def output(self) -> Value:
        """See Decision."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """As many numbers as the output has of a unit."""
        return int(self.output.axes[-1])

    def numbers(self, evidence: Array) -> Array:
        """All of the evidence, which moves little where the outputs do."""
        return evidence


class OneARow(AllOfTheOutput):
    """The units of decisions that give each row one answer."""

    beside: ClassVar[tuple[str, ...]] = ()

    def units(self, output: Array, batch: Arrays) -> Answers:
        """A row is one unit."""
        del batch
        return one_a_row(output)

    def places(self, features: Features) -> Array:
        """One a row."""
        del features
        return np.zeros(1, np.int64)


@dataclass(frozen=True, kw_only=True)
class Change:
    """How another file's answers differ from the first's, unit by unit.

    Attributes:
        differs: (units,), bool: it is another answer.
        moved: (units,): how far the evidence moved, on the scale of margins.
    """

    differs: Array
    moved: Array


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How good answers are. `unit` is "%" where it counts points of a hundred, else "".

    One that is of `texts` compares what is generated, and so costs the loop that generates.
    """

    better: Literal["higher", "lower"]
    unit: str
    texts: bool = False

    def worse(self, reference: float, other: float) -> float:
        """How much worse another value is, in the metric's own unit; negative where it is better.

        NaN or infinity in either is infinitely worse, so that no budget is held by it.
        """
        if not (within(reference, None) and within(other, None)):
            return float("inf")
        return reference - other if self.better == "higher" else other - reference

    def allowed(self, max_drop: float, reference: float) -> float:
        """`export.max_drop` in the metric's own unit: points where that is %, else percent of the reference."""
        return max_drop if self.unit == "%" else max_drop / 100 * abs(reference)


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What `show` tells of each row beside its answer, of decisions that choose among labels.

    Attributes:
        top: so many of the best labels, as `top`; none where it is 0.
        probabilities: the probability of every label, as `probabilities`.
    """

    top: int = 0
    probabilities: bool = False


PLAIN = Detail()


def without_detail(detail: Detail, why: str) -> None:
    """Refuse details, for a decision that has none.

    Raises:
        RunError: some are asked for.
    """
    if detail != PLAIN:
        raise RunError(f"no probabilities of labels to show: {why}")


class Decision(Protocol):
    """What an answer is. Evidence is (units, k) throughout."""

    metrics: ClassVar[Mapping[str, Metric]]
    beside: ClassVar[tuple[str, ...]]  # arrays of a batch that it reads and no graph takes

    @property
    def output(self) -> Value:
        """What the pass gives: the scores or numbers that the evidence is of."""
        ...

    @property
    def width(self) -> int:
        """How many numbers the evidence of a unit has."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """`kind`, the file's name, and what else `opened` takes but the labels; JSON."""
        ...

    def units(self, output: Array, batch: Arrays) -> Answers:
        """An output's values at the units of a batch: of the scores the evidence, of a head's input its features."""
        ...

    def places(self, features: Features) -> Array:
        """The place of each unit that a row has, (units,), as `units` gives them."""
        ...

    def answers(self, outputs: Arrays, batch: Arrays) -> Answers:
        """The evidence in the outputs of a batch."""
        ...

    def margins(self, evidence: Array) -> Array:
        """How far each answer is from another one, (units,); infinite where a small change makes no other."""
        ...

    def compare(self, first: Array, second: Array) -> Change:
        """The answers of one file against those of another, both evidence of the same units."""
        ...

    def numbers(self, evidence: Array) -> Array:
        """The part of the evidence that moves little where the outputs do, (units, n), without ids of tokens."""
        ...

    def centred(self, evidence: Array) -> Array:
        """The evidence without its meaningless part, float64, so that a factor on it shows as the gain."""
        ...

    def described(self, first: Array, second: Array) -> dict[str, float]:
        """Further figures of two files' evidence, for people."""
        ...

    def targets(self, rows: Sequence[Row]) -> Any:
        """What `score` compares answers with, from labelled rows."""
        ...

    def score(self, metric: str, answers: Answers, targets: Any) -> float:
        """A metric of `metrics`.

        Raises:
            RunError: there is no such metric.
        """
        ...

    def show(self, answers: Answers, rows: Sequence[Row], detail: Detail = PLAIN) -> Sequence[Mapping[str, object]]:
        """A record for each row, JSON: what `predict` gives.

        Raises:
            RunError: `detail` asks for labels, and the answer is not one of them.
        """
        ...

    def review(self, answers: Answers, rows: Sequence[Row], most: int) -> Review:
        """Answers beside the right ones of labelled rows, with the `most` worst of them."""
        ...


def open_decision(facts: Mapping[str, Any], labels: Sequence[str]) -> Decision:
    """The decision of a bundle, by the kind that its facts name.

    Raises:
        Mismatch: there is no such kind, or another fact is missing, unknown or has another value than it can have.
    """
    kind = facts.get("kind")
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    if kind not in known:
        raise typed.Mismatch(f"kind: {kind!r} is not a kind of answer; known: {', '.join(known)}")
    decision: Decision = importlib.import_module(f".{kind}", __name__).opened(facts, tuple(labels))
    return decision


# ---- the one rule by which files are judged, verified and held to their goldens


def near_tie(decision: Decision, first: Array, second: Array) -> float:
    """The margin under which either answer is honest: NEAR_TIE x the typical change, at most the median margin.

    Without that bound a file would be excused the more the worse it is.
    """
    moved = decision.compare(first, second).moved
    return min(NEAR_TIE * float(np.median(moved)), float(np.median(decision.margins(first))))


def flipped(decision: Decision, first: Array, second: Array, near_tie: float) -> Array:
    """Units, of all that are compared, whose answer changed though it was no near-tie.

    It is the only rule: a quantized file is judged by it, verified by it, and held to its goldens by it anywhere.
    """
    clear = ~(decision.margins(first) <= near_tie)  # NaN excuses nothing
    return np.flatnonzero(clear & decision.compare(first, second).differs)


def flips(decision: Decision, first: Array, second: Array) -> tuple[int, Array]:
    """How many units changed their answer, and which did so although they were no near-tie of these."""
    changed = decision.compare(first, second).differs
    return int(changed.sum()), flipped(decision, first, second, near_tie(decision, first, second))


def flips_allowed(units: int) -> int:
    """How many of these units may change their answer outside near-ties: FLIPS of them, at least one."""
    return max(1, round(FLIPS * units))
