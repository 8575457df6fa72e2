"""What the training loop works on: a module with its rows, targets and loss, and how it is evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedType

from tunedeploy import progress
from tunedeploy.contracts.objective import Penalty
from tunedeploy.contracts.task import Task
from tunedeploy.device.agreement import within
from tunedeploy.device.decisions import Answers
from tunedeploy.device.encoders import Array
from tunedeploy.device.figures import value_text
from tunedeploy.errors import UserError
from tunedeploy.models.classifier import Assembly, trained_state
from tunedeploy.models.runs import torch_run
from tunedeploy.models.torch_inputs import named
from tunedeploy.training.course import Course
from tunedeploy.training.feeds import FeatureFeed, Feed
from tunedeploy.training.scores import answers_of
from tunedeploy.training.targets import Targets

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.recipe.sections import TrainOptions

EVAL_BATCH = 64  # rows; larger gains nothing on a CPU and costs memory


@dataclass(kw_only=True)
class Job:
    """What the loop works on: either the whole model, or its head on kept features.

    An entry of `train` is a row, or a unit of kept features; `train_targets`, `row_weights` and `classes` are of these.
    """

    recipe: "Recipe"
    task: Task
    assembly: Assembly
    accelerator: Accelerator
    module: torch.nn.Module
    trained: list[str]  # names of what training changes
    train: Feed | FeatureFeed
    eval: Feed | FeatureFeed
    train_targets: Targets
    eval_targets: Targets
    truth: Any  # `decision.targets` of the evaluation rows
    metric: str
    penalty: Penalty | None
    row_weights: Array  # by class, where rare ones are weighted
    classes: Array | None  # class of each row, where rows have one
    keeps_features: bool  # and so has no checkpoints: an epoch takes milliseconds
    key: str  # of all that a checkpoint depends on

    @property
    def fresh(self) -> frozenset[str]:
        """Names of parameters that no checkpoint gave."""
        return self.assembly.fresh

    def loss(
        self, outputs: Any, targets: Mapping[str, torch.Tensor], options: "TrainOptions | None" = None
    ) -> torch.Tensor:
        """The sum of each row's losses for the module's outputs; without options, as in evaluation."""
        named_outputs = outputs if isinstance(outputs, Mapping) else named(self.assembly.graph, outputs)
        return self.task.loss(named_outputs, targets, options, self.assembly.facts)


def moved(values: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Tensors on a device."""
    return {name: value.to(device) for name, value in values.items()}


def is_sharded(job: Job) -> bool:
    """Whether no process holds the whole model (FSDP)."""
    return bool(job.accelerator.distributed_type == DistributedType.FSDP)


def snapshot(job: Job, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changed so far, on the CPU; of shards, every process must ask, and the main one gets them all."""
    if not is_sharded(job):
        return {name: tensor.cpu() for name, tensor in trained_state(job.module, job.fresh).items()}
    full_state = job.accelerator.get_state_dict(model)
    return {name: full_state[name].cpu() for name in job.trained if name in full_state}


def judge(job: Job, model: torch.nn.Module, course: Course) -> None:
    """Evaluate, add to the history, and keep the state if it is the best so far."""
    answers, loss = evaluated(job, model)
    lr = job.recipe.train.lr
    if not np.isfinite(answers.evidence).all():
        raise UserError(f"train: outputs are NaN or infinite after epoch {course.epoch}; lower train.lr ({lr:g} now)")
    decision = job.assembly.decision
    metric, value = decision.metrics[job.metric], decision.score(job.metric, answers, job.truth)
    if not within(value, None):  # no comparison picks a best epoch by it, and the last is not the best
        raise UserError(f"train: {job.metric} is {value} after epoch {course.epoch}; check the rows of data.eval")
    entry = {"epoch": course.epoch, "train_loss": round(course.loss, 6), "eval_loss": round(loss, 6)}
    course.history.append(entry | {job.metric: round(value, 4)})
    course.stale += 1
    rank = value if metric.better == "higher" else -value
    if rank > course.best:
        course.best, course.best_epoch, course.stale = rank, course.epoch - 1, 0
        course.best_state = snapshot(job, model)
    if not job.keeps_features or course.epoch in (1, job.recipe.train.epochs):
        shown = value_text(value, metric.unit)
        progress.note(f"epoch {course.epoch}: {job.metric} {shown}, evaluation loss {loss:.4f}")


def with_texts(answers: Answers, assembly: Assembly, feed: Feed | FeatureFeed, metric: str) -> Answers:
    """The answers with what the model generates for each row, where the metric compares that."""
    if not assembly.decision.metrics[metric].texts:
        return answers
    assert isinstance(feed, Feed) and feed.features is not None, "models that generate read texts, which are kept"
    texts = assembly.parts.generated_of_features(torch_run(assembly), feed.features)
    return replace(answers, texts=tuple(texts))


def evaluated(job: Job, model: torch.nn.Module) -> tuple[Answers, float]:
    """The answers to the evaluation split, and the mean loss."""
    job.module.eval()
    device = job.accelerator.device
    totals = [0.0]

    def outputs_of(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return named(job.assembly.graph, model(**moved(inputs, device)))

    def add(outputs: Mapping[str, torch.Tensor], indices: Array) -> None:
        totals.append(float(job.loss(outputs, job.eval_targets.batch(indices)).double().sum()))

    answers = answers_of(outputs_of, job.eval, batch_size=EVAL_BATCH, judge=add)
    answers = with_texts(answers, job.assembly, job.eval, job.metric)
    return answers, sum(totals) / max(float(job.eval_targets.weights.sum()), 1e-12)
