"""The arithmetic of agreement: noise floor, tolerance, decisions, and the record of a comparison.

Pure functions on numpy arrays; logits are (rows, labels). Nothing here knows of torch or onnxruntime.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tunedeploy.encoders import Array

# Two correct float32 programs that sum in another order differ by a few times the error each makes against
# float64. Over the models tried here the ratio was 0.5 to 3; ten leaves room, and a wrong epsilon does not fit in.
FLOORS = 10.0
CAP = 1e-4  # of the output's range: no noise floor, however large, excuses more
NEAR_TIE = 4.0  # margins below this many times the typical drift may flip without anything being wrong
GAIN = 2.0  # of the differences between logits; int8 has 0.9 to 1.1, at 7 dB of SQNR up to 1.6, a softmax 4 and more
CLEAR = 0.7  # correlation of logits before and after quantization; below, the noise is as large as what it is added to
FLIPS = 0.02  # share of rows that may flip outside near-ties after quantization


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One entry of the ledger.

    `value` must not exceed `limit` where `at_most`, nor be below it otherwise; without a limit it is only told.
    `where` names the row, batch and shape of the worst value; `seconds` is what it took, with an equal part of the
    work that it shared with others.
    """

    name: str
    stage: str
    file: str
    value: float
    limit: float | None = None
    at_most: bool = True
    unit: str = ""
    rows: int = 0
    where: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the value is finite and within its limit."""
        return within(self.value, self.limit, at_most=self.at_most)

    def to_json(self) -> dict[str, Any]:
        """The record, with its verdict; a value that is not finite is written as text, since JSON has none."""
        record = asdict(self) | {"ok": self.ok}
        facts = {name: _finite(one) for name, one in self.facts.items()}
        return record | {"value": _finite(self.value), "limit": _finite(self.limit), "facts": facts}

    def line(self) -> str:
        """The breach in one line: file, what, number, limit, row. The first of what must not be needs no number."""
        counts = self._is_count()
        if counts and (self.value, self.limit, self.rows) == (1, 0, 0):
            return f"{self.stage}: {self.file}: {self.name}" + (f": {self.where}" if self.where else "")
        number = f": {self.value:.0f}" if counts else f" is {self.value:.3g}{self.unit}"
        place = f" ({self.where})" if counts else f" on {self.where}"
        bound = "allowed" if self.at_most else "at least"
        limit = "" if self.limit is None else f", {bound} {self.limit:{'.0f' if counts else '.3g'}}{self.unit}"
        return f"{self.stage}: {self.file}: {self.name}{number}{place if self.where else ''}{limit}"

    def _is_count(self) -> bool:
        """Whether the value counts things: it and its limit are whole, and have no unit."""
        numbers = (self.value, self.limit)
        return not self.unit and all(one is not None and np.isfinite(one) and one == int(one) for one in numbers)


def within(value: float, limit: float | None, *, at_most: bool = True) -> bool:
    """Whether a value is finite and not over its limit, or under it: NaN is never `> limit` and must not pass."""
    if not np.isfinite(value):
        return False
    if limit is None:
        return True
    return bool(value <= limit if at_most else value >= limit)


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


@np.errstate(invalid="ignore")  # infinity less infinity is judged below
def largest_difference(first: Array, second: Array) -> tuple[float, int]:
    """max |first - second| and the row it is on.

    NaN or infinity in either gives (inf, that row), and so do arrays of other shapes.
    """
    if first.shape != second.shape:
        return float("inf"), 0
    difference = np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64))
    difference = np.where(np.isfinite(first) & np.isfinite(second), difference, np.inf)
    if difference.size == 0:
        return 0.0, 0
    by_row = difference.reshape(len(difference), -1).max(1)
    return float(by_row.max()), int(by_row.argmax())


def noise_floor(single: Array, double: Array) -> float:
    """max |float32 - float64| over the same rows of the same model: the rounding error of one honest program."""
    return largest_difference(single, double)[0]


def output_range(logits: Array) -> float:
    """Largest minus smallest finite value, never 0."""
    finite = logits[np.isfinite(logits)]
    return max(float(np.ptp(finite)) if finite.size else 0.0, 1e-6)


def tolerance(floor: float, spread: float) -> float:
    """What two float32 programs may differ by.

    min(max(FLOORS x floor, 4 eps x range), CAP x range): a multiple of the measured floor, not below what float32
    can resolve at this range, and capped by a small share of the range.
    """
    smallest = 4 * float(np.finfo(np.float32).eps) * spread
    return min(max(FLOORS * floor, smallest), max(CAP * spread, smallest))


@np.errstate(invalid="ignore")
def sqnr_db(reference: Array, other: Array) -> float:
    """Signal to quantization noise, 10 log10(sum ref^2 / sum (ref - other)^2), in dB; infinite when equal -> 200."""
    noise = float(((np.asarray(reference, np.float64) - other) ** 2).sum())
    signal = float((np.asarray(reference, np.float64) ** 2).sum())
    return 200.0 if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise))


@np.errstate(invalid="ignore")
def cosine(reference: Array, other: Array) -> float:
    """The smallest cosine similarity of a row with its counterpart."""
    first, second = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return float(((first * second).sum(-1) / np.maximum(norms, 1e-300)).min())


@np.errstate(invalid="ignore")
def margins(logits: Array) -> Array:
    """Best minus second-best logit of each row, (rows,)."""
    best = np.partition(logits, -2, axis=-1)[..., -2:]
    return np.asarray(best[..., 1] - best[..., 0])


@np.errstate(invalid="ignore")
def drift(reference: Array, other: Array) -> float:
    """The typical change: the median over rows of max |reference - other|."""
    return float(np.median(np.abs(reference - other).max(-1)))


def gain(reference: Array, other: Array) -> float:
    """How many times larger the differences between labels are, by least squares; never under 1 (0.5 gives 2).

    Answers do not see a softmax or a temperature that was built into a file; probabilities do.
    """
    first, second = _centred(reference), _centred(other)
    slope = float((first * second).sum() / max(float((first**2).sum()), 1e-300))
    return max(slope, 1 / slope) if slope > 0 else float("inf")


@np.errstate(invalid="ignore")
def tells_gain(reference: Array, other: Array) -> bool:
    """Whether these rows tell the gain of a file: a temperature leaves their correlation at 1, noise does not."""
    first, second = _centred(reference), _centred(other)
    return bool((first * second).sum() >= CLEAR * np.sqrt((first**2).sum() * (second**2).sum()))


@np.errstate(invalid="ignore")
def _centred(logits: Array) -> Array:
    exact = np.asarray(logits, np.float64)
    return np.asarray(exact - exact.mean(-1, keepdims=True))


def near_tie(reference: Array, other: Array) -> float:
    """The reference margin under which either answer is honest: NEAR_TIE x drift, but at most the median margin.

    Without that bound a file would be excused the more the worse it is.
    """
    return min(NEAR_TIE * drift(reference, other), float(np.median(margins(reference))))


def flips(reference: Array, other: Array) -> tuple[int, Array]:
    """How many rows changed their answer, and which did so although it was no near-tie.

    A row is a near-tie when its reference margin is under `near_tie`.
    """
    changed = reference.argmax(-1) != other.argmax(-1)
    clear = ~(margins(reference) <= near_tie(reference, other))  # NaN excuses nothing
    return int(changed.sum()), np.flatnonzero(changed & clear)


def flips_allowed(rows: int) -> int:
    """How many of these rows may change their answer outside near-ties: FLIPS of them, at least one."""
    return max(1, round(FLIPS * rows))


def top_k_overlap(reference: Array, other: Array, k: int = 5) -> float:
    """Mean share of a row's k best labels that stay among the k best, 0..1."""
    k = min(k, reference.shape[-1])
    first = np.argsort(reference, -1)[..., -k:]
    second = np.argsort(other, -1)[..., -k:]
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(first, second, strict=True)]))
