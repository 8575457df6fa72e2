"""What `predict` can be asked and where its answers go: files, folders, stdin, the best labels, csv and jsonl."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.finished import Finished
from tests.test_cli import Command, refused
from tests.test_cli import tunedeploy as tunedeploy  # a fixture
from tunedeploy.commands.inputs import example_input
from tunedeploy.device.decisions import Detail, one_a_row, open_decision
from tunedeploy.device.errors import RunError
from tunedeploy.proof.bundle import load_bundle
from tunedeploy.run.csv_text import csv_text

TEXTS = ["soup and bread", "race, match", "rain"]


def asked(tunedeploy: Command, *arguments: str | Path) -> list[dict[str, Any]]:
    done = tunedeploy("predict", *arguments, "--json")
    assert (done.code, done.err) == (0, "")
    predictions: list[dict[str, Any]] = done.document["predictions"]
    return predictions


def test_a_file_of_rows_is_answered_row_by_row(tunedeploy: Command, text_run: Finished) -> None:
    Path("new.csv").write_text('text\nsoup and bread\n"race, match"\nrain\n')
    Path("new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    typed = asked(tunedeploy, text_run.dist, *TEXTS)
    for path in (text_run.run, text_run.dist):
        assert asked(tunedeploy, path, "new.csv") == asked(tunedeploy, path, "new.jsonl") == typed


def test_standard_input_has_an_input_a_line(
    tunedeploy: Command, text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, code in (("\n".join(TEXTS).encode(), 0), (b"", 1), (b"\xff\xfe", 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        done = tunedeploy("predict", text_run.dist, "-", "--json")
        assert done.code == code
        if code:
            refused(done, "standard input")
        else:
            assert done.document["predictions"] == asked(tunedeploy, text_run.dist, *TEXTS)


def test_a_line_of_standard_input_ends_where_a_line_ends(
    tunedeploy: Command, text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["soup\u2028and bread", "", "rain\x0c\x85"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\r\n".join([*lines, ""]).encode())))
    assert [entry["input"] for entry in asked(tunedeploy, text_run.dist, "-")] == lines


def test_a_name_that_was_meant_as_a_file_is_not_answered_as_a_text(tunedeploy: Command, text_run: Finished) -> None:
    Path("notes.txt").write_text("soup\n")
    Path("texts").mkdir()
    for name, part in (
        ("gone.csv", "no such file gone.csv"), ("notes.txt", "predict DIST - < notes.txt"), ("texts/", "is a folder"),
    ):  # fmt: skip
        refused(tunedeploy("predict", text_run.dist, name), part, code=2)
    for text in ("what is in gone.csv", "texts", "", "."):  # a word that a folder is called is a text
        assert asked(tunedeploy, text_run.dist, text)[0]["label"]


def test_a_text_longer_than_any_file_name_is_a_text(tunedeploy: Command, text_run: Finished) -> None:
    text = "soup with bread " * 20 + ".csv"
    for output in ((), ("-o", "answers.jsonl")):
        assert tunedeploy("predict", text_run.dist, text, *output).code == 0


def test_a_first_golden_longer_than_any_file_name_gives_an_example(text_run: Finished) -> None:
    path = text_run.dist / "parity" / "golden.json"
    golden = json.loads(path.read_text())
    golden["rows"][0]["text"] = "soup and bread with a storm " * 12
    path.write_text(json.dumps(golden))
    assert example_input(text_run.dist) == "soup and bread with a storm soup and"


def test_hidden_files_are_no_images(tunedeploy: Command, image_run: Finished) -> None:
    source = next(path for path in (image_run.dist / "parity" / "images").iterdir() if path.suffix == ".png")
    Path("photos").mkdir()
    shutil.copyfile(source, "photos/1.png")
    Path("photos/._1.png").write_bytes(b"a resource fork")
    assert [entry["input"] for entry in asked(tunedeploy, image_run.dist, "photos")] == ["photos/1.png"]


def test_a_folder_of_images_is_answered_image_by_image(tunedeploy: Command, image_run: Finished) -> None:
    source = next(path for path in (image_run.dist / "parity" / "images").iterdir() if path.suffix == ".png")
    for name in ("photos/2.png", "photos/10.png", "photos/more/1.PNG"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, name)
    Path("photos/notes.txt").write_text("mine")
    found = asked(tunedeploy, image_run.dist, "photos")
    assert [one["input"] for one in found] == ["photos/2.png", "photos/10.png", "photos/more/1.PNG"]
    assert {one["label"] for one in found} == {found[0]["label"]}
    Path("empty").mkdir()
    refused(tunedeploy("predict", image_run.dist, "empty"), "empty: no image in this folder")


def test_the_best_labels_and_all_probabilities_are_told_when_asked(tunedeploy: Command, text_run: Finished) -> None:
    (plain,) = asked(tunedeploy, text_run.dist, "soup")
    assert set(plain) == {"input", "label", "probability"}
    (whole,) = asked(tunedeploy, text_run.dist, "soup", "--top-k", "2", "--probabilities")
    assert {key: whole[key] for key in plain} == plain
    assert whole["top"][0] == {"label": plain["label"], "probability": plain["probability"]}
    assert len(whole["top"]) == 2
    assert list(whole["probabilities"])[:2] == [one["label"] for one in whole["top"]]
    assert sum(whole["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert "weather 0." in tunedeploy("predict", text_run.dist, "soup", "--probabilities").out
    assert len(asked(tunedeploy, text_run.dist, "soup", "--top-k", "99")[0]["top"]) == 3


@pytest.mark.parametrize("kind", ["number", "text", "tokens"])
@pytest.mark.parametrize("detail", [Detail(top=1), Detail(probabilities=True)])
def test_an_answer_that_is_no_label_has_none_to_list(kind: str, detail: Detail) -> None:
    decision = open_decision({"kind": kind}, ("O", "B-X") if kind == "tokens" else ())
    with pytest.raises(RunError, match="no probabilities of labels to show"):
        decision.show(one_a_row(np.zeros((0, decision.width), np.float32)), (), detail)


@pytest.mark.parametrize("name", ["answers.csv", "answers.jsonl"])
def test_answers_are_written_to_a_file(name: str, tunedeploy: Command, text_run: Finished) -> None:
    texts = [*TEXTS, "=1+1 soup"]
    expected = asked(tunedeploy, text_run.dist, *texts, "--probabilities")
    for _ in range(2):  # a second time replaces the first
        done = tunedeploy("predict", text_run.dist, *texts, "--probabilities", "-o", name)
        assert (done.code, done.out) == (0, f"{name}: 4 answers\n")
    if name.endswith("jsonl"):
        assert [json.loads(line) for line in Path(name).read_text().splitlines()] == expected
        return
    with Path(name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == [*TEXTS, "'=1+1 soup"]  # no spreadsheet evaluates it
    assert [row["label"] for row in rows] == [one["label"] for one in expected]
    assert float(rows[0]["probabilities.food"]) == expected[0]["probabilities"]["food"]
    assert tunedeploy("predict", text_run.dist, "soup", "-o", name, "--json").document["file"] == name


def test_a_negative_number_is_no_formula() -> None:
    assert csv_text([["-1", "+2.5", "-1,5", "-2+3", "=1", "@x"]]) == "-1,+2.5,\"-1,5\",'-2+3,'=1,'@x\n"


def test_where_answers_cannot_go_is_told_before_anything_is_computed(tunedeploy: Command, text_run: Finished) -> None:
    Path("new.csv").write_text("text\nsoup\n")
    for output, part in (
        ("a.xlsx", "known: .csv, .jsonl"),
        ("no/a.csv", "does not exist"),
        ("new.csv", "is one of the inputs"),
    ):
        refused(tunedeploy("predict", text_run.dist, "new.csv", "-o", output), part, code=2)
    assert Path("new.csv").read_text() == "text\nsoup\n"


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_an_answer_does_not_depend_on_what_else_was_asked(
    variant: str, tunedeploy: Command, text_run: Finished
) -> None:
    others = ["a soup with bread and butter and a lot of cheese", "storm", *TEXTS]
    for path in (text_run.run, text_run.dist):
        alone = [asked(tunedeploy, path, text, "--variant", variant)[0] for text in others]
        together = asked(tunedeploy, path, *others, "--variant", variant)
        if variant == "fp32":  # whose batches differ by float32's rounding
            assert [one["label"] for one in together] == [one["label"] for one in alone]
        else:
            assert together == alone
    bundle = load_bundle(text_run.dist)
    assert [{"input": text, **bundle.predict([text], variant)[0]} for text in others] == alone
    if variant != "fp32":
        assert bundle.predict(others, variant) == [bundle.predict([text], variant)[0] for text in others]


def test_a_long_input_does_not_wrap_the_table(
    tunedeploy: Command, text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = tunedeploy("predict", text_run.dist, "soup " * 50, "rain").out
    assert max(map(len, out.splitlines())) <= 60
    assert len(out.splitlines()) == 3
