"""Export: convert the merged model to ONNX, one file per graph, with named dynamic axes and all an app must know."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from tunedeploy import plugins, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.external_data import size_of_file
from tunedeploy.errors import BudgetError, ModelError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.conversion import onnx_of
from tunedeploy.models.loading import COLOUR_CODES
from tunedeploy.proof.torch_run import loaded, sample
from tunedeploy.run.atomic import write_json, write_text
from tunedeploy.run.exported import FOLDER, OnnxFacts, file_of
from tunedeploy.run.folder import RunDir
from tunedeploy.run.lineage import lineage
from tunedeploy.run.results import Export

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "export.opset", "export.dynamic_size", "export.target")
AFTER = ("merge",)
OUTPUTS = (FOLDER,)


def run(recipe: "Recipe", rundir: RunDir) -> Export:
    """Write `onnx/model.onnx`, or one file per graph, in float32, and `onnx/export.log`.

    Returns:
        Opset, IR version, operators, fusions and bytes.

    Raises:
        ModelError: the exporter cannot convert the model; its log says why.
        BudgetError: the file breaks a limit of the target.
    """
    task = plugins.load("tasks", recipe.task)
    merged = loaded(task, rundir)
    progress.note(f"export: opset {recipe.export.opset}")
    models = convert(recipe, rundir, merged)
    files = {graph: file_of(graph) for graph in models}
    described = {**facts(recipe, rundir, merged), "variant": "fp32"}
    for graph, model in models.items():
        onnx_files.clean(model)
        onnx_files.describe(model, described)
        onnx_files.write(model, rundir / files[graph])
    result = summary(models, [rundir / file for file in files.values()])
    if len(files) > 1:
        result["files"] = files
    write_json(rundir / FOLDER / "graph.json", result)
    target = plugins.load("targets", recipe.export.target)
    # The size that counts is that of the variant asked for: quantize looks at it.
    breaches = [
        f"export: {files[graph]}: {line}" for graph, model in models.items() for line in target.breaches(model, 0)
    ]
    if breaches:
        raise BudgetError(breaches)
    return result


def summary(models: Mapping[str, onnx.ModelProto], paths: Sequence[Path]) -> Export:
    """The result for all files together; opset and IR version are the same in all."""
    model = list(models.values())[-1]
    return {
        "opset": onnx_files.opset(model),
        "ir": model.ir_version,
        "bytes": sum(size_of_file(path) for path in paths),
        "operators": dict(sum((Counter(onnx_files.operators(model)) for model in models.values()), Counter())),
        "fusions": dict(sum((Counter(onnx_files.fusions(path)) for path in paths), Counter())),
    }


class Described(OnnxFacts):
    """What goes into the metadata of a file."""

    task: str


def convert(recipe: "Recipe", rundir: RunDir, merged: Assembly) -> dict[str, onnx.ModelProto]:
    """Each graph of the model as torch's dynamo exporter writes it; what the exporter prints goes to a log."""
    exporter_log = io.StringIO()
    log = rundir / FOLDER / "export.log"
    try:
        # Two rows of different size: an axis of 1 would be taken for a constant.
        return onnx_of(recipe, merged, sample(data_of(recipe).eval, 2), exporter_log)
    except ModelError as error:
        exporter_log.write(f"\n{error.__cause__}\n")
        raise ModelError(f"export: {error.lines[0]}; see {log}") from error
    finally:
        write_text(log, COLOUR_CODES.sub("", exporter_log.getvalue()))


def facts(recipe: "Recipe", rundir: RunDir, merged: Assembly) -> Described:
    """What goes into the file's metadata: task, labels, preprocessing and lineage; nothing of this machine."""
    return {
        "task": recipe.task,
        "labels": rundir.record("train").result["labels"],
        "preprocessing": merged.encoder.facts,
        "lineage": lineage(recipe, rundir),
    }
