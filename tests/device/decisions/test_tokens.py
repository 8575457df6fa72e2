"""Entities are read as conlleval and seqeval read them, counted as they count, and shown where they stand."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import accuracy_score, f1_score
from seqeval.metrics.sequence_labeling import get_entities

from tests.wikigold import sentences
from tunedeploy.device.decisions import Answers, joined, open_decision
from tunedeploy.device.decisions.tokens import Tokens, entities, scheme_of
from tunedeploy.device.encoders.words import split
from tunedeploy.device.errors import RunError
from tunedeploy.device.typed import Mismatch

SCHEMES = {
    "IOB": ("O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in ("PER", "geo-loc"))),
    "IOBES": ("B-A", "I-A", "E-A", "S-A", "O", "B-B", "I-B", "E-B", "S-B"),
    "IO": ("I-A", "I-B", "I-C", "O"),
    "without kinds": ("B", "I", "O"),
    "without O": ("B-A", "I-A", "B-B", "I-B"),
}


def found(tags: Sequence[str], labels: tuple[str, ...]) -> list[tuple[str, int, int]]:
    scheme = scheme_of(labels)
    numbers = np.asarray([labels.index(tag) for tag in tags], dtype=np.int64)
    return [(scheme.names[kind], start, end) for kind, start, end in entities(numbers, scheme).tolist()]


def seqevals(tags: list[str]) -> list[tuple[str, int, int]]:
    return [(kind, start, end + 1) for kind, start, end in get_entities(tags)]


def answers_of(guesses: list[np.ndarray[Any, Any]], labels: int) -> Answers:
    evidence = np.concatenate([np.eye(labels, dtype=np.float32)[row] for row in guesses])
    return Answers(
        evidence=evidence,
        row=np.repeat(np.arange(len(guesses)), [len(row) for row in guesses]),
        place=np.concatenate([np.arange(len(row)) for row in guesses]),
    )


@pytest.mark.parametrize("name", SCHEMES)
def test_entities_of_any_sequence_are_seqevals(name: str) -> None:
    labels, rng = SCHEMES[name], np.random.default_rng(0)
    sequences = [rng.choice(labels, rng.integers(0, 12)).tolist() for _ in range(1000)]
    assert sum(len(seqevals(tags)) for tags in sequences) > 1000
    for tags in sequences:
        assert found(tags, labels) == seqevals(tags), tags


@pytest.mark.parametrize("name", SCHEMES)
def test_scores_of_any_sequences_are_seqevals(name: str) -> None:
    labels, rng = SCHEMES[name], np.random.default_rng(1)
    decision = Tokens(labels)
    for trial in range(100):
        true = [rng.integers(0, len(labels), rng.integers(1, 12)) for _ in range(10)]
        guesses = [np.where(rng.random(len(row)) < trial / 100, rng.permutation(row), row) for row in true]
        answers = answers_of(guesses, len(labels))
        names = [[[labels[tag] for tag in row] for row in rows] for rows in (true, guesses)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of seqeval: there is no entity
            wanted = {"entity_f1": f1_score(*names), "token_accuracy": accuracy_score(*names)}
        assert decision.metrics.keys() == wanted.keys()
        for metric, value in wanted.items():
            assert decision.score(metric, answers, true) == pytest.approx(100 * float(value), abs=1e-9)


def test_entities_of_wikigold_are_seqevals(assets: Path) -> None:
    rows = sentences(assets)
    labels = tuple(sorted({tag for row in rows for tag in row.tags}))
    assert labels == ("I-LOC", "I-MISC", "I-ORG", "I-PER", "O")
    assert [found(row.tags, labels) for row in rows] == [seqevals(row.tags) for row in rows]
    assert sum(len(seqevals(row.tags)) for row in rows) == 3558


def test_labels_without_prefixes_make_runs_and_other_schemes_are_read_too() -> None:
    plain = ("O", "PER", "E-mail")
    assert found(["PER", "PER", "E-mail", "O", "E-mail", "E-mail"], plain) == [
        ("PER", 0, 2), ("E-mail", 2, 3), ("E-mail", 4, 6),
    ]  # fmt: skip
    bilou = ("O", "B-A", "I-A", "L-A", "U-A")
    assert found(["B-A", "I-A", "L-A", "U-A", "U-A", "I-A"], bilou) == [
        ("A", 0, 3),
        ("A", 3, 4),
        ("A", 4, 5),
        ("A", 5, 6),
    ]
    bmes = ("B", "M", "E", "S")
    assert found(["B", "M", "E", "S", "B", "E"], bmes) == [("_", 0, 3), ("_", 3, 4), ("_", 4, 6)]
    mixed = ("O", "B-A", "I-A", "X")
    assert found(["B-A", "I-A", "X", "X", "I-A"], mixed) == [("A", 0, 2), ("X", 2, 4), ("A", 4, 5)]


LABELS = ("I-LOC", "O", "I-PER")


def test_units_are_the_places_where_words_start() -> None:
    logits = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    batch = {"word_starts": np.asarray([[0, 1, 0, 3], [2, 0, 0, 0]])}
    answers = Tokens(LABELS).answers({"logits": logits}, batch)
    assert answers.row.tolist() == [0, 0, 1]
    assert answers.place.tolist() == [0, 2, 1]
    assert np.array_equal(answers.evidence, logits[[0, 0, 1], [1, 3, 0]])
    assert Tokens(LABELS).places({"word_starts": batch["word_starts"][0]}).tolist() == [0, 2]
    later = Tokens(LABELS).answers({"logits": -logits}, batch)
    both = joined([(answers, np.asarray([3, 0])), (later, np.asarray([1, 2]))])
    assert list(zip(both.row, both.place, strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1), (3, 0), (3, 2)]


def test_words_without_a_unit_count_as_outside() -> None:
    answers = Answers(evidence=np.eye(3, dtype=np.float32)[[0, 2]], row=np.asarray([0, 2]), place=np.asarray([1, 0]))
    targets = Tokens(LABELS).targets([{"tags": [1, 0, 1, 2]}, {"tags": []}, {"tags": [0]}])
    assert [row.dtype.name for row in targets] == ["int64"] * 3
    assert [row.tolist() for row in Tokens(LABELS).guesses(answers, [4, 0, 1])] == [[1, 0, 1, 1], [], [2]]
    assert Tokens(LABELS).score("token_accuracy", answers, targets) == 100 * 3 / 5
    assert Tokens(LABELS).score("entity_f1", answers, targets) == 100 * 2 * 1 / (2 + 3)
    assert [row.tolist() for row in Tokens(("A", "B", "C")).guesses(answers, [2, 0, 1])] == [[0, 0], [], [2]]


def test_no_entity_anywhere_scores_0_and_an_unknown_metric_is_an_error() -> None:
    empty = Answers(evidence=np.zeros((0, 3), np.float32), row=np.zeros(0, np.int64), place=np.zeros(0, np.int64))
    for metric in Tokens.metrics:
        assert Tokens(LABELS).score(metric, empty, [np.zeros(0, np.int64)]) == 0
    with pytest.raises(RunError, match="no metric 'f1'; known: entity_f1, token_accuracy"):
        Tokens(LABELS).score("f1", empty, [])


def shown(row: dict[str, Any], tags: str, certain: float = 9.0) -> list[Any]:
    """What is shown of a row whose words have these labels, one letter a word."""
    numbers = np.asarray(["LOP".index(tag) for tag in tags], dtype=np.int64)
    answers = Answers(
        evidence=np.eye(3, dtype=np.float32)[numbers] * certain,
        row=np.zeros(len(tags), np.int64),
        place=np.arange(len(tags)),
    )
    (record,) = Tokens(LABELS).show(answers, [row])
    assert record.keys() == {"entities"}
    return list(record["entities"])


def test_entities_are_shown_with_their_characters() -> None:
    text = "🙂 E\u0301mile Zola\r\nlived, in\tPa\u0301ris 👩‍👩‍👧!"
    words = [word for word, _, _ in split(text)]
    assert words == [
        "🙂",
        "E\u0301mile",
        "Zola",
        "lived",
        ",",
        "in",
        "Pa\u0301ris",
        "👩‍👩‍👧",
        "!",
    ]
    people, place = shown({"text": text}, "OPPOOOLLO")
    assert people == {"label": "PER", "text": "E\u0301mile Zola", "start": 2, "end": 13, "probability": 0.999753}
    assert place == {"label": "LOC", "text": "Pa\u0301ris 👩‍👩‍👧", "start": 25, "end": 37, "probability": 0.999753}
    for entity in (people, place):
        assert text[entity["start"] : entity["end"]] == entity["text"]


def test_a_row_of_words_is_shown_in_its_words_joined_by_blanks() -> None:
    (entity,) = shown({"words": ["in", "New", "York", "."]}, "OLLO")
    assert entity["text"] == "New York" == "in New York ."[entity["start"] : entity["end"]]
    assert shown({"words": []}, "") == []
    assert shown({"text": " "}, "") == []


def test_an_entity_is_as_probable_as_its_least_certain_word() -> None:
    evidence = np.asarray([[5.0, 0, 0], [1.0, 0, 0]], np.float32)
    answers = Answers(evidence=evidence, row=np.asarray([1, 1]), place=np.asarray([0, 2]))
    rows = [{"text": "a"}, {"text": "a b c d"}]
    assert Tokens(LABELS).show(answers, rows)[0] == {"entities": []}
    first, second = Tokens(LABELS).show(answers, rows)[1]["entities"]
    assert (first["text"], second["text"]) == ("a", "c")
    assert first["probability"] == round(float(np.exp(5) / (np.exp(5) + 2)), 6)
    assert second["probability"] == round(float(np.exp(1) / (np.exp(1) + 2)), 6)
    together = Answers(evidence=evidence, row=np.asarray([0, 0]), place=np.asarray([0, 1]))
    (entity,) = Tokens(LABELS).show(together, [{"text": "a b"}])[0]["entities"]
    assert entity["probability"] == second["probability"]


def test_a_bundle_opens_it_by_its_kind() -> None:
    assert open_decision({"kind": "tokens"}, LABELS) == Tokens(LABELS)
    assert Tokens(LABELS).facts == {"kind": "tokens"}
    with pytest.raises(Mismatch, match="scheme: unknown"):
        open_decision({"kind": "tokens", "scheme": "IOB"}, LABELS)
