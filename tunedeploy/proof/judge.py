"""Measure an ONNX file on the evaluation split: its metric, its answers against float32's, its size and its latency."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from tunedeploy import plugins, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.decisions import classes
from tunedeploy.device.encoders import Array, Encoder, Inputs, Row, in_batches
from tunedeploy.device.runtime import Session, instruction_set, logits_of
from tunedeploy.proof.torch_run import places, sample
from tunedeploy.run.results import Answers, Decisions, Kernels, Measured

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe


CALIBRATION_ROWS = 128  # of the training split; min-max ranges settle by then
DECISION_ROWS = 512  # of the evaluation split; two in a hundred may flip, so that ten flips are told from one
RUNS = 15  # of the latency figure; its median decides on a budget, no test does


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Measures files alike: metric on the evaluation split, bytes, and milliseconds of one row."""

    recipe: "Recipe"
    encoder: Encoder
    metric: str
    reference: float | None = None  # the float32 file's metric
    answers: Array | None = None  # its logits

    def __call__(self, path: Path) -> tuple[Measured, Array]:
        """`metric`, `drop`, `flips`, `gain`, `bytes` and `ms` of a file, and its logits (rows, labels)."""
        task, rows = plugins.load("tasks", self.recipe.task), data_of(self.recipe).eval
        session = Session(path)
        update = progress.tracker("evaluate onnx", len(rows))
        logits = logits_of(session, self.encoder, rows, update)
        value = float(task.score(self.metric, logits, task.targets(rows)))
        probe = self.encoder.collate(self.encoder.encode(sample(rows, 1)))
        drop = 0.0 if self.reference is None else round(self.reference - value, 4)
        size = path.stat().st_size
        answers = self.against_fp32(logits)
        measured: Measured = {
            "metric": round(value, 4), "drop": drop, "bytes": size, "ms": latency(session, probe),
            "flips": answers["flips"], "flips_allowed": answers["flips_allowed"], "gain": answers["gain"],
            "agreement": answers["agreement"],
        }  # fmt: skip
        return measured, logits

    def against_fp32(self, logits: Array) -> Answers:
        """What verify will hold the file to: answers that changed though they were no near-ties, and the gain.

        `agreement` is the share of all answers that are float32's, near-ties among them, in percent.
        """
        if self.answers is None:
            return {"flips": 0, "flips_allowed": 0, "gain": 1.0, "agreement": 100.0}
        agreement = 100 * float((self.answers.argmax(1) == logits.argmax(1)).mean())
        chosen = places(len(logits), DECISION_ROWS)
        changed = classes.flips(self.answers[chosen], logits[chosen])[1]
        gain = classes.gain(self.answers[chosen], logits[chosen])
        allowed = classes.flips_allowed(len(chosen))
        return {
            "flips": len(changed), "flips_allowed": allowed, "gain": round(min(gain, 1e9), 4),
            "agreement": round(agreement, 4),
        }  # fmt: skip

    def decisions(self, session: Session) -> Decisions:
        """`drop`, `flips` and `agreement` of another session on the rows that decide."""
        assert self.answers is not None, "there is no other session of the float32 file"
        task, rows = plugins.load("tasks", self.recipe.task), data_of(self.recipe).eval
        chosen = places(len(rows), DECISION_ROWS)
        rows, before = sample(rows, DECISION_ROWS), self.answers[chosen]
        logits = logits_of(session, self.encoder, rows)
        drop, same = (task.score(self.metric, one, task.targets(rows)) for one in (before, logits))
        return {
            "drop": round(float(drop) - float(same), 4), "flips": len(classes.flips(before, logits)[1]),
            "agreement": round(100 * float((before.argmax(1) == logits.argmax(1)).mean()), 4),
        }  # fmt: skip


def kernels() -> Kernels:
    """What decides how integer kernels round: results are compared to the bit's neighbourhood only on an equal one."""
    return {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__}


def latency(session: Session, probe: Inputs) -> float:
    """Median milliseconds of one row."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        session(probe)
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e3, 3)


def batches(encoder: Encoder, rows: Sequence[Row]) -> list[Inputs]:
    """Encoded rows, eight at a time."""
    features = encoder.encode(rows)
    return [encoder.collate([features[at] for at in indices]) for indices in in_batches(len(features), 8)]
