"""Say what is wrong with a data set before hours are spent on it: duplicates, leaks, imbalance, truncation and more.

Nothing here raises: whatever stops training is an error of `read`; the rest is a finding, and the user's to judge.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunedeploy.data.columns import Column
from tunedeploy.data.doctor.near import Look, Pairs, looks, near_images, near_texts
from tunedeploy.data.doctor.report import Finding, Report, Severity
from tunedeploy.data.labels import twins
from tunedeploy.data.read import Data
from tunedeploy.data.split import digest

Length = Callable[[Mapping[str, Any]], int]  # row -> tokens

EXAMPLES = 5
NEAR_ROWS = 50_000  # more are sampled: the pairs of these take seconds
NEAR_CHARACTERS = 10_000_000
NEAR_TEXT = 100_000  # characters of a row that are compared; they take 128 hashes of 8 bytes each
LENGTH_ROWS = 20_000  # a tokenizer takes about 0.1 ms a row
MUCH = 0.01  # share of rows from which duplicates inside a split are a warning
TRUNCATED = 0.05  # share of truncated rows that is a warning
MAJORITY = 0.7  # share of the largest class above which accuracy misleads and macro-F1 is to be read
FEW = 8  # rows of a class below which it is hardly learned


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
    rows = _gather(data, columns)
    findings = [*_blanks(rows), *_leaks(rows), *_conflicts(rows), *_duplicates(rows), *_near(rows)]
    findings += [*_classes(rows, data.labels), *_pictures(rows)]
    if length is not None and max_length is not None:
        findings += _truncated(data, length, max_length)
    order = {"warning": 0, "info": 1}
    return Report(
        rows={"train": len(data.train), "eval": len(data.eval)},
        classes=_class_counts(rows, data.labels) if rows.labels else {},
        findings=tuple(sorted(findings, key=lambda finding: order[finding.severity])),
        notes=data.notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Both splits, training rows first; every sequence has one entry a row."""

    train: int  # count of training rows
    places: Sequence[str]
    keys: Sequence[bytes]  # digest of what the model sees
    texts: Sequence[tuple[str, ...]]  # of the text columns
    looks: Sequence[Look | None]  # at the first image column; empty without one
    labels: Sequence[tuple[str, ...]]  # empty for a task without labels


def _gather(data: Data, columns: Sequence[Column]) -> _Rows:
    there = [column for column in columns if column.key in data.train.column_names]
    train, held_out = data.train[:], data.eval[:]
    cells = {column.key: [*train[column.key], *held_out[column.key]] for column in there}
    inputs = [column for column in there if not column.kind.target]
    label = next((column for column in there if column.kind.labels is not None), None)
    pictured = next((column for column in inputs if column.kind.picture is not None), None)
    contents = [[_content(column, value) for value in cells[column.key]] for column in inputs]
    texts = [[read(value) for value in cells[column.key]] for column in inputs if (read := column.kind.text)]
    pictures = [look(value) for value in cells[pictured.key]] if pictured and (look := pictured.kind.picture) else []
    return _Rows(
        train=len(data.train),
        places=[*train["origin"], *held_out["origin"]],
        keys=[digest(row) for row in zip(*contents, strict=True)],
        texts=list(zip(*texts, strict=True)),
        looks=looks(pictures),
        labels=[_label_texts(value, data.labels) for value in cells[label.key]] if label else [],
    )


def _content(column: Column, value: Any) -> bytes:
    try:
        return column.kind.content(value)
    except ValueError:  # the file went away after it was read
        return repr(value).encode()


def _label_texts(value: Any, labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(text for part in value for text in _label_texts(part, labels))
    return (labels[value],) if isinstance(value, int) and 0 <= value < len(labels) else ()


def _blanks(rows: _Rows) -> list[Finding]:
    blank = [row for row, texts in enumerate(rows.texts) if any(not text.strip() for text in texts)]
    flat = [row for row, look in enumerate(rows.looks) if look is not None and look.flat]
    gone = [row for row, look in enumerate(rows.looks) if look is None]
    return [
        *_found("blank", "warning", _places(rows, blank), f"{_of(blank, rows)} rows with a blank text; remove them"),
        *_found("blank", "warning", _places(rows, flat), f"{_of(flat, rows)} images of one colour; remove them"),
        *_found("unreadable", "warning", _places(rows, gone), f"{_of(gone, rows)} images no longer readable"),
    ]


def _leaks(rows: _Rows) -> list[Finding]:
    """Evaluation rows whose input was trained on."""
    first = _first_of(rows.keys[: rows.train])
    pairs = [(row, first[key]) for row, key in enumerate(rows.keys) if row >= rows.train and key in first]
    text = f"{len(pairs)} of {len(rows.keys) - rows.train} evaluation rows also trained on; remove them from one side"
    return _found("leak", "warning", _equations(rows, pairs), text)


def _conflicts(rows: _Rows) -> list[Finding]:
    """The same input with another label."""
    first, labels = _first_of(rows.keys), rows.labels
    pairs = [(row, first[key]) for row, key in enumerate(rows.keys) if labels and labels[row] != labels[first[key]]]
    named = [tuple(f"{rows.places[row]} ({', '.join(labels[row])})" for row in pair) for pair in pairs]
    text = f"{_of(pairs, rows)} rows with the input of an earlier one and another label; decide for one label"
    return _found("conflict", "warning", [" = ".join(pair) for pair in named], text)


def _duplicates(rows: _Rows) -> list[Finding]:
    """Rows that repeat an earlier one, label and all, on the same side."""
    sides = [(key, row >= rows.train, *(rows.labels[row] if rows.labels else ())) for row, key in enumerate(rows.keys)]
    first = _first_of(sides)
    pairs = [(row, first[side]) for row, side in enumerate(sides) if first[side] != row]
    severity: Severity = "warning" if len(pairs) > MUCH * len(rows.places) else "info"
    text = f"{_of(pairs, rows)} rows equal to an earlier one of their split; remove them"
    return _found("duplicate", severity, _equations(rows, pairs), text)


def _near(rows: _Rows) -> list[Finding]:
    """Near duplicates inside a split, and between the splits."""
    chosen, sampled = _sample(rows)
    if len(chosen) < 2:
        return []
    pairs: Pairs
    if rows.looks:
        pairs = near_images([look for row in chosen if (look := rows.looks[row]) is not None])
    else:
        pairs = near_texts(["\n".join(rows.texts[row])[:NEAR_TEXT] for row in chosen])
    inside: dict[int, int] = {}
    across: dict[int, int] = {}
    for one, other in ((chosen[first], chosen[second]) for first, second in pairs.tolist()):
        (across if one < rows.train <= other else inside).setdefault(other, one)
    held_out = sum(row >= rows.train for row in chosen)
    said = f" (a sample of {len(chosen)} distinct rows)" if sampled else ""
    leaks = f"{len(across)} of {held_out} evaluation rows nearly equal to a training row{said}"
    twin = f"{len(inside)} of {len(chosen)} rows nearly equal to an earlier one of their split{said}"
    return [
        *_found("near_leak", "warning", _equations(rows, list(across.items())), leaks),
        *_found("near_duplicate", "info", _equations(rows, list(inside.items())), twin),
    ]


def _sample(rows: _Rows) -> tuple[list[int], bool]:
    """Rows to compare, ascending, one for each distinct input on a side; and whether some were left out."""
    first = _first_of(rows.keys)
    kept = [row for row, key in enumerate(rows.keys) if first[key] == row]
    if rows.looks:
        kept = [row for row in kept if rows.looks[row] is not None]
        sizes = [0] * len(rows.keys)
    else:
        sizes = [min(sum(map(len, texts)), NEAR_TEXT) for texts in rows.texts] or [0] * len(rows.keys)
        kept = [row for row in kept if rows.texts and any(text.strip() for text in rows.texts[row])]
    total, chosen = 0, []
    shuffled = sorted(kept, key=lambda row: rows.keys[row][::-1])  # by the last bytes: the first decide the split
    for row in shuffled[:NEAR_ROWS]:
        total += sizes[row]
        if total > NEAR_CHARACTERS:
            break
        chosen.append(row)
    return sorted(chosen), len(chosen) < len(kept)


def _class_counts(rows: _Rows, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    sides = {"train": rows.labels[: rows.train], "eval": rows.labels[rows.train :]}
    counts = {split: Counter(text for texts in side for text in texts) for split, side in sides.items()}
    return {split: {label: count[label] for label in labels} for split, count in counts.items()}


def _classes(rows: _Rows, labels: Sequence[str]) -> list[Finding]:
    if not rows.labels:
        return []
    counts = _class_counts(rows, labels)
    train, total = counts["train"], sum(counts["train"].values())
    largest = max(train, key=lambda label: train[label])
    share = train[largest] / max(total, 1)
    rare = [label for label, count in train.items() if count < FEW]
    unseen = [label for label, count in counts["eval"].items() if not count]
    alike = [" / ".join(group) for group in twins(labels)]
    common = Finding(
        name="imbalance",
        severity="warning" if share > MAJORITY else "info",
        text=f"the largest class, {largest!r}, has {share:.1%} of the training rows"
        + ("; read macro-F1, and set train.balance" if share > MAJORITY else ""),
        count=train[largest],
    )
    return [
        common,
        *_found("rare", "warning", rare, f"{len(rare)} of {len(labels)} classes with fewer than {FEW} training rows"),
        *_found("not_evaluated", "warning", unseen, f"{len(unseen)} of {len(labels)} classes without evaluation rows"),
        *_found("same_name", "warning", alike, f"{len(alike)} names of classes that differ only in case or blanks"),
    ]


def _pictures(rows: _Rows) -> list[Finding]:
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
    said = f" (of every {step}th row)" if step > 1 else ""
    severity: Severity = "warning" if share > TRUNCATED else "info"
    text = f"{share:.1%} of the rows cut at {max_length} tokens; the longest has {longest}{said}"
    return [Finding(name="truncated", severity=severity, text=text, count=len(cut), examples=tuple(cut[:EXAMPLES]))]


def _first_of(keys: Sequence[Any]) -> dict[Any, int]:
    first: dict[Any, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return first


def _found(name: str, severity: Severity, examples: Sequence[str], text: str) -> list[Finding]:
    """One finding, or none without examples; there is one example for each row concerned."""
    if not examples:
        return []
    count = len(examples)
    return [Finding(name=name, severity=severity, text=text, count=count, examples=tuple(examples[:EXAMPLES]))]


def _places(rows: _Rows, found: Sequence[int]) -> list[str]:
    return [rows.places[row] for row in found]


def _equations(rows: _Rows, pairs: Sequence[tuple[int, int]]) -> list[str]:
    return [f"{rows.places[row]} = {rows.places[other]}" for row, other in pairs]


def _of(found: Sequence[Any], rows: _Rows) -> str:
    return f"{len(found)} of {len(rows.places)}"
