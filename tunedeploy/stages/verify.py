"""Verify: prove on real and edge rows that every file gives what the trained model gives, or stop the build."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy import progress
from tunedeploy.bundling.kit import SAME_MACHINE
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.comparison import CHECKS, Comparison, breach_lines, timed, tried
from tunedeploy.device.encoders import Array, Encoder, Row
from tunedeploy.device.files import read_json
from tunedeploy.device.runtime import Session, logits_of
from tunedeploy.errors import ParityError
from tunedeploy.proof.beyond import beyond_the_trace
from tunedeploy.proof.conversion import explained_by_rounding
from tunedeploy.proof.cpus import on_each_cpu
from tunedeploy.proof.files import interface, quantized_decisions, two_sessions
from tunedeploy.proof.judge import kernels
from tunedeploy.proof.run_facts import (
    bundle_described,
    folder_described,
    metadata_described,
    scores_described,
    trained_again,
)
from tunedeploy.proof.scene import Scene, metamorphic, scene_of, torch_against_onnx, trained_against_merged
from tunedeploy.proof.torch_run import sample
from tunedeploy.proof.vocabulary import vocabulary_kept
from tunedeploy.proof.weights import tables_kept, weights_kept
from tunedeploy.run.folder import RunDir, read_logits, write_json
from tunedeploy.run.lineage import FILE

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("train", "merge", "export", "quantize")
OUTPUTS = ("ledger.json",)
LEDGER = "ledger.json"
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
    breaches = breach_lines(comparisons, rundir.path)
    if breaches:
        raise ParityError(breaches)
    return {"comparisons": len(comparisons)}


def examine(recipe: "Recipe", rundir: RunDir, checks: tuple[str, ...] = CHECKS) -> list[Comparison]:
    """Every comparison of a run; breaches included, nothing raised for them."""
    began = time.monotonic()
    made = integrity(rundir) if "integrity" in checks else []
    made = timed(made, time.monotonic() - began)
    if not set(checks) - {"integrity"}:
        return made
    scene = scene_of(recipe, rundir)
    for group in (one for one in CHECKS if one in checks):
        for check, stage, file in WHOLE.get(group, ()):
            progress.note(f"verify: {check.__name__.replace('_', ' ')}")
            made += tried(check, scene, stage=stage, file=file)
        for each in EACH.get(group, ()):
            progress.note(f"verify: {each.__name__.replace('_', ' ')}")
            for name, one in scene.variants.items():
                stage = "export" if name == "fp32" else "quantize"
                made += tried(each, scene, name, one, stage=stage, file=one["file"])
    return made


def integrity(rundir: RunDir) -> list[Comparison]:
    """Files of every stage still have the bytes that the stage wrote."""
    made = []
    for stage in ("train", "merge", "export", "quantize", *(["bundle"] if rundir.has("bundle") else [])):
        changed = rundir.changed(rundir.record(stage))
        file = changed[0].partition(":")[0] if changed else stage
        made.append(Comparison(name="files changed or missing", stage=stage, file=file, value=len(changed), limit=0))
    return made


def preprocessing(scene: Scene) -> list[Comparison]:
    """Raw rows give what they gave in training, by the merged folder's preprocessing and by the bundled one."""
    data = data_of(scene.recipe)
    rows = [*sample(data.eval, 256), *scene.task.edge_rows(data.eval[0])]
    expected = scene.trained.encode(rows)
    made = []
    for name, stage, encoder in (("merged", "merge", scene.merged.encoder), ("bundled", "bundle", scene.encoder)):
        worst, where = 0.0, ""
        for row, first, second in zip(rows, expected, encoder.encode(rows), strict=True):
            for key in first:
                difference = agreement.largest_difference(first[key][None], second[key][None])[0]
                if difference > worst:
                    worst, where = difference, f"{row.get('origin', 'an edge row')}, {key}"
        made.append(
            Comparison(
                name=f"training vs {name} preprocessing: largest difference", stage=stage, file="merged", value=worst,
                limit=PIXELS if scene.trained.facts["kind"] == "image" else 0, rows=len(rows), where=where,
            )
        )  # fmt: skip
    odd = scene.task.contradictions(scene.rundir / "merged", scene.trained.facts)
    told = Comparison(
        name="preprocessing told otherwise", stage="merge", file="merged", value=len(odd), limit=0, where=", ".join(odd)
    )
    alike = getattr(scene.task, "rewritten", None)
    changed = [] if alike is None else alike(scene.rundir / "merged", scene.trained)
    whole = Comparison(
        name="parts of the preprocessing that are not training's", stage="merge", file="merged", value=len(changed),
        limit=0, where=", ".join(changed),
    )  # fmt: skip
    facts = [key for key, value in scene.trained.facts.items() if scene.encoder.facts.get(key) != value]
    said = Comparison(
        name="training vs bundled preprocessing: facts that differ", stage="export", file=FILE, value=len(facts),
        limit=0, where=", ".join(facts),
    )  # fmt: skip
    return [*made, told, whole, said, *broken_refused(scene)]


def broken_refused(scene: Scene) -> list[Comparison]:
    """Rows that no answer can be given to, a file cut off for one, are refused by every preprocessing."""
    broken: list[Row] = getattr(scene.task, "broken_rows", list)()
    if not broken:
        return []
    encoders = (scene.trained, scene.merged.encoder, scene.encoder)
    taken = sum(not refuses(encoder, row) for row in broken for encoder in encoders)
    return [
        Comparison(
            name="broken rows that were taken", stage="bundle", file="merged", value=taken, limit=0, rows=len(broken)
        )
    ]


def refuses(encoder: Encoder, row: Row) -> bool:
    """Whether a row is refused with the error that users are told of."""
    try:
        encoder.encode([row])
    except (OSError, ValueError):
        return True
    return False


def labels_kept(scene: Scene, name: str, variant: Mapping[str, Any]) -> list[Comparison]:
    """A file's labels are those of the data, in order, and as many as its logits; so are the merged folder's."""
    labels = list(data_of(scene.recipe).labels)
    session = Session(scene.rundir / variant["file"])
    there = {variant["file"]: json.loads(session.metadata["tunedeploy.labels"])}
    if name == "fp32":
        there["train"] = scene.rundir.record("train").result["labels"]
        there["merged"] = read_json(scene.rundir / "merged" / "tunedeploy.json")["labels"]
    width = session(scene.encoder.collate(scene.features[:1])).shape[-1]
    odd = [file for file, listed in there.items() if listed != labels]
    return [
        Comparison(
            name=f"{name}: labels out of order", file=odd[0] if odd else variant["file"], limit=0,
            stage="export" if name == "fp32" else "quantize", value=len(odd) + abs(width - len(labels)),
        )
    ]  # fmt: skip


def metric_kept(scene: Scene, name: str, variant: Mapping[str, Any]) -> list[Comparison]:
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
    return [
        Comparison(
            name=f"{name}: drop of {train['metric']}", stage="quantize", file=variant["file"], value=drop,
            unit=" points", rows=len(label_ids), limit=scene.recipe.export.max_drop, facts=facts,
        ),
        as_judged(scene, name, trained, got),
    ]  # fmt: skip


def trained_against_file(scene: Scene, trained: Array, got: Array, facts: dict[str, Any]) -> Comparison:
    """Logits of the whole evaluation split as training ended against the float32 file's."""
    floor = scene.rundir.record("merge").result["comparisons"][0]["facts"]["noise_floor"]
    value, row = agreement.largest_difference(trained, got)
    return Comparison(
        name="trained model vs onnx, whole evaluation split: largest logit difference", stage="export", file=FILE,
        value=value, limit=agreement.tolerance(floor, agreement.output_range(trained)), rows=len(trained),
        where=str(data_of(scene.recipe).eval[row]["origin"]), facts=facts | {"noise_floor": floor},
    )  # fmt: skip


def as_judged(scene: Scene, name: str, trained: Array, got: Array) -> Comparison:
    """Logits of a quantized file against those that it was judged by; on other kernels the difference is only told."""
    result = scene.rundir.record("quantize").result
    file = Path(result["variants"][name]["file"])
    rows, labels = trained.shape
    judged = read_logits(scene.rundir / str(file.with_suffix(".npy")), rows=rows, labels=labels)
    value, row = agreement.largest_difference(judged, got)
    drift = agreement.drift(trained, judged)
    smallest = agreement.tolerance(0.0, agreement.output_range(trained))
    return Comparison(
        name=f"{name}: largest change since it was judged", stage="quantize", file=str(file), value=value,
        limit=max(SAME_MACHINE * drift, smallest) if result["made_on"] == kernels() else None, rows=len(judged),
        where=str(data_of(scene.recipe).eval[row]["origin"]), facts={"drift": drift},
    )  # fmt: skip


# Checks of the whole, with the stage and the file that is to blame when one cannot even be made ...
WHOLE: dict[str, tuple[tuple[Callable[[Scene], list[Comparison]], str, str], ...]] = {
    "preprocessing": ((preprocessing, "merge", "merged"), (folder_described, "merge", "merged")),
    "parity": (
        (trained_again, "train", "train"),
        (trained_against_merged, "merge", "merged"),
        (weights_kept, "merge", "merged"),
        (tables_kept, "export", FILE),
        (torch_against_onnx, "export", FILE),
        (beyond_the_trace, "export", FILE),
        (vocabulary_kept, "export", FILE),
        (metamorphic, "export", FILE),
    ),
    "metric": ((scores_described, "train", "train"), (bundle_described, "bundle", "dist/manifest.json")),
}
# ... and of each variant's file.
EACH: dict[str, tuple[Callable[[Scene, str, Mapping[str, Any]], list[Comparison]], ...]] = {
    "preprocessing": (labels_kept, metadata_described),
    "parity": (interface, two_sessions, quantized_decisions, explained_by_rounding, on_each_cpu),
    "metric": (metric_kept,),
}
