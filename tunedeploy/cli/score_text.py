"""A score for people: the metric last, above it what is worth knowing of each class."""

from typing import TYPE_CHECKING

from tunedeploy.cli.console import columns, table
from tunedeploy.cli.predictions import SHORTEST, shortened
from tunedeploy.device.figures import value_text

if TYPE_CHECKING:
    from tunedeploy.commands.score import Score

CLASSES = 20  # that are listed, the worst; --json has all
INDENT = 4


def score_text(score: "Score") -> str:
    """The parts that this kind of answer has, then the metric."""
    parts = [classes_text(score), confused_text(score), wrong_text(score)]
    metric = f"{score['metric']}: {value_text(score['value'], score['unit'])} of {score['rows']} rows"
    if "calibration" in score:
        ece = score["calibration"]["ece"]
        metric = f"expected calibration error (ECE): {ece:.2f} points\n{metric}"
    return "\n\n".join([*filter(None, parts), metric])


def classes_text(score: "Score") -> str:
    """Figures of each class; of many, the worst."""
    classes = list(score.get("classes", {}).items())
    shown = classes if len(classes) <= CLASSES else sorted(classes, key=lambda entry: entry[1]["f1"])[:CLASSES]
    if not shown:
        return ""
    rows = [
        (name, f"{of['precision']:.2f}", f"{of['recall']:.2f}", f"{of['f1']:.2f}", of["support"]) for name, of in shown
    ]
    rest = f"\nthe worst of {len(classes)} classes; --json has all" if len(classes) > len(shown) else ""
    return table(("class", "precision", "recall", "F1", "support"), rows) + rest


def confused_text(score: "Score") -> str:
    """The pairs that are most often confused."""
    lines = [f"  {pair['rows']} {pair['true']} taken for {pair['answer']}" for pair in score.get("confused", [])]
    return "\n".join(["most often confused:", *lines]) if lines else ""


def wrong_text(score: "Score") -> str:
    """The worst answers: where the model is sure of one, the label may be what is wrong."""
    lines = []
    for entry in score.get("wrong", []):
        certain = f" ({entry['probability']:.4f})" if "probability" in entry else ""
        lines.append(f"  {entry['origin']}: {entry['true']} taken for {entry['answer']}{certain}")
        if entry["input"] != entry["origin"]:
            lines.append(f"{'':{INDENT}}{shortened(entry['input'], max(min(columns(), 110) - INDENT, SHORTEST))}")
    return "\n".join(["most wrong:", *lines]) if lines else ""
