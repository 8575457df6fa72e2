"""A number a row: metrics as scipy has them, rounding that is no change, a shift that is one, and NaN that fails."""

import warnings

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from sklearn import metrics as sklearn_metrics

from tunedeploy.device import decisions
from tunedeploy.device.decisions import number, one_a_row
from tunedeploy.device.encoders import Array
from tunedeploy.device.errors import RunError
from tunedeploy.device.typed import Mismatch

DECISION = decisions.open_decision({"kind": "number"}, ())
CORRELATIONS = ("spearman", "pearson")


def column(*values: float) -> Array:
    return np.asarray(values, np.float32).reshape(-1, 1)


def scored(metric: str, numbers: Array, targets: Array) -> float:
    """A metric, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return DECISION.score(metric, one_a_row(np.asarray(numbers, np.float32).reshape(-1, 1)), np.asarray(targets))


@pytest.mark.parametrize("levels", [3, 17, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_scipy_and_scikit_learn_with_ties_in_both(levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, levels, 200).astype(np.float32) / 7
    targets = np.round(numbers * 2 + rng.normal(0, 1, 200)).astype(np.float64)
    assert scored("spearman", numbers, targets) == pytest.approx(stats.spearmanr(numbers, targets)[0], abs=1e-12)
    exact = numbers.astype(np.float64)
    assert scored("pearson", numbers, targets) == pytest.approx(stats.pearsonr(exact, targets)[0], abs=1e-12)
    assert scored("mae", numbers, targets) == pytest.approx(sklearn_metrics.mean_absolute_error(targets, exact))
    rmse = sklearn_metrics.root_mean_squared_error(targets, exact)
    assert scored("rmse", numbers, targets) == pytest.approx(rmse)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e5, 1e30])
def test_a_correlation_has_no_unit(scale: float) -> None:
    first = np.asarray([1, 2, 4, 3, 5], np.float32)
    for metric in CORRELATIONS:
        assert scored(metric, first * np.float32(scale), first * 2 + 7) == pytest.approx(
            scored(metric, first, first), abs=0.11
        )
        assert scored(metric, -first * np.float32(scale), first) == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_a_constant_has_no_correlation_and_holds_no_budget(metric: str) -> None:
    targets = np.arange(5.0)
    constant = scored(metric, np.full(5, 2.5), targets)
    assert np.isnan(constant)
    assert np.isnan(scored(metric, np.arange(5), np.ones(5)))  # nor has a constant target
    for reference, other in ((0.86, constant), (constant, 0.86), (constant, constant)):
        assert DECISION.metrics[metric].worse(reference, other) == float("inf")


@pytest.mark.parametrize("metric", sorted(number.METRICS))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_leaves_no_metric_a_value(metric: str, bad: float) -> None:
    value = scored(metric, np.asarray([1, bad, 3, 4]), np.arange(4.0))
    assert DECISION.metrics[metric].worse(0.5, value) == float("inf")


def test_less_error_is_better_and_a_larger_correlation_is() -> None:
    assert DECISION.metrics["rmse"].worse(1.0, 1.5) == 0.5
    assert DECISION.metrics["mae"].worse(1.0, 0.5) == -0.5
    assert DECISION.metrics["spearman"].worse(0.9, 0.8) == pytest.approx(0.1)
    assert DECISION.metrics["rmse"].allowed(1.0, 50.0) == 0.5  # percent of the reference


def test_an_unknown_metric_is_one_line() -> None:
    with pytest.raises(RunError, match="no metric 'accuracy'; known: spearman, pearson, rmse, mae"):
        scored("accuracy", np.arange(3), np.arange(3.0))


def sample(rows: int = 300) -> Array:
    return np.random.default_rng(0).normal(2.6, 1.5, (rows, 1)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_rounding_differs_nowhere_and_a_shift_or_a_lost_scale_everywhere(scale: float) -> None:
    first = sample() * np.float32(scale)
    noise = np.random.default_rng(1).normal(0, 0.1 * first.std(), first.shape).astype(np.float32)
    assert decisions.flips(DECISION, first, first + noise)[0] == 0
    for broken in (first + 2 * first.std(), (first - first.mean()) / first.std() * scale * 9, first * np.nan):
        count, clear = decisions.flips(DECISION, first, broken)
        assert count == len(clear) > len(first) * 0.5


@pytest.mark.parametrize("first", [column(4.2), column(4.2, 4.2), column(4.2, 4.21, 4.19)])
def test_of_few_rows_the_size_of_their_numbers_says_what_a_large_change_is(first: Array) -> None:
    assert not DECISION.compare(first, first + 0.1).differs.any()
    assert DECISION.compare(first, first + 4).differs.all()


def test_a_file_that_gives_another_number_than_a_constant_differs() -> None:
    constant = np.full((50, 1), 2.5, np.float32)
    assert DECISION.compare(constant, constant * 1.01).differs.all()
    assert not DECISION.compare(constant, constant).differs.any()
    assert not DECISION.compare(np.zeros((50, 1)), np.zeros((50, 1))).differs.any()


def test_a_factor_shows_as_gain_and_an_offset_as_mean_shift() -> None:
    from tunedeploy.device import agreement

    first = sample()
    halved = first * 0.5 + 3
    assert agreement.gain(DECISION.centred(first), DECISION.centred(halved)) == pytest.approx(2)
    assert DECISION.described(first, first + 3) == {"mean_shift": pytest.approx(3)}


def test_it_shows_as_many_digits_as_float32_knows() -> None:
    answers = one_a_row(column(2.7182817, 123456.79, 0.00012345678, -0.0))
    shown = DECISION.show(answers, [{}] * 4)
    assert shown == [{"number": 2.71828}, {"number": 123457.0}, {"number": 0.000123457}, {"number": -0.0}]


def test_targets_are_the_numbers_of_the_rows() -> None:
    targets = DECISION.targets([{"label": 1}, {"label": 0.1}])
    assert targets.dtype == np.float64
    assert targets.tolist() == [1.0, 0.1]


def test_facts_open_it_again_and_others_are_refused() -> None:
    assert decisions.open_decision(DECISION.facts, ()).facts == {"kind": "number"}
    with pytest.raises(Mismatch, match="scale: unknown"):
        decisions.open_decision({"kind": "number", "scale": 2.0}, ())
