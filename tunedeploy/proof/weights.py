"""Compare weights as they are stored, since rows of data show only those that they use."""

from dataclasses import replace

import numpy as np
import torch

from tunedeploy import plugins
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Array
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.graphs.reading import Reading, Stored
from tunedeploy.proof.scene import Scene
from tunedeploy.proof.torch_run import trained

FOLDED = 1e-6  # of a tensor's largest weight: folding is a product, which other thread counts sum in another order


def tables_kept(scene: Scene) -> list[Comparison]:
    """Compare all rows of embedding tables bit by bit, since a row of the data shows only those that it uses.

    Tables are matched by content, not by name.
    """
    model = scene.merged.model
    state = [value.numpy() for value in (*model.state_dict().values(), *model.buffers())]  # not all buffers are saved
    comparisons = []
    for file in scene.float_files.values():
        tables = looked_up(Reading(Graph(scene.rundir / file)))
        count, where = 0, ""
        for name, table in tables.items():
            rows = min((rows_apart(table, value) for value in state), key=len)
            if len(rows):
                count, where = count + len(rows), f"{name}, row {rows[0]}"
        ledger = replace(scene.float32, file=file)
        comparisons.append(ledger.at_most("embedding-rows", count, 0, where=where, facts={"tables": len(tables)}))
    return comparisons


def looked_up(reading: Reading) -> dict[str, Array]:
    """Stored float tables whose rows are chosen by computed ids, by name."""
    tables = {}
    for node in reading.graph.model.graph.node:
        if node.op_type != "Gather" or isinstance(reading.of(node.input[1])[1], Stored):
            continue
        table = reading.of(node.input[0])[1]
        if isinstance(table, Stored) and table.array.ndim >= 1 and table.array.dtype.kind == "f":
            tables[table.name] = table.array
    return tables


def rows_apart(table: Array, wanted: Array) -> Array:
    """Rows of a table that are not those of a merged tensor, or of consecutive rows of it."""
    alike = wanted.ndim > 0 and table.shape[1:] == wanted.shape[1:] and table.dtype == wanted.dtype
    if not alike or len(table) > len(wanted):
        return np.arange(len(table))
    if len(table) == len(wanted):
        return np.flatnonzero((table != wanted).reshape(len(table), -1).any(1))
    starts = np.flatnonzero((wanted[: len(wanted) - len(table) + 1] == table[0]).reshape(-1, table[0].size).all(1))
    apart = [rows_apart(table, wanted[start : start + len(table)]) for start in starts]
    return min(apart, key=len, default=np.arange(len(table)))


def weights_kept(scene: Scene) -> list[Comparison]:
    """Every tensor of the merged folder is the trained one with its adapter folded in."""
    tuned = trained(scene.recipe, scene.rundir, scene.data)
    plugins.load("methods", scene.recipe.tune.method).fold(tuned.model)
    wanted, merged = tuned.model.state_dict(), scene.merged.model.state_dict()
    differing = [name for name, value in wanted.items() if name not in merged or not same(value, merged[name])]
    ledger, facts = Ledger(stage="merge", file="merged"), {"tensors": len(wanted)}
    return [ledger.at_most("merged-weights", len(differing), 0, where=", ".join(differing[:3]), facts=facts)]


def same(wanted: torch.Tensor, merged: torch.Tensor) -> bool:
    """Whether two tensors are equal; floats may differ by the rounding of one product."""
    if wanted.shape != merged.shape or not wanted.is_floating_point():
        return torch.equal(wanted, merged)
    limit = FOLDED * float(wanted.abs().max()) if wanted.numel() else 0.0
    return bool(((wanted - merged).abs() <= limit).all())
