"""Checks for programs of several graphs: each graph by itself, the cache between calls, generated texts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tunedeploy.device.comparison import Comparison
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.device.parts import by_size
from tunedeploy.device.programs import SEQUENCES
from tunedeploy.device.signature import Arrays
from tunedeploy.proof.apart import Outputs
from tunedeploy.proof.scene import Scene, grid, of_outputs

EXACT = 6  # batches whose calls are also computed in float64, for the noise floor


def each_graph(scene: Scene) -> list[Comparison]:
    """Each graph is fed torch's values, also in calls with a filled cache, so that one's error is not another's."""
    if len(scene.program.graphs) == 1:
        return []
    outputs = {graph.name: Outputs(graph) for graph in scene.program.graphs}
    calls = dict.fromkeys(outputs, 0)
    for number, (how, inputs, chosen) in enumerate(grid(scene)):
        run = Compared(
            scene=scene, outputs=outputs, calls=calls, rows=[scene.names[at] for at in chosen], how=f", {how}",
            measured=number < EXACT,
        )  # fmt: skip
        scene.program.forward(run, inputs)
        for cut in scene.program.cuts(inputs):
            scene.program.forward_in_calls(run, inputs, cut)
    ledgers = {graph: replace(scene.float32, file=file) for graph, file in scene.float_files.items()}
    return [of_outputs(ledgers[graph], "graph-vs-torch", each, calls[graph]) for graph, each in outputs.items()]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Torch as a Run, each call compared with the file's at once: kept until all are made, they would fill the memory.

    `measured` calls are also computed in float64, for the noise floor.
    """

    scene: Scene
    outputs: Mapping[str, Outputs]
    calls: dict[str, int]
    rows: list[str]
    how: str
    measured: bool

    def __call__(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """Torch's outputs of a call."""
        expected = self.scene.torch.run(graph, inputs)
        self.outputs[graph].compare(inputs, expected, self.scene.onnx.run(graph, inputs), self.rows, self.how)
        if self.measured:
            self.outputs[graph].measure_floor(inputs, expected, self.scene.double.run(graph, inputs))
        self.calls[graph] += 1
        return expected


def cache_invariance(scene: Scene) -> list[Comparison]:
    """A pass in several calls, the state of one handed to the next, gives what one call gives, at every kind of cut."""
    rows = [*scene.features[: min(12, scene.real)], *scene.features[scene.real :]]
    batches = [scene.encoder.collate([row]) for row in rows] + [scene.encoder.collate(rows)]
    names = [scene.names[at] for at in (*range(min(12, scene.real)), *range(scene.real, len(scene.features)))]
    outputs, count = Outputs(scene.graph), 0
    for number, inputs in enumerate(batches):
        cuts = scene.program.cuts(inputs)
        if not cuts:
            continue
        at_once = scene.onnx(inputs)
        for cut in cuts:
            row_names = [names[number]] if number < len(rows) else names
            outputs.compare(inputs, at_once, scene.onnx.in_calls(inputs, cut), row_names, f", {len(cut) + 1} calls")
        outputs.measure_floor(inputs, scene.torch(inputs), scene.double(inputs))
        count += len(cuts)
    return [of_outputs(scene.float32, "cache-invariance", outputs, count)] if count else []


def generated_alike(scene: Scene) -> list[Comparison]:
    """What the float32 files generate is what torch generates, up to the first near-tie of each row."""
    if not scene.program.generates:
        return []
    features = scene.parts.encoder.encode(scene.rows)
    apart: list[str] = []
    ties = 0
    for numbers in by_size(features):
        batch = scene.parts.encoder.collate([features[int(at)] for at in numbers])
        ours, theirs = (scene.program.answer(each.run, batch)[SEQUENCES] for each in (scene.torch, scene.onnx))
        for row, step in first_differences(ours, theirs, scene.program.facts["pad_id"]):
            if is_tie(scene, batch, ours, row, step):
                ties += 1
            else:
                apart.append(f"{scene.rows[int(numbers[row])]['origin']}, step {step + 1}")
    facts = {"near_ties": ties}
    where = ", ".join(apart[:3])
    ledger = scene.float32
    return [ledger.at_most("generated-texts", len(apart), 0, rows=len(scene.rows), where=where, facts=facts)]


def first_differences(first: Array, second: Array, pad: int) -> list[tuple[int, int]]:
    """The rows of two generated batches that differ, each with the first step at which it does.

    A batch is as long as its longest row; `pad` fills the others.
    """
    steps = max(first.shape[1], second.shape[1])
    first_padded, second_padded = (
        np.pad(ids, ((0, 0), (0, steps - ids.shape[1])), constant_values=pad) for ids in (first, second)
    )
    differs = first_padded != second_padded
    return [(int(row), int(differs[row].argmax())) for row in np.flatnonzero(differs.any(1))]


def is_tie(scene: Scene, batch: Inputs, sequences: Array, row: int, step: int) -> bool:
    """Whether torch's two best tokens at a step of its own text are closer than two float32 programs may differ."""
    alone = {name: array[row : row + 1] for name, array in batch.items()}
    forced = scene.program.forced(alone, sequences[row : row + 1])
    single, double = scene.torch(forced), scene.double(forced)
    outputs = Outputs(scene.graph)
    outputs.compare(forced, single, single, [""])
    outputs.measure_floor(forced, single, double)
    name = scene.graph.outputs[0].name
    second, best = np.sort(single[name][0, step])[-2:]
    return bool(best - second <= 2 * outputs.worst().limit)
