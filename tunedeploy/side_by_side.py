"""What verify looks at: the trained model and its files side by side, over batches, lengths and real rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy import parity, plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.encoders import Encoder, Features, Inputs
from tunedeploy.models.classifier import Assembly
from tunedeploy.parity import Comparison
from tunedeploy.rundir import RunDir
from tunedeploy.runtime import Session, logits_of
from tunedeploy.stages.merge import as_double, run_torch, sample
from tunedeploy.stages.quantize import encoder_of

if TYPE_CHECKING:
    from tunedeploy.recipe import Recipe

ROWS = 32  # real rows on the grid; each is tried in several batches and lengths
BATCHES = (1, 2, 3, 7)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is compared: the merged model, the float32 file, and rows to try them on."""

    recipe: "Recipe"
    rundir: RunDir
    task: Any
    merged: Assembly
    double: Any
    onnx: Session
    encoder: Encoder
    features: list[Features]  # of `real` rows of the evaluation split, then of the edge rows
    names: list[str]
    real: int


def scene_of(recipe: "Recipe", rundir: RunDir) -> Scene:
    """Load both models, and encode real rows and edge rows."""
    task = plugins.load("tasks", recipe.task)
    data = data_of(recipe)
    merged = task.load(rundir / "merged", attention="eager")
    rows = sample(data.eval, ROWS)
    edges = task.edge_rows(rows[0])
    names = [str(row["origin"]) for row in rows] + [f"edge row {at}" for at in range(len(edges))]
    return Scene(
        recipe=recipe, rundir=rundir, task=task, merged=merged, double=as_double(merged.model),
        onnx=Session(rundir / "onnx" / "model.onnx"), encoder=encoder_of(recipe, rundir),
        features=merged.encoder.encode([*rows, *edges]), names=names, real=len(rows),
    )  # fmt: skip


def grid(scene: Scene) -> list[tuple[str, Inputs, list[int]]]:
    """Batches of 1, 2, 3 and 7 rows at every size, moving on through the rows, and one of all rows; with their rows."""
    made = []
    at = 0
    total = len(scene.features)
    for size in scene.encoder.sizes(scene.features):
        for batch in BATCHES:
            chosen = [(at + one) % total for one in range(batch)]
            at += batch
            inputs = scene.encoder.collate([scene.features[one] for one in chosen], size)
            made.append((f"batch {batch}" + (f" x length {size}" if size else ""), inputs, chosen))
    for at in range(0, total, 7):
        chosen = list(range(at, min(at + 7, total)))
        made.append((f"batch {len(chosen)}", scene.encoder.collate([scene.features[one] for one in chosen]), chosen))
    return made


def torch_against_onnx(scene: Scene) -> list[Comparison]:
    """The merged model in torch against the file, over the grid, within the measured noise floor."""
    worst = {"difference": 0.0, "floor": 0.0}
    where, low, high = "", np.inf, -np.inf
    count = 0
    for name, inputs, chosen in grid(scene):
        single = run_torch(scene.merged.model, inputs, double=False)
        exact = run_torch(scene.double, inputs, double=True)
        got = scene.onnx(inputs)
        difference, row = parity.largest_difference(single, got)
        if difference > worst["difference"]:
            worst["difference"], where = difference, f"{scene.names[chosen[row % len(chosen)]]}, {name}"
        worst["floor"] = max(worst["floor"], parity.noise_floor(single, exact))
        low, high = min(low, float(single.min())), max(high, float(single.max()))
        count += len(chosen)
    spread = max(high - low, 1e-6)
    return [
        Comparison(
            name="torch vs onnx: largest logit difference", stage="export", file="onnx/model.onnx",
            value=worst["difference"], limit=parity.tolerance(worst["floor"], spread), rows=count, where=where,
            facts={"noise_floor": worst["floor"], "output_range": spread},
        )
    ]  # fmt: skip


def metamorphic(scene: Scene) -> list[Comparison]:
    """A row's answer depends neither on its padding nor on its batch mates (float32)."""
    floor, spread, together, padded = 0.0, 1e-6, 0.0, 0.0
    where = {"batch": "", "padding": ""}
    rows = scene.features[: min(12, scene.real)] + scene.features[scene.real :]
    names = scene.names[: min(12, scene.real)] + scene.names[scene.real :]
    whole = scene.onnx(scene.encoder.collate(rows))
    paddable = scene.encoder.sizes(rows) != [None] and "sequence" in str(scene.task.dynamic_axes(scene.encoder.facts))
    for at, row in enumerate(rows):
        inputs = scene.encoder.collate([row])
        single = run_torch(scene.merged.model, inputs, double=False)
        floor = max(floor, parity.noise_floor(single, run_torch(scene.double, inputs, double=True)))
        spread = max(spread, float(np.ptp(whole)))
        own = scene.onnx(inputs)
        mates = parity.largest_difference(own, whole[at : at + 1])[0]
        if mates > together:
            together, where["batch"] = mates, names[at]
        if paddable:
            length = len(next(iter(row.values())))
            wider = min(length + 9, int(scene.encoder.facts["max_length"]))
            more = parity.largest_difference(own, scene.onnx(scene.encoder.collate([row], wider)))[0]
            if more > padded:
                padded, where["padding"] = more, names[at]
    limit = parity.tolerance(floor, spread)
    facts = {"noise_floor": floor, "output_range": spread}
    made = [("batch invariance", together, where["batch"])] + (
        [("padding invariance", padded, where["padding"])] if paddable else []
    )
    return [
        Comparison(
            name=f"{name}: largest logit difference", stage="export", file="onnx/model.onnx", value=value, limit=limit,
            rows=len(rows), where=place, facts=facts,
        )
        for name, value, place in made
    ]  # fmt: skip


def quantized_decisions(scene: Scene) -> list[Comparison]:
    """Each quantized file against float32 by its decisions; no NaN, on any row, in any batch."""
    made: list[Comparison] = []
    data = data_of(scene.recipe)
    rows = sample(data.eval, 512)
    reference = logits_of(scene.onnx, scene.encoder, rows)
    for name, variant in scene.rundir.record("quantize").result["variants"].items():
        if name == "fp32":
            continue
        session = Session(scene.rundir / variant["file"])
        got = logits_of(session, scene.encoder, rows)
        edges = scene.features[scene.real :]
        odd = sum(int((~np.isfinite(session(scene.encoder.collate([row])))).any()) for row in edges)
        count, clear = parity.flips(reference, got)
        allowed = max(1, round(parity.FLIPS * len(rows)))
        facts = {
            "flips": count,
            "drift": parity.drift(reference, got),
            "sqnr_db": parity.sqnr_db(reference, got),
            "cosine": parity.cosine(reference, got),
            "top_5_overlap": parity.top_k_overlap(reference, got),
            "batch_dependence": batch_dependence(session, scene),
        }
        made += [
            Comparison(
                name=f"fp32 vs {name}: rows flipped outside near-ties", stage="quantize", file=variant["file"],
                value=float(len(clear)) if np.isfinite(got).all() else float("inf"), limit=allowed, rows=len(rows),
                where=str(rows[int(clear[0])]["origin"]) if len(clear) else "", facts=facts,
            ),
            Comparison(
                name=f"{name}: edge rows with NaN or infinity", stage="quantize", file=variant["file"], value=odd,
                limit=0, rows=len(edges),
            ),
        ]  # fmt: skip
    return made


def batch_dependence(session: Session, scene: Scene) -> float:
    """How far a row's logits move with its batch mates: dynamic int8 takes one scale for a whole batch."""
    rows = scene.features[:8]
    whole = session(scene.encoder.collate(rows))
    single = np.concatenate([session(scene.encoder.collate([row])) for row in rows])
    return parity.largest_difference(whole, single)[0]
