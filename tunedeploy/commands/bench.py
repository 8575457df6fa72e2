"""Bench: time the variants of a bundle against each other on this machine, in turn, and say how sure that is."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypedDict

import psutil

from tunedeploy import progress
from tunedeploy.device.encoders import Inputs
from tunedeploy.device.goldens import inputs_of, read_arrays
from tunedeploy.errors import RunError
from tunedeploy.proof.bundle import Bundle
from tunedeploy.run.folder import RunDir

ROUNDS = 30  # of every variant in turn, so that a slow second hits all alike
WARM = 3


class Timing(TypedDict):
    """Milliseconds of one run of a variant, and how many times faster than fp32 it is."""

    median_ms: float
    q1_ms: float
    q3_ms: float
    times_faster: float


class Bench(TypedDict):
    """A measurement: by variant, and in `shapes` by the shape of the input first."""

    cores: int | None
    open_ms: dict[str, float]
    megabytes: dict[str, float]
    shapes: dict[str, dict[str, Timing]]


def measure(path: Path) -> Bench:
    """Milliseconds of each variant on the golden batches of 1 and 7 rows, interleaved.

    Returns:
        For each batch size and variant the median, the quartiles and the ratio to fp32; threads; file sizes.

    Raises:
        RunError: the path holds no bundle.
    """
    bundle = path if (path / "manifest.json").is_file() else path / "dist"
    if bundle != path and bundle.is_dir():
        RunDir(path).record("bundle")  # without it, dist/ is that of an earlier recipe
    if not (bundle / "manifest.json").is_file():
        raise RunError(f"{path}: is not a bundle; 'tunedeploy export' writes one")
    opened_bundle = Bundle(bundle)
    manifest, arrays = opened_bundle.manifest, read_arrays(bundle)
    forwards, opened = {}, {}
    for name in manifest["variants"]:
        began = time.perf_counter()
        run = opened_bundle.sessions(name)
        opened[name] = round((time.perf_counter() - began) * 1e3, 1)
        forwards[name] = partial(opened_bundle.program.answer, run)
    sets = {}
    for name in ("set0", "set3"):
        inputs = inputs_of(arrays, name)
        if not inputs:
            raise RunError(f"{bundle / 'parity' / 'golden.npz'}: has no batch {name}; 'tunedeploy export' writes it")
        first = next(iter(inputs.values()))
        sets["x".join(map(str, first.shape))] = timings(forwards, inputs)
    return {
        "cores": psutil.cpu_count(logical=False),
        "open_ms": opened,
        "megabytes": {name: round(variant["bytes"] / 1e6, 2) for name, variant in manifest["variants"].items()},
        "shapes": sets,
    }


def timings(answers: Mapping[str, Callable[[Inputs], object]], inputs: Inputs) -> dict[str, Timing]:
    """Median and quartiles in ms of each variant, run in turn; and how many times faster than fp32 it is."""
    times: dict[str, list[float]] = {name: [] for name in answers}
    update = progress.tracker("bench", ROUNDS + WARM)
    for at in range(ROUNDS + WARM):
        for name, answer in answers.items():
            began = time.perf_counter()
            answer(inputs)
            if at >= WARM:
                times[name].append((time.perf_counter() - began) * 1e3)
        update(at + 1)
    summaries: dict[str, Timing] = {}
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        ratios = [base / own for base, own in zip(times["fp32"], values, strict=True)]
        summaries[name] = {
            "median_ms": round(middle, 3),
            "q1_ms": round(low, 3),
            "q3_ms": round(high, 3),
            "times_faster": round(statistics.median(ratios), 3),
        }
    return summaries
