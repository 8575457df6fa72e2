"""What is wrong with tags of words: types of a few words, one type under two names, entities begun in two ways.

In most texts most words are `O`, which is no imbalance.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tunedeploy.data.doctor.report import FEW, Finding, Values, findings_of
from tunedeploy.data.labels import twins

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLUM])-(.+)")
BEGIN = frozenset("BSU")  # what IOB2, IOBES and BILOU begin an entity with; IOB1 does only behind another of its type


def tags(column: Values) -> list[Finding]:
    """Findings about a column with one tag a word."""
    parts = [_parts(name) for name in column.labels]
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    marked, unmarked = [], []  # rows with an entity that begins with B-, and with I-
    for row, value in enumerate(column.values):
        counts[row >= column.train].update(parts[tag][1] for tag in value)
        begins = set(_begins([parts[tag] for tag in value]))
        marked += [row] if True in begins else []
        unmarked += [row] if False in begins else []
    types = sorted({kind for _, kind in parts} - {OUTSIDE})
    rare = [name for name in types if counts[0][name] < FEW]
    unseen = [name for name in types if not counts[1][name]]
    alike = [" / ".join(group) for group in twins([*types, OUTSIDE])]
    many = len(types)
    return [
        _common(counts[0]),
        *findings_of(
            "rare", "warning", rare, f"{len(rare)} of {many} types of tags on fewer than {FEW} training words"
        ),
        *findings_of(
            "not_evaluated", "warning", unseen, f"{len(unseen)} of {many} types of tags on no evaluation word"
        ),
        *findings_of("same_name", "warning", alike, f"{len(alike)} names of tags that differ only in case or spaces"),
        *_two_schemes(column, marked, unmarked),
    ]


def _parts(name: str) -> tuple[str, str]:
    """The prefix and the type of a tag: B and PER of B-PER."""
    match = _TAG.fullmatch(name)
    return (match[1], match[2]) if match else ("", name)


def _begins(parts: Sequence[tuple[str, str]]) -> Iterator[bool]:
    """For each entity that does not follow one of its own type, whether its first tag marks a beginning."""
    before = OUTSIDE
    for place, kind in parts:
        if place and kind != before:
            yield place in BEGIN
        before = kind if place else OUTSIDE


def _common(counts: Counter[str]) -> Finding:
    total, others = sum(counts.values()), Counter({name: count for name, count in counts.items() if name != OUTSIDE})
    name, count = others.most_common(1)[0] if others else (OUTSIDE, 0)
    outside = f"{counts[OUTSIDE] / max(total, 1):.1%} of the training words are {OUTSIDE!r}"
    text = f"most of the others are {name!r} ({count / max(others.total(), 1):.1%} of them)"
    if not counts[OUTSIDE]:
        text = f"the most common tag, {name!r}, is on {count / max(total, 1):.1%} of the training words"
        return Finding(name="tags", severity="info", text=text, count=count)
    return Finding(name="tags", severity="info", text=f"{outside}; {text}", count=others.total())


def _two_schemes(column: Values, marked: list[int], unmarked: list[int]) -> list[Finding]:
    """Rows whose entities begin differently from those of most rows; none where all begin alike."""
    if not marked or not unmarked:
        return []
    rows, begun, usual = (unmarked, "I-", "B-") if len(unmarked) <= len(marked) else (marked, "B-", "I-")
    text = f"{len(rows)} rows with an entity that begins with {begun}, not {usual} as in the others; write it one way"
    return findings_of("scheme", "warning", rows, text, column.places.__getitem__)
