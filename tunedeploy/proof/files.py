"""Checks of each file: its names and nodes, its sessions and its decisions."""

from dataclasses import replace

import numpy as np

from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, names_kept
from tunedeploy.device.decisions import flips, flips_allowed
from tunedeploy.device.manifest import files_of
from tunedeploy.device.programs import Pass
from tunedeploy.device.runtime import Session
from tunedeploy.device.signature import Arrays, elements
from tunedeploy.graphs import files as onnx_files
from tunedeploy.proof.apart import Outputs
from tunedeploy.proof.nodes import nodes_in_evaluation
from tunedeploy.proof.scene import BATCHES, Scene, ledger_of
from tunedeploy.run.results import Variant


def interface(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """Each file has its graph's inputs and outputs, and computes as in evaluation."""
    graphs = {graph.name: graph for graph in scene.program.graphs}
    comparisons = []
    for graph, file in files_of(variant).items():
        ledger, path = replace(ledger_of(name, variant), file=file), scene.rundir / file
        comparisons += [
            names_kept(ledger, Session(path), graphs[graph]),
            nodes_in_evaluation(ledger, onnx_files.read(path)),
        ]
    return comparisons


def two_sessions(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file gives the same on one thread and on two, and before and after onnxruntime fuses its nodes.

    Float32 is held to the noise floor; other precisions are informational, since fused nodes round integers elsewhere.
    """
    inputs = scene.trained.collate(scene.features[: BATCHES[-1]])
    session_options: list[dict[str, int]] = [{"threads": 1}, {"threads": 2}, {"fused": False}]
    one_thread, *others = (scene.opened(variant, **options)(inputs) for options in session_options)
    single, double = scene.torch(inputs), scene.double(inputs)
    ledger, names = ledger_of(name, variant), scene.names[: BATCHES[-1]]
    comparisons = []
    for id, other in zip(("threads", "fusion"), others, strict=True):
        outputs = Outputs(scene.graph)
        outputs.compare(inputs, one_thread, other, names)
        outputs.measure_floor(inputs, single, double)
        for apart in outputs.apart.values():
            apart.see_only(elements(apart.value, single[apart.value.name], inputs)[0])
        worst = outputs.worst()
        limit, facts = worst.limit if name == "fp32" else None, {"noise_floor": worst.floor}
        comparisons.append(ledger.at_most(id, worst.difference, limit, rows=len(names), facts=facts))
    return comparisons


def quantized_decisions(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """Compare a quantized file's decisions with float32's; no output is NaN, on any row, in any batch."""
    if name == "fp32":
        return []
    opened, decision = scene.opened(variant), scene.decision
    answers = scene.parts.answers(opened.run, scene.rows)
    reference, got = scene.reference.evidence, answers.evidence
    edges = scene.features[scene.real :]
    not_finite = sum(any_infinite(opened(scene.encoder.collate([row]))) for row in edges)
    count, clear = flips(decision, reference, got)
    where = str(scene.rows[int(answers.row[clear[0]])]["origin"]) if len(clear) else ""
    facts = {
        "flips": count,
        "drift": float(np.median(decision.compare(reference, got).moved)),
        "sqnr_db": agreement.sqnr_db(reference, got),
        "cosine": agreement.cosine(reference, got),
        **decision.described(reference, got),
        "batch_dependence": batch_dependence(opened, scene),
    }
    changed = float(len(clear)) if np.isfinite(got).all() else float("inf")
    units, ledger = len(answers), ledger_of(name, variant)
    gain = agreement.gain(decision.centred(reference), decision.centred(got))
    return [
        ledger.at_most("flips", changed, flips_allowed(units), rows=units, where=where, facts=facts),
        ledger.at_most("gain", gain, agreement.GAIN, rows=units),
        ledger.at_most("not-finite", not_finite, 0, rows=len(edges)),
    ]


def any_infinite(outputs: Arrays) -> bool:
    """Whether a value of the outputs is NaN or infinity."""
    return any(not np.isfinite(value).all() for value in outputs.values())


def batch_dependence(opened: Pass, scene: Scene) -> float:
    """How far a row's answer moves with its batch mates: dynamic int8 takes one scale for a whole batch."""
    rows = scene.features[:8]
    batches = [scene.encoder.collate(rows), *(scene.encoder.collate([row]) for row in rows)]
    together, *single = (scene.decision.answers(opened(batch), batch).evidence for batch in batches)
    return agreement.largest_difference(together, np.concatenate(single))[0]
