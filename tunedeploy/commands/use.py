"""Score and predict with whatever a path holds: a bundle, a run's ONNX files, or a run that is only trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy import plugins, progress
from tunedeploy.commands.score import Score, label_of, scored
from tunedeploy.data.columns import IMAGE_ROWS, TEXT_ROWS, Column, column_from
from tunedeploy.device.decisions import PLAIN, Answers, Decision, Detail, one_a_row
from tunedeploy.device.encoders import Row
from tunedeploy.device.parts import Parts
from tunedeploy.device.signature import Run
from tunedeploy.errors import DataError, RunError, UsageError
from tunedeploy.proof.bundle import Bundle

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.run.folder import RunDir

TRAINED = "torch"  # the variant of a run that has not been exported


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that answers raw rows."""

    task: str
    key: str  # the column of an input that is given without a name
    labels: tuple[str, ...]
    metric: str
    names: Mapping[str, Any]  # the recipe's data section, which has the user's column names
    columns: Sequence[Column]
    decision: Decision
    parts: Parts
    run: Run
    variant: str  # fp32, int8, ..., or TRAINED
    what: str  # what runs, as progress and errors name it

    @property
    def alone(self) -> Parts:
        """The parts by which answers to show are made; see Parts.one_by_one."""
        return self.parts if self.variant == TRAINED else self.parts.one_by_one(self.variant)

    def answers(self, rows: Sequence[Row]) -> Answers:
        """The answers that the metric is computed from.

        Raises:
            RunError: some of the evidence is NaN or infinity.
        """
        update = progress.tracker(self.what, len(rows))
        answers = self.parts.answers(self.run, rows, update, metric=self.metric)
        if not np.isfinite(answers.evidence).all():
            raise RunError(f"{self.what}: gives NaN or infinity")
        return answers

    def shown(self, rows: Sequence[Row], detail: Detail = PLAIN) -> Sequence[Mapping[str, object]]:
        """A record for each row, JSON; of variants other than float32 a row is answered by itself.

        Raises:
            RunError: as `answers`.
        """
        update = progress.tracker(self.what, len(rows))
        if self.parts.program.generates:
            return [{"text": text} for text in self.alone.generated(self.run, rows, update)]
        answers = self.alone.answers(self.run, rows, update)
        if not np.isfinite(answers.evidence).all():
            raise RunError(f"{self.what}: gives NaN or infinity")
        return self.decision.show(answers, rows, detail)


def open_model(path: Path, variant: str | None) -> Model:
    """The model of a path.

    Raises:
        RunError: the path is neither a run nor a bundle, or lacks the variant.
    """
    if (path / "manifest.json").is_file():
        return of_bundle(path, variant)
    if not (path / "recipe.yaml").is_file():
        raise RunError(f"{path}: is neither a run (recipe.yaml) nor a bundle (manifest.json)")
    return of_run(path, variant)


def of_bundle(path: Path, variant: str | None) -> Model:
    """A bundle's variant; loads no torch."""
    bundle = Bundle(path)
    name = variant or "fp32"
    bundle.sessions(name)
    return Model(
        task=bundle.manifest["task"], key=bundle.encoder.key, labels=bundle.labels, metric=bundle.manifest["metric"],
        names=bundle.manifest["recipe"]["data"], columns=columns_of_bundle(bundle), decision=bundle.decision,
        parts=bundle.parts, run=bundle.run(name), variant=name, what=f"onnx {name}",
    )  # fmt: skip


def of_run(path: Path, variant: str | None) -> Model:
    """A run's ONNX files, or its trained model where nothing has been exported yet."""
    from tunedeploy import api
    from tunedeploy.run.folder import RunDir

    rundir, recipe = RunDir(path), api.recipe_of(path)
    train = rundir.record("train").result
    if rundir.has("quantize") and variant != TRAINED:
        what, parts, run = _onnx(recipe, rundir, variant or "fp32")
    elif variant in (None, TRAINED):
        what, parts, run = _torch(recipe, rundir)
    else:
        raise RunError(f"{path}: has no {variant}; run 'tunedeploy export {path} --quantize {variant}' first")
    task = plugins.load("tasks", recipe.task)
    return Model(
        task=recipe.task, key=task.BARE_INPUT, labels=tuple(train["labels"]), metric=train["metric"],
        names=recipe.resolved()["data"], columns=task.COLUMNS, decision=task.decision(train["labels"]),
        parts=parts, run=run, variant=TRAINED if what == TRAINED else variant or "fp32", what=what,
    )  # fmt: skip


def _onnx(recipe: "Recipe", rundir: "RunDir", variant: str) -> tuple[str, Parts, Run]:
    from tunedeploy.run.exported import parts_of, sessions_of

    variants = rundir.record("quantize").result["variants"]
    if variant not in variants:
        raise RunError(f"{rundir.path}: no variant {variant!r}; it has {', '.join(variants)}")
    return f"onnx {variant}", parts_of(recipe, rundir), sessions_of(rundir, variants[variant])


def _torch(recipe: "Recipe", rundir: "RunDir") -> tuple[str, Parts, Run]:
    from tunedeploy.data.recipe_data import data_of
    from tunedeploy.models.runs import torch_run
    from tunedeploy.proof.torch_run import trained

    assembly = trained(recipe, rundir, data_of(recipe))
    return TRAINED, assembly.parts, torch_run(assembly)


def evaluate(path: Path, data: str | None = None, variant: str | None = None) -> Score:
    """The metric of a run or a bundle.

    Args:
        path: a run or a bundle.
        data: a file of labelled rows; a run's own evaluation split when None.
        variant: fp32, int8, ...

    Returns:
        `metric`, `value` (in percent where `unit` is %), `rows`, `wrong`, and what these answers have of the rest.

    Raises:
        UsageError: a bundle was given without data.
    """
    model = open_model(path, variant)
    if data is not None:
        rows = read_rows(data, model)
    elif (path / "manifest.json").is_file():
        raise UsageError(f"eval: {path} is a bundle, which has no data; name a file with --data")
    else:
        from tunedeploy import api
        from tunedeploy.data.recipe_data import data_of_run

        rows = list(data_of_run(api.recipe_of(path), path).eval)
    missing = next((row for row in rows if unlabelled(row, model.columns)), None)
    if missing is not None:
        raise DataError(f"{missing.get('origin', data)}: no label; eval needs one on every row")
    return scored(model, rows)


def unlabelled(row: Row, columns: Sequence[Column]) -> bool:
    """Whether a row lacks a target."""
    return any(
        column.key not in row or row[column.key] == column.kind.absent or row[column.key] != row[column.key]
        for column in columns if column.kind.target
    )  # fmt: skip


def predict(
    path: Path,
    inputs: Sequence[str],
    data: str | None = None,
    variant: str | None = None,
    detail: Detail = PLAIN,
) -> list[dict[str, object]]:
    """The answer to each input, with the input itself.

    Args:
        path: a run or a bundle.
        inputs: texts, paths of images, files of rows, folders of images, or "-" for the lines of stdin.
        data: a file of rows instead.
        variant: fp32, int8, ...
        detail: what to tell beside the answer.

    Raises:
        UsageError: neither inputs nor data, or both.
        DataError: an input cannot be read.
        RunError: the model has no such detail.
    """
    from tunedeploy.commands.inputs import rows_of

    if not inputs and data is None:
        raise UsageError("predict: nothing to predict; give texts or image files, or --data FILE")
    if inputs and data is not None:
        raise UsageError(f"predict: both inputs and --data {data}; give one of them")
    model = open_model(path, variant)
    if detail != PLAIN:  # refused before the work, not after it
        model.decision.show(one_a_row(np.zeros((0, model.decision.width), np.float32)), (), detail)
    if data is None:
        rows, shown = rows_of(inputs, model)
    else:
        rows = read_rows(data, model, labelled=False)
        shown = [label_of(row) for row in rows]
    try:
        records = model.shown(rows, detail)
    except OSError as error:
        raise DataError(f"predict: {error}") from error
    return [{"input": text, **record} for text, record in zip(shown, records, strict=True)]


def read_rows(data: str, model: Model, *, labelled: bool = True) -> list[Row]:
    """Rows of a file, labels as indices; without targets unless `labelled`."""
    from tunedeploy.data.read import read_rows as read

    columns = [column for column in model.columns if labelled or not column.kind.target]
    return read(data, model.names, columns, labels=model.labels, note=progress.note)


def columns_of_bundle(bundle: Bundle) -> Sequence[Column]:
    """The columns of labelled rows, from the manifest; bundles of schema 1 hold texts or images.

    Raises:
        RunError: the manifest does not describe columns.
    """
    described = bundle.manifest.get("columns")
    if described is None:
        return IMAGE_ROWS if bundle.encoder.key == "image" else TEXT_ROWS
    try:
        return [column_from(entry) for entry in described]
    except ValueError as error:
        raise RunError(f"{bundle.path / 'manifest.json'}: columns: {error}") from error
