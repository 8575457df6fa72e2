"""Whether each file scores what training scored, under the labels that it learned."""

import json
from dataclasses import replace
from pathlib import Path

from tunedeploy.bundling.kit import SAME_MACHINE
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Array
from tunedeploy.device.files import read_json
from tunedeploy.device.runtime import Session, logits_of
from tunedeploy.proof.judge import kernels
from tunedeploy.proof.scene import FLOAT32, Scene, ledger_of
from tunedeploy.run.folder import read_logits
from tunedeploy.run.results import Variant


def labels_kept(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file's labels are those of the data, in order, and as many as its logits; so are the merged folder's."""
    labels = list(data_of(scene.recipe).labels)
    session = Session(scene.rundir / variant["file"])
    there = {variant["file"]: json.loads(session.metadata["tunedeploy.labels"])}
    if name == "fp32":
        there["train"] = scene.rundir.record("train").result["labels"]
        there["merged"] = read_json(scene.rundir / "merged" / "tunedeploy.json")["labels"]
    width = session(scene.encoder.collate(scene.features[:1])).shape[-1]
    odd = [file for file, listed in there.items() if listed != labels]
    ledger = replace(ledger_of(name, variant), file=odd[0] if odd else variant["file"])
    return [ledger.at_most("labels", len(odd) + abs(width - len(labels)), 0)]


def metric_kept(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file on the whole evaluation split: fp32 by the logits that training ended with, others by the metric."""
    data = data_of(scene.recipe)
    train = scene.rundir.record("train").result
    label_ids = scene.task.targets(data.eval)
    shape = {"rows": len(data.eval), "labels": len(data.labels)}
    trained = read_logits(scene.rundir / "train" / "eval_logits.npy", **shape)
    value = scene.task.score(train["metric"], trained, label_ids)
    session = Session(scene.rundir / variant["file"])
    got = scene.whole if name == "fp32" else logits_of(session, scene.encoder, data.eval)
    drop = round(value - scene.task.score(train["metric"], got, label_ids), 6)
    facts = {"trained": value, "file": value - drop}
    if name == "fp32":
        return [trained_against_file(scene, trained, got, facts)]
    lost = ledger_of(name, variant).at_most(
        "drop",
        drop,
        scene.recipe.export.max_drop,
        unit=" points",
        rows=len(label_ids),
        facts=facts,
        words={"metric": train["metric"]},
    )
    return [lost, as_judged(scene, name, trained, got)]


def trained_against_file(scene: Scene, trained: Array, got: Array, facts: dict[str, float]) -> Comparison:
    """Logits of the whole evaluation split as training ended against the float32 file's."""
    floor = scene.noise_floor
    value, row = agreement.largest_difference(trained, got)
    limit = agreement.tolerance(floor, agreement.output_range(trained))
    where, facts = str(data_of(scene.recipe).eval[row]["origin"]), facts | {"noise_floor": floor}
    return FLOAT32.at_most("trained-vs-onnx", value, limit, rows=len(trained), where=where, facts=facts)


def as_judged(scene: Scene, name: str, trained: Array, got: Array) -> Comparison:
    """Logits of a quantized file against those that it was judged by; on other kernels the difference is only told."""
    result = scene.rundir.record("quantize").result
    file = Path(result["variants"][name]["file"])
    rows, labels = trained.shape
    judged = read_logits(scene.rundir / str(file.with_suffix(".npy")), rows=rows, labels=labels)
    value, row = agreement.largest_difference(judged, got)
    drift = agreement.drift(trained, judged)
    smallest = agreement.tolerance(0.0, agreement.output_range(trained))
    limit = max(SAME_MACHINE * drift, smallest) if result["made_on"] == kernels() else None
    where, facts = str(data_of(scene.recipe).eval[row]["origin"]), {"drift": drift}
    ledger = Ledger(stage="quantize", file=str(file), variant=name)
    return ledger.at_most("since-judged", value, limit, rows=len(judged), where=where, facts=facts)
