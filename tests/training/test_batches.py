"""Every row is trained on once an epoch, in an order that the seed decides and the split of a step does not."""

import numpy as np
import pytest

from tunedeploy.training.batches import (
    balance_of,
    by_length,
    class_weights,
    is_imbalanced,
    micro_batches,
    windows,
)

LENGTHS = np.random.default_rng(0).integers(3, 60, 1003)


@pytest.mark.parametrize("size", [1, 7, 8, 1003, 5000])
def test_every_row_is_in_exactly_one_window_of_an_epoch(size: int) -> None:
    found = windows(LENGTHS, size=size, seed=3, epoch=0)
    assert sorted(np.concatenate(found)) == list(range(1003))
    assert max(map(len, found)) <= size
    assert len(found) == -(-1003 // size)


def test_the_same_seed_and_epoch_give_the_same_windows_and_others_give_others() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [int(row) for window in windows(LENGTHS, size=8, seed=seed, epoch=epoch) for row in window]

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(3, 2)
    assert order(3, 1) != order(4, 1)


def test_rows_of_a_window_are_of_like_length_but_windows_do_not_come_sorted() -> None:
    found = windows(LENGTHS, size=8, seed=0, epoch=0)
    inside = np.mean([np.ptp(LENGTHS[window]) for window in found])
    assert inside < np.ptp(LENGTHS) / 10
    means = [LENGTHS[window].mean() for window in found]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize(("parts", "processes"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (3, 4), (8, 2)])
@pytest.mark.parametrize("rows", [8, 7, 1])
def test_however_a_window_is_split_its_rows_count_once(parts: int, processes: int, rows: int) -> None:
    window = np.arange(100, 100 + rows)
    shares = [micro_batches(window, parts=parts, process=one, processes=processes) for one in range(processes)]
    assert {len(share) for share in shares} == {parts}, "processes must call backward equally often"
    assert all(len(indices) for share in shares for indices, _ in share), "an empty batch has no gradient"
    counted = [int(row) for share in shares for indices, counts in share if counts for row in indices]
    assert sorted(counted) == list(window)


def test_evaluation_takes_every_row_once_from_short_to_long() -> None:
    found = by_length(LENGTHS, 64)
    assert sorted(np.concatenate(found)) == list(range(1003))
    assert (np.diff(LENGTHS[np.concatenate(found)]) >= 0).all()


def test_class_weights_make_classes_count_alike_and_leave_the_mean_row_at_1() -> None:
    label_ids = np.repeat([0, 1, 2], [60, 30, 10])
    weights = class_weights(label_ids, 3)
    assert weights * [60, 30, 10] == pytest.approx([100 / 3] * 3)
    assert weights[label_ids].mean() == pytest.approx(1.0)


def test_a_class_of_one_row_in_ten_thousand_weighs_no_more_than_ten() -> None:
    assert class_weights(np.repeat([0, 1], [9999, 1]), 2)[1] == 10.0


def test_a_class_without_rows_does_not_divide_by_zero() -> None:
    assert np.isfinite(class_weights(np.array([0, 0, 2]), 4)).all()


def test_resampling_draws_rare_classes_as_often_as_common_ones() -> None:
    label_ids = np.repeat([0, 1, 2], [900, 80, 20])
    weights = 1 / np.bincount(label_ids)[label_ids]
    drawn = label_ids[np.concatenate(windows(np.ones(1000, int), size=10, seed=0, epoch=0, weights=weights))]
    assert np.bincount(drawn) / 1000 == pytest.approx([1 / 3] * 3, abs=0.05)


def test_auto_balances_only_where_one_class_dominates() -> None:
    even, skewed = np.repeat([0, 1], [60, 40]), np.repeat([0, 1], [80, 20])
    assert (is_imbalanced(even), is_imbalanced(skewed)) == (False, True)
    assert (balance_of("auto", even), balance_of("auto", skewed)) == ("none", "weights")
    assert (balance_of("none", skewed), balance_of("resample", even)) == ("none", "resample")


@pytest.mark.parametrize("rows", [93, 65, 9])
def test_no_window_holds_a_single_row_of_which_batch_norm_could_learn_nothing(rows: int) -> None:
    made = windows(np.ones(rows, int), size=4, seed=0, epoch=0)
    assert rows % 4 == 1
    assert min(map(len, made)) >= 2
    assert max(map(len, made)) == 4
    assert sorted(np.concatenate(made)) == list(range(rows))
