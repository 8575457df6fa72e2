"""What `predict` shows: a row for each input, with the columns of the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunedeploy.cli.console import table


def predictions_text(predictions: Sequence[Mapping[str, Any]]) -> str:
    """Answers for people, the input last."""
    keys = list(dict.fromkeys(key for prediction in predictions for key in prediction if key != "input"))
    rows = [(*(cell(key, prediction.get(key)) for key in keys), prediction["input"]) for prediction in predictions]
    return table((*keys, "input"), rows)


def cell(key: str, value: Any) -> str:
    """One value as text; several entities of a row each with their label."""
    if isinstance(value, list):
        return ", ".join(f"{entity['text']} ({entity['label']})" for entity in value) or "none"
    if isinstance(value, float):
        return f"{value:.4f}" if key == "probability" else f"{value:.4g}"
    return str(value)
