"""One label a row: the best of its logits, and how sure that is.

The evidence is the logits, (rows, labels).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np

from .. import typed
from ..class_figures import calibration_error, of_labels
from ..encoders import Array, Row
from ..errors import RunError
from ..review import Mistake, Review, confusion, worst
from ..signature import Arrays, Value
from . import PLAIN, Answers, Change, Detail, Metric, OneARow

OUTPUT = "logits"
METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(better="higher", unit="%"), "macro_f1": Metric(better="higher", unit="%"),
}  # fmt: skip


def score(metric: str, logits: Array, label_ids: Array) -> float:
    """A metric in percent of logits (rows, labels) against label indices (rows,)."""
    if metric not in METRICS:
        raise RunError(f"no metric {metric!r}; known: {', '.join(METRICS)}")
    guesses = logits.argmax(1)
    if metric == "accuracy":
        return float((guesses == label_ids).mean() * 100)
    return float(np.mean([_f1(guesses == label_id, label_ids == label_id) for label_id in np.unique(label_ids)]) * 100)


def _f1(guessed: Array, true: Array) -> float:
    both = float((guessed & true).sum())
    total = float(guessed.sum() + true.sum())
    return 2 * both / total if total else 0.0


def probabilities(logits: Array) -> Array:
    """Softmax over the last axis, float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


class Ranked(TypedDict):
    """A label and its probability."""

    label: str
    probability: float


class Answer(Ranked):
    """The best label of a row and its probability; the others where `Detail` asks for them, the best first."""

    top: NotRequired[list[Ranked]]
    probabilities: NotRequired[dict[str, float]]


@np.errstate(invalid="ignore")
def margins(logits: Array) -> Array:
    """Best minus second-best logit of each row, (rows,)."""
    best = np.partition(logits, -2, axis=-1)[..., -2:]
    return np.asarray(best[..., 1] - best[..., 0])


@np.errstate(invalid="ignore")
def compare(first: Array, second: Array) -> Change:
    """Which rows have another best label, and the largest change of a logit of each."""
    return Change(differs=first.argmax(-1) != second.argmax(-1), moved=np.abs(first - second).max(-1))


@np.errstate(invalid="ignore")
def centred(logits: Array) -> Array:
    """Logits less their mean in each row, which says nothing of the labels; float64."""
    exact = np.asarray(logits, np.float64)
    return np.asarray(exact - exact.mean(-1, keepdims=True))


def top_k_overlap(reference: Array, other: Array, k: int = 5) -> float:
    """Mean share of a row's k best labels that stay among the k best, 0..1."""
    k = min(k, reference.shape[-1])
    first = np.argsort(reference, -1)[..., -k:]
    second = np.argsort(other, -1)[..., -k:]
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(first, second, strict=True)]))


@dataclass(frozen=True)
class Classes(OneARow):
    """The decision of every classification task; see decisions.Decision."""

    labels: tuple[str, ...]
    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    @property
    def output(self) -> Value:
        """The logits, (batch, labels)."""
        return Value(name=OUTPUT, axes=("batch", len(self.labels)), role="scores")

    @property
    def facts(self) -> dict[str, str]:
        """Only the kind; the manifest lists the labels separately."""
        return {"kind": "classes"}

    def answers(self, outputs: Arrays, batch: Arrays) -> Answers:
        """The logits."""
        return self.units(outputs[OUTPUT], batch)

    def margins(self, evidence: Array) -> Array:
        """See the function `margins`."""
        return margins(evidence)

    def compare(self, first: Array, second: Array) -> Change:
        """See the function `compare`."""
        return compare(first, second)

    def centred(self, evidence: Array) -> Array:
        """See the function `centred`."""
        return centred(evidence)

    def described(self, first: Array, second: Array) -> dict[str, float]:
        """How many of the five best labels stay among them."""
        return {"top_5_overlap": top_k_overlap(first, second)}

    def targets(self, rows: Sequence[Row]) -> Array:
        """The label index of each row, int64 (rows,)."""
        return np.asarray([row["label"] for row in rows], dtype=np.int64)

    def score(self, metric: str, answers: Answers, targets: Array) -> float:
        """See the function `score`."""
        return score(metric, answers.evidence, targets)

    def show(self, answers: Answers, rows: Sequence[Row], detail: Detail = PLAIN) -> list[Answer]:
        """The best label and its probability for each row, see Answer."""
        del rows
        return [self.answer(chances, detail) for chances in probabilities(answers.evidence)]

    def answer(self, chances: Array, detail: Detail) -> Answer:
        """The record of a row, of its probabilities, (labels,)."""
        ranked: list[Ranked] = [
            {"label": self.labels[at], "probability": round(float(chances[at]), 6)}
            for at in np.argsort(-chances, kind="stable")[
                : len(chances) if detail.probabilities else max(1, detail.top)
            ]
        ]
        answer: Answer = {"label": ranked[0]["label"], "probability": ranked[0]["probability"]}
        if detail.top:
            answer["top"] = ranked[: detail.top]
        if detail.probabilities:
            answer["probabilities"] = {entry["label"]: entry["probability"] for entry in ranked}
        return answer

    def review(self, answers: Answers, rows: Sequence[Row], most: int) -> Review:
        """Which labels are taken for which, and the rows whose wrong label leads the right one by most."""
        right, chances = self.targets(rows), probabilities(answers.evidence)
        given, each = chances.argmax(1), np.arange(len(right))
        lead = chances[each, given] - chances[each, right]
        wrong = np.flatnonzero(given != right)
        return Review(
            summary=f"{len(wrong)} of {len(right)} rows get a wrong label",
            mistakes=tuple(
                Mistake(
                    row=row,
                    right=self.labels[right[row]],
                    given=self.labels[given[row]],
                    probability=float(chances[row, given[row]]),
                )  # fmt: skip
                for row in worst(wrong, lead, most)
            ),
            order="those first whose wrong label leads the right one by most",
            picture=confusion(right, given, self.labels, unit="rows"),
            classes=of_labels(given, right, self.labels),
            calibration_error=calibration_error(chances[each, given], given == right),
        )


def opened(facts: Mapping[str, Any], labels: tuple[str, ...]) -> Classes:
    """The decision of a bundle.

    Raises:
        Mismatch: there is a fact that this kind does not have.
    """
    if set(facts) != {"kind"}:
        raise typed.Mismatch(f"{min(set(facts) - {'kind'})}: unknown")
    return Classes(labels)
