"""Split one data set into train and evaluation so that a row's side never changes when others are added."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

EVAL_SHARE = 0.2  # enough rows to see a point of difference at 1,000 rows, without starving the training


def digest(parts: Iterable[bytes]) -> bytes:
    """SHA-256 of parts, each prefixed with its length, so ("ab", "c") and ("a", "bc") differ."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


class Digests(Sequence[bytes]):
    """Digests of 32 bytes each, end to end: as single values they would take three times as much."""

    def __init__(self, digests: Iterable[bytes]) -> None:
        self._bytes = bytearray().join(digests)

    def __len__(self) -> int:
        return len(self._bytes) // 32

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(self._bytes[at : at + 32]) for at in range(0, len(self._bytes), 32))

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return bytes(self._bytes[32 * row : 32 * row + 32])

    def take(self, rows: Sequence[int]) -> "Digests":
        """Those of some rows, in this order."""
        return Digests(self[row] for row in rows)


def automatic_split(keys: Sequence[bytes], labels: Sequence[Sequence[str]], share: float) -> list[bool]:
    """For each row, whether it goes to the evaluation side.

    The side is read off the row's key alone: rows of one key stay together, a corrected label moves nothing, and rows
    added later move nothing. Only a class that would have no key on one side lends that side the one nearest to it.

    Args:
        keys: a digest of each row's input, or of the group that it belongs to.
        labels: the label texts in each row.
        share: about how much of each class is for evaluation, between 0 and 1.
    """
    assert 0 < share < 1, share
    side = {key: place(key) < share for key in keys}
    members: dict[str, set[bytes]] = defaultdict(set)
    for key, texts in zip(keys, labels, strict=True):
        for text in texts or ("",):  # rows without labels are one class
            members[text].add(key)
    for _, own in sorted(members.items()):
        if len(own) > 1 and not any(side[key] for key in own):
            side[min(own)] = True
    for _, own in sorted(members.items()):  # last, so that no class is left untrained
        if all(side[key] for key in own):
            side[max(own)] = False
    return [side[key] for key in keys]


def place(key: bytes) -> float:
    """A digest's place in [0, 1), evenly spread."""
    return int.from_bytes(key[:8], "big") / 2**64


def limit_rows(inputs: Sequence[bytes], labels: Sequence[Sequence[str]], limit: int) -> list[int]:
    """Indices, ascending, of `limit` rows: each class's row with the smallest digest, then the smallest of all."""
    order = sorted(range(len(inputs)), key=lambda row: (inputs[row], row))
    seen: set[str] = set()
    first: list[int] = []
    for row in order:
        if not seen.issuperset(labels[row]):
            seen.update(labels[row])
            first.append(row)
    taken = set(first)
    return sorted([*first, *(row for row in order if row not in taken)][:limit])
