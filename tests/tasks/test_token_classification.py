"""Token classification, tiny; its targets, loss and report; and rows of every reader."""

import json
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seqeval.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy

from tests.finished import Finished
from tests.tiny import FILLER, WORDS, Tiny, TinyTask, base_of, bert
from tests.wikigold import sentences
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.decisions import Answers
from tunedeploy.device.encoders import words
from tunedeploy.proof.bundle import load_bundle
from tunedeploy.tasks import token_classification as task

KINDS = ("food", "sport")


def tagged(path: Path, *, rows: int = 60, seed: int = 0) -> Path:
    """Sentences of tiny words and of signs, in which words of two kinds are entities."""
    rng = np.random.default_rng(seed)
    tags = {word: f"I-{kind}" for kind in KINDS for word in WORDS[kind].split()}
    every = [*tags, *FILLER, *FILLER, *",.:🙂👩"]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            words = rng.choice(every, rng.integers(4, 12)).tolist()
            file.write(json.dumps({"tokens": words, "ner_tags": [tags.get(word, "O") for word in words]}) + "\n")
    return path


TINY = TinyTask(
    data=lambda folder: tagged(folder / "tagged.jsonl"),
    model=lambda folder: bert(folder / "bert"),
    row={"text": "then we saw bread-cheese, and it was a match 🙂"},
    answer=frozenset({"entities"}),
    finished={"tune": {"method": "lora"}, "train": {"epochs": 8, "lr": 0.01}},
    finished_data=lambda folder: tagged(folder / "rows.jsonl", rows=150),
)


def test_targets_stand_where_words_start() -> None:
    rows = [{"tags": [2, 0, 1]}, {"tags": []}, {"tags": [1, 2]}]
    starts = [[0, 1, 0, 3, 0], [0, 0], [0, 2, 0]]
    targets = task.targets(rows, [{"word_starts": np.asarray(row)} for row in starts])
    assert [row["tags"].tolist() for row in targets] == [[-100, 2, -100, 1, -100], [-100, -100], [-100, 2, -100]]
    assert task.weights(targets).tolist() == [2.0, 0.0, 1.0]
    assert [int(row["tags"]) for row in task.unit_targets(targets)] == [2, 1, 2]


def test_the_loss_of_a_row_is_the_sum_of_its_words() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 4)
    tags = torch.tensor([[-100, 2, -100, 1, -100], [-100] * 5, [3, 0, 0, 1, 2]])
    losses = task.loss({"logits": logits}, {"tags": tags}, None, {})
    wanted = [
        sum(cross_entropy(row[at], tag[at]) for at in range(5) if tag[at] >= 0)
        for row, tag in zip(logits, tags, strict=True)
    ]
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, torch.tensor([float(value) for value in wanted]), atol=1e-6)
    kept = task.loss({"logits": logits[2]}, {"tags": tags[2]}, None, {})
    assert kept.shape == (5,)
    assert torch.allclose(kept.sum(), losses[2], atol=1e-6)


def test_the_report_is_seqevals_and_agrees_with_the_metrics() -> None:
    labels, rng = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O"), np.random.default_rng(0)
    true = [rng.integers(0, 5, 8) for _ in range(50)]
    guesses = [np.where(rng.random(8) < 0.3, rng.integers(0, 5, 8), row) for row in true]
    evidence = np.eye(5, dtype=np.float32)[np.concatenate(guesses)]
    answers = Answers(evidence=evidence, row=np.repeat(np.arange(50), 8), place=np.tile(np.arange(8), 50))
    report = task.report(answers, true, labels)
    names = [[[labels[tag] for tag in row] for row in rows] for rows in (true, guesses)]
    assert report["metrics"]["entity_f1"] == pytest.approx(100 * float(f1_score(*names)))
    assert report["metrics"]["token_accuracy"] == pytest.approx(100 * float(accuracy_score(*names)))
    by_kind = report["details"]["per_entity"]
    assert by_kind["micro avg"]["f1-score"] == pytest.approx(report["metrics"]["entity_f1"] / 100)
    assert set(by_kind) == {"LOC", "PER", "micro avg", "macro avg", "weighted avg"}
    assert f"{by_kind['PER']['f1-score']:.4f}" in report["text"]
    json.dumps(report)


@pytest.mark.parametrize("labels", [("O", "food", "sport"), ("O", "U-food", "L-food"), ("O", "B", "I")])
def test_the_report_agrees_with_the_metrics_in_schemes_that_seqeval_does_not_know(labels: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    true = [rng.integers(0, 3, 6) for _ in range(30)]
    guesses = [np.where(rng.random(6) < 0.3, 0, row) for row in true]
    evidence = np.eye(3, dtype=np.float32)[np.concatenate(guesses)]
    answers = Answers(evidence=evidence, row=np.repeat(np.arange(30), 6), place=np.tile(np.arange(6), 30))
    report = task.report(answers, true, labels)
    assert report["metrics"]["entity_f1"] > 10
    assert report["details"]["per_entity"]["micro avg"]["f1-score"] == pytest.approx(
        report["metrics"]["entity_f1"] / 100
    )


def test_without_any_entity_the_report_says_so_and_warns_of_nothing() -> None:
    answers = Answers(evidence=np.eye(2, dtype=np.float32)[[1]], row=np.zeros(1, int), place=np.zeros(1, int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = task.report(answers, [np.asarray([1])], ("I-LOC", "O"))
    assert report["text"] == "no entities, neither in the data nor found"
    assert report["metrics"] == {"entity_f1": 0.0, "token_accuracy": 100.0}


FILES = {
    "a.conll": "-DOCSTART- O\n\nsnow O\nbread I-food\n\nmatch I-sport\n",
    "a.jsonl": '{"words": ["snow", "bread"], "tags": ["O", "I-food"]}\n{"words": ["match"], "tags": ["I-sport"]}\n',
    "a.csv": 'tokens,ner_tags\nsnow bread,O I-food\nmatch,I-sport\n',
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_reader_gives_words_and_tags(name: str, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    held_out = tmp_path / f"eval.{name.rpartition('.')[2]}"
    held_out.write_text(FILES[name].replace("snow", "rain"))
    recipe = tiny.recipe(
        tmp_path / "r.yaml", "token-classification", data={"train": str(tmp_path / name), "eval": str(held_out)}
    )
    data = data_of(recipe)
    assert data.labels == ("I-food", "I-sport", "O")
    assert [(row["words"], row["tags"]) for row in data.train] == [(["snow", "bread"], [2, 0]), (["match"], [1])]
    assembly = base_of(recipe)
    assert assembly.graph.outputs[0].axes == ("batch", "sequence", 3)


def test_edge_rows_are_encoded_alike_in_training_and_on_the_device(tiny: Tiny, tmp_path: Path) -> None:
    assembly = base_of(tiny.recipe(tmp_path / "r.yaml", "token-classification"))
    task.save(assembly, ("I-food", "I-sport", "O"), tmp_path / "model")
    assert task.contradictions(tmp_path / "model", assembly.encoder.facts) == []
    assert task.rewritten(tmp_path / "model", assembly.encoder) == []
    rows = task.edge_rows({"words": ["a"]})
    first = assembly.encoder.encode(rows)
    device = task.device_encoder(tmp_path / "model", assembly.encoder.facts)
    again = task.load(tmp_path / "model")
    assert again.facts == assembly.facts and again.graph == assembly.graph
    for other in (device.encode(rows), again.encoder.encode(rows)):
        assert all(np.array_equal(one[name], two[name]) for one, two in zip(first, other, strict=True) for name in one)
    inputs: dict[str, Any] = {
        name: torch.from_numpy(value) for name, value in assembly.graph.select(device.collate(first)).items()
    }
    with torch.inference_mode():
        assert torch.equal(assembly.model(**inputs), again.model(**inputs))


def test_wikigold_has_a_target_for_each_word_that_has_a_token(assets: Path, tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"words": row.words, "tags": [len(tag) for tag in row.tags]} for row in sentences(assets)[:200]]
    encoder = base_of(tiny.recipe(tmp_path / "r.yaml", "token-classification")).encoder
    features = encoder.encode(rows)
    units = sum(int((row["word_starts"] > 0).sum()) for row in features)
    assert int(task.weights(task.targets(rows, features)).sum()) == units > 2500


def test_a_bundle_gives_the_entities_of_a_raw_text(finished: Callable[[str], Finished]) -> None:
    bundle = load_bundle(finished("token-classification").dist)
    text = "👩‍👩‍👧 saw che\u0301ese,\r\nthen a match 🙂"
    for variant in bundle.manifest["variants"]:
        record, other = bundle.predict([{"text": text}, {"words": ["and", "cheese"]}], variant)
        assert [(entity["label"], entity["text"], entity["start"]) for entity in record["entities"]] == [
            ("food", "che\u0301ese", 10), ("sport", "match", 27),
        ]  # fmt: skip
        assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in record["entities"])
        assert [(entity["start"], entity["end"]) for entity in other["entities"]] == [(4, 10)]


def last_tokens(features: dict[str, Any], word_ids: Sequence[int | None]) -> Any:
    """As encoders.words.with_starts, but a word stands where its last token does."""
    starts = [0 if word is None or word == then else 1 + word for word, then in pairwise([*word_ids, None])]
    return {**features, "word_starts": np.asarray([*starts, 0][: len(features["input_ids"])])}


def test_another_rule_of_where_words_stand_is_stopped(
    finished: Callable[[str], Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(finished("token-classification").dist)
    assert all(comparison.ok for comparison in bundle.verify())
    monkeypatch.setattr(words, "with_starts", last_tokens)
    breaches = [comparison for comparison in bundle.verify() if not comparison.ok]
    assert [(breach.id, breach.where.endswith("word_starts")) for breach in breaches] == [("golden-inputs", True)]
