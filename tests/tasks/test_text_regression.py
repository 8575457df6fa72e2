"""Text regression: a number for a text or a pair, learned, kept and shown in the unit of the data."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import FILLER, WORDS, Tiny, TinyTask, bert
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.decisions import one_a_row
from tunedeploy.device.encoders import Row
from tunedeploy.errors import RecipeError
from tunedeploy.models import start
from tunedeploy.models.runs import torch_run
from tunedeploy.tasks import text_regression


def pairs(path: Path, *, rows: int = 60, seed: int = 0) -> Path:
    """A csv file of pairs of short sentences; the number is how many of their words they share."""
    rng = np.random.default_rng(seed)
    words = " ".join(WORDS.values()).split()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence1", "sentence2", "score"])
        for at in range(rows):
            own, other = rng.permutation(words)[:10].reshape(2, 5)
            shared = at % 6
            fillers = [rng.choice(FILLER, rng.integers(1, 4)) for _ in range(2)]
            first, second = [*own, *fillers[0]], [*own[:shared], *other[shared:], *fillers[1]]
            number = shared + rng.normal(0, 0.2)
            writer.writerow([" ".join(rng.permutation(first)), " ".join(rng.permutation(second)), f"{number:.3f}"])
    return path


TINY = TinyTask(
    data=lambda folder: pairs(folder / "pairs.csv"),
    model=lambda folder: bert(folder / "bert"),
    row={"text": "rain and storm and then frost", "text_pair": "we saw rain and then some soup"},
    answer=frozenset({"number"}),
    finished={"tune": {"method": "lora"}, "train": {"epochs": 8, "lr": 0.01}},
    finished_data=lambda folder: pairs(folder / "rows.csv", rows=150),
    labels=0,
)


def texts(path: Path, *, scale: float = 1.0, offset: float = 0.0) -> Path:
    """A csv file of single sentences; the number is how much their words speak of the weather."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "stars"])
        for at in range(60):
            words = [*rng.choice(WORDS["weather"].split(), at % 5), *rng.choice(WORDS["food"].split(), 4 - at % 5)]
            writer.writerow([" ".join(rng.permutation(words)), offset + scale * (at % 5 + rng.normal(0, 0.1))])
    return path


def test_columns_of_pairs_and_of_single_texts_are_found_by_their_usual_names(tiny: Tiny, tmp_path: Path) -> None:
    of_pairs = data_of(
        tiny.recipe(tmp_path / "a.yaml", "text-regression", data={"train": str(pairs(tmp_path / "a.csv"))})
    )
    assert {"text", "text_pair", "label"} <= set(of_pairs.train.column_names)
    of_texts = data_of(
        tiny.recipe(tmp_path / "b.yaml", "text-regression", data={"train": str(texts(tmp_path / "b.csv"))})
    )
    assert "text_pair" not in of_texts.train.column_names
    assert of_texts.labels == ()
    assert isinstance(of_texts.train[0]["label"], float)


@pytest.mark.parametrize("single", [False, True])
def test_a_kept_model_gives_the_same_numbers_in_the_same_unit(single: bool, tiny: Tiny, tmp_path: Path) -> None:
    file = texts(tmp_path / "x.csv", scale=80_000, offset=250_000) if single else pairs(tmp_path / "x.csv")
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-regression", data={"train": str(file)})
    data = data_of(recipe)
    assembly = start.base(recipe, data)
    numbers = np.asarray(data.train["label"])
    assert assembly.facts["mean"] == pytest.approx(numbers.mean(), rel=1e-6)
    assert assembly.facts["scale"] == pytest.approx(numbers.std(), rel=1e-6)

    text_regression.save(assembly, (), tmp_path / "kept")
    kept = text_regression.load(tmp_path / "kept")
    assert kept.facts == assembly.facts
    assert kept.graph == assembly.graph
    assert kept.encoder.facts == assembly.encoder.facts
    rows: list[Row] = [dict(row) for row in data.eval]
    first, second = (one.parts.answers(torch_run(one), rows).evidence for one in (assembly, kept))
    np.testing.assert_array_equal(first, second)
    assert abs(first.mean() - numbers.mean()) < 3 * numbers.std()
    device = text_regression.device_encoder(tmp_path / "kept", assembly.encoder.facts)
    for ours, theirs in zip(assembly.encoder.encode(rows), device.encode(rows), strict=True):
        np.testing.assert_array_equal(ours["input_ids"], theirs["input_ids"])


def test_the_loss_counts_standard_deviations_whatever_the_unit() -> None:
    def loss(numbers: list[float], targets: list[float], facts: Mapping[str, Any]) -> list[float]:
        outputs = {"logits": torch.tensor(numbers)[:, None]}
        kept = text_regression.targets([{"label": one} for one in targets], None)
        stacked = {"label": torch.stack([torch.from_numpy(one["label"]) for one in kept])}
        rows: list[float] = text_regression.loss(outputs, stacked, None, facts).tolist()
        return rows

    assert loss([1.0, 3.0], [2.0, 3.0], {"scale": 0.5}) == [4.0, 0.0]
    assert loss([1e5, 3e5], [2e5, 3e5], {"scale": 0.5e5}) == [4.0, 0.0]


def test_numbers_that_are_all_equal_are_one_line() -> None:
    with pytest.raises(RecipeError, match="data.label: every training row has the number 3; there is nothing to learn"):
        text_regression.unit_of(np.full(10, 3.0))


def test_the_report_has_every_metric_and_how_the_numbers_spread() -> None:
    targets = np.arange(5.0)
    report = text_regression.report(one_a_row(targets.astype(np.float32)[:, None] * 2), targets, ())
    assert list(report["metrics"]) == ["spearman", "pearson", "rmse", "mae"]
    assert report["metrics"]["mae"] == 2
    assert report["text"].splitlines()[-1].split() == ["predicted", "0", "2", "4", "6", "8"]
    assert text_regression.metric_name(targets, ()) == "spearman"


def test_rows_of_pairs_have_edges_in_both_texts() -> None:
    edges = text_regression.edge_rows({"text": "a", "text_pair": "b", "label": 1.0})
    assert all(row["text_pair"] is not None for row in edges)
    assert any(row["text_pair"] == "" or row["text"] == "" for row in edges)
