"""Train: tune the model on the data, keep the best evaluation, and save just what changed."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from tunedeploy import plugins, progress
from tunedeploy.contracts.task import Task
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.encoders import Array
from tunedeploy.errors import ModelError, UserError
from tunedeploy.models import sources, start
from tunedeploy.models.classifier import Assembly, load_trained, trained_names, trained_state
from tunedeploy.run.atomic import whole_folder
from tunedeploy.run.folder import RunDir, key_of
from tunedeploy.run.results import Course, Metrics, Train
from tunedeploy.training.batches import balance_of, class_weights
from tunedeploy.training.feeds import VIEWS, FeatureFeed, Feed, HeadOnly, View, alike, kept_features
from tunedeploy.training.loop import EVAL_BATCH, FOLDER, Job, fit, is_sharded
from tunedeploy.training.machine import accelerator_of, precision_of, set_threads
from tunedeploy.training.probe import fit_head
from tunedeploy.training.scores import logits_of, write_report

if TYPE_CHECKING:
    from accelerate import Accelerator

    from tunedeploy.data.read import Data
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "model", "data", "tune", "train", "export.dynamic_size")
AFTER = ()  # its key holds the recipe and the data; the plan adds nothing to them
OUTPUTS = ("train",)


def run(recipe: "Recipe", rundir: RunDir) -> Train | Course:
    """Train as the recipe says and write `train/`: adapter, head, metrics, report, confusion matrix.

    Returns:
        The metrics on the evaluation split, the history, seconds and what was decided.
    """
    set_threads(recipe.train.threads)
    precision = precision_of(recipe.train.precision)
    accelerator = accelerator_of(precision)
    data = data_of(recipe)
    assembly = start.attached(recipe, len(data.labels))
    for line in assembly.notes:
        progress.note(line)
    torch.manual_seed(recipe.train.seed + 1 + accelerator.process_index)  # dropout masks; the head has its own seed
    job = job_of(recipe, rundir, assembly, data, accelerator)
    course = fit(job, rundir)
    if isinstance(job.module, HeadOnly):
        job.module.write_back(assembly.model.head)
    if is_sharded(job) and accelerator.is_main_process:  # no process holds the whole model: put it together anew
        assembly = start.attached(recipe, len(data.labels))
        load_trained(assembly.model, course.best_state)
    result: Course = {
        "precision": precision,
        "processes": accelerator.num_processes,
        "labels": list(data.labels),
        "metric": job.metric,
        "best_epoch": course.best_epoch + 1,
        "steps": course.step,
        "history": course.history,
        "weights": start.counts(assembly),
        "kept_features": isinstance(job.module, HeadOnly),
    }
    if not accelerator.is_main_process:
        return result
    return {"metrics": finish(job, assembly, data, rundir), **result}


def job_of(recipe: "Recipe", rundir: RunDir, assembly: Assembly, data: "Data", accelerator: "Accelerator") -> Job:
    """Feeds, row weights and objective of a run; a frozen trunk is run once and its features are kept."""
    task = plugins.load("tasks", recipe.task)
    method = plugins.load("methods", recipe.tune.method)
    assembly.model.to(accelerator.device)
    label_ids, eval_ids = task.targets(data.train), task.targets(data.eval)
    train = Feed(data.train, assembly.encoder, assembly.augmented)
    evaluation = Feed(data.eval, assembly.encoder)
    freeze_unreached(assembly, train, label_ids, task, accelerator.device)
    balance = balance_of(recipe.train.balance, label_ids)
    weights = class_weights(label_ids, len(data.labels))[label_ids] if balance == "weights" else np.ones(len(label_ids))
    module: torch.nn.Module = assembly.model
    feeds: tuple[Feed | FeatureFeed, Feed | FeatureFeed] = (train, evaluation)
    if method.CACHES_FEATURES:
        with accelerator.main_process_first():  # the others read what it wrote
            features = [kept(recipe, rundir, assembly, view, name) for name, view in views(train).items()]
            feeds = (FeatureFeed(*features), FeatureFeed(kept(recipe, rundir, assembly, evaluation, "eval")))
        module = HeadOnly(assembly.model.head, features[0])
    elif method.PROBES_FIRST and pretrained(assembly):
        with accelerator.main_process_first():
            rows = Feed(data.train, assembly.encoder) if train.augmented else train
            plain = kept(recipe, rundir, assembly, rows, "train")
        fit_head(assembly.model.head, plain, label_ids, weights, seed=recipe.train.seed)
    penalty = None
    if recipe.train.objective:
        names = frozenset(dict(module.named_parameters())) if isinstance(module, HeadOnly) else assembly.fresh
        penalty = plugins.load("objectives", recipe.train.objective).Objective(module, names, recipe.train)
    return Job(
        recipe=recipe, task=task, accelerator=accelerator, module=module, fresh=assembly.fresh,
        trained=trained_names(module, assembly.fresh), train=feeds[0],
        eval=feeds[1], label_ids=label_ids, eval_ids=eval_ids, metric=task.metric_name(eval_ids),
        penalty=penalty, row_weights=weights, key=checkpoint_key(recipe, data, assembly, accelerator.num_processes),
    )  # fmt: skip


def views(feed: Feed) -> dict[str, Feed]:
    """What a frozen trunk is to see of the training rows: themselves, or augmented copies."""
    if feed.augmented is None:
        return {"train": feed}
    return {f"train view {number + 1} of {VIEWS}": View(feed, number) for number in range(VIEWS)}


def freeze_unreached(assembly: Assembly, feed: Feed, label_ids: Array, task: Task, device: torch.device) -> None:
    """Freeze what two real rows give no gradient, and say so."""
    few = np.arange(min(2, len(label_ids)))
    inputs = {name: value.to(device) for name, value in feed.inputs(few).items()}
    unreached = start.freeze_unreached(assembly, inputs, torch.from_numpy(label_ids[few]).to(device), task.loss)
    if unreached:
        progress.note(f"{unreached:,} weights get no gradient from this task and stay frozen")


def pretrained(assembly: Assembly) -> bool:
    """Whether nothing of the trunk is fresh, so that its features say something."""
    return not any(name.startswith("trunk.") for name in assembly.fresh)


def checkpoint_key(recipe: "Recipe", data: "Data", assembly: Assembly, processes: int) -> str:
    """A hash of all that the course of training depends on."""
    resolved = recipe.resolved()
    parts = {name: resolved[name] for name in ("task", "model", "tune", "train")}
    model = sources.fingerprint(recipe.model.name, recipe.model.weights)
    inputs = {"facts": dict(assembly.facts), "encoder": assembly.encoder.facts}
    return key_of(parts | inputs | {"data": data.fingerprint, "weights": model, "processes": processes})


def kept(recipe: "Recipe", rundir: RunDir, assembly: Assembly, feed: Feed, name: str) -> Array:
    """Features of one split, in a file named by all that they depend on."""
    resolved = recipe.resolved()
    data = data_of(recipe)
    parts = {"model": resolved["model"], "facts": dict(assembly.facts), "encoder": assembly.encoder.facts}
    weights = sources.fingerprint(recipe.model.name, recipe.model.weights)
    own = {"split": name, "augment": recipe.train.augment, "seed": recipe.train.seed}
    key = key_of(parts | own | {"data": data.fingerprint, "weights": weights})
    update = progress.tracker(f"features of {name} rows", len(feed.lengths))
    path = rundir / "cache" / "features" / f"{name.partition(' ')[0]}-{key[:16]}.npy"
    features = kept_features(assembly.model.eval(), feed, path, batch_size=EVAL_BATCH, progress=update)
    if name != "eval" and alike(features):
        raise ModelError(
            f"model {recipe.model.name!r}: all rows get the same features, so a head learns nothing from them; "
            "give it weights that were trained, or set tune.method: full"
        )
    return features


def finish(job: Job, assembly: Assembly, data: "Data", rundir: RunDir) -> Metrics:
    """Score the best state in float32, and write what was trained."""
    model = assembly.model.cpu().float().eval()
    feed = Feed(data.eval, assembly.encoder)
    update = progress.tracker("evaluate", len(feed.lengths))
    logits = logits_of(model, feed, batch_size=EVAL_BATCH, progress=update)
    if not np.isfinite(logits).all():
        raise UserError("train: the trained model's logits are NaN or infinite; lower train.lr")
    state = {name: value.contiguous() for name, value in trained_state(model, assembly.fresh).items()}
    head = {name: value for name, value in state.items() if name in assembly.fresh}
    with whole_folder(rundir / FOLDER) as folder:
        save_file(head, folder / "head.safetensors")
        save_file({name: value for name, value in state.items() if name not in head}, folder / "adapter.safetensors")
        np.save(folder / "eval_logits.npy", logits)
        return write_report(folder, logits, job.eval_ids, data.labels)
