"""Compare every id of the vocabulary once, since rows of data show only the words that they hold.

A model's other layers see a word as a vector, so it is enough that each id becomes the vector that torch gives it: what
the first product of the file reads is compared with what the first linear layer of the model reads.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.device.manifest import GRAPH
from tunedeploy.device.signature import elements
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.models.runs import as_double
from tunedeploy.models.torch_inputs import tensors
from tunedeploy.proof.beyond import sequences, vocabulary
from tunedeploy.proof.scene import Scene

LENGTH, ROWS = 64, 32  # tokens a row and rows a batch
PRODUCTS = {"MatMul", "Gemm", "Conv", "Einsum"}
ALIKE = 1e-3  # of the range: the same value, however wrong a few of its rows may be made later
LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


class Reached(Exception):
    """The first layer was reached, and what it reads is known."""


def vocabulary_kept(scene: Scene) -> list[Comparison]:
    """Compare each id's vector before the first product, in torch and in the file; the whole pass where none is found.

    A text model that names no table of embeddings gets a row that says so, and no verdict.
    """
    if not sequences(scene):
        return []
    count = vocabulary(scene)
    if not count:
        return [scene.float32.informational("embedded-ids-not-compared", 0)]
    inputs = next(batches(scene, count))
    model, output = scene.merged.model, scene.graph.outputs[0].name
    # Of several files no one reads all that the model reads: then the whole pass shows every id.
    graph = Graph(scene.float_paths[GRAPH]) if list(scene.float_paths) == [GRAPH] else None
    single = None if graph is None else embedded(model, scene, inputs)
    name = "" if graph is None or single is None else counterpart(graph, scene.graph.select(inputs), single)
    run = graph.session(graph.part([name])) if graph is not None and name else None
    double = as_double(model)
    worst, floor, spread, where = 0.0, 0.0, 1e-6, ""
    for number, inputs in enumerate(batches(scene, count)):
        ours = embedded(model, scene, inputs) if run else scene.torch(inputs)[output]
        theirs = run(scene.graph.select(inputs))[name] if run else scene.onnx(inputs)[output]
        assert ours is not None
        if number == 0:
            exact = embedded(double, scene, inputs) if run else scene.double(inputs)[output]
            assert exact is not None
            floor = agreement.noise_floor(ours, exact)
        spread = max(spread, agreement.output_range(ours))
        value = scene.graph.outputs[0]
        rows = np.arange(len(ours))
        if not run:
            rows = elements(value, ours, inputs)[1]
            ours, theirs = (elements(value, each, inputs)[0] for each in (ours, theirs))
        difference, at = agreement.largest_difference(ours, theirs)
        if difference > worst:
            worst, where = difference, f"ids from {int(inputs['input_ids'][rows[at]].min())}"
    facts = {"noise_floor": floor, "output_range": spread, "value": name or output}
    limit = agreement.tolerance(floor, spread)
    return [scene.float32.at_most("embedded-ids", worst, limit, rows=count, where=where, facts=facts)]


def batches(scene: Scene, count: int) -> Iterator[Inputs]:
    """Every id once, in rows; the last row is filled up from the first ids."""
    longest = min(LENGTH, int(scene.encoder.facts["max_length"]))
    ids = np.resize(np.arange(count), -(-count // longest) * longest).reshape(-1, longest)
    for at in range(0, len(ids), ROWS):
        part = ids[at : at + ROWS]
        # A model that writes texts reads the right answer too.
        features = [{"input_ids": row, "token_type_ids": np.zeros_like(row), "target_ids": row} for row in part]
        yield scene.encoder.collate(features)


def embedded(model: nn.Module, scene: Scene, inputs: Inputs) -> Array | None:
    """What the first linear or convolution layer reads; None where the model has none before its end."""
    read: list[torch.Tensor] = []

    def keep(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        del module
        read.append(arguments[0])
        raise Reached

    layers = [module for module in model.modules() if isinstance(module, LAYERS)]
    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        with torch.inference_mode():
            model(**tensors(scene.graph.select(inputs)))
    except Reached:
        return np.asarray(read[0].numpy()) if read[0].is_floating_point() else None
    finally:
        for hook in hooks:
            hook.remove()
    return None


def counterpart(graph: Graph, inputs: Inputs, value: Array) -> str:
    """The value of the file, read by a product, that equals what the first layer reads; '' where there is none."""
    likely: list[str] = list(dict.fromkeys(
        name for node in graph.model.graph.node if node.op_type in PRODUCTS for name in node.input
        if name in graph.makers
    ))  # fmt: skip
    for name in likely:
        given = graph.session(graph.part([name]))(inputs)[name]
        room = 1e-3 * agreement.output_range(value)
        if given.shape == value.shape and agreement.largest_difference(given, value)[0] <= room:
            return name
        if depends_on_products(graph, name):
            break
    return ""


def depends_on_products(graph: Graph, name: str) -> bool:
    """Whether a product stands before a value, so that it and all behind it are no embeddings any more."""
    return any(node.op_type in PRODUCTS for node in graph.between(name, ()))
