"""What verify looks at in each file: its names and nodes, its sessions and its decisions."""

from dataclasses import replace
from typing import Any

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
    """Each file takes and gives what its graph does, and computes as in evaluation."""
    graphs = {graph.name: graph for graph in scene.program.graphs}
    made = []
    for graph, file in files_of(variant).items():
        ledger, path = replace(ledger_of(name, variant), file=file), scene.rundir / file
        made += [
            names_kept(ledger, Session(path), graphs[graph]),
            nodes_in_evaluation(ledger, onnx_files.read(path)),
        ]
    return made


def two_sessions(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file gives the same on one thread and on two, and before and after onnxruntime fuses its nodes.

    Float32 within the noise floor; others are only told, since integers round otherwise between other nodes.
    """
    inputs = scene.trained.collate(scene.features[: BATCHES[-1]])
    ways: list[dict[str, Any]] = [{"threads": 1}, {"threads": 2}, {"fused": False}]
    one_thread, *others = (scene.opened(variant, **options)(inputs) for options in ways)
    single, double = scene.torch(inputs), scene.double(inputs)
    ledger, names = ledger_of(name, variant), scene.names[: BATCHES[-1]]
    made = []
    for id, other in zip(("threads", "fusion"), others, strict=True):
        outputs = Outputs(scene.graph)
        outputs.compare(inputs, one_thread, other, names)
        outputs.measure_floor(inputs, single, double)
        for apart in outputs.apart.values():
            apart.see_only(elements(apart.value, single[apart.value.name], inputs)[0])
        worst = outputs.worst()
        limit, facts = worst.limit if name == "fp32" else None, {"noise_floor": worst.floor}
        made.append(ledger.at_most(id, worst.difference, limit, rows=len(names), facts=facts))
    return made


def quantized_decisions(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A quantized file against float32 by its decisions; no NaN, on any row, in any batch."""
    if name == "fp32":
        return []
    opened, decision = scene.opened(variant), scene.decision
    answers = scene.parts.answers(opened.run, scene.rows)
    reference, got = scene.reference.evidence, answers.evidence
    edges = scene.features[scene.real :]
    odd = sum(any_infinite(opened(scene.encoder.collate([row]))) for row in edges)
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
        ledger.at_most("not-finite", odd, 0, rows=len(edges)),
    ]


def any_infinite(outputs: Arrays) -> bool:
    """Whether a value of the outputs is NaN or infinity."""
    return any(not np.isfinite(value).all() for value in outputs.values())


def batch_dependence(opened: Pass, scene: Scene) -> float:
    """How far a row's answer moves with its batch mates: dynamic int8 takes one scale for a whole batch."""
    rows = scene.features[:8]
    batches = [scene.encoder.collate(rows), *(scene.encoder.collate([row]) for row in rows)]
    whole, *single = (scene.decision.answers(opened(batch), batch).evidence for batch in batches)
    return agreement.largest_difference(whole, np.concatenate(single))[0]
