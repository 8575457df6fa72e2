"""Verify: prove on real and edge rows that every file gives what the trained model gives, or stop the build."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy import parity, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.encoders import Array
from tunedeploy.errors import ParityError
from tunedeploy.parity import Comparison
from tunedeploy.rundir import RunDir, write_json
from tunedeploy.runtime import Session, logits_of
from tunedeploy.side_by_side import Scene, metamorphic, quantized_decisions, scene_of, torch_against_onnx
from tunedeploy.stages.merge import sample
from tunedeploy.stages.quantize import onnx_facts

if TYPE_CHECKING:
    from tunedeploy.recipe import Recipe

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("train", "merge", "export", "quantize")
OUTPUTS = ("ledger.json",)
LEDGER = "ledger.json"
CHECKS = ("integrity", "parity", "preprocessing", "metric")
PIXELS = 2e-5  # two float32 ways to (x / 255 - mean) / std differ by a few ulp of values up to 3


def run(recipe: "Recipe", rundir: RunDir) -> dict[str, Any]:
    """Compare all neighbours of the pipeline and write `ledger.json`.

    Returns:
        The number of comparisons, and the largest share of a limit that was used.

    Raises:
        ParityError: one line a breach. The ledger is written all the same.
    """
    start = time.monotonic()
    comparisons = examine(recipe, rundir)
    write_json(rundir / LEDGER, {
        "ok": all(one.ok for one in comparisons),
        "seconds": round(time.monotonic() - start, 2),
        "merge": rundir.record("merge").result["comparisons"],
        "comparisons": [one.to_json() for one in comparisons],
    })  # fmt: skip
    breaches = [one.line() for one in comparisons if not one.ok]
    if breaches:
        raise ParityError(breaches)
    return {"comparisons": len(comparisons)}


def examine(recipe: "Recipe", rundir: RunDir, checks: tuple[str, ...] = CHECKS) -> list[Comparison]:
    """Every comparison of a run; breaches included, nothing raised for them."""
    made: list[Comparison] = []
    if "integrity" in checks:
        made += integrity(rundir)
    if set(checks) - {"integrity"}:
        scene = scene_of(recipe, rundir)
        stages: dict[str, tuple[Callable[[Scene], list[Comparison]], ...]] = {
            "preprocessing": (preprocessing, labels_kept),
            "parity": (torch_against_onnx, metamorphic, quantized_decisions),
            "metric": (metric_kept,),
        }
        for name in (one for one in CHECKS if one in checks and one in stages):
            for check in stages[name]:
                progress.note(f"verify: {check.__name__.replace('_', ' ')}")
                made += check(scene)
    return made


def integrity(rundir: RunDir) -> list[Comparison]:
    """Files of every stage still have the bytes that the stage wrote."""
    made = []
    for stage in ("train", "merge", "export", "quantize"):
        changed = rundir.changed(rundir.record(stage))
        file = changed[0].partition(":")[0] if changed else stage
        made.append(Comparison(name="files changed or missing", stage=stage, file=file, value=len(changed), limit=0))
    return made


def preprocessing(scene: Scene) -> list[Comparison]:
    """Raw rows through the bundled preprocessing equal raw rows through the training preprocessing."""
    data = data_of(scene.recipe)
    rows = [*sample(data.eval, 256), *scene.task.edge_rows(data.eval[0])]
    trained, bundled = scene.merged.encoder.encode(rows), scene.encoder.encode(rows)
    worst, where = 0.0, ""
    for at, (first, second) in enumerate(zip(trained, bundled, strict=True)):
        for name in first:
            difference = parity.largest_difference(np.asarray(first[name])[None], np.asarray(second[name])[None])[0]
            if difference > worst:
                worst, where = difference, f"{rows[at].get('origin', f'edge row {at}')}, {name}"
    limit = PIXELS if scene.encoder.facts["kind"] == "image" else 0
    return [
        Comparison(
            name="training vs bundled preprocessing: largest difference", stage="bundle", file="merged",
            value=worst, limit=limit, rows=len(rows), where=where,
        )
    ]  # fmt: skip


def labels_kept(scene: Scene) -> list[Comparison]:
    """The file's labels are the training labels, in order, and as many as the logits."""
    trained = scene.rundir.record("train").result["labels"]
    made = []
    for name, variant in scene.rundir.record("quantize").result["variants"].items():
        there = onnx_facts(scene.rundir / variant["file"])["labels"]
        odd = [at for at, label in enumerate(trained) if at >= len(there) or there[at] != label]
        width = Session(scene.rundir / variant["file"])(scene.encoder.collate(scene.features[:1])).shape[-1]
        made.append(
            Comparison(
                name=f"{name}: labels out of order", file=variant["file"],
                stage="export" if name == "fp32" else "quantize", value=len(odd) + abs(width - len(trained)), limit=0,
                where=f"label {odd[0]}" if odd else "",
            )
        )  # fmt: skip
    return made


def metric_kept(scene: Scene) -> list[Comparison]:
    """Every file on the whole evaluation split: fp32 by the logits that training ended with, others by the metric."""
    data = data_of(scene.recipe)
    train = scene.rundir.record("train").result
    label_ids = scene.task.targets(data.eval)
    trained = np.load(scene.rundir / "train" / "eval_logits.npy")
    value = scene.task.score(train["metric"], trained, label_ids)
    made = []
    for name, variant in scene.rundir.record("quantize").result["variants"].items():
        got = logits_of(Session(scene.rundir / variant["file"]), scene.encoder, data.eval)
        drop = round(value - scene.task.score(train["metric"], got, label_ids), 6)
        facts = {"trained": value, "file": value - drop}
        if name == "fp32":
            made.append(trained_against_file(scene, trained, got, facts))
            continue
        made.append(
            Comparison(
                name=f"{name}: drop of {train['metric']}", stage="quantize", file=variant["file"], value=drop,
                unit=" points", rows=len(label_ids), limit=scene.recipe.export.max_drop, facts=facts,
            )
        )  # fmt: skip
    return made


def trained_against_file(scene: Scene, trained: Array, got: Array, facts: dict[str, Any]) -> Comparison:
    """Logits of the whole evaluation split as training ended against the float32 file's."""
    floor = scene.rundir.record("merge").result["comparisons"][0]["facts"]["noise_floor"]
    value, row = parity.largest_difference(trained, got)
    return Comparison(
        name="trained model vs onnx, whole evaluation split: largest logit difference", stage="export",
        file="onnx/model.onnx", value=value, limit=parity.tolerance(floor, parity.output_range(trained)),
        rows=len(trained), where=str(data_of(scene.recipe).eval[row]["origin"]), facts=facts | {"noise_floor": floor},
    )  # fmt: skip
