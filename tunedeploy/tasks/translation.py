"""Translation: a text in, another text out, written token by token; so are summaries and answers in words."""

# Imports no torch at the top: the same file serves `predict` on a device that has none.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from tunedeploy.contracts.task import IGNORE, Report
from tunedeploy.data import kinds
from tunedeploy.data.columns import Column
from tunedeploy.device.decisions import Answers
from tunedeploy.device.decisions import text as texts
from tunedeploy.device.encoders import Array, Features, Row
from tunedeploy.device.encoders import open_encoder as device_encoder
from tunedeploy.device.encoders.text import contradictions
from tunedeploy.device.encoders.text_to_text import facts_from
from tunedeploy.device.programs import Program, open_program
from tunedeploy.device.programs.seq2seq import OUTPUT, Seq2SeqFacts, whole_graph
from tunedeploy.device.signature import Graph
from tunedeploy.recipe.read import Section
from tunedeploy.tasks._text import BARE_INPUT
from tunedeploy.tasks._text import edge_rows as source_rows

if TYPE_CHECKING:
    import torch

    from tunedeploy.data.read import Data
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import TrainOptions

__all__ = ["BARE_INPUT", "contradictions", "device_encoder"]

SYNONYMS = (  # names of the same task elsewhere, for a recipe that writes one of them
    "text2text-generation", "text-to-text", "seq2seq", "sequence-to-sequence", "machine-translation", "nmt", "mt",
    "summarization", "summarisation",
)  # fmt: skip
MODELS = (("new://marian", "full"),)
COLUMNS = (
    Column(
        key="text", kind=kinds.kind("text"), guesses=("source", "src", "en", "text", "input", "document", "article")
    ),
    Column(
        key="target",
        kind=kinds.kind("reference"),
        guesses=("target", "tgt", "fr", "de", "es", "translation", "summary", "output", "reference"),
    ),
)
METHOD_DEFAULTS = {
    "full": {"train.label_smoothing": 0.1},  # a text has many right translations (Vaswani et al. 2017)
}
NEW_MODEL_DEFAULTS = {
    # On 40,000 pairs of short sentences a rate of 1e-3 learns four times as fast as 1e-4.
    "full": {"train.lr": 1e-3, "train.epochs": 4, "train.batch_size": 64, "train.warmup": 0.05},
}
SHOWN = 10  # rows of the report
# Of a right answer in the kit: characters at most, and fewer where a token's logits are many. A few dozen rows with
# this many logits take some hundred MB before they are compressed.
LONGEST_GOLDEN, GOLDEN_NUMBERS = 64, 2**19


class Options(Section):
    """Keys of `data`: which columns hold what, and how long texts may be."""

    text: str | None = None  # found by its usual names when left out
    target: str | None = None  # the text to be written; found by its usual names when left out
    # Tokens of a source, and of what is written, in training and by an app: 128, or what the checkpoint has places for.
    max_length: int | None = Field(default=None, ge=8, lt=2**20)
    max_target_length: int | None = Field(default=None, ge=8, lt=2**20)


class TuneOptions(Section):
    """Keys of `tune`: the size of a new model; a checkpoint has its own."""

    width: int = Field(default=256, ge=32, multiple_of=32)  # of the states; twice the width is four times the work
    layers: int = Field(default=2, ge=1)  # of the encoder, and of the decoder
    vocabulary: int = Field(default=4000, ge=300)  # entries of the tokenizer that is learned from the training rows


def assemble(recipe: "Recipe", data: "Data") -> "Assembly":
    """The model before training, and its encoder; see models.classifier.Assembly."""
    from tunedeploy.models import translator

    return translator.assemble(recipe, data, decision(()))


def save(assembly: "Assembly", labels: tuple[str, ...], folder: Path) -> None:
    """Write a plain model folder: encoder, decoder and tokenizer."""
    from tunedeploy.models import translator

    translator.save(assembly, folder, {"task": "translation", "labels": list(labels)})


def load(folder: Path, *, attention: str = "sdpa") -> "Assembly":
    """Read back what `save` wrote; attention is always written out."""
    from tunedeploy.models import translator

    del attention
    return translator.load(folder, decision(()))


def graph(facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
    """Ids of the source and of the right answer in, logits of each of its tokens out."""
    del labels
    return whole_graph(Seq2SeqFacts(**facts_from(facts).program))


def program(facts: Mapping[str, Any], labels: Sequence[str]) -> Program:
    """An encoder that is called once and a decoder that is called for each token."""
    return open_program(facts_from(facts).program, graph(facts, labels))


def decision(labels: Sequence[str]) -> texts.Text:
    """A text."""
    del labels
    return texts.Text()


def targets(rows: Sequence[Row], features: Sequence[Features] | None) -> Sequence[Mapping[str, Array]]:
    """The ids of each row's right answer."""
    del rows
    assert features is not None, "texts are kept"
    return [{"ids": row["target_ids"]} for row in features]


def loss(
    outputs: Mapping[str, "torch.Tensor"],
    targets: Mapping[str, "torch.Tensor"],
    options: "TrainOptions | None",
    facts: Mapping[str, Any],
) -> "torch.Tensor":
    """Cross-entropy summed over each row's tokens, float32 (rows,)."""
    from torch.nn.functional import cross_entropy

    del facts
    scores = outputs[OUTPUT].float().transpose(1, 2)
    smoothing = options.label_smoothing if options is not None else 0.0
    each: torch.Tensor = cross_entropy(
        scores, targets["ids"], ignore_index=IGNORE, reduction="none", label_smoothing=smoothing
    )
    return each.sum(1)


def weights(targets: Sequence[Mapping[str, Array]]) -> Array:
    """How many tokens each row's answer has."""
    return np.asarray([len(target["ids"]) for target in targets], np.float64)


def metric_name(targets: Sequence[str], labels: Sequence[str]) -> str:
    """BLEU, by which translations have been compared for twenty years."""
    del targets, labels
    return "bleu"


def report(answers: Answers, targets: Sequence[str], labels: Sequence[str]) -> Report:
    """Every metric, and for some rows the generated text beside the right one."""
    del labels
    metrics = {name: decision(()).score(name, answers, targets) for name in texts.METRICS}
    lines = [f"{name:<16}{value:10.4f}" for name, value in metrics.items()]
    assert answers.texts is not None, "bleu compares them"
    for at in np.unique(np.linspace(0, len(targets) - 1, min(SHOWN, len(targets))).astype(int)):
        lines += ["", f"right    {targets[at]}", f"written  {answers.texts[at]}"]
    return {"metrics": metrics, "text": "\n".join(lines), "files": {}, "details": {}}


def golden_row(row: Row, facts: Mapping[str, Any]) -> Row:
    """A row with the beginning of its right answer: a kit keeps the logits of each token, which are a vocabulary."""
    characters = max(2, min(LONGEST_GOLDEN, GOLDEN_NUMBERS // int(facts["program"]["vocabulary"])))
    return {**row, "target": row["target"][:characters]}


def edge_rows(sample: Row) -> list[Row]:
    """Sources that break careless exports, and answers: empty, one character, overlong, other scripts."""
    rows: list[Row] = [{**row, "target": sample["target"]} for row in source_rows(sample)]
    sources = {"text": sample["text"]}
    return [*rows, *({**sources, "target": text} for text in ("", "a", "word " * 500, "日本語 🙂"))]
