"""The learning rate is a pure function of the share of training that is done."""

import math

import pytest

from tunedeploy.recipe.read import TrainOptions
from tunedeploy.training.schedule import factor

SCHEDULES = TrainOptions.model_json_schema()["properties"]["schedule"]["enum"]
WARM = [name for name in SCHEDULES if name != "one-cycle"]
HALF_WAY = {"linear": 0.5, "cosine": 0.5, "step": 0.1, "constant": 1.0}  # between the end of warm-up and the end
END = {"linear": 0.0, "cosine": 0.0, "step": 0.01, "constant": 1.0, "one-cycle": 0.0}


def test_every_schedule_that_a_recipe_may_name_is_tried_here() -> None:
    assert set(SCHEDULES) == set(END)


@pytest.mark.parametrize("name", WARM)
def test_warm_up_rises_from_zero_in_a_straight_line_to_the_full_rate(name: str) -> None:
    assert [factor(name, done, 0.2) for done in (0.0, 0.05, 0.1, 0.2)] == pytest.approx([0.0, 0.25, 0.5, 1.0])


@pytest.mark.parametrize("name", WARM)
def test_without_warm_up_the_first_step_has_the_full_rate(name: str) -> None:
    assert factor(name, 0.0, 0.0) == 1.0


@pytest.mark.parametrize("name", WARM)
def test_half_way_down(name: str) -> None:
    assert factor(name, 0.6, 0.2) == pytest.approx(HALF_WAY[name])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_end(name: str) -> None:
    assert factor(name, 1.0, 0.1) == pytest.approx(END[name], abs=1e-12)


def test_one_cycle_rises_from_a_twenty_fifth_for_three_tenths_of_the_time() -> None:
    assert factor("one-cycle", 0.0, 0.5) == pytest.approx(0.04)
    assert factor("one-cycle", 0.3, 0.5) == pytest.approx(1.0)
    assert factor("one-cycle", 0.65, 0.5) == pytest.approx(0.5)


def test_step_divides_by_ten_at_half_and_at_three_quarters() -> None:
    values = [factor("step", done, 0.0) for done in (0.49, 0.5, 0.74, 0.75, 1.0)]
    assert values == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.06, 1.0])
def test_a_factor_is_finite_and_between_0_and_1_and_the_same_each_time(name: str, warmup: float) -> None:
    points = [at / 97 for at in range(98)]
    values = [factor(name, done, warmup) for done in points]
    assert all(math.isfinite(value) and 0.0 <= value <= 1.0 + 1e-12 for value in values)
    assert values == [factor(name, done, warmup) for done in points]
