"""Plan: measure in a few seconds what a run will take: the data's faults, weights, memory, minutes and sizes."""

import math
import time
from typing import TYPE_CHECKING, cast

import numpy as np
import psutil
import torch

from tunedeploy import plugins, progress
from tunedeploy.data.doctor.examine import examine
from tunedeploy.data.recipe_data import data_of
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly, set_training
from tunedeploy.models.loading import foreign
from tunedeploy.models.torch_inputs import named
from tunedeploy.proof import preflight
from tunedeploy.run.atomic import write_json
from tunedeploy.run.folder import RunDir, key_of
from tunedeploy.run.planned import Effort, Plan, SeenData, Sizes, Sourced
from tunedeploy.run.results import Weights
from tunedeploy.training.batches import balance_of
from tunedeploy.training.feeds import VIEWS, Feed
from tunedeploy.training.loop import forward
from tunedeploy.training.machine import precision_of, set_threads
from tunedeploy.training.targets import Targets

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "model", "data", "tune", "train", "export")
AFTER = ()
OUTPUTS = ("data",)
TIMED = 3  # steps; the first of them is thrown away
PROBE_ROWS = 32  # at most, in one step; beyond that, time grows with the rows


def run(recipe: "Recipe", rundir: RunDir) -> Plan:
    """Write `data/doctor.json`, `data/left_out.json` and `data/fingerprint.json`.

    Returns:
        The resolved recipe with provenance, the data report, weights and estimates.
    """
    plan = describe(recipe)
    write_json(rundir / "data" / "doctor.json", plan["data"]["doctor"])
    write_json(rundir / "data" / "left_out.json", plan["data"]["left_out"])
    write_json(
        rundir / "data" / "fingerprint.json",
        {
            "fingerprint": plan["data"]["fingerprint"],
            "labels": plan["data"]["labels"],
            "eval_source": plan["data"]["eval_source"],
        },
    )
    return plan


def depends_on(recipe: "Recipe") -> dict[str, str]:
    """What this stage's key has beside the recipe and the origin: which rows are left out changes no other stage."""
    left_out = data_of(recipe).left_out
    return {"left_out": key_of({"rows": left_out})} if left_out else {}


def describe(recipe: "Recipe") -> Plan:
    """The plan as JSON; trains nothing."""
    set_threads(recipe.train.threads)
    data = data_of(recipe)
    task = plugins.load("tasks", recipe.task)
    assembly = start.base(recipe, data)
    shipped = start.counts(assembly)["bytes"]  # adapters are folded away
    preflight.check(recipe, assembly, data.train)
    plugins.load("methods", recipe.tune.method).attach(assembly, recipe.tune)
    for line in [*data.notes, *assembly.notes]:
        progress.note(line)
    limit = assembly.encoder.facts.get("max_length")

    length = getattr(assembly.encoder, "length", None)
    doctor = examine(data, task.COLUMNS, length=length if limit else None, max_length=limit)
    for line in doctor.lines():
        progress.note(line)
    weights = start.counts(assembly)
    return {
        "recipe": provenance(recipe),
        "decided": decided(recipe, assembly, data),
        "weights": weights,
        "estimates": {**estimates(recipe, assembly, data, weights), **sizes(shipped, weights)},
        "data": {
            "fingerprint": data.fingerprint,
            "labels": list(data.labels),
            "eval_source": data.eval_source,
            "rows": {"train": len(data.train), "eval": len(data.eval)},
            "notes": [*data.notes, *assembly.notes],
            "left_out": list(data.left_out),
            "doctor": cast(SeenData, doctor.to_dict()),
        },
    }


def decided(recipe: "Recipe", assembly: Assembly, data: "Data") -> dict[str, object]:
    """What the recipe leaves to the machine, the data and the checkpoint."""
    task = plugins.load("tasks", recipe.task)
    classes = task.classes_of(data.train)
    return {
        "precision": precision_of(recipe.train.precision),
        "balance": "none" if classes is None else balance_of(recipe.train.balance, classes),
        "metric": task.metric_name(assembly.decision.targets(data.eval), data.labels),
        "threads": torch.get_num_threads(),
        **dict(assembly.facts),
        "preprocessing": assembly.encoder.facts,
    }


def provenance(recipe: "Recipe") -> dict[str, Sourced]:
    """Dotted key to value and source."""
    rows: dict[str, Sourced] = {"task": {"value": recipe.task, "source": recipe.sources["task"]}}
    for section, values in recipe.resolved().items():
        if isinstance(values, dict):
            for key, value in values.items():
                rows[f"{section}.{key}"] = {"value": value, "source": recipe.sources[f"{section}.{key}"]}
    return rows


def estimates(recipe: "Recipe", assembly: Assembly, data: "Data", weights: Weights) -> Effort:
    """Minutes and memory of training, and sizes of the files.

    Time is extrapolated from a few real steps on this machine; memory is exact for weights, gradients and optimizer,
    and measured on those steps for activations; sizes are 4 and 1 bytes per weight, plus what int8 keeps in float32.
    """
    process = psutil.Process()
    before = process.memory_info().rss
    seconds = step_seconds(recipe, assembly, data)
    grown = max(0, process.memory_info().rss - before)
    options = recipe.train
    rows = len(data.train)
    steps = math.ceil(rows / (options.batch_size * options.accumulate)) * options.epochs
    caches = plugins.load("methods", recipe.tune.method).CACHES_FEATURES
    copies = VIEWS if assembly.augmented else 1
    passes = math.ceil((copies * rows + len(data.eval)) / options.batch_size)
    total_s = (
        passes * seconds
        if caches
        else steps * options.accumulate * seconds + options.epochs * len(data.eval) / options.batch_size * seconds / 3
    )
    if options.budget_s:
        total_s = min(total_s, options.budget_s)
    return {
        "steps": steps,
        "step_seconds": round(seconds, 4),
        "minutes": round(total_s / 60, 2),
        "memory_mb": round((weights["bytes"] + 3 * 4 * weights["trainable"] + grown) / 1e6),
    }


def sizes(shipped_bytes: int, weights: Weights) -> Sizes:
    """Megabytes of the files to come."""
    return {
        "adapter_mb": round(4 * weights["trainable"] / 1e6, 2),
        "fp32_mb": round(shipped_bytes / 1e6, 2),
        "int8_mb": round(shipped_bytes / 4 * 1.03 / 1e6, 2),  # scales, and norms that stay in float32
    }


def step_seconds(recipe: "Recipe", assembly: Assembly, data: "Data") -> float:
    """Seconds of one micro-batch: forward and backward where something below the head is trained."""
    task = plugins.load("tasks", recipe.task)
    count = min(recipe.train.batch_size, PROBE_ROWS, len(data.train))
    model = assembly.model
    caches = plugins.load("methods", recipe.tune.method).CACHES_FEATURES
    set_training(model)
    places = np.linspace(0, len(data.train) - 1, count * TIMED).astype(int)
    times = []
    bf16 = precision_of(recipe.train.precision) == "bf16" and not caches
    for part in np.array_split(places, TIMED):
        rows = data.train.select([int(at) for at in part])
        began = time.monotonic()
        feed, own = Feed(rows, assembly), np.arange(len(rows))
        entries = task.targets(rows, feed.features)
        targets = Targets(entries, task.weights(entries)).batch(own)
        inputs = feed.inputs(own)
        with foreign(f"model {recipe.model.name!r}: cannot be trained a step"):
            with torch.set_grad_enabled(not caches), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                outputs = named(assembly.graph, forward(model, inputs))
                loss = task.loss(outputs, targets, None, assembly.facts).mean()
            if not caches:
                torch.autograd.backward(loss)
        times.append(time.monotonic() - began)
    model.zero_grad(set_to_none=True)
    return float(np.median(times[1:])) * recipe.train.batch_size / count
