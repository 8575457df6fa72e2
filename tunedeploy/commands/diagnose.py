"""Diagnose: find the first module where torch and ONNX part, and the nodes that lose most by quantization."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from tunedeploy import progress
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.device.manifest import files_of
from tunedeploy.device.parts import row_size
from tunedeploy.device.runtime import Session
from tunedeploy.device.signature import Recording
from tunedeploy.errors import RunError
from tunedeploy.graphs.onnx_graph import Graph, origin
from tunedeploy.models.runs import as_double
from tunedeploy.proof.inside import noise as quantization_noise
from tunedeploy.proof.inside.torch_modules import Call, calls
from tunedeploy.proof.judge import inputs_of_graphs
from tunedeploy.proof.scene import BATCHES, Scene, scene_of
from tunedeploy.run.exported import float_files
from tunedeploy.run.folder import RunDir
from tunedeploy.run.results import Entry, entries
from tunedeploy.stages.quantize import FOLDER

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

REAL_ROWS = 4  # a fault in a graph shows on any row; the edge rows come on top
QUANTIZED_ROWS = 4  # in one batch, of the shorter half: attention's tensors grow with the square of the length
BATCH = 3  # rows; every tensor of the model is held for a batch, in torch twice and in onnxruntime
WRITTEN = ("output of the file as written", 0)  # nodes after the last module belong to none
FLOAT32 = Ledger(stage="export", file="", variant="fp32")
DEFAULT = ("default session of onnxruntime", 0)  # listed after all modules: what its optimiser adds


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
    """Where the differences of a run begin; needs `merged/` and the files in `onnx/`, writes nothing.

    Args:
        recipe: the run's.
        rundir: the run, also one that failed to verify or to stay in its budget.
        variant: the quantized file to look into; all of them when None, none for fp32.

    Returns:
        `torch_vs_onnx` (see `torch_and_onnx`) and `variants`, name to file and `quantization_noise.summary`.

    Raises:
        RunError: a file or the variant is missing, or onnxruntime cannot run it.
        ModelError: a file or the merged folder cannot be read.
    """
    floats = float_files(rundir)
    for file in ("merged", *floats.values()):
        if not (rundir / file).exists():
            raise RunError(f"{rundir.path}: has no {file}; run 'tunedeploy export {rundir.path}' first")
    variants = quantized_files(rundir)
    if variant not in (None, "fp32", *variants):
        known = ", ".join(("fp32", *variants))
        raise RunError(f"{rundir.path}: has no {variant}; it has {known}")
    scene = scene_of(recipe, rundir)
    graphs = {graph: Graph(rundir / file) for graph, file in floats.items()}
    diagnosis: Diagnosis = {"torch_vs_onnx": torch_and_onnx(scene, graphs), "variants": {}}
    chosen = {name: files for name, files in variants.items() if variant in (None, name)}
    rows = sorted(range(scene.real), key=lambda at: row_size(scene.features[at]))[: (scene.real + 1) // 2]
    rows = rows[:: max(1, len(rows) // QUANTIZED_ROWS)][:QUANTIZED_ROWS]
    batch = scene.trained.collate([scene.features[at] for at in rows])
    paths = {graph: rundir / file for graph, file in floats.items()}
    inputs = {graph: calls[0] for graph, calls in inputs_of_graphs(scene.program, paths, [batch]).items()}
    for name, files in chosen.items():
        for graph, file in files.items():
            progress.note(f"diagnose: fp32 and {name}" + (f", {graph}" if len(files) > 1 else ""))
            tensors = quantization_noise.noise(graphs[graph], rundir / file, inputs[graph], name)
            key = name if len(files) == 1 else f"{name}, {graph}"
            diagnosis["variants"][key] = {"file": file, **quantization_noise.summary(recipe, name, tensors)}
    return diagnosis


def quantized_files(rundir: RunDir) -> dict[str, dict[str, str]]:
    """Files by precision and graph: as the stage recorded them or, where it missed its budget, as it left them."""
    if rundir.has("quantize"):
        recorded = rundir.record("quantize").result["variants"]
        return {name: files_of(variant) for name, variant in recorded.items() if name != "fp32"}
    left: dict[str, dict[str, str]] = {}
    for path in sorted((rundir / FOLDER).glob("*.onnx")):
        name = Session(path).metadata.get("tunedeploy.variant")  # written last, so the file is complete
        graph = path.stem.removesuffix(f"_{name}")
        if name is not None:
            left.setdefault(name, {})[graph] = f"{FOLDER}/{path.name}"
    return left


# ---- torch against ONNX, module by module


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One batch's figures of one call of a module; `where` is the row of the difference."""

    difference: float
    where: str
    floor: float
    spread: float


Key = tuple[str, int]  # a module's path, and how often it was called before


def torch_and_onnx(scene: Scene, graphs: Mapping[str, Graph]) -> Divergence:
    """The divergences of all graphs, see `one_graph`, in the order in which the graphs are called."""
    parts = batches(scene)
    given = inputs_of_calls(scene, [inputs for inputs, _ in parts])
    divergences = [
        one_graph(scene, name, graph, [(inputs, rows) for inputs, (_, rows) in zip(given[name], parts, strict=True)])
        for name, graph in graphs.items()
    ]
    over = [entry for divergence in divergences for entry in divergence["over"]]
    return {
        "compared": sum(divergence["compared"] for divergence in divergences),
        "not_matched": sum(divergence["not_matched"] for divergence in divergences),
        "first": over[0] if over else None, "over": over,
    }  # fmt: skip


def inputs_of_calls(scene: Scene, batches: Sequence[Inputs]) -> dict[str, list[Inputs]]:
    """The inputs that torch gives each graph for each batch, in the first call of the graph."""
    given: dict[str, list[Inputs]] = {graph.name: [] for graph in scene.program.graphs}
    for batch in batches:
        recording = Recording(scene.torch.run)
        scene.program.forward(recording, batch)
        for name, calls_of_graph in given.items():
            calls_of_graph.append(next(call.inputs for call in recording.calls if call.graph == name))
    return given


def one_graph(scene: Scene, name: str, graph: Graph, parts: Sequence[tuple[Inputs, list[str]]]) -> Divergence:
    """Each module's output in torch against the value that leaves it in the file, each with its own tolerance.

    Returns:
        `compared` and `not_matched`, calls of modules; `first`, the first over its tolerance in the order of
        execution, and `over`, all of them, as ledger entries with node, operator, class and value in `facts`.
    """
    leaving = graph.leaving()
    names = dict.fromkeys([*(name for values in leaving.values() for name in values), *graph.outputs])
    measured: dict[Key, list[Measured]] = {}
    matched: dict[Key, str] = {}
    module = scene.merged.modules()[name]
    double = as_double(module)
    signature = next(graph for graph in scene.program.graphs if graph.name == name)
    update = progress.tracker("torch and onnx", len(parts))
    for done, (inputs, rows) in enumerate(parts):
        update(done)
        values = graph.run(inputs, names)
        single = calls(module, signature, inputs, double=False)
        exact = calls(double, signature, inputs, double=True)
        matched = matched or match(single, exact, leaving, values)
        for call, reference in zip(single, exact, strict=True):
            key = (call.path, call.number)
            if key in matched:
                measured.setdefault(key, []).append(measure(call, reference, values[matched[key]], rows))
        # The whole module finishes last.
        last = {WRITTEN: values[graph.outputs[0]], DEFAULT: scene.onnx.run(name, inputs)[signature.outputs[0].name]}
        for key, value in last.items():
            measured.setdefault(key, []).append(measure(single[-1], exact[-1], value, rows))
    update(len(parts))
    kinds = {(call.path, call.number): call.kind for call in single}
    order = [*(key for key in kinds if key in measured), WRITTEN, DEFAULT]
    compared = [
        comparison(graph, key, kinds.get(key, ""), matched.get(key, graph.outputs[0]), measured[key]) for key in order
    ]
    breaches = [replace(each, file=scene.float_files[name]) for each in compared if not each.ok]
    over = entries(breaches)
    counts = {"compared": len(compared) - 2, "not_matched": len(kinds) - len(compared) + 2}
    return {**counts, "first": over[0] if over else None, "over": over}  # type: ignore[typeddict-item]


def batches(scene: Scene) -> list[tuple[Inputs, list[str]]]:
    """Batches of some real rows and all edge rows, grouped by similar length, with the rows' names."""
    chosen = [*range(0, scene.real, max(1, scene.real // REAL_ROWS)), *range(scene.real, len(scene.features))]
    chosen.sort(key=lambda at: row_size(scene.features[at]))
    parts = [chosen[at : at + BATCH] for at in range(0, len(chosen), BATCH)]
    # A fault may show in larger batches only; seven short rows take less than three long ones.
    parts.append(sorted(range(scene.real), key=lambda at: row_size(scene.features[at]))[: BATCHES[-1]])
    return [
        (scene.trained.collate([scene.features[at] for at in part]), [scene.names[at] for at in part])
        for part in parts
    ]  # fmt: skip


def match(
    single: list[Call], exact: list[Call], leaving: Mapping[str, list[str]], values: Mapping[str, Array]
) -> dict[Key, str]:
    """The value in the graph that each call of a module computed, where that is certain.

    It is certain for the only value of that shape that leaves the module, for the k-th of k values and the k-th of k
    calls, and for the only value within the tolerance. Modules that the exporter folded into others have none.
    """
    counts = Counter(call.path for call in single)
    matched = {}
    for call, reference in zip(single, exact, strict=True):
        likely = [name for name in leaving.get(call.path, ()) if values[name].shape == call.output.shape]
        if len(likely) == counts[call.path]:
            matched[call.path, call.number] = likely[call.number]
            continue
        figures = {name: measure(call, reference, values[name]) for name in likely}
        close = [
            name
            for name, measured in figures.items()
            if measured.difference <= agreement.tolerance(measured.floor, measured.spread)
        ]
        if len(close) == 1:
            matched[call.path, call.number] = close[0]
    return matched


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
    worst = max(figures, key=lambda measured: measured.difference)
    floor, spread = max(measured.floor for measured in figures), max(measured.spread for measured in figures)
    path, number = key
    source = origin(graph.makers[value])
    facts = {"value": value, "node": source.node, "operator": source.operator, "class": kind, "noise_floor": floor}
    words = {"module": (path or "the whole model") + (f", call {number + 1}" if number else "")}
    limit = agreement.tolerance(floor, spread)
    return FLOAT32.at_most("module", worst.difference, limit, where=worst.where, facts=facts, words=words)
