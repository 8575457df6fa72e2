"""Where answers are right and wrong: figures as scikit-learn and seqeval count them, calibration by its definition."""

import numpy as np
import pytest
from seqeval.metrics import classification_report as seqeval_report
from sklearn.metrics import classification_report

from tunedeploy.device.breakdown import calibration_error, of_labels
from tunedeploy.device.decisions import Answers, one_a_row, open_decision

LABELS = ("a", "b", "c", "never")


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (300, 4)).astype(np.float32)
    logits[:, 3] = -50
    return logits, rng.integers(0, 3, 300)


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    logits, label_ids = drawn(seed)
    made = open_decision({"kind": "classes"}, LABELS).breakdown(one_a_row(logits), label_ids)
    known = classification_report(label_ids, logits.argmax(1), target_names=LABELS[:3], output_dict=True)
    assert list(made["classes"]) == ["a", "b", "c"]  # a label that neither occurs nor is answered tells nothing
    for name, figures in made["classes"].items():
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert figures[ours] == pytest.approx(100 * known[name][theirs], abs=0.006)  # type: ignore[literal-required]
        assert figures["support"] == known[name]["support"]
    wrong = int((logits.argmax(1) != label_ids).sum())
    assert sum(pair["rows"] for pair in made["confused"]) == wrong
    assert [pair["rows"] for pair in made["confused"]] == sorted(
        (pair["rows"] for pair in made["confused"]), reverse=True
    )


def test_the_worst_rows_are_the_surest_of_the_wrong_ones() -> None:
    chances = np.asarray([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95]])
    wrong = of_labels(chances, np.asarray([0, 0, 0, 0]), ("x", "y"))["wrong"]
    assert [entry["row"] for entry in wrong] == [3, 1, 2]
    assert wrong[0] == {"row": 3, "true": "x", "answer": "y", "probability": 0.95}


def test_calibration_is_the_distance_of_promise_and_truth() -> None:
    certain = np.asarray([0.9] * 10 + [0.6] * 10)
    right = np.asarray([True] * 9 + [False] + [True] * 3 + [False] * 7)
    assert calibration_error(certain, right) == pytest.approx(0.15)  # 0 for half of the rows, 0.3 for the others
    assert calibration_error(np.ones(4), np.ones(4, bool)) == 0


def test_no_wrong_answer_leaves_nothing_to_tell() -> None:
    made = of_labels(np.eye(2), np.asarray([0, 1]), ("x", "y"))
    assert (made["confused"], made["wrong"], made["calibration"]) == ([], [], {"ece": 0.0})


def test_figures_of_entities_are_those_of_seqeval() -> None:
    labels = ("O", "B-PER", "I-PER", "B-LOC")
    true = [[1, 2, 0, 3, 0], [3, 0, 1]]
    guesses = [[1, 2, 0, 0, 3], [3, 0, 3]]
    evidence = np.eye(4, dtype=np.float32)[[tag for row in guesses for tag in row]]
    answers = Answers(evidence=evidence, row=np.asarray([0] * 5 + [1] * 3), place=np.asarray([0, 1, 2, 3, 4, 0, 1, 2]))
    made = open_decision({"kind": "tokens"}, labels).breakdown(answers, [np.asarray(row) for row in true])["classes"]
    named = [[[labels[tag] for tag in row] for row in rows] for rows in (true, guesses)]
    known = seqeval_report(*named, output_dict=True)
    assert set(made) == {"PER", "LOC"}
    for name, figures in made.items():
        assert figures["f1"] == pytest.approx(100 * known[name]["f1-score"], abs=0.006)
        assert figures["support"] == known[name]["support"]


@pytest.mark.parametrize("kind", ["number", "text"])
def test_answers_without_classes_have_no_breakdown(kind: str) -> None:
    decision = open_decision({"kind": kind}, ())
    assert decision.breakdown(one_a_row(np.zeros((1, decision.width), np.float32)), None) == {}
