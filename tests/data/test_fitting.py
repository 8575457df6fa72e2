"""Which task a table fits, by the names of its columns and by what their cells hold."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tunedeploy.data.columns import IMAGE_ROWS, TEXT_ROWS, Column
from tunedeploy.data.fitting import Fit, Sample, fit
from tunedeploy.data.kinds.number import NUMBER
from tunedeploy.data.kinds.reference import REFERENCE
from tunedeploy.data.kinds.tags import TAGS
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.kinds.words import WORDS
from tunedeploy.data.readers.open import open_source

TASKS = {
    "text-classification": TEXT_ROWS,
    "image-classification": IMAGE_ROWS,
    "token-classification": (
        Column(key="words", kind=WORDS, guesses=("tokens",)),
        Column(key="tags", kind=TAGS, guesses=("ner_tags", "labels"), parallel="words"),
    ),
    "text-regression": (*TEXT_ROWS[:2], Column(key="score", kind=NUMBER, guesses=("label", "rating", "similarity"))),
    "translation": (
        Column(key="source", kind=TEXT, guesses=("en",)),
        Column(key="target", kind=REFERENCE, guesses=("fr",)),
    ),
}
WORDS_OF_TEXT = ["amber", "bridge", "candle", "dragon", "ember", "forest", "garden", "harbour", "island", "jungle"]


def _fits(name: str) -> dict[str, Fit]:
    source = open_source(name)
    sample = Sample(source.splits[next(iter(source.splits))]())
    found = {task: fit(sample, columns) for task, columns in TASKS.items()}
    return {task: fitting for task, fitting in found.items() if fitting is not None}


def _best(name: str) -> tuple[str, dict[str, str]]:
    fits = _fits(name)
    assert fits
    task = max(sorted(fits), key=lambda task: fits[task].score)
    return task, dict(fits[task].columns)


def _csv(path: Path, header: str, rows: list[list[Any]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(path)


def _text(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS_OF_TEXT, k=8))


TABLES: dict[str, tuple[str, Any, str, dict[str, str]]] = {
    "few labels": (
        "text,label", lambda n: [_text(n), "ab"[n % 2]], "text-classification", {"text": "text", "label": "label"},
    ),
    "few whole numbers": (
        "review,label", lambda n: [_text(n), n % 5 + 1], "text-classification", {"text": "review", "label": "label"},
    ),
    "numbers with decimals": (
        "text,label", lambda n: [_text(n), n * 37 % 50 / 10], "text-regression", {"text": "text", "score": "label"},
    ),
    "many whole numbers": (
        "text,label", lambda n: [_text(n), n * 37 % 90], "text-regression", {"text": "text", "score": "label"},
    ),
    "pairs with a label": (
        "premise,hypothesis,label", lambda n: [_text(n), _text(-n), "ab"[n % 2]], "text-classification",
        {"text": "premise", "text_pair": "hypothesis", "label": "label"},
    ),
    "pairs with a number": (
        "id,sentence1,sentence2,similarity", lambda n: [n, _text(n), _text(-n), n * 37 % 50 / 10], "text-regression",
        {"text": "sentence1", "text_pair": "sentence2", "score": "similarity"},
    ),
    "questions": (
        "question1,question2,label", lambda n: [_text(n), _text(-n), n % 2], "text-classification",
        {"text": "question1", "text_pair": "question2", "label": "label"},
    ),
    "names that say nothing": (
        "Nr,Kundentext,Bewertung", lambda n: [n, _text(n), "gut" if n % 3 else "schlecht"], "text-classification",
        {"text": "Kundentext", "label": "Bewertung"},
    ),
    "two languages": (
        "en,fr", lambda n: [_text(n), _text(n + 1000)], "translation", {"source": "en", "target": "fr"},
    ),
    "words in cells": (
        "tokens,ner_tags", lambda n: [json.dumps(_text(n).split()), "O O B-X O O O O O"], "token-classification",
        {"words": "tokens", "tags": "ner_tags"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("claim", TABLES)
def test_a_table_fits_the_task_that_its_cells_are_of(tmp_path: Path, claim: str) -> None:
    header, row, task, columns = TABLES[claim]
    assert _best(_csv(tmp_path / "a.csv", header, [row(n) for n in range(200)])) == (task, columns)


def test_rows_sorted_by_their_label_are_seen_from_both_ends(tmp_path: Path) -> None:
    rows = [[_text(n), "good" if n < 2000 else "bad"] for n in range(4000)]
    fits = _fits(_csv(tmp_path / "a.csv", "text,label", rows))
    assert fits["text-classification"].score == pytest.approx(1)


def test_a_column_does_not_stand_for_what_its_cells_are_not(tmp_path: Path) -> None:
    rows = [[n, _text(n), "ab"[n % 2]] for n in range(100)]
    name = _csv(tmp_path / "a.csv", "image,text,label", rows)
    assert set(_fits(name)) == {"text-classification"}
    assert _fits(name)["text-classification"].why == "'text' as text, by its name; 'label' as category, by its name"


def test_as_many_tags_as_words_or_another_task(tmp_path: Path) -> None:
    rows = [[_text(n), "O O"] for n in range(100)]
    assert "token-classification" not in _fits(_csv(tmp_path / "a.csv", "words,tags", rows))


def test_a_few_bad_cells_do_not_hide_a_task(tmp_path: Path) -> None:
    rows = [[_text(n), "" if n == 7 else "ab"[n % 2]] for n in range(100)]
    assert _best(_csv(tmp_path / "a.csv", "text,label", rows))[0] == "text-classification"


def test_nothing_fits_a_table_of_numbers_alone(tmp_path: Path) -> None:
    assert _fits(_csv(tmp_path / "a.csv", "a,b", [[n, n / 7] for n in range(100)])) == {}


REAL = {
    "banking77": ("banking77/train.csv", "text-classification", {"text": "text", "label": "category"}),
    "sentiment": ("sentiment_sentences", "text-classification", {"text": "text", "label": "label"}),
    "flowers12": ("flowers12", "image-classification", {"image": "image", "label": "label"}),
    "stsb": (
        "stsb/train.csv",
        "text-regression",
        {"text": "sentence1", "text_pair": "sentence2", "score": "score"},
    ),
    "wikigold": ("wikigold/wikigold.conll.txt", "token-classification", {"words": "words", "tags": "tags"}),
    "tatoeba": ("tatoeba_eng_fra/train.csv", "translation", {"source": "en", "target": "fr"}),
}


@pytest.mark.parametrize("claim", REAL)
def test_real_sets_fit_their_tasks(assets: Path, claim: str) -> None:
    name, task, columns = REAL[claim]
    assert _best(str(assets / "data" / name)) == (task, columns)
