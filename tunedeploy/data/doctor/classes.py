"""What is wrong with labels: one class that drowns the others, classes of a few rows, one class under two names."""

from collections import Counter
from collections.abc import Sequence

from tunedeploy.data.doctor.report import FEW, Finding, Values, findings_of
from tunedeploy.data.labels import NUMBER, twins

NUMBERS = 20  # more classes than this, all of them numbers, are likely to be measurements
DECIMALS = 5  # and more than this where they have decimals
MAJORITY = 0.7  # share of the largest class above which accuracy misleads and macro-F1 is to be read


def classes(column: Values) -> list[Finding]:
    """Findings about a column with one class a row."""
    train, held_out = map(Counter, column.split())
    sizes = {label: train[index] for index, label in enumerate(column.labels)}
    largest = max(sizes, key=lambda label: sizes[label])
    share = sizes[largest] / max(sum(sizes.values()), 1)
    common = Finding(
        name="imbalance",
        severity="warning" if share > MAJORITY else "info",
        text=f"the largest class, {largest!r}, has {share:.1%} of the training rows"
        + ("; read macro-F1, and set train.balance" if share > MAJORITY else ""),
        count=sizes[largest],
    )
    rare = [label for label, count in sizes.items() if count < FEW]
    unseen = [label for index, label in enumerate(column.labels) if not held_out[index]]
    alike = [" / ".join(group) for group in twins(column.labels)]
    many = len(column.labels)
    question = numeric_classes(column.labels)
    cure = f"{question} 'task: text-regression' does"
    return [
        common,
        *findings_of("rare", "warning", rare, f"{len(rare)} of {many} classes with fewer than {FEW} training rows"),
        *findings_of("not_evaluated", "warning", unseen, f"{len(unseen)} of {many} classes without evaluation rows"),
        *([Finding(name="numbers", severity="warning", text=cure, count=many)] if question else []),
        *findings_of(
            "same_name", "warning", alike, f"{len(alike)} names of classes that differ only in case or spaces"
        ),
    ]


def numeric_classes(labels: Sequence[str]) -> str:
    """The question whether labels are measurements; empty where they do not look like it."""
    points = [label.replace(",", ".", 1) for label in labels]
    are_decimals = any("." in label for label in points)
    if len(points) <= (DECIMALS if are_decimals else NUMBERS) or not all(map(NUMBER.fullmatch, points)):
        return ""
    return (
        f"{len(labels)} classes that are all numbers ({', '.join(labels[:3])}, ...); did you mean to predict a number?"
    )
