"""Report: one HTML page of how good the model is, what it gets wrong, and which file to ship."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunedeploy import plugins
from tunedeploy.bundling.layout import shipped_file
from tunedeploy.data.recipe_data import data_of_run
from tunedeploy.device.decisions import Answers, Decision
from tunedeploy.device.files import sha256
from tunedeploy.device.manifest import files_of
from tunedeploy.errors import DataError, RunError
from tunedeploy.page.choice import choice
from tunedeploy.page.render import page
from tunedeploy.page.rows import shown
from tunedeploy.page.story import MetricFacts, Reviewed, Story
from tunedeploy.run.answers import files_of as files_of_answers
from tunedeploy.run.answers import read_answers
from tunedeploy.run.atomic import write_text
from tunedeploy.run.folder import LEDGER, RunDir, without_folders
from tunedeploy.run.results import Report, Variant

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "data")
AFTER = ("train", "merge", "export", "quantize", "verify", "bundle")
OUTPUTS = ("report.html",)
WORST = 12  # rows that are shown


def run(recipe: "Recipe", rundir: RunDir) -> Report:
    """Write `report.html`, which loads nothing from elsewhere."""
    write_text(rundir / "report.html", page(story_of(recipe, rundir)))
    return {"file": "report.html"}


def story_of(recipe: "Recipe", rundir: RunDir) -> Story:
    """All that the page tells."""
    task = plugins.load("tasks", recipe.task)
    train, quantized, plan = (
        rundir.record("train").result, rundir.record("quantize").result, rundir.record("plan").result,
    )  # fmt: skip
    decision = task.decision(train["labels"])
    variants = quantized["variants"]
    metric = metric_of(recipe, decision, quantized["metric"], variants["fp32"])
    chosen = choice(variants, allowed=metric.allowed, unit=metric.unit)
    target = next((column.kind for column in task.COLUMNS if column.kind.labels is not None), None)
    return Story(
        task=recipe.task,
        model=str(without_folders(recipe.model.name)),
        method=recipe.tune.method,
        metric=metric,
        rows=dict(plan["data"]["rows"]),  # type: ignore[arg-type]
        eval_source=plan["data"]["eval_source"],
        variants=variants,
        files={name: names_of(variant, bundled=rundir.has("bundle")) for name, variant in variants.items()},
        choice=chosen,
        history=train["history"],
        best_epoch=train["best_epoch"],
        reviewed=reviewed(recipe, rundir, decision, (chosen.variant, variants[chosen.variant])),
        doctor=plan["data"]["doctor"],
        counted=target.counted if target is not None else ("classes", "rows"),
        ledger=rundir.shipped()["ledger"] if (rundir / LEDGER).is_file() else [],
        is_verified=is_verified(rundir, variants),
        recipe=settings(recipe),
        seconds={name: rundir.record(name).seconds for name in ("plan", *AFTER) if rundir.has(name)},
        text=(rundir / "train" / "report.txt").read_text(encoding="utf-8", errors="replace"),
    )


def is_verified(rundir: RunDir, variants: Mapping[str, Variant]) -> bool:
    """Whether the run's verification and its bundle are finished, unchanged, and of the files of these variants.

    Raises:
        RunError: a record is malformed.
    """
    if not (rundir.has("verify") and rundir.has("bundle")):
        return False
    bundled = rundir.record("bundle").outputs
    written = {**rundir.record("export").outputs, **rundir.record("quantize").outputs}
    files = [file for variant in variants.values() for file in files_of(variant).values()]
    are_bundled = all(bundled.get(f"dist/{shipped_file(file)}") == written.get(file, "") for file in files)
    return are_bundled and not any(rundir.changed(rundir.record(stage)) for stage in ("verify", "bundle"))


def metric_of(recipe: "Recipe", decision: Decision, name: str, full: Variant) -> MetricFacts:
    """The metric, and what a variant may lose of it."""
    metric = decision.metrics[name]
    allowed = metric.allowed(recipe.export.max_drop, full["metric"])
    return MetricFacts(name=name, unit=metric.unit, better=metric.better, allowed=allowed)


def names_of(variant: Variant, *, bundled: bool) -> list[str]:
    """The files of a variant in the bundle, or in the run where there is no bundle."""
    return [f"dist/{shipped_file(file)}" if bundled else file for file in files_of(variant).values()]


def reviewed(recipe: "Recipe", rundir: RunDir, decision: Decision, chosen: tuple[str, Variant]) -> Reviewed | None:
    """The answers of the chosen variant beside the right ones; None where the data is not that of the run any more."""
    try:
        data = data_of_run(recipe, rundir.path)
    except (DataError, RunError):
        return None
    variant, answers = answers_of(rundir, chosen, rows=len(data.eval), width=decision.width)
    review = decision.review(answers, data.eval, WORST)
    rows = [data.eval[mistake.row] for mistake in review.mistakes or ()]
    columns = plugins.load("tasks", recipe.task).COLUMNS
    inputs = [shown(row, columns) for row in rows]
    return Reviewed(variant=variant, review=review, inputs=inputs, places=[row["origin"] for row in rows])


def answers_of(rundir: RunDir, chosen: tuple[str, Variant], *, rows: int, width: int) -> tuple[str, Answers]:
    """The stored answers of a variant with its name; those of the trained model where it has none of its own.

    Raises:
        RunError: a file is missing, is not what its stage wrote, or holds something else.
    """
    name, variant = chosen
    stage, path = "quantize", (rundir / variant["file"]).with_suffix(".npy")
    if not path.is_file():
        stage, name, path = "train", "fp32", rundir / "train" / "eval_logits.npy"
    outputs = rundir.record(stage).outputs
    for file in files_of_answers(path):
        if sha256(file) != outputs.get(file.relative_to(rundir.path).as_posix()):
            cure = f"run 'tunedeploy run {rundir / 'recipe.yaml'} --run {rundir.path}' to make it again"
            raise RunError(f"{file}: changed since stage {stage!r} wrote it; {cure}")
    return name, read_answers(path, rows=rows, width=width)


def settings(recipe: "Recipe") -> list[tuple[str, str, str]]:
    """Key, value and source of each setting; a path is cut to its last part."""
    rows = [("task", recipe.task, recipe.sources["task"])]
    resolved: Mapping[str, Any] = without_folders(recipe.resolved())
    for section, values in resolved.items():
        if isinstance(values, Mapping):
            for key, value in values.items():
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                rows.append((f"{section}.{key}", text, recipe.sources[f"{section}.{key}"]))
    return [(key, text, str(without_folders(source))) for key, text, source in rows]
