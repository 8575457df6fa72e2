"""A run's models in torch, as training and merging left them, and their answers to some rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from tunedeploy.contracts.task import Task
from tunedeploy.device.decisions import Answers
from tunedeploy.device.encoders import Array, Features, Row
from tunedeploy.errors import ModelError, RunError
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly, load_trained
from tunedeploy.models.loading import first_line
from tunedeploy.models.runs import torch_run
from tunedeploy.run.folder import RunDir

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.recipe.read import Recipe


FOLDER = "merged"
ROWS = 96  # of the evaluation split; errors of a merge appear on any row, so more rows would only cost time


def trained(recipe: "Recipe", rundir: RunDir, data: "Data") -> Assembly:
    """The model as training left it, adapters on, in float32 and eval mode.

    Raises:
        RunError: a file of the train stage cannot be read, or belongs to another model.
    """
    assembly = start.attached(recipe, data)
    own = assembly.model.state_dict()
    for name in ("head", "adapter"):
        path = rundir / "train" / f"{name}.safetensors"
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from error
        unlike = [key for key, value in state.items() if key not in own or own[key].shape != value.shape]
        if unlike:
            raise RunError(f"{path}: {unlike[0]} does not fit the model of the recipe; train again")
        load_trained(assembly.model, state)
    assembly.model.eval()
    return assembly


def loaded(task: Task, rundir: RunDir) -> Assembly:
    """The merged folder, its attention written out as an exporter wants it: fewer nodes than sdpa, and no NaN guards.

    Raises:
        ModelError: it cannot be loaded.
    """
    folder = rundir / FOLDER
    try:
        assembly = task.load(folder, attention="eager")
    except Exception as error:  # on a damaged folder transformers, torch and tokenizers may raise anything
        raise ModelError(f"{folder}: cannot be loaded: {type(error).__name__}: {first_line(error)}") from error
    return assembly


def sample(rows: Sequence[Row], count: int = ROWS) -> list[Row]:
    """Rows spread evenly over a data set."""
    return [rows[int(at)] for at in places(len(rows), count)]


def places(total: int, count: int) -> Array:
    """Where the rows of a sample are, (rows,)."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))


def answers(assembly: Assembly, features: Sequence[Features], *, double: bool = False) -> Answers:
    """The answers to encoded rows, in float32 or float64."""
    return assembly.parts.answers_of_features(torch_run(assembly, double=double), features)
