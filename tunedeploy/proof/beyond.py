"""Inputs beyond what was traced: behaviour that changes past a threshold shows only on the other side of it.

The sizes follow from the file itself. Some are drawn anew by its hash, so that no file can be made to suit them; others
lie around the whole numbers that its nodes compare with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison
from tunedeploy.device.encoders import Array, Features, Inputs
from tunedeploy.device.files import sha256
from tunedeploy.device.signature import Arrays, elements
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.apart import Outputs, valid
from tunedeploy.proof.scene import Scene, of_outputs

BATCHES = (4, 33, 65)  # other than the small ones, and past the sizes at which kernels and batching change
LARGEST_BATCH = 130
POWERS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)  # tokens; bugs appear at these lengths and at one more or less
DENSE = 64  # tokens, up to which all three are tried; beyond it the hash draws one
COMPARED = 8  # at most this many sizes are taken from the file's own constants
COMPARING = {
    "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "Where", "Min", "Max", "Mod", "Clip", "Sub", "Div",
}  # fmt: skip
EXACT = 4  # rows that are also computed in float64: those that differ most, for their noise floor
SHORT = 8  # tokens of the rows that fill large batches


def beyond_the_trace(scene: Scene) -> list[Comparison]:
    """Compare the merged model in torch with the file on these inputs; rows that differ most give the noise floor."""
    outputs, rows, refused = Outputs(scene.graph), 0, 0
    inputs = scene.encoder.collate(scene.features, cut(scene))
    alone = scene.torch(inputs)  # in torch a row's answer does not depend on its batch
    largest: list[Difference] = []
    for how, inputs, chosen in beyond(scene):
        try:
            large = len(chosen) > 1
            single = of_rows(scene, alone, inputs, chosen) if large else scene.torch(inputs)
        except (RuntimeError, IndexError):  # a length that the model itself rejects
            refused += 1
            continue
        got = scene.onnx(inputs)
        outputs.compare(inputs, single, got, [scene.names[at] for at in chosen], f", {how}")
        row, value = row_apart(scene, inputs, single, got)
        row_inputs, row_outputs = (
            {key: array[row : row + 1] for key, array in arrays.items()} for arrays in (inputs, single)
        )
        largest.append(Difference(value=value, inputs=row_inputs, single=row_outputs))
        largest = sorted(largest, key=lambda difference: -difference.value)[:EXACT]
        rows += len(chosen)
    # An edge row may have ten times the rounding error of the rows that the merge measured.
    for difference in largest:
        outputs.measure_floor(difference.inputs, difference.single, scene.double(difference.inputs))
    for apart in outputs.apart.values():
        apart.floor = max(apart.floor, scene.noise_floor if len(outputs.apart) == 1 else 0.0)
    return [of_outputs(scene.float32, "beyond-the-trace", outputs, rows, refused_by_torch=refused, **not_tried(scene))]


def of_rows(scene: Scene, outputs: Arrays, inputs: Inputs, rows: list[int]) -> dict[str, Array]:
    """Outputs of some rows, cut to the sizes of their own batch, whose longest row may be shorter."""
    shapes = scene.graph.shapes(inputs)
    return {
        name: value[rows][tuple(slice(size) for size in shapes[name] if isinstance(size, int))]
        for name, value in outputs.items()
    }


def row_apart(scene: Scene, inputs: Inputs, single: Arrays, got: Arrays) -> tuple[int, float]:
    """The row of a batch whose first output differs most, and by how much."""
    value = scene.graph.outputs[0]
    ours, rows = elements(value, single[value.name], inputs)
    difference, at = agreement.largest_difference(ours, valid(value, got[value.name], inputs)[0])
    return int(rows[at]), difference


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The largest difference in a batch: its row alone as inputs, and that row's outputs in torch."""

    value: float
    inputs: Inputs
    single: Arrays


def beyond(scene: Scene) -> Iterator[tuple[str, Inputs, list[int]]]:
    """Batches of sizes that were never traced, then single rows, each with a name and the rows that it holds."""
    rng = np.random.default_rng(int(sha256(list(scene.float_paths.values())[-1])[:16], 16))
    numbers = thresholds(scene)[:COMPARED]
    around = sizes_around(numbers)
    total = len(scene.features)
    for size in dict.fromkeys([*BATCHES, int(rng.integers(5, 33)), *around]):
        if size <= LARGEST_BATCH:
            chosen = [at % total for at in range(size)]
            yield f"batch {size}", scene.encoder.collate([scene.features[at] for at in chosen], cut(scene)), chosen
    if not sequences(scene):
        return
    longest = max(range(total), key=lambda at: len(scene.features[at]["input_ids"]))
    for length in lengths(int(scene.encoder.facts["max_length"]), around, rng):
        yield f"length {length}", scene.encoder.collate([filled(scene.features[longest], length)], length), [longest]
    yield from with_ids(scene, numbers)


def thresholds(scene: Scene) -> list[int]:
    """The numbers that the files compare with and that can be a size or a token beyond the first two."""
    compared = {number for path in scene.float_paths.values() for number in compared_with(Graph(path))}
    return sorted(number for number in compared if number >= 2)


def sizes_around(numbers: list[int]) -> list[int]:
    """Sizes at each number and one above."""
    return sorted({number + step for number in numbers for step in (0, 1)})


def not_tried(scene: Scene) -> dict[str, list[int]]:
    """What the limits on the work leave out: constants past the first ones, and batches that are too large."""
    numbers = thresholds(scene)
    batches = [size for size in sizes_around(numbers[:COMPARED]) if size > LARGEST_BATCH]
    left_out = {"constants_not_tried": numbers[COMPARED:], "batches_not_tried": batches}
    return {name: sizes for name, sizes in left_out.items() if sizes}


def cut(scene: Scene) -> int | None:
    """The length of rows in large batches; images keep their size."""
    return min(SHORT, int(scene.encoder.facts["max_length"])) if sequences(scene) else None


def sequences(scene: Scene) -> bool:
    """Whether inputs are rows of ids, whose length is free."""
    return any(value.name == "input_ids" for value in scene.graph.inputs)


def lengths(longest: int, around: list[int], rng: np.random.Generator) -> list[int]:
    """Lengths in tokens around powers of two and around the file's own constants, up to the longest."""
    candidates = set(around)
    for power in POWERS:
        three = (power - 1, power, power + 1)
        candidates.update(three if power <= DENSE else [int(rng.choice(three))])
    return sorted(length for length in candidates if 1 < length <= longest)


def filled(features: Features, length: int) -> dict[str, Array]:
    """A row made long enough by repeating it."""
    return {name: np.resize(value, max(length, len(value))) for name, value in features.items()}


def with_ids(scene: Scene, ids: list[int]) -> Iterator[tuple[str, Inputs, list[int]]]:
    """Real rows in which one token is an id that the file compares something with."""
    rows = [at for at in range(scene.real) if len(scene.features[at]["input_ids"]) > 2]
    for number, token in enumerate(ids):
        if not rows or token >= vocabulary(scene):
            continue
        at = rows[number % len(rows)]
        inputs = scene.encoder.collate([scene.features[at]])
        inputs["input_ids"][0, 1] = token
        yield f"token {token}", inputs, [at]


def vocabulary(scene: Scene) -> int:
    """How many ids the model has embeddings for."""
    trunk: Any = scene.merged.model.trunk
    try:
        table = trunk.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # a trunk without such a table
        return 0
    return int(getattr(table, "num_embeddings", 0) or 0)


def compared_with(graph: Graph) -> list[int]:
    """Whole numbers that a file's nodes compare with, clip to or divide by, in ascending order."""
    tensors = dict(graph.stored)
    tensors |= {
        node.output[0]: node.attribute[0].t for node in graph.model.graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    }  # fmt: skip
    names = {name for node in graph.model.graph.node if node.op_type in COMPARING for name in node.input}
    numbers: set[int] = set()
    for name in names & tensors.keys():
        tensor = tensors[name]
        if int(np.prod(tensor.dims)) > 1:
            continue
        value = float(np.asarray(onnx.numpy_helper.to_array(tensor)).reshape(-1)[0])
        if np.isfinite(value) and value == int(value) and 0 <= value < 2**31:
            numbers.add(int(value))
    return sorted(numbers)
