"""Export: convert the merged model to one ONNX file with named dynamic axes and all that an app must know."""

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import torch

from tunedeploy import plugins, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.files import sha256
from tunedeploy.device.runtime import OUTPUT
from tunedeploy.errors import BudgetError, ModelError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.models import sources
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.loading import COLOUR_CODES, first_line
from tunedeploy.run.folder import RunDir, write_json, write_text
from tunedeploy.stages.merge import loaded, sample
from tunedeploy.training.feeds import tensors

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "export.opset", "export.dynamic_size", "export.target")
AFTER = ("merge",)
OUTPUTS = ("onnx",)
FOLDER = "onnx"
FILE = "onnx/model.onnx"


def run(recipe: "Recipe", rundir: RunDir) -> dict[str, Any]:
    """Write `onnx/model.onnx` in float32 and `onnx/export.log`.

    Returns:
        Opset, IR version, operators, fusions and bytes.

    Raises:
        ModelError: the exporter cannot convert the model; its log says why.
        BudgetError: the file breaks a limit of the target.
    """
    task = plugins.load("tasks", recipe.task)
    merged = loaded(task, rundir)
    progress.note(f"export: opset {recipe.export.opset}")
    model = convert(recipe, rundir, merged)
    onnx_files.clean(model)
    onnx_files.describe(model, {**facts(recipe, rundir, merged), "variant": "fp32"})
    path = rundir / FILE
    onnx_files.write(model, path)
    result = {
        "opset": onnx_files.opset(model),
        "ir": model.ir_version,
        "bytes": path.stat().st_size,
        "operators": onnx_files.operators(model),
        "fusions": onnx_files.fusions(path),
    }
    write_json(rundir / FOLDER / "graph.json", result)
    # The size that counts is that of the variant asked for: quantize looks at it.
    breaches = plugins.load("targets", recipe.export.target).breaches(model, 0)
    if breaches:
        raise BudgetError([f"export: {FILE}: {line}" for line in breaches])
    return result


def convert(recipe: "Recipe", rundir: RunDir, merged: Assembly) -> onnx.ModelProto:
    """The model as torch's dynamo exporter writes it; what the exporter says goes to a log."""
    said = io.StringIO()
    log = rundir / FOLDER / "export.log"
    try:
        # Two rows of unlike size: an axis of 1 would be taken for a constant.
        return program_of(recipe, merged, sample(data_of(recipe).eval, 2), said)
    except ModelError as error:
        said.write(f"\n{error.__cause__}\n")
        raise ModelError(f"export: {error.lines[0]}; see {log}") from error
    finally:
        write_text(log, COLOUR_CODES.sub("", said.getvalue()))


def program_of(recipe: "Recipe", merged: Assembly, rows: list[Any], said: io.StringIO) -> onnx.ModelProto:
    """A model with these rows as its example, by torch's dynamo exporter; what that says goes to `said`.

    Raises:
        ModelError: it cannot be converted.
    """
    axes = plugins.load("tasks", recipe.task).dynamic_axes(merged.encoder.facts)
    example = tensors(merged.encoder.collate(merged.encoder.encode(rows)))
    try:
        with quietly(said):
            program = torch.onnx.export(
                merged.model, (), kwargs={name: example[name] for name in axes}, dynamo=True, verbose=False,
                input_names=list(axes), output_names=[OUTPUT], dynamic_shapes=axes,
                opset_version=recipe.export.opset,
            )  # fmt: skip
    except Exception as error:
        # The exporter wraps whatever went wrong in its own error; anything else is a bug and keeps its trace.
        if not type(error).__module__.startswith("torch."):
            raise
        cause = error.__cause__ or error  # its own first line says only in which of three steps it failed
        line = f"{type(cause).__name__}: {first_line(cause)}"
        raise ModelError(f"torch.onnx cannot convert this model: {line}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


@contextlib.contextmanager
def quietly(said: io.StringIO) -> Any:
    """Collect what a chatty library prints, warns and logs."""
    handler = logging.StreamHandler(said)
    names = ("torch.onnx", "torch", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one.propagate, list(one.handlers)) for one in loggers]
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("always")
        try:
            for one in loggers:
                one.propagate, one.handlers = False, [handler]
            yield
        finally:
            for one, (propagate, handlers) in zip(loggers, before, strict=True):
                one.propagate, one.handlers = propagate, handlers
            said.write("".join(f"{one.category.__name__}: {one.message}\n" for one in caught))


def facts(recipe: "Recipe", rundir: RunDir, merged: Assembly) -> dict[str, Any]:
    """What goes into the file's metadata: task, labels, preprocessing and lineage; nothing of this machine."""
    return {
        "task": recipe.task,
        "labels": rundir.record("train").result["labels"],
        "preprocessing": merged.encoder.facts,
        "lineage": lineage(recipe, rundir),
    }


def lineage(recipe: "Recipe", rundir: RunDir) -> dict[str, str]:
    """SHA-256 of each ancestor, from the base weights to the merged ones, with recipe and data."""
    train, merge = rundir.record("train").outputs, rundir.record("merge").outputs
    resolved = {name: part for name, part in recipe.resolved().items() if name != "export"}
    weights = sorted(name for name in merge if name.endswith(".safetensors") and not name.endswith("head.safetensors"))
    return {
        "base": sources.fingerprint(recipe.model.name, recipe.model.weights),
        "data": data_of(recipe).fingerprint,
        "recipe": onnx_files.recipe_id(resolved),
        "adapter": train["train/adapter.safetensors"],
        "head": train["train/head.safetensors"],
        "merged": merge[weights[0]] if weights else sha256(rundir / "merged" / "model.safetensors"),
    }
