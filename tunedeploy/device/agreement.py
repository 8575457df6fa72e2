"""The arithmetic of agreement: noise floor, tolerance, and how far two arrays lie apart.

Pure functions on numpy arrays, whose first axis is that of rows, or of whatever is compared one by one. Nothing here
knows of torch or onnxruntime.
"""

import numpy as np

from .encoders import Array

# Two correct float32 programs that sum in another order differ by a few times the error each makes against
# float64. Over the models tried here the ratio was 0.5 to 3; ten leaves room, and a wrong epsilon does not fit in.
FLOORS = 10.0
CAP = 1e-4  # of the output's range: no noise floor, however large, excuses more
GAIN = 2.0  # of the differences between scores; int8 has 0.9 to 1.1, at 7 dB of SQNR up to 1.6, a softmax 4 and more
CLEAR = 0.7  # correlation of scores before and after quantization; below, the noise is as large as what it is added to
PIXELS = 2e-5  # of normalised pixels: two float32 ways to (x / 255 - mean) / std differ by a few ulp of values up to 3


def within(value: float, limit: float | None, *, at_most: bool = True) -> bool:
    """Whether a value is finite and not over its limit, or under it: NaN is never `> limit` and must not pass."""
    if not np.isfinite(value):
        return False
    if limit is None:
        return True
    return bool(value <= limit if at_most else value >= limit)


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


def output_range(output: Array) -> float:
    """Largest minus smallest finite value, never 0."""
    finite = output[np.isfinite(output)]
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
def gain(reference: Array, other: Array) -> float:
    """How many times larger or smaller the other is, by least squares, of centred arrays; never under 1 (0.5 gives 2).

    Answers do not see a softmax or a temperature that was built into a file; probabilities do.
    """
    slope = float((reference * other).sum() / max(float((reference**2).sum()), 1e-300))
    return max(slope, 1 / slope) if slope > 0 else float("inf")


@np.errstate(invalid="ignore")
def tells_gain(reference: Array, other: Array) -> bool:
    """Whether centred arrays reveal the gain of a file: a temperature leaves their correlation at 1, noise does not."""
    return bool((reference * other).sum() >= CLEAR * np.sqrt((reference**2).sum() * (other**2).sum()))
