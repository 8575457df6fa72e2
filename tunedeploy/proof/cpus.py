"""Check that an integer file holds on the kinds of CPU that its record names."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.decisions import flips, flips_allowed
from tunedeploy.device.manifest import files_of
from tunedeploy.errors import RunError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.quantization.cpu_kinds import KINDS, WORDS, native, sessions_on
from tunedeploy.quantization.saturation import can_saturate

if TYPE_CHECKING:
    from tunedeploy.proof.scene import Scene


def products_kept(ledger: Ledger, path: Path, variant: Mapping[str, Any]) -> list[Comparison]:
    """Products of a file that can saturate: a breach where its record has a kind of CPU as proved, else informational.

    The proof is repeated from the weights in the file.

    Raises:
        RunError: the record of CPUs is malformed.
    """
    name = ledger.variant
    if name == "fp32":
        return []
    risky = can_saturate(onnx_files.read(path))
    if "cpus" not in variant and not risky:
        return []  # a float file, or one of a version that recorded no CPUs
    try:
        shown = {kind: str(variant["cpus"][kind]["by"]) for kind in KINDS} if "cpus" in variant else {}
    except (KeyError, TypeError) as error:
        raise RunError(f"{path}: 'cpus' of {name!r} is not a record for each of {', '.join(KINDS)}") from error
    if not set(shown.values()) <= {"measured", "simulated", "proved"}:
        raise RunError(f"{path}: 'cpus' of {name!r}: expected measured, simulated or proved, got {shown}")
    proved = [kind for kind, by in shown.items() if by == "proved"]
    limit, where = 0 if proved else None, ", ".join(risky[:3])
    return [ledger.at_most("saturation", len(risky), limit, where=where, facts={"proved": proved})]


def on_each_cpu(scene: "Scene", name: str, variant: Mapping[str, Any]) -> list[Comparison]:
    """A file gives float32's answers on every kind of CPU: by proof, or simulated where a product can saturate."""
    ledger = Ledger(stage="quantize", file=variant["file"], variant=name)
    files, comparisons = files_of(variant), []
    for file in files.values():
        comparisons += products_kept(replace(ledger, file=file), scene.rundir / file, variant)
    if not any(comparison.value for comparison in comparisons):
        return comparisons
    other = next(kind for kind in KINDS if kind != native())
    sessions = sessions_on({graph: scene.rundir / file for graph, file in files.items()}, other)
    answers = None if sessions is None else scene.parts.answers(sessions, scene.rows)
    got = None if answers is None else answers.evidence
    reference = scene.reference
    clear = np.zeros(0, np.int64) if got is None else flips(scene.decision, reference.evidence, got)[1]
    changed = ledger.at_most(
        "flips-on-the-other-cpu",
        len(clear) if got is not None and np.isfinite(got).all() else float("inf"),
        flips_allowed(len(reference)),
        rows=len(reference),
        where=str(scene.rows[int(reference.row[clear[0]])]["origin"]) if len(clear) else "",
        words={"cpu": WORDS[other]},
    )
    return [*comparisons, changed]
