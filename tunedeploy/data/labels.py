"""Label texts in the order a person expects ("2" before "10"), and what is suspicious about them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def natural_order(texts: Iterable[str]) -> tuple[str, ...]:
    """Distinct texts, sorted: by value if all are numbers, else digits inside by value and letters without case."""
    distinct = set(texts)
    if all(NUMBER.fullmatch(text) for text in distinct):
        return tuple(sorted(distinct, key=lambda text: (float(text), text)))
    return tuple(sorted(distinct, key=natural_key))


def natural_key(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key: "img2" < "img10" < "IMG11"; texts equal but for case keep a fixed order."""
    chunks = re.split(r"([0-9]+)", text.casefold())
    return [(0, int(chunk), "") if chunk.isascii() and chunk.isdigit() else (1, 0, chunk) for chunk in chunks], text


def twins(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of labels that differ only in case or in blanks inside: most often one class, written in two ways."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[" ".join(label.casefold().split())].append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def closest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing; case and blanks around count for little."""
    folded = {name.casefold().strip(): name for name in known}
    match = get_close_matches(word.casefold().strip(), folded, n=1)
    return f"; did you mean {folded[match[0]]!r}?" if match else ""
