"""A converted file against the float32 file from the inside: all that differs between them is explained by rounding."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tunedeploy import plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Inputs
from tunedeploy.device.manifest import files_of
from tunedeploy.device.parts import row_size
from tunedeploy.graphs.onnx_graph import Graph, well_formed
from tunedeploy.graphs.reading import Rewrite
from tunedeploy.proof.inside.local import Node, halved, local_parity
from tunedeploy.proof.inside.origins import Origins, origins
from tunedeploy.proof.inside.ranges import observed, unexplained
from tunedeploy.proof.inside.stored import scales_apart, worst_rounding
from tunedeploy.proof.judge import CALIBRATION_ROWS, calls_of, inputs_of_graphs
from tunedeploy.proof.scene import Scene, ledger_of
from tunedeploy.proof.torch_run import sample
from tunedeploy.run.results import Variant, setting_of

LONGEST = 64  # tokens; every value of the model is held for the batch, several times over
ROWS = 4  # in one batch, of the shorter half: attention's tensors grow with the square of the length


def explained_by_rounding(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """Compare nodes, stored tensors, ranges of activations and each node's own output, for precisions with rewrites."""
    rewrites = plugins.load("precisions", name).REWRITES
    if rewrites is None and name == "fp32":
        return []
    comparisons = []
    for graph, file in files_of(variant).items():
        ledger = replace(ledger_of(name, variant), file=file)
        if rewrites is None:
            nodes = len(Graph(scene.rundir / file).model.graph.node)
            comparisons.append(ledger.informational("nodes-not-compared", nodes))
            continue
        with well_formed(scene.rundir / file):
            comparisons += compared(scene, graph, ledger, variant, rewrites)
    return comparisons


def compared(
    scene: Scene, graph: str, ledger: Ledger, variant: Variant, rewrites: Sequence[Rewrite]
) -> list[Comparison]:
    """The comparisons of `explained_by_rounding` for one graph's file, which the ledger names."""
    source, target = Graph(scene.float_paths[graph]), Graph(scene.rundir / ledger.file)
    matched = origins(source, target, rewrites)
    problems = [*matched.problems, *(f"scale of the bias of {node}" for node in scales_apart(matched.products))]
    worst, where, count = worst_rounding(matched.pairs, matched.products)
    comparisons = [
        ledger.at_most("unexplained-nodes", len(problems), 0, where="; ".join(problems[:2])),
        ledger.at_most("stored-weights", worst, 1.0, where=where, facts={"weights": count}),
        ledger.at_least("rounded-weights", count, 1),
    ]
    if problems:
        return comparisons  # what is not matched cannot be fed
    wrong_ranges = unexplained_ranges(scene, graph, source, matched, variant)
    comparisons.append(ledger.at_most("activation-ranges", len(wrong_ranges), 0, where="; ".join(wrong_ranges[:2])))
    if any(matched.roundings.values()) or halved(matched):
        nodes = local_parity(source, target, matched, short_rows(scene)[graph])
        comparisons.append(least_explained(ledger, nodes))
    return comparisons


def unexplained_ranges(scene: Scene, graph: str, source: Graph, matched: Origins, variant: Variant) -> list[str]:
    """Stored ranges of activations that the calibration rows do not show."""
    static = {name: parts for name, parts in matched.roundings.items() if not all(part.dynamic for part in parts)}
    if not static:
        return []
    rows = sample(data_of(scene.recipe).train, CALIBRATION_ROWS)
    ranges = observed(source, static, calls_of(scene.parts, scene.float_paths, rows, scene.trained)[graph])
    return unexplained(source, static, ranges, str(setting_of(variant["setting"], graph).get("method", "")))


def least_explained(ledger: Ledger, nodes: Sequence[Node]) -> Comparison:
    """The node that rounding explains least, when it is fed what float32 computes."""
    worst = max(nodes, key=lambda node: math.inf if math.isnan(node.share) else node.share)
    here = [node for node in nodes if node.here > 1]
    facts = {"nodes": len(nodes), "nodes_that_saturate_here": len(here)}
    return ledger.at_most("local-parity", worst.share, 1.0, where=worst.node, rows=ROWS, facts=facts)


def short_rows(scene: Scene) -> dict[str, Inputs]:
    """The inputs of each graph for one batch of real rows, spread evenly over the shorter half."""
    places: Sequence[int] = sorted(range(scene.real), key=lambda at: row_size(scene.features[at]))
    places = places[: (scene.real + 1) // 2]
    places = places[:: max(1, len(places) // ROWS)][:ROWS]
    length = LONGEST if scene.graph.paddable() else None
    size = length and min(length, max(row_size(scene.features[at]) for at in places))
    batch = scene.trained.collate([scene.features[at] for at in places], size)
    given = inputs_of_graphs(scene.program, scene.float_paths, [batch])
    return {graph: calls[0] for graph, calls in given.items()}
