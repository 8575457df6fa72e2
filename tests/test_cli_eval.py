"""What `eval` tells beside the metric: each class, confusions, calibration, and rows that are most certainly wrong."""

from pathlib import Path

import pytest

from tests.finished import Finished
from tests.test_cli import Command
from tests.test_cli import tunedeploy as tunedeploy  # a fixture

ROWS = "soup and bread,food\nrain and snow,weather\ngoal and match,sport\nrain and a storm of snow,food\n"


@pytest.fixture
def rows(tunedeploy: Command) -> Path:
    """Labelled rows, the label of the last of which is wrong."""
    path = Path("rows.csv")
    path.write_text(f"text,label\n{ROWS}")
    return path


def test_eval_names_the_classes_and_the_row_whose_label_is_wrong(
    tunedeploy: Command, text_run: Finished, rows: Path
) -> None:
    for path in (text_run.run, text_run.dist):
        document = tunedeploy("eval", path, "--data", rows, "--json").document
        assert (document["value"], document["rows"]) == (75.0, 4)
        assert document["classes"]["food"] == {"precision": 100.0, "recall": 50.0, "f1": 66.67, "support": 2}
        assert document["confused"] == [{"true": "food", "answer": "weather", "rows": 1}]
        assert 0 < document["calibration"]["ece"] < 50
        (wrong,) = document["wrong"]
        assert (wrong["row"], wrong["origin"], wrong["input"]) == (3, "rows.csv:5", "rain and a storm of snow")
        assert (wrong["true"], wrong["answer"]) == ("food", "weather")


def test_eval_prints_the_same_for_people_and_the_metric_last(
    tunedeploy: Command, text_run: Finished, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = tunedeploy("eval", text_run.dist, "--data", rows).out.splitlines()
    assert lines[-1] == "accuracy: 75.00 % of 4 rows"
    assert "  1 food taken for weather" in lines
    assert any(line.startswith("  rows.csv:5: food taken for weather (0.") for line in lines)
    assert any("ECE" in line for line in lines)
    assert max(map(len, lines)) <= 60
