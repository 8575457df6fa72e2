"""What `eval` gives: the metric, the worst rows, and figures of each class where answers have classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

from tunedeploy.device.class_figures import OfClass
from tunedeploy.device.decisions import Answers, Decision
from tunedeploy.device.encoders import Row
from tunedeploy.device.review import Confusion, Mistake

if TYPE_CHECKING:
    from tunedeploy.commands.use import Model

WORST = 10  # rows and pairs of classes that are named


class WrongRow(TypedDict):
    """A row that was answered wrongly: its number from 0, both answers, its place in the data and what it holds."""

    row: int
    true: str
    answer: str
    probability: NotRequired[float]
    origin: str
    input: str


class Confused(TypedDict):
    """Rows, or words of them, of a class that were taken for another."""

    true: str
    answer: str
    rows: int


class Calibration(TypedDict):
    """How far probabilities are from what they promise, in points."""

    ece: float


class Score(TypedDict):
    """A metric, its unit and rows, with the worst of them; where answers have classes, also figures of each."""

    metric: str
    value: float
    unit: str
    rows: int
    classes: NotRequired[dict[str, OfClass]]
    confused: NotRequired[list[Confused]]
    calibration: NotRequired[Calibration]
    wrong: NotRequired[list[WrongRow]]


def scored(model: "Model", rows: Sequence[Row]) -> Score:
    """Answer labelled rows, and say how good the answers are."""
    return score_of(model.answers(rows), rows, decision=model.decision, metric=model.metric)


def score_of(answers: Answers, rows: Sequence[Row], *, decision: Decision, metric: str) -> Score:
    """How good the answers to labelled rows are; `wrong` is left out where it is not known which rows are."""
    value = decision.score(metric, answers, decision.targets(rows))
    unit = decision.metrics[metric].unit
    review = decision.review(answers, rows, WORST)
    score: Score = {
        "metric": metric, "value": round(float(value), 4), "unit": unit, "rows": len(rows),
    }  # fmt: skip
    if review.mistakes is not None:
        score["wrong"] = [wrong_row(mistake, rows[mistake.row]) for mistake in review.mistakes]
    if review.classes:
        score["classes"] = dict(review.classes)
    if isinstance(review.picture, Confusion):
        pairs = review.picture.most_frequent(WORST)
        score["confused"] = [{"true": right, "answer": given, "rows": count} for right, given, count in pairs]
    if review.calibration_error is not None:
        score["calibration"] = {"ece": round(100 * review.calibration_error, 2)}
    return score


def wrong_row(mistake: Mistake, row: Row) -> WrongRow:
    """A mistake with what its row holds."""
    entry: WrongRow = {
        "row": mistake.row, "true": mistake.right, "answer": mistake.given, "origin": str(row.get("origin", "")),
        "input": label_of(row),
    }  # fmt: skip
    return entry if mistake.probability is None else {**entry, "probability": round(mistake.probability, 6)}


def label_of(row: Row) -> str:
    """What a row of a file is called beside its answer."""
    return row["text"] if "text" in row else str(row.get("origin"))
