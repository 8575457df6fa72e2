"""Say what is wrong with a data set before hours are spent on it: duplicates, leaks, imbalance, truncation and more.

Nothing here raises: whatever stops training is an error of `read`; the rest is a finding for the user to judge.
Each kind of column finds what is wrong with its own labels, tags or numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from tunedeploy.data.columns import Column
from tunedeploy.data.doctor.near import Pairs, near_images, near_texts
from tunedeploy.data.doctor.report import EXAMPLES, FEW, Finding, Report, Severity, Values, findings_of
from tunedeploy.data.doctor.rows import Cells, Rows, gather
from tunedeploy.data.read import Data

Length = Callable[[Mapping[str, Any]], int]  # row -> tokens

NEAR_ROWS = 50_000  # larger sets are sampled: the pairs of this many take seconds
NEAR_CHARACTERS = 10_000_000
NEAR_TEXT = 100_000  # characters of a row that are compared; they take 128 hashes of 8 bytes each
LENGTH_ROWS = 20_000  # a tokenizer takes about 0.1 ms a row
MUCH = 0.01  # share of rows from which duplicates inside a split are a warning
TRUNCATED = 0.05  # share of truncated rows that is a warning


def examine(
    data: Data, columns: Sequence[Column], *, length: Length | None = None, max_length: int | None = None
) -> Report:
    """Look at both splits.

    Args:
        data: what `read` gave.
        columns: those it was read with.
        length: tokens of a row, to find how many rows are cut off.
        max_length: tokens that the model will see; without both, truncation is not examined.
    """
    rows = gather(data, columns)
    findings = [*_blanks(rows), *_leaks(rows), *_conflicts(rows, data.labels), *_duplicates(rows), *_near(rows)]
    for column in rows.columns:
        if column.kind.findings is not None:
            cells = rows.cells[column.key]
            findings += column.kind.findings(
                Values(train=rows.train, values=cells, labels=data.labels, places=rows.places)
            )
    findings += _pictures(rows)
    if length is not None and max_length is not None:
        findings += _truncated(data, length, max_length)
    order = {"warning": 0, "info": 1}
    labelled = next((column for column in rows.columns if column.kind.labels is not None), None)
    return Report(
        rows={"train": len(data.train), "eval": len(data.eval)},
        classes=_counts(rows, rows.cells[labelled.key], data.labels) if labelled else {},
        findings=tuple(sorted(findings, key=lambda finding: order[finding.severity])),
        notes=data.notes,
        counted=labelled.kind.counted if labelled else ("classes", "rows"),
    )


def _counts(rows: Rows, cells: Cells, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Split -> label -> how many rows, or words, have it."""
    counts: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for row, value in enumerate(cells):
        counts[row >= rows.train].update(value if isinstance(value, list) else [value])
    return {
        split: {label: count[index] for index, label in enumerate(labels)}
        for split, count in zip(("train", "eval"), counts, strict=True)
    }


def _blanks(rows: Rows) -> list[Finding]:
    flat = [row for row, look in enumerate(rows.looks) if look is not None and look.flat]
    gone = [row for row, look in enumerate(rows.looks) if look is None]
    place = rows.places.__getitem__
    return [
        *findings_of(
            "blank", "warning", rows.blank, f"{_of(rows.blank, rows)} rows with a blank text; remove them", place
        ),
        *findings_of("blank", "warning", flat, f"{_of(flat, rows)} images of one colour; remove them", place),
        *findings_of("unreadable", "warning", gone, f"{_of(gone, rows)} images no longer readable", place),
    ]


def _leaks(rows: Rows) -> list[Finding]:
    """Evaluation rows whose input was trained on."""
    first = _first_of(islice(rows.keys, rows.train))
    pairs = [(row, first[key]) for row, key in enumerate(rows.keys) if row >= rows.train and key in first]
    text = f"{len(pairs)} of {len(rows) - rows.train} evaluation rows also trained on; remove them from one side"
    return findings_of("leak", "warning", pairs, text, lambda pair: _equation(rows, pair))


def _conflicts(rows: Rows, labels: Sequence[str]) -> list[Finding]:
    """The same input with another target: a mistake where that is a class, and noise where it is a number or a text."""
    first, answers = _first_of(rows.keys), rows.answers
    pairs = [(row, first[key]) for row, key in enumerate(rows.keys) if answers[row] != answers[first[key]]]
    target = next((column for column in rows.columns if column.kind.target), None)
    if not pairs or target is None:
        return []
    cells, is_classed = rows.cells[target.key], target.kind.labels is not None
    other = f"other {target.key}" if isinstance(cells[0], list) else f"another {target.key}"

    def place(row: int) -> str:
        value = cells[row]
        if isinstance(value, list | str):
            return str(rows.places[row])
        return f"{rows.places[row]} ({labels[value] if is_classed else format(value, 'g')})"

    cure = f"; decide for one {target.key}" if other.startswith("another") else "; decide for one"
    text = f"{_of(pairs, rows)} rows with the input of an earlier one and {other}{cure if is_classed else ''}"
    severity: Severity = "warning" if is_classed else "info"
    return findings_of("conflict", severity, pairs, text, lambda pair: " = ".join(map(place, pair)))


def _duplicates(rows: Rows) -> list[Finding]:
    """Rows that repeat an earlier one, targets and all, on the same side."""
    sides = [
        (key, row >= rows.train, answer) for row, (key, answer) in enumerate(zip(rows.keys, rows.answers, strict=True))
    ]
    first = _first_of(sides)
    pairs = [(row, first[side]) for row, side in enumerate(sides) if first[side] != row]
    severity: Severity = "warning" if len(pairs) > MUCH * len(rows) else "info"
    text = f"{_of(pairs, rows)} rows equal to an earlier one of their split; remove them"
    return findings_of("duplicate", severity, pairs, text, lambda pair: _equation(rows, pair))


def _near(rows: Rows) -> list[Finding]:
    """Near duplicates inside a split, and between the splits."""
    chosen, sampled = _sample(rows)
    if len(chosen) < 2:
        return []
    pairs: Pairs
    if rows.looks:
        pairs = near_images([look for row in chosen if (look := rows.looks[row]) is not None])
    else:
        pairs = near_texts(rows.texts(chosen, NEAR_TEXT))
    inside: dict[int, int] = {}
    across: dict[int, int] = {}
    for earlier, later in ((chosen[first], chosen[second]) for first, second in pairs.tolist()):
        (across if earlier < rows.train <= later else inside).setdefault(later, earlier)
    held_out = sum(row >= rows.train for row in chosen)
    sample_note = f" (a sample of {len(chosen)} distinct rows)" if sampled else ""
    leaks = f"{len(across)} of {held_out} evaluation rows nearly equal to a training row{sample_note}"
    twin = f"{len(inside)} of {len(chosen)} rows nearly equal to an earlier one of their split{sample_note}"
    return [
        *findings_of("near_leak", "warning", list(across.items()), leaks, lambda pair: _equation(rows, pair)),
        *findings_of("near_duplicate", "info", list(inside.items()), twin, lambda pair: _equation(rows, pair)),
    ]


def _sample(rows: Rows) -> tuple[list[int], bool]:
    """Rows to compare, ascending, one for each distinct input on a side; and whether some were left out."""
    first = _first_of(rows.keys)
    distinct = [row for row, key in enumerate(rows.keys) if first[key] == row]
    if rows.looks:
        distinct = [row for row in distinct if rows.looks[row] is not None]
    else:
        distinct = [row for row in distinct if rows.sizes and rows.sizes[row]]
    total, chosen = 0, []
    shuffled = sorted(distinct, key=lambda row: rows.keys[row][::-1])  # by the last bytes: the first decide the split
    for row in shuffled[:NEAR_ROWS]:
        total += 0 if rows.looks else min(rows.sizes[row], NEAR_TEXT)
        if total > NEAR_CHARACTERS:
            break
        chosen.append(row)
    return sorted(chosen), len(chosen) < len(distinct)


def _pictures(rows: Rows) -> list[Finding]:
    seen = [look for look in rows.looks if look is not None]
    if not seen:
        return []
    modes = Counter(look.mode for look in seen)
    widths, heights = zip(*(look.size for look in seen), strict=True)
    shown = ", ".join(f"{count} {mode}" for mode, count in modes.most_common(4))
    size = f"{min(widths)} to {max(widths)} px wide, {min(heights)} to {max(heights)} px high"
    tiny = "; the smallest hold little to see" if min(*widths, *heights) < FEW else ""
    return [Finding(name="images", severity="info", text=f"images are {shown}; {size}{tiny}", count=len(seen))]


def _truncated(data: Data, length: Length, max_length: int) -> list[Finding]:
    step = max(1, -(-(len(data.train) + len(data.eval)) // LENGTH_ROWS))  # every n-th row, rounded up
    sides = [side.select(range(0, len(side), step)) for side in (data.train, data.eval)]
    lengths = [(length(row), row["origin"]) for side in sides for row in side]
    cut = [origin for tokens, origin in lengths if tokens > max_length]
    share = len(cut) / max(len(lengths), 1)
    longest = max((tokens for tokens, _ in lengths), default=0)
    step_note = f" (of every {step}th row)" if step > 1 else ""
    severity: Severity = "warning" if share > TRUNCATED else "info"
    text = f"{share:.1%} of the rows cut at {max_length} tokens; the longest has {longest}{step_note}"
    return [Finding(name="truncated", severity=severity, text=text, count=len(cut), examples=tuple(cut[:EXAMPLES]))]


def _first_of(keys: Iterable[Any]) -> dict[Any, int]:
    first: dict[Any, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return first


def _equation(rows: Rows, pair: tuple[int, int]) -> str:
    return f"{rows.places[pair[0]]} = {rows.places[pair[1]]}"


def _of(rows_concerned: Sequence[Any], rows: Rows) -> str:
    return f"{len(rows_concerned)} of {len(rows)}"
