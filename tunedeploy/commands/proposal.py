"""What `init` proposes for a table: task, columns, model and method, as the user gave them or as the data suggests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunedeploy import plugins
from tunedeploy.data.columns import Column
from tunedeploy.data.fitting import Fit, Sample, fit
from tunedeploy.data.labels import closest
from tunedeploy.data.table import Table
from tunedeploy.errors import DataError, UsageError, UserError
from tunedeploy.models.packages import SCHEME, install_line, is_installed, package_of
from tunedeploy.recipe.check import NEW_MODEL, task_of
from tunedeploy.recipe.wording import instead

NO_MODEL = ("MODEL FOLDER", "lora")  # where a task has no models of its own
NO_WEIGHTS = (NEW_MODEL, "torchvision://", "timm://")  # names of architectures, which say nothing of weights
CHOOSE = "--text COLUMN --label COLUMN"
OPTIONS = {"text": "--text", "label": "--label"}  # canonical column -> the option that names the user's


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user has decided; `init` proposes what is None."""

    task: str | None = None
    text: str | None = None
    label: str | None = None
    model: str | None = None
    method: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Canonical column -> the user's."""
        return {key: name for key, name in (("text", self.text), ("label", self.label)) if name is not None}


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The model that a recipe will name."""

    name: Any  # text, or {"name", "weights"}
    method: str
    is_there: bool  # False: its package is not installed, or the task has no default
    install: str | None  # the command that installs its package
    notes: tuple[str, ...] = ()


def check_names(given: Given) -> None:
    """Raise UsageError for a task or a method that is no plug-in."""
    for option, axis, name in (("--task", "tasks", given.task), ("--method", "methods", given.method)):
        known = list(plugins.names(axis))
        if name is None or name in known:
            continue
        task = task_of(name) if axis == "tasks" else None
        cure = f"did you mean {task!r}?" if task else instead(name, known)
        raise UsageError(f"{option}: no {axis[:-1]} {name!r}; {cure}")


def choose(table: Table, given: Given) -> tuple[str, Fit, str]:
    """The task, its columns in the table, and the reason for the choice.

    Raises:
        DataError: a given column is not there, no task fits, or columns fit equally well.
        UsageError: the given task reads no such column.
    """
    _check_columns(table, given)
    sample = Sample(table)
    fits: list[tuple[float, str, Fit]] = []
    for name, columns in _candidates(given).items():
        fitting = fit(sample, columns, given.columns)
        if fitting is not None:
            fits.append((-fitting.score, name, fitting))
    if not fits:
        what = f"{given.task} does not fit" if given.task else "no task fits"
        raise DataError(f"{table.name}: {what} the columns {_listed(table)}{_cure(given)}")
    (_, task_name, best), *others = sorted(fits, key=lambda entry: entry[:2])
    if best.rivals:
        raise DataError(_undecided(table, best.rivals))
    if given.task:
        return task_name, best, f"{task_name} as given: {best.why}"
    beside = "".join(f"; {name} fits less ({other.score:.2f})" for _, name, other in others[:1])
    return task_name, best, f"{task_name} fits the columns best ({best.score:.2f}): {best.why}{beside}"


def choose_model(task: str, given: Given) -> ModelChoice:
    """The given model and method, or the task's own: the first that is installed, or else the first."""
    defaults = plugins.load("tasks", task).MODELS or (NO_MODEL,)
    name, method = next((pair for pair in defaults if _missing(pair[0]) is None), defaults[0])
    has_model = defaults != (NO_MODEL,)
    if given.model is not None:
        method = next((own for default, own in defaults if default == given.model), method)
        name, has_model = given.model, True
    notes = []
    if isinstance(name, str) and name.startswith(NO_WEIGHTS):
        method = "full"  # there is nothing in random weights to adapt
        notes.append(f"{name} starts from random weights; a model with weights learns from fewer rows")
    package = _missing(name)
    return ModelChoice(
        name=name,
        method=given.method or method,
        is_there=package is None and has_model,
        install=None if package is None else install_line(package),
        notes=tuple(notes),
    )


def _check_columns(table: Table, given: Given) -> None:
    names = given.columns
    mistakes = [
        f"{table.name}: no column {name!r} ({OPTIONS[key]}); columns: {_listed(table)}{closest(name, table.header)}"
        for key, name in names.items()
        if name not in table.header
    ]
    if len(set(names.values())) < len(names):
        mistakes.append(f"{table.name}: --text and --label both name the column {given.text!r}; name two")
    if mistakes:
        raise DataError(mistakes)


def _candidates(given: Given) -> dict[str, Sequence[Column]]:
    """The columns of each task that reads those that are given; of all tasks, or of the one that is given."""
    candidates: dict[str, Sequence[Column]] = {}
    for name in [given.task] if given.task else plugins.names("tasks"):
        try:
            columns = plugins.load("tasks", name).COLUMNS
        except UserError:  # its package needs another one that is not installed
            if given.task:
                raise
            continue
        keys = [column.key for column in columns]
        unknown = [key for key in given.columns if key not in keys]
        if unknown and given.task:
            option = OPTIONS[unknown[0]]
            raise UsageError(f"{option}: {name} has no column {unknown[0]!r}; its columns: {', '.join(keys)}")
        if not unknown:
            candidates[name] = columns
    return candidates


def _undecided(table: Table, rivals: Mapping[str, tuple[str, ...]]) -> str:
    """The line about columns of which none is the obvious one."""
    parts = [f"data.{key} could be {' or '.join(map(repr, names))}" for key, names in rivals.items()]
    outside = [key for key in rivals if key not in OPTIONS]
    written = f", and data.{outside[0]} in a recipe by hand" if outside else ""
    return f"{table.name}: {', and '.join(parts)}; choose by {CHOOSE}{written} (columns: {_listed(table)})"


def _cure(given: Given) -> str:
    if given.columns.keys() == OPTIONS.keys():
        return " as you name them; look at what their cells hold, or write the recipe by hand, see docs/recipe.md"
    return f"; choose by {CHOOSE}, or write the recipe by hand, see docs/recipe.md"


def _missing(model: Any) -> str | None:
    """The package that holds a model and is not installed; None where nothing is missing."""
    name = model["weights"] if isinstance(model, dict) else model
    package = package_of(name) if name.startswith(SCHEME) else None
    return package if package is not None and not is_installed(package) else None


def _listed(table: Table, most: int = 20) -> str:
    more = f" and {len(table.header) - most} more" if len(table.header) > most else ""
    return ", ".join(map(repr, table.header[:most])) + more
