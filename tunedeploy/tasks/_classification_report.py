"""The report of a classifier's training: figures of each class and confusion matrix, as text and as CSV."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

from tunedeploy.contracts.task import Report
from tunedeploy.device.decisions.classes import score
from tunedeploy.device.encoders import Array
from tunedeploy.run.csv_text import csv_text

SHOWN = 20  # a confusion matrix of more classes is a file, not a table in the terminal
SQUARE = 1000  # a matrix of more classes is written as its pairs that are not zero: 10,000 would take 200 MB


def classification_report_of(logits: Array, label_ids: Array, labels: Sequence[str]) -> Report:
    """Accuracy and macro-F1, the report of each class and the confusion matrix.

    Args:
        logits: (rows, labels).
        label_ids: (rows,).
        labels: their names.
    """
    guesses = logits.argmax(1)
    ids = list(range(len(labels)))
    report = partial(classification_report, label_ids, guesses, labels=ids, target_names=list(labels), zero_division=0)
    return {
        "metrics": {name: score(name, logits, label_ids) for name in ("accuracy", "macro_f1")},
        "text": f"{report(digits=4)}\n{confusion_text(label_ids, guesses, labels)}",
        "files": {"confusion.csv": confusion_csv(label_ids, guesses, labels)},
        "details": {"per_class": report(output_dict=True)},
    }


def confusion_csv(label_ids: Array, guesses: Array, labels: Sequence[str]) -> str:
    """The confusion matrix as CSV; for very many classes, one row for each pair that occurs."""
    if len(labels) > SQUARE:
        pairs = confusions(label_ids, guesses)
        return csv_text([("true", "predicted", "rows"), *((labels[i], labels[j], rows) for i, j, rows in pairs)])
    matrix = confusion_matrix(label_ids, guesses, labels=list(range(len(labels))))
    rows = [(label, *map(int, row)) for label, row in zip(labels, matrix, strict=True)]
    return csv_text([("true \\ predicted", *labels), *rows])


def confusions(label_ids: Array, guesses: Array) -> list[tuple[int, int, int]]:
    """True class, predicted class and number of rows of each pair that occurs."""
    pairs, rows = np.unique(np.stack([label_ids, guesses], axis=1), axis=0, return_counts=True)
    return [(int(true), int(guess), int(count)) for (true, guess), count in zip(pairs, rows, strict=True)]


def confusion_text(label_ids: Array, guesses: Array, labels: Sequence[str]) -> str:
    """The confusion matrix as text; for many classes, the pairs most often confused."""
    if len(labels) <= SHOWN:
        matrix = confusion_matrix(label_ids, guesses, labels=list(range(len(labels))))
        width = max(5, *(len(label) for label in labels)) + 1
        head = "true \\ predicted".ljust(width) + "".join(label[:9].rjust(10) for label in labels)
        return "\n".join(
            [
                head,
                *(
                    label.ljust(max(width, 16)) + "".join(str(n).rjust(10) for n in row)
                    for label, row in zip(labels, matrix, strict=True)
                ),
            ]
        )
    wrong = [(rows, i, j) for i, j, rows in confusions(label_ids, guesses) if i != j]
    worst = sorted(wrong, reverse=True)[:10]
    return "\n".join(
        ["most often confused:", *(f"{rows:6d}  {labels[i]} taken for {labels[j]}" for rows, i, j in worst)]
    )
