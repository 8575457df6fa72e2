"""What a run's ONNX file states about itself: its labels, its lineage, and the preprocessing an app applies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tunedeploy import plugins
from tunedeploy.device.encoders import DeviceEncoder
from tunedeploy.device.manifest import GRAPH, files_of
from tunedeploy.device.parts import Parts
from tunedeploy.device.runtime import Session, Sessions
from tunedeploy.errors import RunError
from tunedeploy.run.folder import RunDir

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

FOLDER = "onnx"


class OnnxFacts(TypedDict):
    """The metadata that `stages.export` writes into a file and later stages read."""

    labels: list[str]
    preprocessing: Mapping[str, Any]
    lineage: dict[str, str]


def encoder_of(recipe: "Recipe", rundir: RunDir) -> DeviceEncoder:
    """The bundle's own preprocessing, of the merged model.

    Raises:
        RunError: the file has none, or that of another task.
    """
    path = rundir / answering_file(rundir)
    facts = onnx_facts(path)
    try:
        task = plugins.load("tasks", recipe.task)
        encoder = task.device_encoder(rundir / "merged", facts["preprocessing"])
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise RunError(f"{path}: tunedeploy.preprocessing is not that of {recipe.task}: {error!r}") from error
    return encoder


def parts_of(recipe: "Recipe", rundir: RunDir) -> Parts:
    """From raw rows to answers as the bundle does it, for the graphs of the merged model.

    Raises:
        RunError: as `encoder_of`.
    """
    task, labels = plugins.load("tasks", recipe.task), onnx_facts(rundir / answering_file(rundir))["labels"]
    encoder = encoder_of(recipe, rundir)
    program = task.program(encoder.facts, labels)
    return Parts(encoder=encoder, program=program, decision=task.decision(labels))


def float_files(rundir: RunDir) -> dict[str, str]:
    """Graph to its float32 file, the graph that gives the answers last; for an export that failed, the usual one."""
    files: dict[str, str] | None = rundir.record("export").result.get("files") if rundir.has("export") else None
    return files or {GRAPH: file_of(GRAPH)}


def file_of(graph: str) -> str:
    """Where export writes a graph in float32."""
    return f"{FOLDER}/{graph}.onnx"


def answering_file(rundir: RunDir) -> str:
    """The float32 file that gives the answers; its metadata has the facts of the model."""
    return list(float_files(rundir).values())[-1]


def sessions_of(rundir: RunDir, variant: Mapping[str, Any], **options: Any) -> Sessions:
    """The sessions of a variant's files.

    Raises:
        RunError: onnxruntime cannot load one.
    """
    return Sessions({graph: rundir / file for graph, file in files_of(variant).items()}, **options)


def onnx_facts(path: Path) -> OnnxFacts:
    """What `onnx_files.describe` put into a file.

    Raises:
        RunError: it is not there.
    """
    metadata = Session(path).metadata
    try:
        labels, preprocessing, lineage = (
            json.loads(metadata[f"tunedeploy.{name}"]) for name in ("labels", "preprocessing", "lineage")
        )
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: its metadata is not what export wrote: {error!r}") from error
    return {"labels": labels, "preprocessing": preprocessing, "lineage": lineage}
