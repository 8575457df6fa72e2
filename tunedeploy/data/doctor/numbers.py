"""What is wrong with numbers to be predicted: hardly any spread, values far beyond the rest, classes in disguise."""

from collections import Counter
from collections.abc import Sequence
from statistics import median, quantiles

from tunedeploy.data.doctor.report import Finding, Values, findings_of

SAME = 0.95  # share of one value above which always giving it is hard to beat
FAR = 10.0  # interquartile ranges beyond the quartiles: no normal spread reaches that; its square rules the loss
CLASSES = 20  # distinct whole numbers up to which they may be classes
ENOUGH = 20  # rows below which quartiles say little


def numbers(column: Values) -> list[Finding]:
    """Findings about a column with one number a row."""
    train, held_out = column.split()
    counts = Counter(train)
    value, count = counts.most_common(1)[0]
    span = f"numbers from {min(train):g} to {max(train):g}, half of them above {median(train):g}"
    same = [value] if count > SAME * len(train) else []
    flat = held_out[:1] if len(set(held_out)) == 1 else []
    is_few = len(counts) <= CLASSES < len(train) and all(number.is_integer() for number in counts)
    listed = ", ".join(f"{number:g}" for number in sorted(counts)[:3])
    question = f"only {len(counts)} distinct whole numbers ({listed}, ...); did you mean classification?"
    return [
        Finding(name="numbers", severity="info", text=span, count=len(train)),
        *findings_of(
            "near_constant", "warning", same, f"{count / len(train):.1%} of the training rows have one number"
        ),
        *findings_of(
            "not_evaluated", "warning", flat, "every evaluation row has one number, so no ranking is measured"
        ),
        *([Finding(name="few_values", severity="info", text=question, count=len(counts))] if is_few else []),
        *_outliers(column, train),
    ]


def _outliers(column: Values, train: Sequence[float]) -> list[Finding]:
    if len(train) < ENOUGH:
        return []
    first, _, third = quantiles(train, n=4)
    low, high = first - FAR * (third - first), third + FAR * (third - first)
    far = [(row, value) for row, value in enumerate(train) if not low <= value <= high] if third > first else []
    text = f"{len(far)} of {len(train)} training rows with a number far beyond the others; check them"
    return findings_of("outlier", "warning", far, text, lambda pair: f"{column.places[pair[0]]} ({pair[1]:g})")
