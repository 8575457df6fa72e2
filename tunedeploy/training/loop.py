"""The training loop: steps over windows of rows, evaluation after each epoch, checkpoints in between."""

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list

from tunedeploy import plugins, progress
from tunedeploy.contracts.method import ParameterGroup
from tunedeploy.device.encoders import Array
from tunedeploy.errors import RecipeError, RunError, UserError
from tunedeploy.models.classifier import load_trained, set_training, trained_state
from tunedeploy.run.folder import RunDir
from tunedeploy.training import checkpoint
from tunedeploy.training.batches import class_weights, micro_batches, windows
from tunedeploy.training.course import Course, course_of
from tunedeploy.training.job import Job, is_sharded, judge, moved
from tunedeploy.training.schedule import factor

if TYPE_CHECKING:
    pass

FOLDER = "train"


def fit(job: Job, rundir: RunDir) -> Course:
    """Train: steps, evaluation after each epoch, the best state kept, checkpoints in between."""
    options, accelerator = job.recipe.train, job.accelerator
    optimizer = optimizer_of(job)
    rates = [group["lr"] for group in optimizer.param_groups]
    model, optimizer = accelerator.prepare(job.module, optimizer)
    course = resume(job, rundir, optimizer)
    size = options.batch_size * options.accumulate * accelerator.num_processes
    steps = math.ceil(len(job.train.lengths) / size)
    budget_s = options.budget_s
    update = progress.tracker("train", steps * options.epochs)
    began = time.monotonic() - course.elapsed_s
    while course.epoch < options.epochs and not out_of_time(course, budget_s):
        for at, window in enumerate(epoch_windows(job, size, course.epoch)):
            if at < course.window:
                continue  # done before the interruption
            share = share_done(course, steps * options.epochs, budget_s)
            scale = factor(options.schedule, share, options.warmup, 1 / (steps * options.epochs))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * scale
            course.loss = take_step(job, model, optimizer, window, course.step)
            course.step, course.window, course.elapsed_s = course.step + 1, at + 1, elapsed(job, began)
            update(course.step, f"epoch {course.epoch + 1}/{options.epochs} loss {course.loss:.4f}")
            if out_of_time(course, budget_s):
                break
            if options.save_steps and course.step % options.save_steps == 0:
                save(job, rundir, optimizer, course)
        course.epoch, course.window = course.epoch + 1, 0
        judge(job, model, course)
        if options.patience is not None and course.stale >= options.patience:
            progress.note(f"stopped early: no better {job.metric} for {course.stale} epochs")
            break
        if course.epoch < options.epochs and not job.keeps_features:
            save(job, rundir, optimizer, course)
    # Takes autocast off the forward that prepare() wrapped in it: what is measured from here on is float32.
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if not is_sharded(job):
        load_trained(job.module, {name: value.to(accelerator.device) for name, value in course.best_state.items()})
    return course


def elapsed(job: Job, began: float) -> float:
    """Seconds since the start; with a budget the main process's, since all must stop at the same step."""
    now = [time.monotonic() - began]
    if job.recipe.train.budget_s and job.accelerator.num_processes > 1:
        broadcast_object_list(now)
    return now[0]


def epoch_windows(job: Job, size: int, epoch: int) -> list[Array]:
    """Rows of each step of an epoch; rare classes drawn more often where the recipe says resample."""
    options = job.recipe.train
    weights = None
    if options.balance == "resample":
        if job.classes is None:
            raise RecipeError(f"train.balance: resample draws rows by their class, and {job.recipe.task} has none")
        weights = class_weights(job.classes, int(job.classes.max()) + 1)[job.classes]
    return windows(job.train.lengths, size=size, seed=options.seed, epoch=epoch, weights=weights)


def take_step(job: Job, model: torch.nn.Module, optimizer: Any, window: Array, step: int) -> float:
    """One optimizer step on a window of rows, split into micro-batches; returns its mean loss.

    Each row's loss is divided by the weight of the whole window, so that a split changes nothing.

    Raises:
        UserError: the loss is NaN or infinite, from which no training comes back.
    """
    options, accelerator = job.recipe.train, job.accelerator
    set_training(job.module)
    total_weight = float((job.row_weights[window] * job.train_targets.weights[window]).sum())
    parts = micro_batches(
        window, parts=options.accumulate, process=accelerator.process_index, processes=accelerator.num_processes
    )
    seen = 0.0
    for at, (indices, counts) in enumerate(parts):
        last = at == len(parts) - 1
        inputs = job.train.inputs(indices, seed=(options.seed * 1_000_003 + step) * len(parts) + at)
        weights = torch.from_numpy(job.row_weights[indices] * counts).float().to(accelerator.device)
        targets = moved(job.train_targets.batch(indices), accelerator.device)
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            rows = job.loss(forward(model, moved(inputs, accelerator.device)), targets, options)
            loss = (rows * weights).sum() / max(total_weight, 1e-12)
            seen += float(loss.detach())
            if job.penalty is not None and last:
                loss = loss + job.penalty(job.module).to(loss.device) / accelerator.num_processes
            accelerator.backward(loss * accelerator.num_processes)  # DDP averages; the window's loss is a sum
    if not math.isfinite(seen):
        raise UserError(f"train: the loss is {seen} at step {step + 1}; lower train.lr ({options.lr:g} now)")
    if options.clip:
        accelerator.clip_grad_norm_(model.parameters(), options.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return seen


def forward(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Any:
    """What a model gives for a training batch.

    Raises:
        UserError: a batch of one row, of which BatchNorm sees a single value a channel.
    """
    try:
        return model(**inputs)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "train: this model's BatchNorm cannot learn from a batch of one row; raise train.batch_size or "
            "data.image_size"
        ) from error


def optimizer_of(job: Job) -> torch.optim.Optimizer:
    """AdamW or SGD over what is trained; no weight decay on biases and norms (vectors)."""
    options = job.recipe.train
    method = plugins.load("methods", job.recipe.tune.method)
    groups = faster_head(job, [*method.parameter_groups(job.module, job.recipe.tune, options.lr)])
    split = [
        {**group, "params": chosen, "weight_decay": options.weight_decay if matrices else 0.0}
        for group in groups
        for matrices in (True, False)
        if (chosen := [parameter for parameter in group["params"] if (parameter.dim() > 1) == matrices])
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(split, lr=options.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(split, lr=options.lr, fused=True)


def faster_head(job: Job, groups: list[ParameterGroup]) -> list[ParameterGroup]:
    """The groups with fresh parameters moved to one of their own, at the method's `head_lr` where it has one.

    A trunk with random weights is all fresh: there is nothing to be careful with, and one rate is enough.
    """
    rate = getattr(job.recipe.tune, "head_lr", None)
    if rate is None or job.keeps_features:
        return groups
    trained = {name: parameter for name, parameter in job.module.named_parameters() if parameter.requires_grad}
    fresh = {id(parameter): parameter for name, parameter in trained.items() if name in job.fresh}
    if len(fresh) == len(trained):
        return groups
    rest: list[ParameterGroup] = [
        {**group, "params": [parameter for parameter in group["params"] if id(parameter) not in fresh]}
        for group in groups
    ]
    return [*rest, {"params": list(fresh.values()), "lr": rate}]


def save(job: Job, rundir: RunDir, optimizer: Any, course: Course) -> None:
    """Write a checkpoint; FSDP shards have no whole state in one process, so such runs start anew."""
    if not job.accelerator.is_main_process or is_sharded(job):
        return
    groups = {"state": trained_state(job.module, job.fresh), "best": course.best_state}
    checkpoint.save(rundir / FOLDER, groups, optimizer.optimizer, {"key": job.key, "course": course.to_json()})


def resume(job: Job, rundir: RunDir, optimizer: Any) -> Course:
    """The course of an interrupted run of the same recipe, its state loaded, or a new one."""
    for candidate in checkpoint.readable(rundir / FOLDER, key=job.key):
        try:
            if isinstance(candidate, RunError):
                raise candidate
            course = course_of(candidate, job.module, job.trained)
            checkpoint.restore(candidate, optimizer.optimizer)
        except RunError as error:
            progress.note(f"train: {error}; passed over")
            continue
        load_trained(job.module, candidate.groups["state"])
        if process := job.accelerator.process_index:  # the stored generator is the main process's; masks should differ
            torch.manual_seed((job.recipe.train.seed + 1_000_003 * process + course.step) % 2**63)
        progress.note(f"resumed after step {course.step} (epoch {course.epoch + 1})")
        return course
    return Course()


def out_of_time(course: Course, budget_s: float | None) -> bool:
    """Whether the time budget is used up; one step is always taken."""
    return budget_s is not None and course.step > 0 and course.elapsed_s >= budget_s


def share_done(course: Course, total_steps: int, budget_s: float | None) -> float:
    """Share of training that is done, in steps or in time, whichever is further."""
    in_time = course.elapsed_s / budget_s if budget_s else 0.0
    return min(1.0, max(course.step / total_steps, in_time))
