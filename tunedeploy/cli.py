"""The command line: parse, call one stage, print, and turn errors into exit codes. Imports no torch."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tunedeploy import plugins, progress
from tunedeploy.console import Console, bundle_text, indented, ledger_table, plan_text, table, training_text
from tunedeploy.errors import TunedeployError, UsageError
from tunedeploy.pipeline import is_main_process

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="One recipe in; one verified, edge-ready bundle out.",
)

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values that win over the recipe's.")]
Run = Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder; the latest under ./runs when left out.")]
Target = Annotated[Path, typer.Argument(metavar="PATH", help="A run or a bundle.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="The run folder; runs/NAME of the recipe when left out.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Redo everything, whatever is there.")]
Json = Annotated[bool, typer.Option("--json", help="A single JSON document on stdout, and nothing else.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="DIST", help="Where the bundle goes; RUN/dist when left out.")
]
Variant = Annotated[str | None, typer.Option("--variant", help="fp32, int8, ...; fp32 when left out.")]


@app.command()
def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder of class folders or a hub id.")],
    output: Annotated[Path, typer.Option("-o", help="The recipe to write.")] = Path("recipe.yaml"),
    as_json: Json = False,
) -> None:
    """Look at the data, write a recipe."""
    from tunedeploy.stages.init import write_recipe

    with heard(as_json):
        found = write_recipe(data, output)
    say(as_json, found, lambda: f"{output}: written\n\n{found['recipe']}\nnext: tunedeploy plan {output}")


@app.command()
def plan(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Resolved recipe with provenance, data report, weights, memory, minutes, sizes; trains nothing."""
    from tunedeploy import recipe as recipes
    from tunedeploy.stages.plan import describe

    with heard(as_json):
        found = describe(recipes.read(recipe, overrides or ()))
    say(as_json, found, lambda: plan_text(found))


@app.command()
def train(
    recipe: Recipe, overrides: Overrides = None, run: RunOption = None, fresh: Fresh = False, as_json: Json = False
) -> None:
    """Tune the model; an interrupted run resumes by itself."""
    from tunedeploy import api
    from tunedeploy.rundir import RunDir

    with heard(as_json):
        folder = api.train(recipe, overrides or (), run=run, fresh=fresh)
    found = RunDir(folder).record("train").result
    say(as_json, {"run": str(folder), **found}, lambda: training_text(folder, found))


@app.command()
def merge(run: Run = None, as_json: Json = False) -> None:
    """Fold the adapter into the base weights, and prove it."""
    from tunedeploy import api
    from tunedeploy.rundir import RunDir

    with heard(as_json):
        folder = api.run_folder(run)
        api.merge(folder)
    found = RunDir(folder).record("merge").result
    say(as_json, {"run": str(folder), **found}, lambda: f"{ledger_table(found['comparisons'])}\n\n{folder / 'merged'}")


@app.command()
def export(
    run: Run = None,
    quantize: Annotated[
        str | None, typer.Option("--quantize", metavar="NAME", help="int8, fp16, ...; see 'list precisions'.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="python, web, ...; see 'list targets'.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option("--max-drop", metavar="P", help="Points of the metric int8 may lose.")
    ] = None,
    max_size: Annotated[float | None, typer.Option("--max-size", metavar="MB", help="Largest .onnx file.")] = None,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", metavar="MS", help="Slowest median row, here.")
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Convert to ONNX, quantize inside the budget, verify, bundle."""
    from tunedeploy import api

    limits = {"max_drop": max_drop, "max_size": max_size, "max_latency": max_latency}
    with heard(as_json):
        folder = api.run_folder(run)
        dist = api.export(folder, {"quantize": quantize, "target": target, **limits}, output=output)
    shipped(as_json, folder, dist)


@app.command("run")
def run_all(
    recipe: Recipe,
    overrides: Overrides = None,
    run: RunOption = None,
    fresh: Fresh = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Plan, train, merge, export, quantize, verify, bundle, report."""
    from tunedeploy import api

    with heard(as_json):
        api.check_output(output)
        folder = api.through(recipe, overrides or (), run=run, fresh=fresh, until="report")
        dist = api.place(folder, output)
    shipped(as_json, folder, dist)


@app.command()
def verify(
    path: Target,
    checks: Annotated[
        str | None,
        typer.Option("--checks", metavar="NAMES", help="integrity,parity,preprocessing,metric; all when left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a run or a bundle: integrity, parity, preprocessing, metric."""
    from tunedeploy import api

    with heard(as_json):
        made = [
            one.to_json() | {"line": one.line()}
            for one in api.comparisons_of(path, checks.split(",") if checks else None)
        ]
    good = all(one["ok"] for one in made)
    short = [{key: one[key] for key in ("name", "ok", "value", "limit", "file")} for one in made]
    say(as_json, {"ok": good, "checks": short}, lambda: ledger_table(made))
    if not good:
        fail([one["line"] for one in made if not one["ok"]], 3)


@app.command("eval")
def evaluate(
    path: Target,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="Labelled rows; a run's own evaluation rows when left out."),
    ] = None,
    variant: Variant = None,
    as_json: Json = False,
) -> None:
    """Score a run or a bundle on labelled rows."""
    from tunedeploy.use import evaluate as evaluate_rows

    with heard(as_json):
        found = evaluate_rows(path, data, variant)
    say(as_json, found, lambda: f"{found['metric']}: {found['value']:.2f} % of {found['rows']} rows")


@app.command()
def predict(
    path: Target,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="Texts, or image files.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="FILE", help="A file of rows instead.")] = None,
    variant: Variant = None,
    as_json: Json = False,
) -> None:
    """Label and probability of each input."""
    from tunedeploy.use import predict as predict_rows

    with heard(as_json):
        found = predict_rows(path, inputs or [], data, variant)
    rows = [(one["label"], f"{one['probability']:.4f}", one["input"]) for one in found]
    say(as_json, {"predictions": found}, lambda: table(("label", "probability", "input"), rows))


@app.command()
def bench(path: Target, as_json: Json = False) -> None:
    """Time the variants of a bundle against each other on this machine."""
    from tunedeploy.stages.bench import measure, verdict

    with heard(as_json):
        found = measure(path)
    say(as_json, found, lambda: verdict(found))


@app.command()
def report(run: Run = None, as_json: Json = False) -> None:
    """Write report.html of a finished run again, and say where it is."""
    from tunedeploy import api
    from tunedeploy.rundir import RunDir
    from tunedeploy.stages import report as stage

    with heard(as_json):
        folder = api.run_folder(run)
        stage.run(api.recipe_of(folder), RunDir(folder))
    say(as_json, {"file": str(folder / "report.html")}, lambda: str(folder / "report.html"))


@app.command("list")
def list_names(
    axis: Annotated[str | None, typer.Argument(metavar="AXIS", help=", ".join(plugins.AXES))] = None,
    as_json: Json = False,
) -> None:
    """Names as the recipe writes them."""
    with heard(as_json):
        if axis is not None and axis not in plugins.AXES:
            raise UsageError(f"list: no axis {axis!r}; there are {', '.join(plugins.AXES)}")
        found = {one: plugins.names(one) for one in ([axis] if axis else plugins.AXES)}
    say(as_json, found, lambda: "\n\n".join(f"{one}\n" + indented(list(names.items())) for one, names in found.items()))


@app.command()
def schema(as_json: Json = False) -> None:
    """The JSON Schema of a recipe, for editors."""
    from tunedeploy import recipe as recipes

    with heard(as_json):
        found = recipes.schema()
    print(json.dumps(found, indent=2))


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has: versions, instruction set, number formats, threads."""
    from tunedeploy.stages.doctor import examine

    with heard(as_json):
        found = examine()
    say(as_json, found, lambda: table(("what", "here"), list(found.items())))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="tunedeploy")
    except TunedeployError as error:
        fail(error.lines, error.exit_code)
    except KeyboardInterrupt:
        fail(["interrupted; what was finished is kept, the same command goes on from there"], 130)
    except BrokenPipeError:
        sys.exit(0)  # the reader of a pipe has seen enough


def fail(lines: Sequence[str], code: int) -> None:
    """Say what is wrong on stderr and exit."""
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def heard(as_json: bool) -> Iterator[None]:
    """Show progress and notes of the block on stderr; none of them with --json."""
    main = is_main_process()
    console = Console(silent=as_json or not main)
    with progress.listen(console):
        try:
            yield
        finally:
            console.close()
    if not main:
        sys.exit(0)  # of a distributed launch one process speaks


def say(as_json: bool, value: Any, text: Callable[[], str]) -> None:
    """Print a result: a JSON document, or text for people."""
    print(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text())


def shipped(as_json: bool, folder: Path, dist: Path) -> None:
    """Show the ledger and the files of a finished bundle."""
    from tunedeploy.rundir import RunDir

    document = {"run": str(folder), "bundle": str(dist), **RunDir(folder).shipped()}
    say(as_json, document, lambda: bundle_text(document))
