"""What verify looks at: the trained model and its files side by side, over batches, lengths and real rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunedeploy import plugins
from tunedeploy.contracts.task import Task
from tunedeploy.data.recipe_data import data_of, data_of_run
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Array, Encoder, Features, Inputs, Row
from tunedeploy.device.runtime import Session, logits_of
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly, Classifier
from tunedeploy.proof.judge import DECISION_ROWS
from tunedeploy.proof.torch_run import as_double, loaded, logits, places, run_torch, sample
from tunedeploy.run.entries import entry
from tunedeploy.run.exported import encoder_of
from tunedeploy.run.folder import RunDir, read_logits
from tunedeploy.run.lineage import FILE
from tunedeploy.run.results import Variant

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

ROWS = 32  # real rows on the grid; each is tried in several batches and lengths
MERGED_ROWS = 96  # as many as the merge stage compares
BATCHES = (1, 2, 3, 7)
FLOAT32 = Ledger(stage="export", file=FILE, variant="fp32")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is compared. What can be damaged is loaded when a check first asks, so that the check fails and says where.

    `trained` is the preprocessing as the recipe and the base model make it, `encoder` the bundle's own; `features` are
    those of `real` rows of the evaluation split, then of the edge rows, by the former.
    """

    recipe: "Recipe"
    rundir: RunDir
    task: Task
    trained: Encoder
    features: list[Features]
    names: list[str]
    real: int

    @cached_property
    def merged(self) -> Assembly:
        """The merged folder.

        Raises:
            ModelError: it cannot be loaded.
        """
        return loaded(self.task, self.rundir)

    @cached_property
    def double(self) -> Classifier:
        """The same in float64."""
        return as_double(self.merged.model)

    @cached_property
    def onnx(self) -> Session:
        """The float32 file."""
        return Session(self.rundir / "onnx" / "model.onnx")

    @cached_property
    def encoder(self) -> Encoder:
        """The bundle's preprocessing."""
        return encoder_of(self.recipe, self.rundir)

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of the evaluation split on which decisions are compared."""
        return sample(data_of(self.recipe).eval, DECISION_ROWS)

    @cached_property
    def reference(self) -> Array:
        """What the float32 file makes of them."""
        return logits_of(self.onnx, self.encoder, self.rows)

    @cached_property
    def whole(self) -> Array:
        """What the float32 file makes of the whole evaluation split."""
        return logits_of(self.onnx, self.encoder, data_of(self.recipe).eval)

    @property
    def variants(self) -> dict[str, Variant]:
        """What the quantize stage says of each file, float32 first."""
        return self.rundir.record("quantize").result["variants"]

    @property
    def noise_floor(self) -> float:
        """Of the trained model, as the merge stage measured it."""
        made = self.rundir.record("merge").result["comparisons"]
        return float(entry(made, "adapter-vs-merged", self.rundir / "stages" / "merge.json")["facts"]["noise_floor"])


def ledger_of(name: str, variant: Variant) -> Ledger:
    """The ledger of a variant's file; the stage that wrote it is to blame."""
    return Ledger(stage="export" if name == "fp32" else "quantize", file=variant["file"], variant=name)


def scene_of(recipe: "Recipe", rundir: RunDir) -> Scene:
    """Encode real rows and edge rows as training does.

    Raises:
        ModelError: the base model cannot be loaded.
        RunError: the data has changed since training.
    """
    task = plugins.load("tasks", recipe.task)
    data = data_of_run(recipe, rundir.path)
    trained = start.base(recipe, len(data.labels)).encoder
    rows = sample(data.eval, ROWS)
    edges = task.edge_rows(rows[0])
    names = [str(row["origin"]) for row in rows] + [f"edge row {at}" for at in range(len(edges))]
    features = trained.encode([*rows, *edges])
    return Scene(
        recipe=recipe, rundir=rundir, task=task, trained=trained, features=features, names=names, real=len(rows)
    )


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


def trained_against_merged(scene: Scene) -> list[Comparison]:
    """Logits that training ended with against the merged folder's, raw rows through its own preprocessing."""
    data = data_of(scene.recipe)
    shape = {"rows": len(data.eval), "labels": len(data.labels)}
    expected = read_logits(scene.rundir / "train" / "eval_logits.npy", **shape)
    chosen = places(len(expected), MERGED_ROWS)
    got = logits(scene.merged, scene.merged.encoder.encode(sample(data.eval, MERGED_ROWS)))
    floor = scene.noise_floor
    value, row = agreement.largest_difference(expected[chosen], got)
    limit = agreement.tolerance(floor, agreement.output_range(expected))
    where = str(data.eval[int(chosen[row])]["origin"])
    ledger, facts = Ledger(stage="merge", file="merged"), {"noise_floor": floor}
    return [ledger.at_most("trained-vs-merged", value, limit, rows=len(chosen), where=where, facts=facts)]


def torch_against_onnx(scene: Scene) -> list[Comparison]:
    """The merged model in torch against the file, over the grid, within the measured noise floor."""
    worst = {"difference": 0.0, "floor": 0.0}
    where, low, high = "", np.inf, -np.inf
    count = 0
    for name, inputs, chosen in grid(scene):
        single = run_torch(scene.merged.model, inputs, double=False)
        exact = run_torch(scene.double, inputs, double=True)
        got = scene.onnx(inputs)
        difference, row = agreement.largest_difference(single, got)
        if difference > worst["difference"]:
            worst["difference"], where = difference, f"{scene.names[chosen[row % len(chosen)]]}, {name}"
        worst["floor"] = max(worst["floor"], agreement.noise_floor(single, exact))
        low, high = min(low, float(single.min())), max(high, float(single.max()))
        count += len(chosen)
    spread = max(high - low, 1e-6)
    limit = agreement.tolerance(worst["floor"], spread)
    facts = {"noise_floor": worst["floor"], "output_range": spread}
    return [FLOAT32.at_most("torch-vs-onnx", worst["difference"], limit, rows=count, where=where, facts=facts)]


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
        floor = max(floor, agreement.noise_floor(single, run_torch(scene.double, inputs, double=True)))
        spread = max(spread, float(np.ptp(whole)))
        own = scene.onnx(inputs)
        mates = agreement.largest_difference(own, whole[at : at + 1])[0]
        if mates > together:
            together, where["batch"] = mates, names[at]
        if paddable:
            length = len(next(iter(row.values())))
            wider = min(length + 9, int(scene.encoder.facts["max_length"]))
            more = agreement.largest_difference(own, scene.onnx(scene.encoder.collate([row], wider)))[0]
            if more > padded:
                padded, where["padding"] = more, names[at]
    limit = agreement.tolerance(floor, spread)
    facts = {"noise_floor": floor, "output_range": spread}
    made = [("batch-invariance", together, where["batch"])]
    made += [("padding-invariance", padded, where["padding"])] if paddable else []
    return [FLOAT32.at_most(id, value, limit, rows=len(rows), where=place, facts=facts) for id, value, place in made]
