"""What every decision shares: answers of several batches in order, metrics that fail closed, one rule for flips."""

import math

import numpy as np
import pytest

from tunedeploy.device.decisions import Answers, Metric, flips_allowed, joined, one_a_row, open_decision
from tunedeploy.device.typed import Mismatch

POINTS = Metric(better="higher", unit="%")
CORRELATION = Metric(better="higher", unit="")
ERROR = Metric(better="lower", unit="")


def test_answers_of_batches_come_back_in_the_order_of_rows_and_places() -> None:
    first = Answers(evidence=np.array([[1.0], [2.0], [3.0]]), row=np.array([0, 1, 1]), place=np.array([0, 0, 4]))
    second = one_a_row(np.array([[9.0]]))
    whole = joined([(first, np.array([2, 0])), (second, np.array([1]))])
    assert whole.row.tolist() == [0, 0, 1, 2]
    assert whole.place.tolist() == [0, 4, 0, 0]
    assert whole.evidence[:, 0].tolist() == [2.0, 3.0, 9.0, 1.0]


def test_the_answers_of_some_rows_are_numbered_from_0() -> None:
    answers = Answers(
        evidence=np.arange(5.0)[:, None], row=np.array([0, 1, 1, 3, 4]), place=np.array([0, 0, 1, 0, 0])
    )  # fmt: skip
    some = answers.of_rows(np.array([1, 4]))
    assert some.row.tolist() == [0, 0, 1]
    assert some.evidence[:, 0].tolist() == [1.0, 2.0, 4.0]


def test_a_loss_is_positive_whatever_the_direction_of_the_metric() -> None:
    assert POINTS.worse(90.0, 89.0) == pytest.approx(1.0)
    assert ERROR.worse(0.5, 0.7) == pytest.approx(0.2)
    assert ERROR.worse(0.5, 0.4) < 0


@pytest.mark.parametrize("metric", [POINTS, CORRELATION, ERROR])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_infinitely_worse(metric: Metric, value: float) -> None:
    assert metric.worse(0.9, value) == math.inf
    assert metric.worse(value, 0.9) == math.inf


def test_the_budget_is_in_points_of_a_percentage_and_in_percent_of_anything_else() -> None:
    assert POINTS.allowed(1.0, 90.0) == 1.0
    assert CORRELATION.allowed(1.0, 0.86) == pytest.approx(0.0086)
    assert ERROR.allowed(2.0, 0.5) == pytest.approx(0.01)


def test_at_least_one_unit_may_flip() -> None:
    assert [flips_allowed(units) for units in (1, 10, 512)] == [1, 1, 10]


def test_a_kind_of_answer_that_is_not_known_is_refused() -> None:
    with pytest.raises(Mismatch, match="'oracle' is not a kind of answer; known: classes"):
        open_decision({"kind": "oracle"}, ())
    with pytest.raises(Mismatch, match="temperature"):
        open_decision({"kind": "classes", "temperature": 2}, ("a", "b"))
