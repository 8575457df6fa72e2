"""Weights compared as they are stored, since rows of data show only those that they use."""

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
    """Rows of embedding tables: a row of the data shows only those that it uses, so all are compared, bit by bit.

    A table is known by its content, whatever it is called.
    """
    model = scene.merged.model
    state = [value.numpy() for value in (*model.state_dict().values(), *model.buffers())]  # not all buffers are saved
    made = []
    for file in scene.float_files.values():
        tables = looked_up(Reading(Graph(scene.rundir / file)))
        odd, where = 0, ""
        for name, table in tables.items():
            rows = min((rows_apart(table, value) for value in state), key=len)
            if len(rows):
                odd, where = odd + len(rows), f"{name}, row {rows[0]}"
        ledger = replace(scene.float32, file=file)
        made.append(ledger.at_most("embedding-rows", odd, 0, where=where, facts={"tables": len(tables)}))
    return made


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
    """Every tensor of the merged folder is the trained one, adapter folded in: rows show only what they use."""
    tuned = trained(scene.recipe, scene.rundir, scene.data)
    plugins.load("methods", scene.recipe.tune.method).fold(tuned.model)
    wanted, there = tuned.model.state_dict(), scene.merged.model.state_dict()
    odd = [name for name, value in wanted.items() if name not in there or not same(value, there[name])]
    ledger, facts = Ledger(stage="merge", file="merged"), {"tensors": len(wanted)}
    return [ledger.at_most("merged-weights", len(odd), 0, where=", ".join(odd[:3]), facts=facts)]


def same(wanted: torch.Tensor, there: torch.Tensor) -> bool:
    """Equal, but for the rounding of one product where they are floats."""
    if wanted.shape != there.shape or not wanted.is_floating_point():
        return torch.equal(wanted, there)
    limit = FOLDED * float(wanted.abs().max()) if wanted.numel() else 0.0
    return bool(((wanted - there).abs() <= limit).all())
