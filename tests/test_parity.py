"""The arithmetic of agreement, on numbers that can be checked by hand."""

import json
from typing import Any

import numpy as np
import pytest

from tunedeploy.device import agreement
from tunedeploy.device.agreement import within
from tunedeploy.device.comparison import Comparison
from tunedeploy.device.decisions import classes, flips

EPS = float(np.finfo(np.float32).eps)  # 2^-23


LABELS = classes.Classes(("a", "b", "c"))


def array(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


# ---- gain


def test_rows_tell_the_gain_unless_noise_is_as_large_as_what_it_is_added_to() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(24, 3))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for other in (logits, logits * 10, logits / 10, softmax, logits + rng.normal(0, 0.3, logits.shape)):
        assert agreement.tells_gain(classes.centred(logits), classes.centred(other))
    centred = classes.centred(logits)
    assert agreement.gain(centred, centred * 10) == pytest.approx(10)
    assert not agreement.tells_gain(centred, classes.centred(logits + rng.normal(0, 3, logits.shape)))
    assert not agreement.tells_gain(centred, np.full_like(logits, np.nan))


# ---- limits


@pytest.mark.parametrize("at_most", [True, False])
def test_what_is_not_finite_is_within_no_limit(at_most: bool) -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        for limit in (None, 0.0, 1e300, float("inf"), -float("inf")):
            assert not within(value, limit, at_most=at_most)
    assert not within(1.0, float("nan"), at_most=at_most)
    assert within(1.0, 1.0, at_most=at_most)
    assert within(0.5, 1.0, at_most=at_most) is at_most


# ---- largest_difference


def test_the_largest_difference_comes_with_its_row() -> None:
    assert agreement.largest_difference(array([1, 2], [3, 4], [5, 6]), array([1, 2], [3, 4.5], [5.25, 6])) == (0.5, 1)


def test_equal_arrays_differ_by_nothing() -> None:
    assert agreement.largest_difference(array([1, -2]), array([1, -2])) == (0.0, 0)
    assert agreement.largest_difference(np.zeros((0, 3)), np.zeros((0, 3))) == (0.0, 0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_differs_from_everything_itself_included(odd: float) -> None:
    whole, broken = array([1, 2], [3, 4]), array([1, 2], [3, odd])
    for pair in ((whole, broken), (broken, whole), (broken, broken)):
        assert agreement.largest_difference(*pair) == (np.inf, 1)


def test_arrays_of_another_shape_differ_without_end() -> None:
    assert agreement.largest_difference(np.zeros((2, 3)), np.zeros((2, 4))) == (np.inf, 0)
    assert agreement.largest_difference(np.zeros((2, 3)), np.zeros((2, 1))) == (np.inf, 0)  # no broadcasting


def test_differences_are_taken_in_float64() -> None:
    assert agreement.largest_difference(array([16777216.0]), np.array([[16777217.0]])) == (1.0, 0)


def test_integers_and_higher_dimensions_are_compared_by_first_axis() -> None:
    first = np.zeros((2, 2, 2), np.int64)
    second = first.copy()
    second[1, 0, 1] = -7
    assert agreement.largest_difference(first, second) == (7.0, 1)


# ---- noise floor, range, tolerance


def test_the_noise_floor_is_the_error_of_float32() -> None:
    assert agreement.noise_floor(array([1.5, 2]), np.array([[1.25, 2.0]])) == 0.25


def test_the_range_is_largest_minus_smallest_of_what_is_finite() -> None:
    assert agreement.output_range(array([1, 4], [-2, 0])) == 6.0
    assert agreement.output_range(array([1, np.nan], [np.inf, 3])) == 2.0
    assert agreement.output_range(array([5, 5])) == 1e-6
    assert agreement.output_range(array([np.nan])) == 1e-6


@pytest.mark.parametrize(
    ("floor", "spread", "expected"),
    [
        (1e-6, 10.0, 1e-5),  # ten floors
        (1e-3, 10.0, 1e-3),  # capped at 1e-4 of the range
        (0.0, 10.0, 40 * EPS),  # not below what float32 resolves
        (1e-9, 10.0, 40 * EPS),
        (np.inf, 10.0, 1e-3),  # no floor excuses more than the cap
    ],
    ids=["floors", "capped", "exact", "below", "infinite"],
)
def test_the_tolerance_is_a_multiple_of_the_floor_within_bounds(floor: float, spread: float, expected: float) -> None:
    assert agreement.tolerance(floor, spread) == pytest.approx(expected, rel=1e-12)


def test_the_tolerance_scales_with_the_output() -> None:
    assert agreement.tolerance(2e-6, 20.0) == pytest.approx(2 * agreement.tolerance(1e-6, 10.0), rel=1e-12)


# ---- signal, angle, margins


def test_sqnr_is_ten_times_the_logarithm_of_signal_over_noise() -> None:
    assert agreement.sqnr_db(array([10, 0]), array([9, 0])) == pytest.approx(20.0)
    assert agreement.sqnr_db(array([1, 1]), array([0, 0])) == pytest.approx(0.0)
    assert agreement.sqnr_db(array([3, 4]), array([3, 4])) == 200.0
    assert agreement.sqnr_db(array([0, 0]), array([1, 0])) == pytest.approx(-3000.0)


def test_the_cosine_is_that_of_the_worst_row() -> None:
    assert agreement.cosine(array([1, 0], [1, 0]), array([2, 0], [1, 1])) == pytest.approx(np.sqrt(0.5))
    assert agreement.cosine(array([1, 0]), array([-3, 0])) == pytest.approx(-1.0)
    assert agreement.cosine(array([0, 0]), array([1, 0])) == 0.0


def test_a_margin_is_best_minus_second_best() -> None:
    assert classes.margins(array([1, 5, 3], [2, 2, 0], [-1, -4, -2])).tolist() == [2.0, 0.0, 1.0]


def test_a_row_moves_by_its_largest_change() -> None:
    assert classes.compare(array([0, 0], [0, 0]), array([1, 0], [0, -2])).moved.tolist() == [1.0, 2.0]


# ---- flips


def test_a_flip_of_a_near_tie_is_counted_and_excused() -> None:
    reference = array([0, 1.0], [0, 9], [0, 9])
    other = array([0.6, 0.5], [0.5, 9], [0.5, 9])  # drift 0.5, so margins under 2 are near-ties
    count, clear = flips(LABELS, reference, other)
    assert (count, clear.tolist()) == (1, [])


def test_a_flip_of_a_clear_row_is_named() -> None:
    reference = array([0, 9], [0, 9], [9, 0], [0, 9])
    other = array([0.5, 9], [0.5, 9], [0, 9], [0.5, 9])
    count, clear = flips(LABELS, reference, other)
    assert (count, clear.tolist()) == (1, [2])


def test_equal_outputs_flip_nothing() -> None:
    logits = array([0, 1], [1, 0])
    assert flips(LABELS, logits, logits)[0] == 0


def test_top_k_overlap_is_the_share_of_best_labels_kept() -> None:
    reference = array([5, 4, 3, 2, 1, 0])
    assert classes.top_k_overlap(reference, array([5, 4, 3, 2, 1, 0])) == 1.0
    assert classes.top_k_overlap(reference, array([0, 1, 2, 3, 4, 5])) == pytest.approx(4 / 5)
    assert classes.top_k_overlap(reference, array([0, 1, 2, 3, 4, 5]), k=2) == 0.0
    assert classes.top_k_overlap(array([1, 0]), array([0, 1])) == 1.0  # of two labels both are among the five best


# ---- the record


def comparison(**values: object) -> Comparison:
    return Comparison(
        **{"id": "flips", "name": "a vs b", "stage": "export", "file": "onnx/model.onnx", "value": 0.5} | values
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "ok"),
    [
        ({"limit": 0.5}, True),
        ({"limit": 0.49}, False),
        ({"limit": 0.51, "at_most": False}, False),
        ({"limit": 0.5, "at_most": False}, True),
        ({}, True),
        ({"value": np.nan}, False),
        ({"value": np.inf, "at_most": False, "limit": 1.0}, False),
        ({"value": np.nan, "limit": np.inf}, False),
        ({"value": 0, "limit": 0}, True),
        ({"value": 0.0, "limit": np.nan}, False),
    ],
    ids=str,
)
def test_a_comparison_holds_within_its_limit_and_never_without_a_finite_value(
    values: dict[str, float], ok: bool
) -> None:
    assert comparison(**values).ok is ok


def test_a_breach_is_one_line_with_stage_file_number_row_and_limit() -> None:
    found = comparison(value=0.031, limit=4e-6, where="row 17", unit=" points")
    assert found.line() == "export: onnx/model.onnx: a vs b is 0.031 points on row 17, allowed 4e-06 points"
    found = comparison(limit=1.0, at_most=False)
    assert found.line() == "export: onnx/model.onnx: a vs b is 0.5, at least 1"


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("file missing", {"value": 1}, "file missing"),
        ("facts that differ", {"value": 1, "where": "seed"}, "facts that differ: seed"),
        ("facts that differ", {"value": 2, "where": "seed, task"}, "facts that differ: 2 (seed, task), allowed 0"),
        ("ids that differ", {"value": 12345, "rows": 30522}, "ids that differ: 12345, allowed 0"),
        ("golden answers that changed", {"value": 1, "rows": 37, "where": "golden row 3"},
         "golden answers that changed: 1 (golden row 3), allowed 0"),
        ("rows flipped", {"value": 3.0, "limit": 1, "rows": 28}, "rows flipped: 3, allowed 1"),
        ("rows flipped", {"value": np.inf, "limit": 1, "rows": 28}, "rows flipped is inf, allowed 1"),
        ("tensors that differ from base", {"value": 0, "limit": 1, "at_most": False},
         "tensors that differ from base: 0, at least 1"),
    ],
)  # fmt: skip
def test_a_breach_of_a_count_reads_as_a_count(name: str, values: dict[str, Any], line: str) -> None:
    counted = Comparison(**{"id": "flips", "name": name, "stage": "bundle", "file": "a.json", "limit": 0, **values})
    assert counted.line() == f"bundle: a.json: {line}"


def test_a_record_is_json_whatever_its_value() -> None:
    for value, written in ((0.5, 0.5), (np.inf, "inf"), (np.nan, "nan")):
        record = comparison(value=value, limit=1.0).to_json()
        assert json.loads(json.dumps(record, allow_nan=False))["value"] == written
        assert record["ok"] is (written == 0.5)


def test_facts_that_are_not_finite_are_written_as_text() -> None:
    broken = array([1, np.nan], [np.inf, 3], [np.inf, 1])
    facts = {
        "drift": float(np.median(classes.compare(broken, broken).moved)),
        "sqnr_db": agreement.sqnr_db(broken, broken),
        "rows": 3,
    }
    facts |= {"cosine": agreement.cosine(broken, broken), "margin": float(classes.margins(broken)[1])}
    record = comparison(facts=facts, limit=np.inf).to_json()
    assert json.loads(json.dumps(record, allow_nan=False))["facts"]["drift"] == "nan"
    assert record["limit"] == "inf"


def test_verdicts_and_counts_of_numpy_are_json_too() -> None:
    record = comparison(value=float(np.float32(0.25)), limit=1.0, facts={"drift": 0.5}).to_json()
    assert json.loads(json.dumps(record)) == record


def test_a_wrong_epsilon_does_not_fit_into_ten_floors() -> None:
    """Why FLOORS is ten: LayerNorm of 384 values with epsilon 1e-5 in place of 1e-12 is seen, rounding is not."""
    rng = np.random.default_rng(0)
    hidden = (0.05 * rng.normal(size=(16, 384))).astype(np.float32)

    def norm(values: np.ndarray, epsilon: float, dtype: type) -> np.ndarray:
        values = values.astype(dtype)
        centred = values - values.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + dtype(epsilon))

    exact, single = norm(hidden, 1e-12, np.float64), norm(hidden, 1e-12, np.float32)
    again = norm(hidden[:, ::-1], 1e-12, np.float32)[:, ::-1]  # another order of summation
    limit = agreement.tolerance(agreement.noise_floor(single, exact), agreement.output_range(single))
    assert agreement.largest_difference(single, again)[0] <= limit
    assert agreement.largest_difference(single, norm(hidden, 1e-5, np.float32))[0] > 100 * limit


def test_a_file_that_is_all_wrong_is_not_excused_by_its_own_drift() -> None:
    reference = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    count, clear = flips(LABELS, reference, -reference)
    assert count == 200
    assert len(clear) >= 90
