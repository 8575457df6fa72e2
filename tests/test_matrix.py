"""A part of the matrix of architectures, by the program that makes the whole; and what that program calls healthy."""

import re
from pathlib import Path

import pytest

from benchmarks import matrix
from tunedeploy import plugins
from tunedeploy.errors import DataError, ModelError, ParityError, TunedeployError
from tunedeploy.run.folder import RunDir

# Unlike the BERT and ResNet of other tests: disentangled attention, rotary positions, depthwise 7 x 7, layer scale.
PART = {"DeBERTa-v2": "lora", "ModernBERT": "last-layer", "ConvNeXt": "lora", "DINOv2": "last-layer"}


def test_the_matrix_holds_at_least_twenty_architectures_and_every_task_by_the_head_and_by_lora() -> None:
    tasks = [architecture.task for architecture in matrix.ALL.values()]
    assert min(tasks.count("text-classification"), tasks.count("image-classification")) >= 10
    assert set(tasks) == set(plugins.names("tasks"))
    assert all(tasks.count(task) >= 3 for task in tasks)
    assert matrix.METHODS == ("last-layer", "lora")
    assert set(matrix.METHODS) <= set(plugins.names("methods"))
    assert set(PART) <= set(matrix.ALL)


@pytest.mark.parametrize(("name", "method"), PART.items(), ids=PART)
def test_a_healthy_architecture_is_not_stopped(name: str, method: str, tmp_path: Path) -> None:
    (outcome,) = matrix.outcomes(tmp_path, name, [method])
    assert outcome.verdict == "all held"
    assert outcome.good


def test_the_page_shows_every_classifier_by_every_method_and_none_that_failed(checkout: Path) -> None:
    text = (checkout / "docs" / "matrix.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"][2:]
    verdicts = {(row[0], row[2]): row[3] for row in rows}
    refused = {name for (name, method), verdict in verdicts.items() if (method, verdict[:9]) == ("full", "refused: ")}
    classifiers = [
        name for name, each in matrix.ALL.items() if each.task in ("text-classification", "image-classification")
    ]
    tuned = {(name, method) for name in classifiers if name not in refused for method in matrix.METHODS}
    assert set(verdicts) == tuned | {(name, "full") for name in refused}
    assert all(re.match("all held$|refused: ", one) for one in verdicts.values()), verdicts


def test_a_model_that_no_bundle_could_hold_is_refused_in_one_row(tmp_path: Path) -> None:
    (outcome,) = matrix.outcomes(tmp_path, "ConvBERT")
    assert outcome.verdict.startswith("refused: model 'random': torch alone gives a row other answers")
    assert outcome.good and outcome.method == "full"


def test_a_trunk_that_is_not_made_for_its_images_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(matrix.ALL, "odd", matrix.image("ViT", side=48, **matrix.IMAGE))
    (outcome,) = matrix.outcomes(tmp_path, "odd")
    assert outcome.verdict.startswith("refused: ")
    assert "32" in outcome.verdict and "48" in outcome.verdict
    assert outcome.good and outcome.method == "full"
    assert not (tmp_path / "odd-full" / "run" / "train").exists()


@pytest.mark.parametrize(
    ("error", "planned", "verdict"),
    [
        (ModelError("no such layer"), False, "refused: no such layer"),
        (ModelError("cannot be converted"), True, "FALSE ALARM: cannot be converted"),
        (ParityError("logits differ"), True, "FALSE ALARM: logits differ"),
        (ParityError("logits differ"), False, "FALSE ALARM: logits differ"),
        (DataError(["two", "lines"]), False, "FALSE ALARM: two"),
        (ValueError("size 1 of 2"), False, "BUG: ValueError: size 1 of 2"),
    ],
    ids=str,
)
def test_only_one_line_before_training_is_a_refusal(
    error: TunedeployError, planned: bool, verdict: str, tmp_path: Path
) -> None:
    rundir = RunDir(tmp_path)
    if planned:
        rundir.finish("plan", key="", seconds=0.0, files=[], result={})
    outcome = matrix.stopped("ViT", "lora", error, rundir)
    assert outcome.verdict == verdict
    assert outcome.good == verdict.startswith("refused: ")


def test_what_was_tried_is_kept_and_not_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    outcome = matrix.Outcome(name="ViT", method="lora", verdict="all held", good=True, figures=("1", "2", "", "", ""))
    assert matrix.tried_before(file) == {}
    for _ in range(2):
        matrix.keep(file, "ViT", [outcome])
    assert len(file.read_text().splitlines()) == 1
    assert matrix.tried_before(file) == {"ViT": [outcome]}
    file.write_text(file.read_text().replace('"torch": "', '"torch": "0.'))  # another torch tells nothing of this one
    assert matrix.tried_before(file) == {}
