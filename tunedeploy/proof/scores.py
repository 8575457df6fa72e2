"""Whether each file scores what training scored, under the labels that it learned."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunedeploy.bundling.kit import SAME_MACHINE
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.decisions import Answers
from tunedeploy.device.files import read_json
from tunedeploy.device.manifest import files_of
from tunedeploy.device.runtime import Session
from tunedeploy.proof.judge import kernels
from tunedeploy.proof.scene import Scene, ledger_of
from tunedeploy.run.answers import read_answers
from tunedeploy.run.results import Variant


def labels_kept(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file's labels are those of the data, in order, and as many as its logits, and so are the merged folder's."""
    labels = list(data_of(scene.recipe).labels)
    labels_of = {
        file: json.loads(Session(scene.rundir / file).metadata["tunedeploy.labels"])
        for file in files_of(variant).values()
    }
    if name == "fp32":
        labels_of["train"] = scene.rundir.record("train").result["labels"]
        labels_of["merged"] = read_json(scene.rundir / "merged" / "tunedeploy.json")["labels"]
    inputs = scene.encoder.collate(scene.features[:1])
    outputs = scene.opened(variant)(inputs)
    unlike = [output for output, shape in scene.graph.shapes(inputs).items() if outputs[output].shape != shape]
    mislabelled = [file for file, listed in labels_of.items() if listed != labels]
    ledger = replace(ledger_of(name, variant), file=mislabelled[0] if mislabelled else variant["file"])
    return [ledger.at_most("labels", len(mislabelled) + len(unlike), 0)]


def metric_kept(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """Score a file on the evaluation split: fp32 against the answers that training ended with, others by the metric."""
    metric = scene.metric
    measure = scene.decision.metrics[metric]
    trained = scene.trained_answers
    value = scene.decision.score(metric, trained, scene.truth)
    run = scene.opened(variant).run
    got = scene.evaluation_answers if name == "fp32" else scene.parts.answers(run, scene.data.eval, metric=metric)
    drop = round(measure.worse(value, scene.decision.score(metric, got, scene.truth)), 6)
    facts = {"trained": value, "file": value - drop if measure.better == "higher" else value + drop}
    if name == "fp32":
        return [trained_against_file(scene, trained, got, facts)]
    lost = ledger_of(name, variant).at_most(
        "drop",
        drop,
        measure.allowed(scene.recipe.export.max_drop, value),
        unit=" points" if measure.unit == "%" else "",
        rows=len(scene.data.eval),
        facts=facts,
        words={"metric": metric},
    )
    return [lost, as_judged(scene, name, trained, got)]


def trained_against_file(scene: Scene, trained: Answers, got: Answers, facts: dict[str, float]) -> Comparison:
    """Answers to the whole evaluation split as training ended against the float32 file's."""
    floor = scene.noise_floor
    numbers = scene.decision.numbers
    value, unit = agreement.largest_difference(numbers(trained.evidence), numbers(got.evidence))
    limit = agreement.tolerance(floor, agreement.output_range(numbers(trained.evidence)))
    where, facts = str(scene.data.eval[int(trained.row[unit])]["origin"]), facts | {"noise_floor": floor}
    return scene.float32.at_most("trained-vs-onnx", value, limit, rows=len(trained), where=where, facts=facts)


def as_judged(scene: Scene, name: str, trained: Answers, got: Answers) -> Comparison:
    """A quantized file's answers against those it was judged by; on other kernels the difference is informational."""
    result = scene.rundir.record("quantize").result
    file = Path(result["variants"][name]["file"])
    path = scene.rundir / str(file.with_suffix(".npy"))
    judged = read_answers(path, rows=len(scene.data.eval), width=scene.width)
    numbers = scene.decision.numbers
    value, unit = agreement.largest_difference(numbers(judged.evidence), numbers(got.evidence))
    drift = float(np.median(scene.decision.compare(trained.evidence, judged.evidence).moved))
    smallest = agreement.tolerance(0.0, agreement.output_range(numbers(trained.evidence)))
    limit = max(SAME_MACHINE * drift, smallest) if result["made_on"] == kernels() else None
    where, facts = str(scene.data.eval[int(judged.row[unit])]["origin"]), {"drift": drift}
    ledger = Ledger(stage="quantize", file=str(file), variant=name)
    return ledger.at_most("since-judged", value, limit, rows=len(judged), where=where, facts=facts)
