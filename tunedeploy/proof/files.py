"""What verify looks at in each file: its names and nodes, its sessions and its decisions."""

import numpy as np

from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, names_kept
from tunedeploy.device.decisions import classes
from tunedeploy.device.runtime import Session, logits_of
from tunedeploy.graphs import files as onnx_files
from tunedeploy.proof.nodes import nodes_in_evaluation
from tunedeploy.proof.scene import BATCHES, Scene, ledger_of
from tunedeploy.proof.torch_run import run_torch
from tunedeploy.run.results import Variant


def interface(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file takes the inputs that the preprocessing makes, gives `logits`, and computes as in evaluation."""
    ledger, path = ledger_of(name, variant), scene.rundir / variant["file"]
    return [
        names_kept(ledger, Session(path), scene.trained.facts["inputs"]),
        nodes_in_evaluation(ledger, onnx_files.read(path)),
    ]


def two_sessions(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A file gives the same on one thread and on two, and before and after onnxruntime fuses its nodes.

    Float32 within the noise floor; others are only told, since integers round otherwise between other nodes.
    """
    inputs = scene.trained.collate(scene.features[: BATCHES[-1]])
    path = scene.rundir / variant["file"]
    one_thread, two_threads, as_written = (
        Session(path, **options)(inputs) for options in ({"threads": 1}, {"threads": 2}, {"fused": False})
    )
    single = run_torch(scene.merged.model, inputs, double=False)
    floor = agreement.noise_floor(single, run_torch(scene.double, inputs, double=True))
    limit = agreement.tolerance(floor, agreement.output_range(single)) if name == "fp32" else None
    ledger, facts = ledger_of(name, variant), {"noise_floor": floor}
    return [
        ledger.at_most(id, agreement.largest_difference(one_thread, other)[0], limit, rows=len(single), facts=facts)
        for id, other in (("threads", two_threads), ("fusion", as_written))
    ]


def quantized_decisions(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """A quantized file against float32 by its decisions; no NaN, on any row, in any batch."""
    if name == "fp32":
        return []
    rows, reference = scene.rows, scene.reference
    session = Session(scene.rundir / variant["file"])
    got = logits_of(session, scene.encoder, rows)
    edges = scene.features[scene.real :]
    odd = sum(int((~np.isfinite(session(scene.encoder.collate([row])))).any()) for row in edges)
    count, clear = classes.flips(reference, got)
    where = str(rows[int(clear[0])]["origin"]) if len(clear) else ""
    facts = {
        "flips": count,
        "drift": agreement.drift(reference, got),
        "sqnr_db": agreement.sqnr_db(reference, got),
        "cosine": agreement.cosine(reference, got),
        "top_5_overlap": classes.top_k_overlap(reference, got),
        "batch_dependence": batch_dependence(session, scene),
    }
    flips = float(len(clear)) if np.isfinite(got).all() else float("inf")
    allowed = classes.flips_allowed(len(rows))
    ledger = ledger_of(name, variant)
    return [
        ledger.at_most("flips", flips, allowed, rows=len(rows), where=where, facts=facts),
        ledger.at_most("gain", classes.gain(reference, got), classes.GAIN, rows=len(rows)),
        ledger.at_most("not-finite", odd, 0, rows=len(edges)),
    ]


def batch_dependence(session: Session, scene: Scene) -> float:
    """How far a row's logits move with its batch mates: dynamic int8 takes one scale for a whole batch."""
    rows = scene.features[:8]
    whole = session(scene.encoder.collate(rows))
    single = np.concatenate([session(scene.encoder.collate([row])) for row in rows])
    return agreement.largest_difference(whole, single)[0]
