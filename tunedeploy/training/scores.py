"""The answers of a model to a whole split, and the report that training ends with."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tunedeploy.contracts.task import Task
from tunedeploy.device.decisions import Answers, joined
from tunedeploy.device.encoders import Array
from tunedeploy.run.atomic import write_json, write_text
from tunedeploy.run.results import Metrics
from tunedeploy.training.batches import by_length

if TYPE_CHECKING:
    from tunedeploy.training.feeds import FeatureFeed, Feed


def answers_of(
    forward: Callable[..., Mapping[str, torch.Tensor]],
    feed: "Feed | FeatureFeed",
    *,
    batch_size: int,
    progress: Callable[[int], Any] | None = None,
    judge: Callable[[Mapping[str, torch.Tensor], Array], None] | None = None,
) -> Answers:
    """The evidence for all rows' answers, float32; the outputs of a batch are kept no longer than the next.

    Args:
        forward: a model in eval mode; its outputs are by name.
        feed: gives inputs and lengths.
        batch_size: rows at once.
        progress: called with the rows done.
        judge: called with the outputs of each batch, on the CPU, and its rows.
    """
    parts = []
    done = 0
    for indices in by_length(feed.lengths, batch_size):
        with torch.inference_mode():
            batch = feed.batch(indices)
            outputs = {name: value.float().cpu() for name, value in forward(**feed.select(batch)).items()}
            if judge is not None:
                judge(outputs, indices)
        parts.append((feed.answers({name: value.numpy() for name, value in outputs.items()}, batch), indices))
        done += len(indices)
        if progress is not None:
            progress(done)
    return feed.by_row(joined(parts))


def write_report(folder: Path, task: Task, answers: Answers, targets: Any, labels: Sequence[str]) -> Metrics:
    """Write `report.txt`, `metrics.json` and any other files of the task's report, and return the metrics.

    Args:
        folder: of the train stage.
        task: whose report it is.
        answers: to the evaluation split.
        targets: `decision.targets` of its rows.
        labels: their names.
    """
    report = task.report(answers, targets, labels)
    write_text(folder / "report.txt", report["text"] + "\n")
    for name, text in report["files"].items():
        write_text(folder / name, text)
    metrics: Metrics = {name: round(value, 4) for name, value in report["metrics"].items()}
    metrics["rows"] = len(targets)
    write_json(folder / "metrics.json", {**metrics, **report["details"]})
    return metrics
