"""Quantize: shrink the file to the precisions asked for, each inside the accuracy budget or not at all."""

import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import onnx

from tunedeploy import onnx_files, plugins, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.encoders import Array, Encoder, Inputs, in_batches
from tunedeploy.errors import BudgetError
from tunedeploy.rundir import RunDir, sha256
from tunedeploy.runtime import Session, logits_of
from tunedeploy.stages.merge import sample

if TYPE_CHECKING:
    from tunedeploy.recipe import Recipe

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("export",)
OUTPUTS = ("quantized",)
FOLDER = "quantized"
CALIBRATION_ROWS = 128  # of the training split; min-max ranges settle by then
RUNS = 15  # of the latency figure; its median decides on a budget, no test does


def run(recipe: "Recipe", rundir: RunDir) -> dict[str, Any]:
    """Write one file for each precision under `quantized/`, the first of its candidates that holds the budget.

    Returns:
        For each precision its file, setting, metric, drop, bytes and milliseconds, and what else was tried.

    Raises:
        BudgetError: no candidate of a precision holds max_drop, max_size and max_latency; the lines have the numbers.
    """
    task = plugins.load("tasks", recipe.task)
    data = data_of(recipe)
    train = rundir.record("train").result
    source = rundir / "onnx" / "model.onnx"
    session = Session(source)
    encoder = encoder_of(recipe, rundir)
    metric, label_ids = train["metric"], task.targets(data.eval)
    fp32 = judged(task.score, metric, session, encoder, data.eval, label_ids)
    probe = encoder.collate(encoder.encode(sample(data.eval, 1)))
    variants = {"fp32": {"file": "onnx/model.onnx", "metric": fp32, "drop": 0.0, **weight(source, session, probe)}}
    samples = batches(encoder, sample(data.train, CALIBRATION_ROWS))
    problems = over_budget(recipe, "fp32", variants["fp32"]) if recipe.export.quantize == ("fp32",) else []
    for name in (one for one in recipe.export.quantize if one != "fp32"):
        precision = plugins.load("precisions", name)
        target = rundir / FOLDER / precision.FILE
        tried: list[dict[str, Any]] = []
        for setting in precision.candidates(source, recipe.export):
            progress.note(f"quantize: {name}, {setting['name']}")
            precision.convert(source, target, setting, samples)
            label(target, name, setting, source)
            converted = Session(target)
            value = judged(task.score, metric, converted, encoder, data.eval, label_ids)
            one = {
                "setting": setting,
                "metric": value,
                "drop": round(fp32 - value, 4),
                **weight(target, converted, probe),
            }
            tried.append(one)
            if not over_budget(recipe, name, one):
                variants[name] = {"file": f"{FOLDER}/{precision.FILE}", **one, "tried": tried[:-1]}
                break
        else:
            target.unlink(missing_ok=True)
            problems += [line for one in tried for line in over_budget(recipe, name, one)]
    if problems:
        raise BudgetError(problems)
    return {"metric": metric, "variants": variants}


def encoder_of(recipe: "Recipe", rundir: RunDir) -> Encoder:
    """The bundle's own preprocessing, of the merged model."""
    facts = onnx_facts(rundir / "onnx" / "model.onnx")
    encoder: Encoder = plugins.load("tasks", recipe.task).device_encoder(rundir / "merged", facts["preprocessing"])
    return encoder


def onnx_facts(path: Any) -> dict[str, Any]:
    """What `onnx_files.describe` put into a file."""
    metadata = Session(path).metadata
    return {name: json.loads(metadata[f"tunedeploy.{name}"]) for name in ("labels", "preprocessing", "lineage")}


def judged(score: Any, metric: str, session: Session, encoder: Encoder, rows: Any, label_ids: Array) -> float:
    """The metric of a file on the evaluation split, in percent."""
    update = progress.tracker("evaluate onnx", len(rows))
    return round(float(score(metric, logits_of(session, encoder, rows, update), label_ids)), 4)


def weight(path: Any, session: Session, probe: Inputs) -> dict[str, Any]:
    """Bytes of a file, and the median milliseconds of one row."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        session(probe)
        times.append(time.perf_counter() - start)
    return {"bytes": path.stat().st_size, "ms": round(statistics.median(times) * 1e3, 3)}


def over_budget(recipe: "Recipe", name: str, one: dict[str, Any]) -> list[str]:
    """Which limits of the recipe a variant breaks, one line each."""
    limits = recipe.export
    how = f"quantize: {name}" + (f" ({one['setting']['name']})" if "setting" in one else "")
    lines = []
    if one["drop"] > limits.max_drop:
        lines.append(f"{how}: loses {one['drop']:.2f} points ({one['metric']:.2f} %), allowed {limits.max_drop:g}")
    if limits.max_size is not None and one["bytes"] > limits.max_size * 1e6:
        lines.append(f"{how}: has {one['bytes'] / 1e6:.2f} MB, allowed {limits.max_size:g}")
    if limits.max_latency is not None and one["ms"] > limits.max_latency:
        lines.append(f"{how}: takes {one['ms']:.2f} ms a row, allowed {limits.max_latency:g}")
    return lines


def label(path: Any, name: str, setting: dict[str, Any], source: Any) -> None:
    """Write into a quantized file what it is and what it was made from."""
    model, before = onnx.load(path), onnx.load(source)
    onnx_files.describe(model, {one.key.removeprefix("tunedeploy."): one.value for one in before.metadata_props})
    onnx_files.describe(model, {"variant": name, "quantization": setting, "made_from": sha256(source)})
    onnx_files.write(model, path)


def batches(encoder: Encoder, rows: list[Any]) -> list[Inputs]:
    """Encoded rows, eight at a time."""
    features = encoder.encode(rows)
    return [encoder.collate([features[at] for at in indices]) for indices in in_batches(len(features), 8)]
