"""Stored tensors of a converted file against those that they stand for: what rounding explains, and nothing else."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tunedeploy.device.encoders import Array
from tunedeploy.graphs.reading import Stored
from tunedeploy.proof.inside.origins import Pair, Product

HALF = 0.5  # of a step: an integer is the nearest to its weight
END = 1.0  # at the ends of the integers in use, where a zero point that was rounded pushes a weight out of the range
# Weights that use fewer than this share of an integer's half range have lost a bit; reduced range uses a half.
USED = 0.45
NOTHING = 1e-36  # a channel whose weights are all smaller may have any scale
FULL_BIAS = 2.0**29  # a bias that fills its 32 bits makes the quantizer widen the scale of its weights
SCALES = 1e-4  # relative: float32's rounding of a product of two scales
LARGEST = float(np.finfo(np.float16).max)
TINY = 1.2e-7  # two of float16's smallest steps: the converter lifts what would round to zero


def worst_rounding(pairs: Iterable[Pair], products: Iterable[Product] = ()) -> tuple[float, str, int]:
    """The largest rounding error, in the steps that the rounding allows: at most 1 is honest.

    Returns:
        The error, the tensor it is of, and how many tensors were rounded.
    """
    worst, where, count = 0.0, "", 0
    widened = {id(product.weight): full_biases(product.bias) for product in products if product.weight}
    held = {id(product.bias) for product in products}
    for pair in pairs:
        count += pair.rounded
        error = rounding_error(pair.stored, pair.origin, widened.get(id(pair.stored)))
        if math.isnan(error) or (wide(pair.stored) and id(pair.stored) not in held):
            error = math.inf
        if error > worst:
            worst, where = error, pair.origin.name
    return worst, where, count


def wide(stored: Stored) -> bool:
    """Whether a tensor was rounded to more than 8 bits, as nothing but the bias of a product is."""
    return stored.rounding is not None and np.dtype(stored.rounding.kind).itemsize > 1


def full_biases(bias: Stored) -> Array:
    """Channels whose bias fills its integers, (channels,)."""
    return np.asarray(np.abs(bias.array.astype(np.float64)).reshape(-1) >= FULL_BIAS)


def rounding_error(stored: Stored, origin: Stored, widened: Array | None = None) -> float:
    """How far a stored tensor is from its origin: 1 is all that rounding explains, infinity another tensor.

    Args:
        stored: of the converted file.
        origin: of the float32 file.
        widened: channels whose scale may be wider than their weights, (channels,).
    """
    exact, other = origin.values(), stored.values()
    if exact.shape != other.shape:
        return math.inf
    if stored.rounding is not None:
        return steps(stored, exact.T if stored.turned else exact, widened)
    if other.dtype == np.float16 and exact.dtype == np.float32:
        return half_steps(exact, other)
    return 0.0 if exact.dtype == other.dtype and np.array_equal(exact, other) else math.inf


def steps(stored: Stored, exact: Array, widened: Array | None) -> float:
    """The largest error of integers against weights, as a share of the limit; infinite if their scale wastes a bit."""
    if exact.dtype.kind != "f" or not stored.array.size:
        return math.inf if stored.array.size else 0.0
    # Float32 has digits enough for steps of 16 bits, and half of the work.
    kind: Any = np.float64 if stored.array.dtype.itemsize > 2 else np.float32
    scale, zero = (part.astype(kind) for part in map(np.asarray, stored.spread()))
    scaled = exact.astype(kind, copy=False) / scale
    levels = stored.array.astype(kind) - zero
    ends = (stored.array == stored.array.max()) | (stored.array == stored.array.min())
    slack = 1e-3 + 4 * np.finfo(np.float32).eps * np.abs(scaled)
    allowed = np.where(ends & (not centred(stored)), kind(END), kind(HALF)) + slack.astype(kind)
    error = float((np.abs(scaled - levels) / allowed).max())
    return error if fine_enough(stored, exact, scaled, widened) else math.inf


def centred(stored: Stored) -> bool:
    """Whether the zero point is in the middle of the integers, as symmetric quantization puts it."""
    assert stored.rounding is not None
    limits = np.iinfo(stored.rounding.kind)
    middle = (limits.max + limits.min + 1) // 2
    return bool((stored.rounding.zero == middle).all())


def fine_enough(stored: Stored, exact: Array, scaled: Array, widened: Array | None) -> bool:
    """Whether every channel uses the range of its integers; channels whose weights are all zero do."""
    assert stored.rounding is not None
    limits = np.iinfo(stored.rounding.kind)
    if limits.bits > 16:
        return True  # a bias: its scale is that of its products, see `scales_apart`
    channel_axis = stored.rounding.axis % max(scaled.ndim, 1)
    axes = tuple(at for at in range(scaled.ndim) if stored.rounding.scale.size == 1 or at != channel_axis)
    high = np.maximum(scaled.max(axes, initial=0.0), 0.0)
    low = np.minimum(scaled.min(axes, initial=0.0), 0.0)
    half_range = (limits.max - limits.min + 1) / 2
    used = np.maximum(high, -low) / half_range if centred(stored) else (high - low) / (2 * half_range)
    fine = (used >= USED) | (np.abs(exact).max(axes, initial=0.0) < NOTHING)
    return bool((fine if widened is None or widened.size != fine.size else fine | widened).all())


def half_steps(exact: Array, other: Array) -> float:
    """The largest error of float16 against float32 weights, in float16 steps at that magnitude."""
    alike = exact == other  # infinities too
    clipped, other = (np.where(alike, 0, value) for value in (np.clip(exact, -LARGEST, LARGEST), other))
    clipped = clipped.astype(np.float64)
    with np.errstate(over="ignore"):  # the largest number has no next one; its step is infinite and excuses only it
        step = np.maximum(np.spacing(np.abs(clipped).astype(np.float16)).astype(np.float64), TINY)
    return float((np.abs(clipped - other) / step).max(initial=0.0))


def scales_apart(products: Iterable[Product]) -> list[str]:
    """Products whose bias is not at the scale of activation times weight, which integer kernels take for granted."""
    apart = []
    for product in products:
        static = [rounding for rounding in product.activation if not rounding.dynamic]
        if not static:
            apart.append(product.node)
            continue
        assert product.bias.rounding is not None
        wanted = float(static[0].scale.max()) * product.factor.scale.astype(np.float64).reshape(-1)
        stored = product.bias.rounding.scale.astype(np.float64).reshape(-1)
        if wanted.size != stored.size or not np.allclose(wanted, stored, rtol=SCALES, atol=0):
            apart.append(product.node)
    return apart
