"""Score and predict with whatever a path holds: a bundle, a run's ONNX files, or a run that is only trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tunedeploy import plugins, progress
from tunedeploy.data.columns import IMAGE_ROWS, TEXT_ROWS, Column
from tunedeploy.device.decisions import classes
from tunedeploy.device.encoders import Array, Row
from tunedeploy.errors import DataError, RunError, UsageError
from tunedeploy.proof.bundle import Bundle

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe
    from tunedeploy.run.folder import RunDir

TRAINED = "torch"  # the variant of a run that has not been exported


@dataclass(frozen=True, kw_only=True)
class Model:
    """Something that gives logits (rows, labels) for raw rows."""

    task: str
    key: str  # the column that an input without a name fills
    labels: tuple[str, ...]
    metric: str
    columns: Mapping[str, Any]  # the recipe's data section
    logits: Callable[[Sequence[Row]], Array]


class Score(TypedDict):
    """A metric in percent, and on how many rows."""

    metric: str
    value: float
    rows: int


class Prediction(classes.Answer):
    """An answer with what was asked."""

    input: str


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
    bundle.session(name)

    def logits(rows: Sequence[Row]) -> Array:
        return bundle.logits(rows, name, progress.tracker(f"onnx {name}", len(rows)))

    return Model(
        task=bundle.manifest["task"], key=bundle.encoder.key, labels=bundle.labels, metric=bundle.manifest["metric"],
        columns=bundle.manifest["recipe"]["data"], logits=logits,
    )  # fmt: skip


def of_run(path: Path, variant: str | None) -> Model:
    """A run's ONNX file, or its trained model where nothing has been exported yet."""
    from tunedeploy import api
    from tunedeploy.run.folder import RunDir

    rundir, recipe = RunDir(path), api.recipe_of(path)
    train = rundir.record("train").result
    call: Callable[[Sequence[Row]], Array]
    if rundir.has("quantize") and variant != TRAINED:
        call = _onnx_call(recipe, rundir, variant or "fp32")
    elif variant in (None, TRAINED):
        call = _torch_call(recipe, rundir, len(train["labels"]))
    else:
        raise RunError(f"{path}: has no {variant}; run 'tunedeploy export {path} --quantize {variant}' first")
    return Model(
        task=recipe.task, key=plugins.load("tasks", recipe.task).BARE_INPUT, labels=tuple(train["labels"]),
        metric=train["metric"], columns=recipe.resolved()["data"], logits=call,
    )  # fmt: skip


def _onnx_call(recipe: "Recipe", rundir: "RunDir", variant: str) -> Callable[[Sequence[Row]], Array]:
    from tunedeploy.device.runtime import Session, logits_of
    from tunedeploy.run.exported import encoder_of

    variants = rundir.record("quantize").result["variants"]
    if variant not in variants:
        raise RunError(f"{rundir.path}: no variant {variant!r}; it has {', '.join(variants)}")
    session, encoder = Session(rundir / variants[variant]["file"]), encoder_of(recipe, rundir)
    return lambda rows: logits_of(session, encoder, rows, progress.tracker(f"onnx {variant}", len(rows)))


def _torch_call(recipe: "Recipe", rundir: "RunDir", labels: int) -> Callable[[Sequence[Row]], Array]:
    from tunedeploy.proof.torch_run import trained
    from tunedeploy.training.feeds import Feed
    from tunedeploy.training.loop import EVAL_BATCH
    from tunedeploy.training.scores import logits_of

    assembly = trained(recipe, rundir, labels)
    return lambda rows: logits_of(assembly.model, Feed(rows, assembly.encoder), batch_size=EVAL_BATCH)


def evaluate(path: Path, data: str | None = None, variant: str | None = None) -> Score:
    """The metric of a run or a bundle.

    Args:
        path: a run or a bundle.
        data: a file of labelled rows; a run's own evaluation split when None.
        variant: fp32, int8, ...

    Returns:
        `metric`, `value` in percent, `rows`.

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
    unlabelled = [row for row in rows if row.get("label", -1) < 0]
    if unlabelled:
        raise DataError(f"{unlabelled[0].get('origin', data)}: no label; eval needs one on every row")
    value = classes.score(model.metric, model.logits(rows), classes.targets(rows))
    return {"metric": model.metric, "value": round(float(value), 4), "rows": len(rows)}


def predict(path: Path, inputs: Sequence[str], data: str | None = None, variant: str | None = None) -> list[Prediction]:
    """Label and probability of each input.

    Args:
        path: a run or a bundle.
        inputs: texts, or paths of images.
        data: a file of rows instead.
        variant: fp32, int8, ...

    Raises:
        UsageError: neither inputs nor data.
        DataError: an input cannot be read.
    """
    if not inputs and data is None:
        raise UsageError("predict: nothing to predict; give texts or image files, or --data FILE")
    if inputs and data is not None:
        raise UsageError(f"predict: both inputs and --data {data}; give one of them")
    model = open_model(path, variant)
    if data is None:
        key = model.key
        if model.columns.get("text_pair"):
            raise UsageError("predict: this model reads pairs of texts; give them as rows of a file with --data FILE")
        missing = [one for one in inputs if key == "image" and not Path(one).is_file()]
        if missing:
            raise DataError(f"predict: no such image file {missing[0]}")
        if any("\ud800" <= sign <= "\udfff" for one in inputs for sign in one):
            raise DataError("predict: an input is not UTF-8; pass UTF-8, or the rows in a file with --data")
        rows: list[Row] = [{key: one, "origin": one} for one in inputs]
        shown = list(inputs)
    else:
        rows = read_rows(data, model, labelled=False)
        shown = [row["text"] if "text" in row else str(row.get("origin")) for row in rows]
    try:
        found = classes.decode(model.logits(rows), model.labels)
    except OSError as error:
        raise DataError(f"predict: {error}") from error
    return [{"input": text, **one} for text, one in zip(shown, found, strict=True)]


def read_rows(data: str, model: Model, *, labelled: bool = True) -> list[Row]:
    """Rows of a file, labels as indices; without labels where nobody asks for them."""
    from tunedeploy.data.read import read_rows as read

    columns = [one for one in columns_of(model) if labelled or one.kind.labels is None]
    return read(data, model.columns, columns, labels=model.labels)


def columns_of(model: Model) -> Sequence[Column]:
    """What the rows of a model hold. Of a task that is not known here, it is the task that knows."""
    known = {"text-classification": TEXT_ROWS, "image-classification": IMAGE_ROWS}
    return known.get(model.task) or plugins.load("tasks", model.task).COLUMNS
