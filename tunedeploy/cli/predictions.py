"""What `predict` shows: a row for each input, with the columns of the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunedeploy.cli.console import columns, table

SHORTEST = 20  # letters of an input that are shown on the narrowest terminal


def predictions_text(predictions: Sequence[Mapping[str, Any]]) -> str:
    """Answers for people, the input last, on a terminal as much of it as fits."""
    keys = list(dict.fromkeys(key for prediction in predictions for key in prediction if key != "input"))
    rows = [[cell(key, prediction.get(key)) for key in keys] for prediction in predictions]
    used = sum(2 + max([len(key), *(len(row[at]) for row in rows)]) for at, key in enumerate(keys))
    room = max(columns() - used, SHORTEST)
    inputs = [shortened(prediction["input"], room) for prediction in predictions]
    return table((*keys, "input"), [(*row, text) for row, text in zip(rows, inputs, strict=True)])


def shortened(text: str, room: int) -> str:
    """A text that fits into so many columns, on one line where it has to be cut."""
    return text if len(text) <= room else f"{' '.join(text[:room].split())[: room - 3]}..."


def cell(key: str, value: Any) -> str:
    """One value as text; of a list each entry with its label, of a mapping each name with its value."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell('probability', entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(entry_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4f}" if key == "probability" else f"{value:.4g}"
    return str(value)


def entry_text(entry: Mapping[str, Any]) -> str:
    """An entry of a list: a part of the text with its label, or a label with its probability."""
    return f"{entry['text']} ({entry['label']})" if "text" in entry else f"{entry['label']} {entry['probability']:.4f}"
