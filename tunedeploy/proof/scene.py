"""What verify compares: the trained model and its files side by side, over batches, lengths and real rows."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy import plugins
from tunedeploy.contracts.task import Task
from tunedeploy.data.read import Data
from tunedeploy.data.recipe_data import data_of, data_of_run
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.decisions import Answers, Decision
from tunedeploy.device.encoders import Encoder, Features, Inputs, Row
from tunedeploy.device.parts import Parts, row_size
from tunedeploy.device.programs import Pass, Program
from tunedeploy.device.runtime import Sessions
from tunedeploy.device.signature import Arrays, Graph, elements
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.runs import torch_pass
from tunedeploy.proof.apart import Outputs, valid
from tunedeploy.proof.judge import DECISION_ROWS
from tunedeploy.proof.torch_run import answers, loaded, places, sample
from tunedeploy.run.answers import read_answers
from tunedeploy.run.entries import entry
from tunedeploy.run.exported import encoder_of, float_files, sessions_of
from tunedeploy.run.folder import RunDir
from tunedeploy.run.results import Variant

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

ROWS = 32  # real rows on the grid; each is tried in several batches and lengths
MERGED_ROWS = 96  # as many as the merge stage compares
BATCHES = (1, 2, 3, 7)
Batch = tuple[Arrays, Arrays]  # inputs and outputs


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is compared. Files that may be damaged are loaded on first use, so that the check fails and says where.

    `trained` is the preprocessing as the recipe and the base model make it, `encoder` the bundle's own; `features` are
    those of `real` rows of the evaluation split, then of the edge rows, encoded by `trained`.
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
    def data(self) -> Data:
        """The rows that the run was trained on and judged by."""
        return data_of(self.recipe)

    @cached_property
    def program(self) -> Program:
        """How the files are called, by the preprocessing of training and the labels of the data."""
        return self.task.program(self.trained.facts, self.data.labels)

    @property
    def graph(self) -> Graph:
        """The whole pass: what of a batch goes in, and what comes out."""
        return self.program.graph

    @cached_property
    def torch(self) -> Pass:
        """The merged model in torch."""
        return torch_pass(self.merged)

    @cached_property
    def double(self) -> Pass:
        """The merged model in torch, in float64."""
        return torch_pass(self.merged, double=True)

    @cached_property
    def onnx(self) -> Pass:
        """The float32 files."""
        return Pass(program=self.program, run=Sessions(self.float_paths))

    def opened(self, variant: Variant, **options: Any) -> Pass:
        """The files of a variant; `options` are those of runtime.Session.

        Raises:
            RunError: onnxruntime cannot load one.
        """
        return Pass(program=self.program, run=sessions_of(self.rundir, variant, **options))

    @cached_property
    def float_paths(self) -> dict[str, Path]:
        """Graph to float32 file."""
        return {graph: self.rundir / file for graph, file in self.float_files.items()}

    @cached_property
    def float_files(self) -> dict[str, str]:
        """Graph to float32 file, relative to the run's folder."""
        return float_files(self.rundir)

    @property
    def float32(self) -> Ledger:
        """The ledger of the float32 file that gives the answers."""
        return Ledger(stage="export", file=list(self.float_files.values())[-1], variant="fp32")

    @cached_property
    def parts(self) -> Parts:
        """The bundle's own preprocessing, with its graphs and what its answers are."""
        decision = self.task.decision(self.data.labels)
        encoder = encoder_of(self.recipe, self.rundir)
        return Parts(encoder=encoder, program=self.program, decision=decision)

    @property
    def encoder(self) -> Encoder:
        """The bundle's preprocessing."""
        return self.parts.encoder

    @property
    def decision(self) -> Decision:
        """What an answer is."""
        return self.parts.decision

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of the evaluation split on which decisions are compared."""
        return sample(self.data.eval, DECISION_ROWS)

    @cached_property
    def reference(self) -> Answers:
        """The float32 file's answers to `rows`."""
        return self.parts.answers(self.onnx.run, self.rows)

    @cached_property
    def evaluation_answers(self) -> Answers:
        """The float32 file's answers to the whole evaluation split."""
        return self.parts.answers(self.onnx.run, self.data.eval, metric=self.metric)

    @cached_property
    def trained_answers(self) -> Answers:
        """The answers that training ended with.

        Raises:
            RunError: the file is missing, or holds something else.
        """
        path = self.rundir / "train" / "eval_logits.npy"
        return read_answers(path, rows=len(self.data.eval), width=self.width)

    @property
    def width(self) -> int:
        """The width of the evidence."""
        return self.decision.width

    @property
    def metric(self) -> str:
        """The metric that the run is judged by."""
        return self.rundir.record("train").result["metric"]

    @cached_property
    def truth(self) -> Any:
        """The targets that answers to the evaluation split are scored against."""
        return self.decision.targets(self.data.eval)

    @property
    def variants(self) -> dict[str, Variant]:
        """The quantize stage's record of each variant, float32 first."""
        return self.rundir.record("quantize").result["variants"]

    @property
    def noise_floor(self) -> float:
        """The noise floor of the trained model, as the merge stage measured it."""
        comparisons = self.rundir.record("merge").result["comparisons"]
        merged = entry(comparisons, "adapter-vs-merged", self.rundir / "stages" / "merge.json")
        return float(merged["facts"]["noise_floor"])


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
    trained = start.base(recipe, data).encoder
    rows = sample(data.eval, ROWS)
    edges = task.edge_rows(rows[0])
    names = [str(row["origin"]) for row in rows] + [f"edge row {at}" for at in range(len(edges))]
    features = trained.encode([*rows, *edges])
    return Scene(
        recipe=recipe, rundir=rundir, task=task, trained=trained, features=features, names=names, real=len(rows)
    )


def grid(scene: Scene) -> list[tuple[str, Inputs, list[int]]]:
    """Batches of 1, 2, 3 and 7 rows at every size, moving on through the rows, and one of all rows; with their rows."""
    batches = []
    at = 0
    total = len(scene.features)
    for size in scene.encoder.sizes(scene.features):
        for batch in BATCHES:
            chosen = [(at + offset) % total for offset in range(batch)]
            at += batch
            inputs = scene.encoder.collate([scene.features[row] for row in chosen], size)
            batches.append((f"batch {batch}" + (f" x length {size}" if size else ""), inputs, chosen))
    for at in range(0, total, 7):
        chosen = list(range(at, min(at + 7, total)))
        batches.append((f"batch {len(chosen)}", scene.encoder.collate([scene.features[row] for row in chosen]), chosen))
    return batches


def trained_against_merged(scene: Scene) -> list[Comparison]:
    """The answers that training ended with against the merged folder's, from raw rows by its own preprocessing."""
    chosen = places(len(scene.data.eval), MERGED_ROWS)
    expected = scene.trained_answers.of_rows(chosen)
    got = answers(scene.merged, scene.merged.encoder.encode(sample(scene.data.eval, MERGED_ROWS)))
    floor = scene.noise_floor
    numbers = scene.decision.numbers
    value, unit = agreement.largest_difference(numbers(expected.evidence), numbers(got.evidence))
    limit = agreement.tolerance(floor, agreement.output_range(numbers(scene.trained_answers.evidence)))
    where = str(scene.data.eval[int(chosen[expected.row[unit]])]["origin"])
    ledger, facts = Ledger(stage="merge", file="merged"), {"noise_floor": floor}
    return [ledger.at_most("trained-vs-merged", value, limit, rows=len(chosen), where=where, facts=facts)]


def torch_against_onnx(scene: Scene) -> list[Comparison]:
    """The merged model in torch against the file, over the grid, each output within its measured noise floor."""
    outputs, count = Outputs(scene.graph), 0
    for name, inputs, chosen in grid(scene):
        single = scene.torch(inputs)
        outputs.compare(inputs, single, scene.onnx(inputs), [scene.names[at] for at in chosen], f", {name}")
        outputs.measure_floor(inputs, single, scene.double(inputs))
        count += len(chosen)
    return [of_outputs(scene.float32, "torch-vs-onnx", outputs, count)]


def of_outputs(ledger: Ledger, id: str, outputs: Outputs, rows: int, **facts: object) -> Comparison:
    """The comparison of the output that uses the largest share of its limit, with further facts."""
    worst = outputs.worst()
    facts = {"noise_floor": worst.floor, "output_range": worst.spread, **facts}
    return ledger.at_most(id, worst.difference, worst.limit, rows=rows, where=worst.where, facts=facts)


def metamorphic(scene: Scene) -> list[Comparison]:
    """A row's answer depends neither on its padding nor on its batch mates (float32)."""
    rows = scene.features[: min(12, scene.real)] + scene.features[scene.real :]
    names = scene.names[: min(12, scene.real)] + scene.names[scene.real :]
    together, padded = Outputs(scene.graph), Outputs(scene.graph)
    inputs_of_all = scene.encoder.collate(rows)
    outputs_of_all = scene.onnx(inputs_of_all)
    paddable = scene.graph.paddable()
    for at, row in enumerate(rows):
        inputs = scene.encoder.collate([row])
        own = scene.onnx(inputs)
        single, double = scene.torch(inputs), scene.double(inputs)
        beside = {name: array[at : at + 1] for name, array in inputs_of_all.items()}
        own_of_all = {name: array[at : at + 1] for name, array in outputs_of_all.items()}
        same_row(together, (inputs, own), (beside, own_of_all), names[at])
        together.measure_floor(inputs, single, double)
        if paddable:
            wider = min(row_size(row) + 9, int(scene.encoder.facts["max_length"]))
            more = scene.encoder.collate([row], wider)
            same_row(padded, (inputs, own), (more, scene.onnx(more)), names[at])
            padded.measure_floor(inputs, single, double)
    for apart in (*together.apart.values(), *padded.apart.values()):
        apart.see_only(elements(apart.value, outputs_of_all[apart.value.name], inputs_of_all)[0])
    comparisons = [of_outputs(scene.float32, "batch-invariance", together, len(rows))]
    if paddable:
        comparisons.append(of_outputs(scene.float32, "padding-invariance", padded, len(rows)))
    return comparisons


def same_row(outputs: Outputs, first: Batch, second: Batch, name: str) -> None:
    """Compare a row's outputs in two batches that hold it, whose padding may differ."""
    for output, apart in outputs.apart.items():
        pair = (valid(apart.value, given[output], inputs)[0] for inputs, given in (first, second))
        difference, _ = agreement.largest_difference(*pair)
        if difference > apart.difference:
            apart.difference, apart.where = difference, name
