"""Train: tune the model on the data, keep the state with the best evaluation, and save just what changed."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from tunedeploy import plugins, progress
from tunedeploy.contracts.objective import Penalty
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.encoders import Array
from tunedeploy.errors import ModelError, RecipeError, UserError
from tunedeploy.models import sources, start
from tunedeploy.models.classifier import Assembly, load_trained, trained_names, trained_state
from tunedeploy.models.torch_inputs import named
from tunedeploy.run.answers import write_answers
from tunedeploy.run.atomic import whole_folder
from tunedeploy.run.folder import RunDir, key_of
from tunedeploy.run.results import Course, Metrics, Train
from tunedeploy.training.batches import balance_of, class_weights
from tunedeploy.training.feeds import VIEWS, FeatureFeed, Feed, View, alike, kept_features
from tunedeploy.training.job import EVAL_BATCH, Job, is_sharded, moved, with_texts
from tunedeploy.training.loop import FOLDER, fit
from tunedeploy.training.machine import accelerator_of, precision_of, set_threads
from tunedeploy.training.probe import Lesson, fit_head
from tunedeploy.training.scores import answers_of, write_report
from tunedeploy.training.targets import Targets

if TYPE_CHECKING:
    from accelerate import Accelerator

    from tunedeploy.data.read import Data
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "model", "data", "tune", "train", "export.dynamic_size")
AFTER = ()  # its key has the recipe and the data; the plan adds nothing to them
OUTPUTS = ("train",)


def run(recipe: "Recipe", rundir: RunDir) -> Train | Course:
    """Train as the recipe says and write `train/`: adapter, head, metrics, report.

    Returns:
        The metrics on the evaluation split, the history, seconds and what was decided.
    """
    set_threads(recipe.train.threads)
    precision = precision_of(recipe.train.precision)
    accelerator = accelerator_of(precision)
    data = data_of(recipe)
    assembly = start.attached(recipe, data)
    for line in assembly.notes:
        progress.note(line)
    torch.manual_seed(recipe.train.seed + 1 + accelerator.process_index)  # dropout masks; the head has its own seed
    job = job_of(recipe, rundir, assembly, data, accelerator)
    course = fit(job, rundir)
    plugins.load("methods", recipe.tune.method).write_back(job.module, assembly.model)
    if is_sharded(job) and accelerator.is_main_process:  # no process holds the whole model: put it together anew
        assembly = start.attached(recipe, data)
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
        "kept_features": job.keeps_features,
    }
    if not accelerator.is_main_process:
        return result
    return {"metrics": finish(job, assembly, data, rundir), **result}


def job_of(recipe: "Recipe", rundir: RunDir, assembly: Assembly, data: "Data", accelerator: "Accelerator") -> Job:
    """Feeds, row weights and objective of a run; a frozen trunk is run once and its features are kept."""
    task = plugins.load("tasks", recipe.task)
    method = plugins.load("methods", recipe.tune.method)
    assembly.model.to(accelerator.device)
    train, evaluation = Feed(data.train, assembly, augment=True), Feed(data.eval, assembly)
    targets = [task.targets(feed.rows, feed.features) for feed in (train, evaluation)]
    truth = assembly.decision.targets(data.eval)
    freeze_unreached(recipe, assembly, train, Targets(targets[0], task.weights(targets[0])), accelerator.device)
    classes = task.classes_of(data.train)
    weights = row_weights(recipe, classes, len(data.labels), len(data.train))
    feeds: tuple[Feed | FeatureFeed, Feed | FeatureFeed] = (train, evaluation)
    features = None
    if method.CACHES_FEATURES:
        with accelerator.main_process_first():  # the others read what it wrote
            views_of_train = [features_of(recipe, rundir, assembly, view, name) for name, view in views(train).items()]
            feeds = (
                feature_feed(assembly, train, *views_of_train),
                feature_feed(assembly, evaluation, features_of(recipe, rundir, assembly, evaluation, "eval")),
            )
        features = views_of_train[0]
    elif method.PROBES_FIRST and pretrained(assembly):
        with accelerator.main_process_first():
            rows = Feed(data.train, assembly) if train.augmented else train
            plain = feature_feed(assembly, rows, features_of(recipe, rundir, assembly, rows, "train"))
        probe(recipe, assembly, plain, targets[0], weights)
    module = method.trained_module(assembly.model, features)
    if method.CACHES_FEATURES:
        weights = np.repeat(weights, train.units())
        classes = None if classes is None else np.repeat(classes, train.units())
        targets = [task.unit_targets(entries) for entries in targets]
    of_train, of_eval = (Targets(entries, task.weights(entries)) for entries in targets)
    return Job(
        recipe=recipe, task=task, assembly=assembly, accelerator=accelerator, module=module,
        trained=trained_names(module, assembly.fresh), train=feeds[0], eval=feeds[1], train_targets=of_train,
        eval_targets=of_eval, truth=truth, metric=task.metric_name(truth, data.labels),
        row_weights=weights, classes=classes, keeps_features=method.CACHES_FEATURES,
        penalty=penalty_of(recipe, assembly, module),
        key=checkpoint_key(recipe, data, assembly, accelerator.num_processes),
    )  # fmt: skip


def penalty_of(recipe: "Recipe", assembly: Assembly, module: torch.nn.Module) -> Penalty | None:
    """The penalty that the recipe's objective adds to the loss."""
    if not recipe.train.objective:
        return None
    names = assembly.fresh if module is assembly.model else frozenset(dict(module.named_parameters()))
    return plugins.load("objectives", recipe.train.objective).Objective(module, names, recipe.train)


def row_weights(recipe: "Recipe", classes: Array | None, labels: int, rows: int) -> Array:
    """A weight for each row, (rows,): by its class where rare ones are weighted, else 1.

    Raises:
        RecipeError: the recipe asks for it, and rows have no class.
    """
    if classes is None:
        if recipe.train.balance not in ("auto", "none"):
            raise RecipeError(f"train.balance: rows of {recipe.task} have no class to balance; write auto or none")
        return np.ones(rows)
    balance = balance_of(recipe.train.balance, classes)
    return class_weights(classes, labels)[classes] if balance == "weights" else np.ones(rows)


def feature_feed(assembly: Assembly, feed: Feed, *features: Array) -> FeatureFeed:
    """A feed of cached features."""
    return FeatureFeed(assembly.graph.outputs[0].name, *features, places=feed.places())


def probe(recipe: "Recipe", assembly: Assembly, feed: FeatureFeed, targets: Any, weights: Array) -> None:
    """Fit the head to the features of the pretrained trunk."""
    task = plugins.load("tasks", recipe.task)
    units = task.unit_targets(targets)
    lesson = Lesson(
        feed=feed, targets=Targets(units, task.weights(units)), weights=weights[feed.row],
        loss=lambda outputs, wanted: task.loss(outputs, wanted, None, assembly.facts),
    )  # fmt: skip
    fit_head(assembly.model, lesson, seed=recipe.train.seed)


def views(feed: Feed) -> dict[str, Feed]:
    """The training rows that a frozen trunk sees: the rows themselves, or augmented copies."""
    if feed.augmented is None:
        return {"train": feed}
    return {f"train view {number + 1} of {VIEWS}": View(feed, number) for number in range(VIEWS)}


def freeze_unreached(recipe: "Recipe", assembly: Assembly, feed: Feed, targets: Targets, device: torch.device) -> None:
    """Freeze weights that get no gradient from two real rows, and note how many."""
    few = np.arange(min(2, len(feed.lengths)))
    task, wanted = plugins.load("tasks", recipe.task), moved(targets.batch(few), device)
    unreached = start.freeze_unreached(
        assembly, moved(feed.inputs(few), device), lambda outputs: task.loss(outputs, wanted, None, assembly.facts)
    )
    if unreached:
        progress.note(f"{unreached:,} weights get no gradient from this task and stay frozen")


def pretrained(assembly: Assembly) -> bool:
    """Whether there is a head and all of the trunk is pretrained, so that its features are informative."""
    return assembly.model.head is not None and not any(name.startswith("trunk.") for name in assembly.fresh)


def checkpoint_key(recipe: "Recipe", data: "Data", assembly: Assembly, processes: int) -> str:
    """A hash of all that the course of training depends on."""
    resolved = recipe.resolved()
    parts = {name: resolved[name] for name in ("task", "model", "tune", "train")}
    model = sources.fingerprint(recipe.model.name, recipe.model.weights)
    inputs = {"facts": dict(assembly.facts), "encoder": assembly.encoder.facts}
    return key_of(parts | inputs | {"data": data.fingerprint, "weights": model, "processes": processes})


def features_of(recipe: "Recipe", rundir: RunDir, assembly: Assembly, feed: Feed, name: str) -> Array:
    """Features of one split, cached in a file named by a hash of all that they depend on."""
    resolved = recipe.resolved()
    data = data_of(recipe)
    parts = {"model": resolved["model"], "facts": dict(assembly.facts), "encoder": assembly.encoder.facts}
    weights = sources.fingerprint(recipe.model.name, recipe.model.weights)
    own = {"split": name, "augment": recipe.train.augment, "seed": recipe.train.seed}
    key = key_of(parts | own | {"data": data.fingerprint, "weights": weights})
    update = progress.tracker(f"features of {name} rows", len(feed.lengths))
    path = rundir / "cache" / "features" / f"{name.partition(' ')[0]}-{key[:16]}.npy"
    assembly.model.eval()
    features = kept_features(assembly, feed, path, batch_size=EVAL_BATCH, progress=update)
    if name != "eval" and alike(features):
        raise ModelError(
            f"model {recipe.model.name!r}: all rows get the same features, so a head learns nothing from them; "
            "give it weights that were trained, or set tune.method: full"
        )
    return features


def finish(job: Job, assembly: Assembly, data: "Data", rundir: RunDir) -> Metrics:
    """Score the best state in float32, and write what was trained."""
    model = assembly.model.cpu().float().eval()
    feed = Feed(data.eval, assembly)
    update = progress.tracker("evaluate", len(feed.lengths))

    def outputs_of(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return named(assembly.graph, model(**inputs))

    answers = answers_of(outputs_of, feed, batch_size=EVAL_BATCH, progress=update)
    answers = with_texts(answers, assembly, feed, job.metric)
    if not np.isfinite(answers.evidence).all():
        raise UserError("train: the trained model's outputs are NaN or infinite; lower train.lr")
    state = {name: value.contiguous() for name, value in trained_state(model, assembly.fresh).items()}
    head = {name: value for name, value in state.items() if name in assembly.fresh}
    with whole_folder(rundir / FOLDER) as folder:
        save_file(head, folder / "head.safetensors")
        save_file({name: value for name, value in state.items() if name not in head}, folder / "adapter.safetensors")
        write_answers(folder / "eval_logits.npy", answers)
        return write_report(folder, job.task, answers, job.truth, data.labels)
