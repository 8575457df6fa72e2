"""Measure an ONNX file on the evaluation split: its metric, its answers against float32's, its size and its latency."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from tunedeploy import progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.decisions import Answers, flips, flips_allowed
from tunedeploy.device.encoders import Array, Encoder, Inputs, Row, in_batches
from tunedeploy.device.external_data import size_of_file
from tunedeploy.device.parts import Parts
from tunedeploy.device.programs import Program
from tunedeploy.device.runtime import Sessions, instruction_set
from tunedeploy.device.signature import Recording, Run
from tunedeploy.proof.torch_run import places, sample
from tunedeploy.run.results import Compared, Decisions, Kernels, Measured

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe


CALIBRATION_ROWS = 128  # of the training split; min-max ranges settle by then
DECISION_ROWS = 512  # of the evaluation split; two in a hundred may flip, so that ten flips are distinguished from one
RUNS = 15  # of the latency figure; its median decides on a budget, no test does


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Measures all files the same way: metric on the evaluation split, bytes, and milliseconds per row."""

    recipe: "Recipe"
    parts: Parts
    metric: str
    reference: float | None = None  # the float32 file's metric
    fp32: Answers | None = None  # its answers

    def __call__(self, paths: Mapping[str, Path]) -> tuple[Measured, Answers]:
        """`metric`, `drop`, `flips`, `gain`, `bytes` and `ms` of a variant, graph to file, and its answers."""
        rows = data_of(self.recipe).eval
        sessions = Sessions(paths)
        answers = self.answers(sessions, rows, progress.tracker("evaluate onnx", len(rows)))
        value = self.score(answers, rows)
        probe = self.parts.encoder.collate(self.parts.encoder.encode(sample(rows, 1)))
        size = sum(size_of_file(path) for path in paths.values())
        compared = self.against_fp32(answers)
        taken = latency(lambda: self.parts.program.answer(sessions, probe))
        measured: Measured = {
            "metric": round(value, 4), "drop": self.drop(value), "bytes": size, "ms": taken,
            "flips": compared["flips"], "flips_allowed": compared["flips_allowed"], "gain": compared["gain"],
            "agreement": compared["agreement"],
        }  # fmt: skip
        return measured, answers

    def answers(self, run: Run, rows: Sequence[Row], update: Callable[[int], Any] | None = None) -> Answers:
        """The answers that the metric is computed from."""
        return self.parts.answers(run, rows, update, metric=self.metric)

    @property
    def unit(self) -> str:
        """The metric's unit."""
        return self.parts.decision.metrics[self.metric].unit

    @property
    def allowed_drop(self) -> float:
        """What a precision may lose, in the metric's own unit."""
        max_drop = self.recipe.export.max_drop
        return self.parts.decision.metrics[self.metric].allowed(max_drop, self.reference or 0.0)

    def score(self, answers: Answers, rows: Sequence[Row]) -> float:
        """The metric's value for these answers."""
        return float(self.parts.decision.score(self.metric, answers, self.parts.decision.targets(rows)))

    def drop(self, value: float) -> float:
        """How much worse a metric is than float32's, in its own unit."""
        if self.reference is None:
            return 0.0
        return round(self.parts.decision.metrics[self.metric].worse(self.reference, value), 4)

    def against_fp32(self, answers: Answers) -> Compared:
        """What verify will hold the file to: answers that changed though they were no near-ties, and the gain.

        `agreement` is the share of all answers that are float32's, near-ties among them, in percent.
        """
        if self.fp32 is None:
            return {"flips": 0, "flips_allowed": 0, "gain": 1.0, "agreement": 100.0}
        decision, rows = self.parts.decision, int(self.fp32.row[-1]) + 1
        chosen = places(rows, DECISION_ROWS)
        before, after = self.fp32.of_rows(chosen).evidence, answers.of_rows(chosen).evidence
        changed = flips(decision, before, after)[1]
        gain = agreement.gain(decision.centred(before), decision.centred(after))
        return {
            "flips": len(changed), "flips_allowed": flips_allowed(len(before)), "gain": round(min(gain, 1e9), 4),
            "agreement": round(self.same(self.fp32.evidence, answers.evidence), 4),
        }  # fmt: skip

    def same(self, before: Array, after: Array) -> float:
        """The share of answers that are the same, in percent."""
        return 100 * float((~self.parts.decision.compare(before, after).differs).mean())

    def decisions(self, run: Run) -> Decisions:
        """`drop`, `flips` and `agreement` of other sessions on DECISION_ROWS rows."""
        assert self.fp32 is not None, "there is no other session of the float32 file"
        rows, decision = data_of(self.recipe).eval, self.parts.decision
        chosen = places(len(rows), DECISION_ROWS)
        rows, before = sample(rows, DECISION_ROWS), self.fp32.of_rows(chosen)
        after = self.answers(run, rows)
        values = [self.score(answers, rows) for answers in (before, after)]
        return {
            "drop": round(decision.metrics[self.metric].worse(*values), 4),
            "flips": len(flips(decision, before.evidence, after.evidence)[1]),
            "agreement": round(self.same(before.evidence, after.evidence), 4),
        }


def kernels() -> Kernels:
    """What decides how integer kernels round; results are compared closely only where it is equal."""
    return {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__}


def latency(answer: Callable[[], Any]) -> float:
    """Median milliseconds of one answer."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        answer()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e3, 3)


def calls_of(
    parts: Parts, paths: Mapping[str, Path], rows: Sequence[Row], encoder: Encoder | None = None
) -> dict[str, list[Inputs]]:
    """Rows as the inputs of each graph, eight at a time; those of a graph that reads another's come from its file.

    Args:
        parts: of the bundle.
        paths: graph to float32 file.
        rows: raw rows.
        encoder: another than that of the parts.
    """
    encoder = encoder or parts.encoder
    features = encoder.encode(rows)
    groups = in_batches(len(features), 8)
    batches = [encoder.collate([features[at] for at in group]) for group in groups]
    return inputs_of_graphs(parts.program, paths, batches)


def inputs_of_graphs(program: Program, paths: Mapping[str, Path], batches: Sequence[Inputs]) -> dict[str, list[Inputs]]:
    """What each graph is given when the pass runs over these batches."""
    if len(program.graphs) == 1:
        return {program.graph.name: [program.graph.select(batch) for batch in batches]}
    recording = Recording(Sessions(paths))
    for batch in batches:
        program.forward(recording, batch)
    return {
        graph.name: [call.inputs for call in recording.calls if call.graph == graph.name] for graph in program.graphs
    }
