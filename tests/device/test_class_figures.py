"""Where answers are right and wrong: figures as scikit-learn and seqeval count them, calibration by its definition."""

from collections.abc import Iterable

import numpy as np
import pytest
from seqeval.metrics import classification_report as seqeval_report
from sklearn.metrics import classification_report

from tunedeploy.device.class_figures import calibration_error
from tunedeploy.device.decisions import Answers, one_a_row, open_decision
from tunedeploy.device.encoders import Row
from tunedeploy.device.review import Confusion

LABELS = ("a", "b", "c", "never")


def labelled(label_ids: Iterable[int]) -> list[Row]:
    return [{"label": int(label)} for label in label_ids]


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (300, 4)).astype(np.float32)
    logits[:, 3] = -50
    return logits, rng.integers(0, 3, 300)


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    logits, label_ids = drawn(seed)
    review = open_decision({"kind": "classes"}, LABELS).review(one_a_row(logits), labelled(label_ids), 10)
    known = classification_report(label_ids, logits.argmax(1), target_names=LABELS[:3], output_dict=True)
    assert list(review.classes) == ["a", "b", "c"]  # a label that neither occurs nor is answered tells nothing
    for name, figures in review.classes.items():
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert figures[ours] == pytest.approx(100 * known[name][theirs], abs=0.006)  # type: ignore[literal-required]
        assert figures["support"] == known[name]["support"]
    wrong = int((logits.argmax(1) != label_ids).sum())
    assert isinstance(review.picture, Confusion)
    counts = [count for _, _, count in review.picture.most_frequent(100)]
    assert sum(counts) == wrong
    assert counts == sorted(counts, reverse=True)


def test_the_worst_rows_are_the_surest_of_the_wrong_ones() -> None:
    chances = np.asarray([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95]])
    review = open_decision({"kind": "classes"}, ("x", "y")).review(one_a_row(np.log(chances)), labelled([0] * 4), 10)
    assert [mistake.row for mistake in review.mistakes] == [3, 1, 2]
    assert (review.mistakes[0].right, review.mistakes[0].given) == ("x", "y")
    assert review.mistakes[0].probability == pytest.approx(0.95)


def test_calibration_is_the_distance_of_promise_and_truth() -> None:
    certain = np.asarray([0.9] * 10 + [0.6] * 10)
    right = np.asarray([True] * 9 + [False] + [True] * 3 + [False] * 7)
    assert calibration_error(certain, right) == pytest.approx(0.15)  # 0 for half of the rows, 0.3 for the others
    assert calibration_error(np.ones(4), np.ones(4, bool)) == 0


def test_no_wrong_answer_leaves_nothing_to_tell() -> None:
    logits = np.asarray([[50.0, 0], [0, 50]])
    review = open_decision({"kind": "classes"}, ("x", "y")).review(one_a_row(logits), labelled([0, 1]), 10)
    assert review.mistakes == ()
    assert isinstance(review.picture, Confusion)
    assert review.picture.most_frequent(10) == []
    assert review.calibration_error == pytest.approx(0)


def test_figures_of_entities_are_those_of_seqeval() -> None:
    labels = ("O", "B-PER", "I-PER", "B-LOC")
    true = [[1, 2, 0, 3, 0], [3, 0, 1]]
    guesses = [[1, 2, 0, 0, 3], [3, 0, 3]]
    evidence = np.eye(4, dtype=np.float32)[[tag for row in guesses for tag in row]]
    answers = Answers(evidence=evidence, row=np.asarray([0] * 5 + [1] * 3), place=np.asarray([0, 1, 2, 3, 4, 0, 1, 2]))
    rows = [{"words": ["w"] * len(row), "tags": np.asarray(row)} for row in true]
    made = open_decision({"kind": "tokens"}, labels).review(answers, rows, 10).classes
    named = [[[labels[tag] for tag in row] for row in rows] for rows in (true, guesses)]
    known = seqeval_report(*named, output_dict=True)
    assert set(made) == {"PER", "LOC"}
    for name, figures in made.items():
        assert figures["f1"] == pytest.approx(100 * known[name]["f1-score"], abs=0.006)
        assert figures["support"] == known[name]["support"]
