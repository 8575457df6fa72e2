"""Verify: prove on real and edge rows that every file computes what the trained model does, or stop the build."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tunedeploy import progress
from tunedeploy.device.comparison import CHECKS, Comparison, Ledger, breach_lines, timed, tried
from tunedeploy.errors import ParityError
from tunedeploy.proof.beyond import beyond_the_trace
from tunedeploy.proof.conversion import explained_by_rounding
from tunedeploy.proof.cpus import on_each_cpu
from tunedeploy.proof.files import interface, quantized_decisions, two_sessions
from tunedeploy.proof.graph_sets import cache_invariance, each_graph, generated_alike
from tunedeploy.proof.preprocessing import preprocessing
from tunedeploy.proof.run_facts import (
    bundle_described,
    folder_described,
    metadata_described,
    scores_described,
    trained_again,
)
from tunedeploy.proof.scene import Scene, ledger_of, metamorphic, scene_of, torch_against_onnx, trained_against_merged
from tunedeploy.proof.scores import labels_kept, metric_kept
from tunedeploy.proof.vocabulary import vocabulary_kept
from tunedeploy.proof.weights import tables_kept, weights_kept
from tunedeploy.run.atomic import write_json
from tunedeploy.run.folder import LEDGER, RunDir
from tunedeploy.run.results import LedgerFile, Variant, Verify, entries

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("train", "merge", "export", "quantize")
OUTPUTS = (LEDGER,)


def run(recipe: "Recipe", rundir: RunDir) -> Verify:
    """Compare all neighbours of the pipeline and write `ledger.json`.

    Returns:
        The number of comparisons, and the largest share of a limit that was used.

    Raises:
        ParityError: one line a breach. The ledger is written all the same.
    """
    start = time.monotonic()
    comparisons = examine(recipe, rundir)
    ledger: LedgerFile = {
        "ok": all(comparison.ok for comparison in comparisons),
        "seconds": round(time.monotonic() - start, 2),
        "merge": rundir.record("merge").result["comparisons"],
        "comparisons": entries(comparisons),
    }
    write_json(rundir / LEDGER, ledger)
    breaches = breach_lines(comparisons, rundir.path)
    if breaches:
        raise ParityError(breaches)
    return {"comparisons": len(comparisons)}


def examine(recipe: "Recipe", rundir: RunDir, checks: tuple[str, ...] = CHECKS) -> list[Comparison]:
    """Every comparison of a run; breaches are included and not raised."""
    began = time.monotonic()
    comparisons = timed(integrity(rundir) if "integrity" in checks else [], time.monotonic() - began)
    if not set(checks) - {"integrity"}:
        return comparisons
    scene = scene_of(recipe, rundir)
    for group in (name for name in CHECKS if name in checks):
        for check, stage, file in RUN_CHECKS.get(group, ()):
            progress.note(f"verify: {check.__name__.replace('_', ' ')}")
            comparisons += tried(check, scene, stage=stage, file=file or scene.float32.file)
        for variant_check in VARIANT_CHECKS.get(group, ()):
            progress.note(f"verify: {variant_check.__name__.replace('_', ' ')}")
            for name, variant in scene.variants.items():
                ledger = ledger_of(name, variant)
                comparisons += tried(variant_check, scene, name, variant, stage=ledger.stage, file=ledger.file)
    return comparisons


def integrity(rundir: RunDir) -> list[Comparison]:
    """Files of every stage still have the bytes that the stage wrote."""
    comparisons = []
    for stage in ("train", "merge", "export", "quantize", *(["bundle"] if rundir.has("bundle") else [])):
        changed = rundir.changed(rundir.record(stage))
        file = changed[0].partition(":")[0] if changed else stage
        comparisons.append(Ledger(stage=stage, file=file).at_most("stage-files", len(changed), 0))
    return comparisons


# Checks of the whole, with the stage and the file to blame when one cannot even be made, "" for the float32 file ...
RUN_CHECKS: dict[str, tuple[tuple[Callable[[Scene], list[Comparison]], str, str], ...]] = {
    "preprocessing": ((preprocessing, "merge", "merged"), (folder_described, "merge", "merged")),
    "parity": (
        (trained_again, "train", "train"),
        (trained_against_merged, "merge", "merged"),
        (weights_kept, "merge", "merged"),
        (tables_kept, "export", ""),
        (torch_against_onnx, "export", ""),
        (each_graph, "export", ""),
        (cache_invariance, "export", ""),
        (generated_alike, "export", ""),
        (beyond_the_trace, "export", ""),
        (vocabulary_kept, "export", ""),
        (metamorphic, "export", ""),
    ),
    "metric": ((scores_described, "train", "train"), (bundle_described, "bundle", "dist/manifest.json")),
}
# ... and of each variant's file.
VARIANT_CHECKS: dict[str, tuple[Callable[[Scene, str, Variant], list[Comparison]], ...]] = {
    "preprocessing": (labels_kept, metadata_described),
    "parity": (interface, two_sessions, quantized_decisions, explained_by_rounding, on_each_cpu),
    "metric": (metric_kept,),
}
