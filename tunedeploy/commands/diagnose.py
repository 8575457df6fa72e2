"""Diagnose: find the first module where torch and ONNX part, and the nodes that lose most by quantization."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from tunedeploy import progress
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.device.parts import row_size
from tunedeploy.device.runtime import Session
from tunedeploy.errors import RunError
from tunedeploy.graphs.onnx_graph import Graph, origin
from tunedeploy.proof.inside import noise as quantization_noise
from tunedeploy.proof.inside.torch_modules import Call, calls
from tunedeploy.proof.scene import BATCHES, FLOAT32, Scene, scene_of
from tunedeploy.proof.torch_run import as_double
from tunedeploy.run.folder import RunDir
from tunedeploy.run.lineage import FILE
from tunedeploy.run.results import Entry, entries
from tunedeploy.stages.quantize import FOLDER

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

REAL_ROWS = 4  # a fault in a graph shows on any row; the edge rows come on top
QUANTIZED_ROWS = 4  # in one batch, of the shorter half: attention's tensors grow with the square of the length
BATCH = 3  # rows; every tensor of the model is held for a batch, in torch twice and in onnxruntime
WRITTEN = ("output of the file as written", 0)  # nodes after the last module belong to none
DEFAULT = ("default session of onnxruntime", 0)  # stands last among the modules: what its optimiser adds


class Divergence(TypedDict):
    """See `torch_and_onnx`."""

    compared: int
    not_matched: int
    first: Entry | None
    over: list[Entry]


class Lossy(quantization_noise.Summary):
    """A quantized file's noise."""

    file: str


class Diagnosis(TypedDict):
    """See `examine`."""

    torch_vs_onnx: Divergence
    variants: dict[str, Lossy]


def examine(recipe: "Recipe", rundir: RunDir, variant: str | None = None) -> Diagnosis:
    """Where the differences of a run begin; needs `merged/` and `onnx/model.onnx`, writes nothing.

    Args:
        recipe: the run's.
        rundir: the run, also one that failed to verify or to stay in its budget.
        variant: the quantized file to look into; all of them when None, none for fp32.

    Returns:
        `torch_vs_onnx` (see `torch_and_onnx`) and `variants`, name to file and `quantization_noise.summary`.

    Raises:
        RunError: a file or the variant is not there, or onnxruntime cannot run it.
        ModelError: a file or the merged folder cannot be read.
    """
    for file in ("merged", FILE):
        if not (rundir / file).exists():
            raise RunError(f"{rundir.path}: has no {file}; run 'tunedeploy export {rundir.path}' first")
    files = files_of(rundir)
    if variant not in (None, "fp32", *files):
        there = ", ".join(("fp32", *files))
        raise RunError(f"{rundir.path}: has no {variant}; it has {there}")
    scene = scene_of(recipe, rundir)
    graph = Graph(rundir / FILE)
    found: Diagnosis = {"torch_vs_onnx": torch_and_onnx(scene, graph), "variants": {}}
    chosen = {name: file for name, file in files.items() if variant in (None, name)}
    rows = sorted(range(scene.real), key=lambda at: row_size(scene.features[at]))[: (scene.real + 1) // 2]
    rows = rows[:: max(1, len(rows) // QUANTIZED_ROWS)][:QUANTIZED_ROWS]
    inputs = scene.graph.select(scene.trained.collate([scene.features[at] for at in rows]))
    for name, file in chosen.items():
        progress.note(f"diagnose: fp32 and {name}")
        tensors = quantization_noise.noise(graph, rundir / file, inputs, name)
        found["variants"][name] = {"file": file, **quantization_noise.summary(recipe, name, tensors)}
    return found


def files_of(rundir: RunDir) -> dict[str, str]:
    """Quantized files by precision: as the stage recorded them or, where it missed its budget, as it left them."""
    if rundir.has("quantize"):
        recorded = rundir.record("quantize").result["variants"]
        return {name: one["file"] for name, one in recorded.items() if name != "fp32"}
    left = {path: Session(path).metadata for path in sorted((rundir / FOLDER).glob("*.onnx"))}
    return {
        facts["tunedeploy.variant"]: f"{FOLDER}/{path.name}"
        for path, facts in left.items()
        if "tunedeploy.variant" in facts  # it is written last
    }


# ---- torch against ONNX, module by module


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One batch's figures of one call of a module; `where` is the row of the difference."""

    difference: float
    where: str
    floor: float
    spread: float


Key = tuple[str, int]  # a module's path, and how often it was called before


def torch_and_onnx(scene: Scene, graph: Graph) -> Divergence:
    """What every module gives in torch against the value that leaves it in the file, each with its own tolerance.

    Returns:
        `compared` and `not_matched`, calls of modules; `first`, the first over its tolerance in the order of
        execution, and `over`, all of them, as ledger entries with node, operator, class and value in `facts`.
    """
    leaving = graph.leaving()
    names = dict.fromkeys([*(name for values in leaving.values() for name in values), *graph.outputs])
    measured: dict[Key, list[Measured]] = {}
    matched: dict[Key, str] = {}
    parts = batches(scene)
    double = as_double(scene.merged.model)
    update = progress.tracker("torch and onnx", len(parts))
    for done, (inputs, rows) in enumerate(parts):
        update(done)
        values = graph.run(scene.graph.select(inputs), names)
        single = calls(scene.merged.model, scene.graph, inputs, double=False)
        exact = calls(double, scene.graph, inputs, double=True)
        matched = matched or match(single, exact, leaving, values)
        for call, reference in zip(single, exact, strict=True):
            key = (call.path, call.number)
            if key in matched:
                measured.setdefault(key, []).append(measure(call, reference, values[matched[key]], rows))
        written = values[graph.outputs[0]]
        measured.setdefault(WRITTEN, []).append(measure(single[-1], exact[-1], written, rows))
        whole = scene.onnx(inputs)[scene.graph.outputs[0].name]  # the whole model finishes last
        measured.setdefault(DEFAULT, []).append(measure(single[-1], exact[-1], whole, rows))
    update(len(parts))
    kinds = {(call.path, call.number): call.kind for call in single}
    order = [*(key for key in kinds if key in measured), WRITTEN, DEFAULT]
    compared = [
        comparison(graph, key, kinds.get(key, ""), matched.get(key, graph.outputs[0]), measured[key]) for key in order
    ]
    over = entries(one for one in compared if not one.ok)
    return {
        "compared": len(compared) - 2, "not_matched": len(kinds) - len(compared) + 2,
        "first": over[0] if over else None, "over": over,
    }  # fmt: skip


def batches(scene: Scene) -> list[tuple[Inputs, list[str]]]:
    """Some real rows and all edge rows, those of like length together, with their names."""
    chosen = [*range(0, scene.real, max(1, scene.real // REAL_ROWS)), *range(scene.real, len(scene.features))]
    chosen.sort(key=lambda at: row_size(scene.features[at]))
    parts = [chosen[at : at + BATCH] for at in range(0, len(chosen), BATCH)]
    # A fault may show in larger batches alone; seven short rows take less than three long ones.
    parts.append(sorted(range(scene.real), key=lambda at: row_size(scene.features[at]))[: BATCHES[-1]])
    return [
        (scene.trained.collate([scene.features[at] for at in part]), [scene.names[at] for at in part])
        for part in parts
    ]  # fmt: skip


def match(
    single: list[Call], exact: list[Call], leaving: Mapping[str, list[str]], values: Mapping[str, Array]
) -> dict[Key, str]:
    """The value in the graph that each call of a module made, where that is certain.

    Certain is the only value of its shape that leaves the module; the k-th of k values for the k-th of k calls; or
    the only one that is within the tolerance. Modules that the exporter folded into others have none.
    """
    counts = Counter(call.path for call in single)
    found = {}
    for call, reference in zip(single, exact, strict=True):
        likely = [name for name in leaving.get(call.path, ()) if values[name].shape == call.output.shape]
        if len(likely) == counts[call.path]:
            found[call.path, call.number] = likely[call.number]
            continue
        figures = {name: measure(call, reference, values[name]) for name in likely}
        close = [name for name, one in figures.items() if one.difference <= agreement.tolerance(one.floor, one.spread)]
        if len(close) == 1:
            found[call.path, call.number] = close[0]
    return found


def measure(call: Call, reference: Call, value: Array, rows: Sequence[str] = ()) -> Measured:
    """One value of the file against a module's output in float32, and that against float64."""
    difference, row = agreement.largest_difference(call.output, value)
    return Measured(
        difference=difference, where=rows[row] if len(rows) == len(call.output) else "",
        floor=agreement.noise_floor(call.output, reference.output),
        # Inside a model all values may lie close to 0.5, say; float32 resolves by magnitude.
        spread=max(agreement.output_range(call.output), float(np.abs(call.output).max(initial=0.0))),
    )  # fmt: skip


def comparison(graph: Graph, key: Key, kind: str, value: str, figures: list[Measured]) -> Comparison:
    """The figures of all batches as an entry like the ledger's."""
    worst = max(figures, key=lambda one: one.difference)
    floor, spread = max(one.floor for one in figures), max(one.spread for one in figures)
    path, number = key
    source = origin(graph.makers[value])
    facts = {"value": value, "node": source.node, "operator": source.operator, "class": kind, "noise_floor": floor}
    words = {"module": (path or "the whole model") + (f", call {number + 1}" if number else "")}
    limit = agreement.tolerance(floor, spread)
    return FLOAT32.at_most("module", worst.difference, limit, where=worst.where, facts=facts, words=words)
