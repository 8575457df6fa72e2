"""Answers beside the right ones: the worst rows first, what is taken for what, and a sentence that counts."""

import numpy as np
import pytest

from tunedeploy.device.decisions import Answers, open_decision
from tunedeploy.device.decisions.text import CERTAINTY, WIDTH
from tunedeploy.device.encoders import Array
from tunedeploy.device.review import Confusion, Scatter, worst


def of_rows(evidence: Array) -> Answers:
    return Answers(evidence=evidence, row=np.arange(len(evidence)), place=np.zeros(len(evidence), np.int64))


def pairs(picture: Confusion) -> dict[tuple[str, str], int]:
    """Right and given name to how often."""
    each = zip(picture.right, picture.given, picture.count, strict=True)
    return {(picture.names[right], picture.names[given]): int(count) for right, given, count in each}


def test_of_wrong_classes_the_worst_leads_the_right_one_by_most_however_certain_it_is() -> None:
    decision = open_decision({"kind": "classes"}, ("cat", "dog", "owl"))
    logits = np.log([[0.55, 0.44, 0.01], [0.5, 0.05, 0.45]]).astype(np.float32)  # leads of 0.11 and 0.45
    review = decision.review(of_rows(logits), [{"label": 1}, {"label": 1}], 5)
    assert [mistake.row for mistake in review.mistakes] == [1, 0]
    assert review.order == "those first whose wrong label leads the right one by most"


def test_the_worst_class_is_the_wrong_one_of_which_the_model_is_most_certain() -> None:
    decision = open_decision({"kind": "classes"}, ("cat", "dog", "<b>"))
    logits = np.log([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]]).astype(np.float32)
    review = decision.review(of_rows(logits), [{"label": label} for label in (0, 1, 0, 2)], 5)
    assert review.summary == "2 of 4 rows get a wrong label"
    assert [(mistake.row, mistake.right, mistake.given) for mistake in review.mistakes] == [
        (2, "cat", "dog"), (1, "dog", "cat"),
    ]  # fmt: skip
    assert [mistake.probability for mistake in review.mistakes] == pytest.approx([0.9, 0.6])
    assert isinstance(review.picture, Confusion) and review.picture.unit == "rows"
    assert pairs(review.picture) == {
        ("cat", "cat"): 1, ("dog", "cat"): 1, ("cat", "dog"): 1, ("<b>", "<b>"): 1,
    }  # fmt: skip
    assert len(decision.review(of_rows(logits), [{"label": label} for label in (1, 2, 0, 0)], 2).mistakes) == 2


def test_the_worst_number_is_the_one_farthest_off() -> None:
    decision = open_decision({"kind": "number"}, ())
    answers = of_rows(np.asarray([[1.0], [2.5], [7.0]], np.float32))
    review = decision.review(answers, [{"label": label} for label in (1.0, 2.0, 9.25)], 5)
    assert review.summary == "half of the numbers are within 0.5 of the right one, 95 % within 2.07"
    assert [(mistake.row, mistake.right, mistake.given) for mistake in review.mistakes] == [
        (2, "9.25", "7"),
        (1, "2", "2.5"),
    ]
    assert isinstance(review.picture, Scatter)
    assert review.picture.given.tolist() == [1.0, 2.5, 7.0]


def test_a_row_of_words_shows_the_entities_that_one_side_has_alone() -> None:
    labels = ("B-LOC", "B-PER", "I-LOC", "O")
    decision = open_decision({"kind": "tokens"}, labels)
    rows = [{"words": ["Ada", "saw", "New", "York"], "tags": [1, 3, 0, 2]}, {"words": ["so"], "tags": [3]}]
    guessed = np.asarray([1, 3, 1, 3, 3])
    answers = Answers(
        evidence=np.eye(4, dtype=np.float32)[guessed],
        row=np.asarray([0, 0, 0, 0, 1]),
        place=np.asarray([0, 1, 2, 3, 0]),
    )
    review = decision.review(answers, rows, 5)
    assert review.summary == "2 of 5 words get a wrong label, in 1 of 2 rows"
    assert [(mistake.row, mistake.right, mistake.given) for mistake in review.mistakes] == [
        (0, "LOC: New York", "PER: New")
    ]
    assert isinstance(review.picture, Confusion) and review.picture.unit == "words"
    assert pairs(review.picture) == {
        ("PER", "PER"): 1, ("O", "O"): 2, ("LOC", "PER"): 1, ("LOC", "O"): 1,
    }  # fmt: skip


def test_the_worst_text_is_the_one_whose_right_text_was_thought_least_likely() -> None:
    decision = open_decision({"kind": "text"}, ())
    evidence = np.zeros((5, WIDTH), np.float32)
    evidence[:, CERTAINTY] = [-0.1, -0.1, -9.0, -0.5, -7.0]
    answers = Answers(
        evidence=evidence, row=np.asarray([0, 0, 1, 2, 3]), place=np.asarray([0, 1, 0, 0, 0]),
        texts=("a", "b", "c", "d"),
    )  # fmt: skip
    rows = [{"target": text} for text in ("A", "b", "C", "D")]
    review = decision.review(answers, rows, 2)
    assert review.summary == "1 of 4 texts are the right one to the letter"
    assert [(mistake.row, mistake.right, mistake.given) for mistake in review.mistakes] == [
        (3, "D", "d"),
        (2, "C", "c"),
    ]
    silent = decision.review(of_rows(evidence[:4]), rows, 2)
    assert (silent.summary, silent.mistakes) == ("100.0 % of the tokens are the right ones", None)


@pytest.mark.parametrize(("kind", "labels"), [("classes", ("a", "b")), ("number", ())])
def test_a_nan_in_stored_answers_ends_in_no_traceback(kind: str, labels: tuple[str, ...]) -> None:
    evidence = np.full((2, max(len(labels), 1)), np.nan, np.float32)
    review = open_decision({"kind": kind}, labels).review(of_rows(evidence), [{"label": 1}, {"label": 0}], 5)
    assert "nan" in f"{review.mistakes[0].given} {review.mistakes[0].probability}"


def test_of_equal_errors_the_earlier_row_comes_first() -> None:
    assert worst(np.asarray([0, 2, 3, 4]), np.asarray([1.0, 9.0, 2.0, 1.0, np.nan]), 3) == [4, 2, 0]
