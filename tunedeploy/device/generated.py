"""Goldens of a program with a loop: the state between calls, and what is generated for each raw row."""

from typing import TYPE_CHECKING

import numpy as np

from .agreement import largest_difference
from .comparison import Comparison, Ledger
from .goldens import Goldens, raw_row
from .programs import SEQUENCES

if TYPE_CHECKING:
    from .bundle import Bundle


def cache_again(ledger: Ledger, bundle: "Bundle", goldens: Goldens) -> list[Comparison]:
    """The float32 pass in several calls, the state of each handed to the next, against the golden outputs."""
    if ledger.variant != "fp32":
        return []  # integers share one scale per call, so other calls round differently
    name, run = bundle.graph.outputs[0].name, bundle.run(ledger.variant)
    worst, where, cuts = 0.0, "", 0
    for group, output in zip(goldens.groups, goldens.outputs(ledger.variant), strict=True):
        inputs = goldens.inputs(group)
        for cut in bundle.program.cuts(inputs):
            got = bundle.program.forward_in_calls(run, inputs, cut)[name]
            difference = largest_difference(output, got)[0]
            cuts += 1
            if not difference <= worst:
                worst, where = difference, f"{group}, {len(cut) + 1} calls"
    if not cuts:
        return []
    limit = goldens.rules["variants"][ledger.variant]["max_abs"]
    return [ledger.at_most("cache-invariance", worst, limit, rows=cuts, where=where)]


def texts_again(ledger: Ledger, bundle: "Bundle", goldens: Goldens, *, exact: bool) -> list[Comparison]:
    """A variant generates the golden text of each row; on another machine, unless it met a near-tie on the way."""
    if not bundle.program.generates:
        return []
    golden = goldens.golden
    texts = golden.get("texts", {}).get(ledger.variant, [])
    if len(texts) != len(golden["rows"]):
        return [ledger.at_most("golden-texts", abs(len(golden["rows"]) - len(texts)), 0)]
    rows = [raw_row(bundle.path, row, at=at, needed=bundle.encoder.key) for at, row in enumerate(golden["rows"])]
    run, rule = bundle.run(ledger.variant), goldens.rules["variants"][ledger.variant]
    tie = 0.0 if exact else rule.get("near_tie", 2 * rule["max_abs"])
    changed = []
    for at, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if bundle.parts.generated(run, [row])[0] != text and not smallest_margin(bundle, ledger.variant, row) <= tie:
            changed.append(f"golden row {at}")
    return [ledger.at_most("golden-texts", len(changed), 0, rows=len(rows), where=", ".join(changed[:3]))]


def smallest_margin(bundle: "Bundle", variant: str, row: object) -> float:
    """The smallest lead of the best token over the second in a generated text."""
    batch = bundle.encoder.collate(bundle.encoder.encode([row]))  # type: ignore[list-item]
    sequences = bundle.program.answer(bundle.run(variant), batch)[SEQUENCES]
    scores = bundle.outputs(bundle.program.forced(batch, sequences), variant)[bundle.graph.outputs[0].name]
    second, best = np.moveaxis(np.sort(scores[0], axis=-1)[:, -2:], -1, 0)
    return float((best - second).min())
