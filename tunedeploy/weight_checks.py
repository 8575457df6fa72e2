"""Weights compared as they are stored, since rows of data show only those that they use."""

import numpy as np
import onnx
import torch

from tunedeploy import onnx_files, plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.parity import Comparison
from tunedeploy.side_by_side import Scene
from tunedeploy.stages.export import FILE
from tunedeploy.stages.merge import trained

FOLDED = 1e-6  # of a tensor's largest weight: folding is a product, which other thread counts sum in another order


def tables_kept(scene: Scene) -> list[Comparison]:
    """Rows of embedding tables: a row of the data shows only those that it uses, so all are compared, bit by bit."""
    state = {name: value.numpy() for name, value in scene.merged.model.state_dict().items()}
    model = onnx_files.read(scene.rundir / FILE)
    read = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    odd, where, count = 0, "", 0
    for one in model.graph.initializer:
        if one.name not in read or one.name not in state or len(one.dims) < 2:
            continue
        count += 1
        there, wanted = onnx.numpy_helper.to_array(one), state[one.name]
        rows = np.flatnonzero((there != wanted).any(1)) if there.shape == wanted.shape else np.arange(len(wanted))
        if len(rows):
            odd, where = odd + len(rows), f"{one.name}, row {rows[0]}"
    return [
        Comparison(
            name="rows of embedding tables that differ", stage="export", file=FILE, value=odd, limit=0,
            where=where, facts={"tables": count},
        )
    ]  # fmt: skip


def weights_kept(scene: Scene) -> list[Comparison]:
    """Every tensor of the merged folder is the trained one, adapter folded in: rows show only what they use."""
    tuned = trained(scene.recipe, scene.rundir, len(data_of(scene.recipe).labels))
    plugins.load("methods", scene.recipe.tune.method).fold(tuned.model)
    wanted, there = tuned.model.state_dict(), scene.merged.model.state_dict()
    odd = [name for name, value in wanted.items() if name not in there or not same(value, there[name])]
    return [
        Comparison(
            name="trained model vs merged: tensors that differ", stage="merge", file="merged", value=len(odd), limit=0,
            where=", ".join(odd[:3]), facts={"tensors": len(wanted)},
        )
    ]  # fmt: skip


def same(wanted: torch.Tensor, there: torch.Tensor) -> bool:
    """Equal, but for the rounding of one product where they are floats."""
    if wanted.shape != there.shape or not wanted.is_floating_point():
        return torch.equal(wanted, there)
    limit = FOLDED * float(wanted.abs().max()) if wanted.numel() else 0.0
    return bool(((wanted - there).abs() <= limit).all())
