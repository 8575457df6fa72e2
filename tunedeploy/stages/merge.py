"""Merge: fold the adapter into the base weights in float32, and prove on real rows that nothing else changed."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from tunedeploy import plugins, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger, timed
from tunedeploy.device.decisions import Answers
from tunedeploy.device.encoders import Features
from tunedeploy.errors import ParityError
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly
from tunedeploy.proof.torch_run import FOLDER, answers, sample, trained
from tunedeploy.run.atomic import whole_folder
from tunedeploy.run.folder import RunDir
from tunedeploy.run.results import Merge, entries

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "model", "data", "tune", "train.seed")
AFTER = ("train",)
OUTPUTS = ("merged",)
MERGED = Ledger(stage="merge", file=FOLDER)
FLOOR_ROWS = 24  # spread over all: a class may have ten times another's floor; convolutions are slow in float64


def run(recipe: "Recipe", rundir: RunDir) -> Merge:
    """Write `merged/`, a plain model folder, and compare adapter-on, merged, reloaded and base.

    Returns:
        The comparisons made.

    Raises:
        ParityError: they disagree, or the merged model is the base model.
    """
    data = data_of(recipe)
    task = plugins.load("tasks", recipe.task)
    method = plugins.load("methods", recipe.tune.method)
    tuned = trained(recipe, rundir, data)
    began = time.monotonic()
    features = tuned.encoder.encode(sample(data.eval))
    progress.note(f"merge: comparing on {len(features)} rows")
    with_adapter = numbers(tuned, features)
    few = features[:: max(1, len(features) // FLOOR_ROWS)]
    floor = agreement.noise_floor(numbers(tuned, few).evidence, numbers(tuned, few, double=True).evidence)
    method.fold(tuned.model)
    merged = numbers(tuned, features)
    base = numbers(start.base(recipe, data), features)
    with whole_folder(rundir / FOLDER) as folder:
        task.save(tuned, data.labels, folder)
        again = task.load(folder)
        reloaded = numbers(again, again.encoder.encode(sample(data.eval)))
        spread = agreement.output_range(with_adapter.evidence)
        limit = agreement.tolerance(floor, spread)
        facts = {"noise_floor": floor, "output_range": spread}
        comparisons = [
            equal("adapter-vs-merged", with_adapter, merged, limit, facts),
            equal("merged-vs-reloaded", merged, reloaded, limit, facts),
            differs(base, merged, limit),
            trunk_differs(start.base(recipe, data), again, rundir),
        ]
        comparisons = timed(comparisons, time.monotonic() - began)
        breaches = [comparison.line() for comparison in comparisons if not comparison.ok]
        if breaches:
            raise ParityError(breaches)
    return {"comparisons": entries(comparisons)}


def numbers(assembly: Assembly, features: Sequence[Features], *, double: bool = False) -> Answers:
    """The answers to encoded rows, with the part of the evidence that moves little where the outputs do."""
    given = answers(assembly, features, double=double)
    return replace(given, evidence=assembly.decision.numbers(given.evidence))


def equal(id: str, first: Answers, second: Answers, limit: float, facts: dict[str, float]) -> Comparison:
    """Compare two models that should be the same program."""
    value, unit = agreement.largest_difference(first.evidence, second.evidence)
    return MERGED.at_most(id, value, limit, rows=len(first), where=f"row {first.row[unit]}", facts=facts)


def differs(base: Answers, merged: Answers, limit: float) -> Comparison:
    """Merged outputs must differ from the base's: if they are equal, the training is not in the folder."""
    value = agreement.largest_difference(merged.evidence, base.evidence)[0]
    return MERGED.at_least("merged-vs-base", value, limit, rows=len(base))


def trunk_differs(base: Assembly, merged: Assembly, rundir: RunDir) -> Comparison:
    """Trunk tensors that differ from the base's: at least one where the method trained any."""
    trained_tensors = len(load_file(rundir / "train" / "adapter.safetensors"))
    own, other = base.model.trunk.state_dict(), merged.model.trunk.state_dict()
    changed = sum(name in other and not torch.equal(value, other[name]) for name, value in own.items())
    return MERGED.at_least("trained-tensors", changed, min(1, trained_tensors), facts={"trained": trained_tensors})
