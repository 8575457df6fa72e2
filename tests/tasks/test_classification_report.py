"""What a run of many classes writes fits its rows, not the square of its classes."""

import csv
import resource

import numpy as np

from tunedeploy.tasks._classification_report import SQUARE, classification_report_of, confusion_csv, confusion_text


def test_of_very_many_classes_the_pairs_that_occur_are_written() -> None:
    labels = [f"class {at}" for at in range(SQUARE + 1)]
    text = confusion_csv(np.array([0, 0, 5, 1000]), np.array([0, 0, 7, 0]), labels)
    assert list(csv.reader(text.splitlines())) == [
        ["true", "predicted", "rows"],
        ["class 0", "class 0", "2"],
        ["class 5", "class 7", "1"],
        ["class 1000", "class 0", "1"],
    ]


def test_up_to_a_thousand_classes_the_matrix_is_square() -> None:
    labels = [f"{at}" for at in range(SQUARE)]
    rows = list(csv.reader(confusion_csv(np.array([2]), np.array([3]), labels).splitlines()))
    assert len(rows) == len(rows[0]) == SQUARE + 1
    assert rows[3][4] == "1"


def test_the_pairs_most_often_confused_come_first() -> None:
    labels = [f"c{at}" for at in range(30)]
    text = confusion_text(np.array([1, 1, 2, 4, 4]), np.array([3, 3, 2, 5, 4]), labels)
    assert text.splitlines() == ["most often confused:", "     2  c1 taken for c3", "     1  c4 taken for c5"]


def test_ten_thousand_classes_take_no_matrix() -> None:
    labels = [f"class {at}" for at in range(10_000)]
    rng = np.random.default_rng(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logits = rng.normal(size=(200, 10_000)).astype(np.float32)
    report = classification_report_of(logits, rng.integers(0, 10_000, 200), labels)
    assert len(report["files"]["confusion.csv"]) < 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB; a matrix would be 800 MB
