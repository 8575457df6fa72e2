"""The command line: parse, call one stage, print, and turn errors into exit codes. Imports no torch."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tunedeploy import plugins
from tunedeploy.cli import arguments as given
from tunedeploy.cli.console import indented, ledger_table, plan_text, table, training_text
from tunedeploy.cli.init import init
from tunedeploy.cli.output import fail, heard, say, shipped
from tunedeploy.device.figures import value_text
from tunedeploy.errors import FULL, TunedeployError, UsageError
from tunedeploy.extras import lacking

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="One recipe in; one verified, edge-ready bundle out.",
)


app.command()(init)


@app.command()
def plan(recipe: given.Recipe, overrides: given.Overrides = None, as_json: given.Json = False) -> None:
    """Resolved recipe with provenance, data report, weights, memory, minutes, sizes; trains nothing."""
    from tunedeploy.recipe import read as recipes
    from tunedeploy.stages.plan import describe

    with heard(as_json):
        document = describe(recipes.read(recipe, overrides or ()))
    say(as_json, document, lambda: plan_text(document))


@app.command()
def train(
    recipe: given.Recipe,
    overrides: given.Overrides = None,
    run: given.RunOption = None,
    fresh: given.Fresh = False,
    as_json: given.Json = False,
) -> None:
    """Tune the model; an interrupted run resumes by itself."""
    from tunedeploy import api
    from tunedeploy.run.folder import RunDir

    with heard(as_json):
        folder = api.train(recipe, overrides or (), run=run, fresh=fresh)
    result = RunDir(folder).record("train").result
    say(as_json, {"run": str(folder), **result}, lambda: training_text(folder, result))


@app.command()
def merge(run: given.Run = None, as_json: given.Json = False) -> None:
    """Fold the adapter into the base weights, and prove it."""
    from tunedeploy import api
    from tunedeploy.run.folder import RunDir

    with heard(as_json):
        folder = api.run_folder(run)
        api.merge(folder)
    result = RunDir(folder).record("merge").result
    text = f"{ledger_table(result['comparisons'])}\n\n{folder / 'merged'}"
    say(as_json, {"run": str(folder), **result}, lambda: text)


@app.command()
def export(
    run: given.Run = None,
    quantize: given.Quantize = None,
    target: given.TargetName = None,
    max_drop: given.MaxDrop = None,
    max_size: given.MaxSize = None,
    max_latency: given.MaxLatency = None,
    output: given.Output = None,
    as_json: given.Json = False,
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
    recipe: given.Recipe,
    overrides: given.Overrides = None,
    run: given.RunOption = None,
    fresh: given.Fresh = False,
    output: given.Output = None,
    as_json: given.Json = False,
) -> None:
    """Plan, train, merge, export, quantize, verify, bundle, report."""
    from tunedeploy import api

    with heard(as_json):
        api.check_output(output, run or api.RUNS / recipe.stem)
        folder = api.through(recipe, overrides or (), run=run, fresh=fresh, until="report")
        dist = api.place(folder, output)
    shipped(as_json, folder, dist)


@app.command()
def verify(
    path: given.Target,
    checks: given.Checks = None,
    expect: given.Expect = None,
    key: given.PublicKey = None,
    as_json: given.Json = False,
) -> None:
    """Check a run or a bundle: integrity, parity, preprocessing, metric."""
    from tunedeploy import api
    from tunedeploy.device.comparison import breach_lines

    with heard(as_json):
        names = [name.strip() for name in checks.split(",")] if checks is not None else None
        comparisons = api.comparisons_of(path, names, expect=expect, key=key)
    breaches = breach_lines(comparisons, None if api.holds_manifest(path) else path)
    entries = [comparison.to_json() for comparison in comparisons]
    keys = ("id", "name", "ok", "value", "limit", "at_most", "file", "variant")
    short = [{key: entry[key] for key in keys} for entry in entries]
    say(as_json, {"ok": not breaches, "checks": short}, lambda: ledger_table(entries))
    if breaches:
        fail(breaches, 3)


@app.command()
def sign(
    path: Annotated[Path, typer.Argument(metavar="DIST", help="A bundle.")],
    key: Annotated[Path, typer.Argument(metavar="PEM", help="A private ed25519 key.")],
    as_json: given.Json = False,
) -> None:
    """Sign a bundle for 'verify --key'."""
    from tunedeploy import api
    from tunedeploy.proof.bundle import Bundle

    with heard(as_json):
        file = api.sign(path, key)
        document = {"file": str(file), "bundle_id": Bundle(path).id}
    say(as_json, document, lambda: f"{file}\nbundle id: {document['bundle_id']}")


@app.command("eval")
def evaluate(
    path: given.Target,
    data: given.LabelledRows = None,
    variant: given.Variant = None,
    as_json: given.Json = False,
) -> None:
    """Score a run or a bundle on labelled rows."""
    from tunedeploy.commands.use import evaluate as evaluate_rows

    with heard(as_json):
        score = evaluate_rows(path, data, variant)
    value = value_text(score["value"], score["unit"])
    say(as_json, score, lambda: f"{score['metric']}: {value} of {score['rows']} rows")


@app.command()
def predict(
    path: given.Target,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="Texts, or image files.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="FILE", help="A file of rows instead.")] = None,
    variant: given.Variant = None,
    as_json: given.Json = False,
) -> None:
    """The answer to each input, such as a label and its probability."""
    from tunedeploy.cli.predictions import predictions_text
    from tunedeploy.commands.use import predict as predict_rows

    with heard(as_json):
        predictions = predict_rows(path, inputs or [], data, variant)
    say(as_json, {"predictions": predictions}, lambda: predictions_text(predictions))


@app.command()
def bench(path: given.Target, as_json: given.Json = False) -> None:
    """Time the variants of a bundle against each other on this machine."""
    from tunedeploy.cli.bench_text import verdict
    from tunedeploy.commands.bench import measure

    with heard(as_json):
        measurement = measure(path)
    say(as_json, measurement, lambda: verdict(measurement))


@app.command()
def diagnose(
    run: given.Run = None,
    variant: Annotated[str | None, typer.Option("--variant", help="int8, fp16, ...; all when left out.")] = None,
    as_json: given.Json = False,
) -> None:
    """Where a difference begins: the first diverging module, the noisiest nodes of int8."""
    from tunedeploy import api
    from tunedeploy.cli.diagnosis_text import diagnosis_text
    from tunedeploy.commands.diagnose import examine
    from tunedeploy.run.folder import RunDir

    with heard(as_json):
        folder = api.run_folder(run)
        diagnosis = examine(api.recipe_of(folder), RunDir(folder), variant)
    say(as_json, {"run": str(folder), **diagnosis}, lambda: diagnosis_text(diagnosis))


@app.command()
def report(run: given.Run = None, as_json: given.Json = False) -> None:
    """Write report.html of a finished run again, and say where it is."""
    from tunedeploy import api
    from tunedeploy.run.folder import RunDir
    from tunedeploy.stages import report as stage

    with heard(as_json):
        folder = api.run_folder(run)
        stage.run(api.recipe_of(folder), RunDir(folder))
    say(as_json, {"file": str(folder / "report.html")}, lambda: str(folder / "report.html"))


@app.command("list")
def list_names(
    axis: Annotated[str | None, typer.Argument(metavar="AXIS", help=", ".join(plugins.AXES))] = None,
    as_json: given.Json = False,
) -> None:
    """Names as the recipe writes them."""
    with heard(as_json):
        if axis is not None and axis not in plugins.AXES:
            raise UsageError(f"list: unknown axis {axis!r}; known: {', '.join(plugins.AXES)}")
        listing = {name: plugins.names(name) for name in ([axis] if axis else plugins.AXES)}
    texts = (f"{name}\n" + indented(list(descriptions.items())) for name, descriptions in listing.items())
    say(as_json, listing, lambda: "\n\n".join(texts))


@app.command()
def schema(as_json: given.Json = False) -> None:
    """The JSON Schema of a recipe, for editors."""
    from tunedeploy.recipe import read as recipes

    with heard(as_json):
        document = recipes.schema()
    print(json.dumps(document, indent=2))


@app.command()
def doctor(as_json: given.Json = False) -> None:
    """What this machine has: versions, instruction set, number formats, threads."""
    from tunedeploy.commands.doctor import examine

    with heard(as_json):
        facts = examine()
    say(as_json, facts, lambda: table(("what", "here"), list(facts.items())))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="tunedeploy")
    except TunedeployError as error:
        fail(error.lines, error.exit_code)
    except ModuleNotFoundError as error:
        line = lacking(error)
        if line is None:
            raise
        fail([f"this command {line}"], 1)
    except MemoryError as error:
        cure = "close other programs, lower train.batch_size, or name a smaller model"
        fail([f"out of memory{': ' if str(error) else ''}{error}; {cure}"], 1)
    except BrokenPipeError:
        sys.stdout = None  # the reader of a pipe has seen enough
        sys.exit(0)
    except OSError as error:
        if error.errno not in FULL and not isinstance(error.filename, str | bytes | Path):
            raise
        place = os.fsdecode(error.filename) if error.filename is not None else "output"
        cure = "free space, or name a place that can be written" if error.errno in FULL else "check that path"
        fail([f"{place}: {error.strerror or error}; {cure}"], 1)
