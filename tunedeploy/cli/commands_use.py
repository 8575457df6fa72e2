"""Commands on a finished run or bundle: answers, scores, checks, times, signatures."""

from pathlib import Path
from typing import Annotated

import typer

from tunedeploy.cli import arguments as given
from tunedeploy.cli.app import USE, command
from tunedeploy.cli.output import fail, heard, say

INPUTS = "Texts, image files, a file of rows, a folder of images, or - for the lines of stdin."
ANSWERS = "Write the answers into a .csv or .jsonl file."


@command(
    USE,
    "tunedeploy predict runs/recipe/dist 'Nothing to add.' --top-k 3",
    "tunedeploy predict runs/recipe/dist new.csv -o answers.csv    # or a folder of images",
    "tunedeploy predict runs/recipe/dist - --variant int8 < lines.txt",
)
def predict(
    path: given.Target,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help=INPUTS)] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="FILE", help="A file of rows instead.")] = None,
    variant: given.Variant = None,
    top_k: Annotated[int, typer.Option("--top-k", metavar="N", min=0, help="The N best labels of each input.")] = 0,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="The probability of every label.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help=ANSWERS)] = None,
    as_json: given.Json = False,
) -> None:
    """Answer each input, such as with a label and its probability."""
    from tunedeploy.cli.predictions import predictions_text
    from tunedeploy.commands import answer_files
    from tunedeploy.commands.use import predict as predict_rows
    from tunedeploy.device.decisions import Detail

    with heard(as_json):
        if output is not None:
            answer_files.check_output(output, [*(inputs or ()), *([data] if data else ())])
        predictions = predict_rows(path, inputs or [], data, variant, Detail(top=top_k, probabilities=probabilities))
        if output is not None:
            answer_files.write(output, predictions)
    if output is None:
        return say(as_json, {"predictions": predictions}, lambda: predictions_text(predictions), is_answer=True)
    document = {"predictions": predictions, "file": str(output)}
    return say(as_json, document, lambda: f"{output}: {len(predictions)} answers")


@command(
    USE, "tunedeploy eval runs/recipe", "tunedeploy eval runs/recipe/dist --data new.csv --variant int8", name="eval"
)
def evaluate(
    path: given.Target,
    data: given.LabelledRows = None,
    variant: given.Variant = None,
    as_json: given.Json = False,
) -> None:
    """Score a run or a bundle on labelled rows: the metric, each class, confusions, calibration."""
    from tunedeploy.cli.score_text import score_text
    from tunedeploy.commands.use import evaluate as evaluate_rows

    with heard(as_json):
        score = evaluate_rows(path, data, variant)
    say(as_json, score, lambda: score_text(score), is_answer=True)


@command(
    USE,
    "tunedeploy verify runs/recipe",
    "tunedeploy verify runs/recipe/dist --expect 3f1d09c6a8b2",
    "tunedeploy verify runs/recipe/dist --checks parity,metric --verbose",
)
def verify(
    path: given.Target,
    checks: given.Checks = None,
    expect: given.Expect = None,
    key: given.PublicKey = None,
    verbose: given.Verbose = False,
    as_json: given.Json = False,
) -> None:
    """Check a run or a bundle: integrity, parity, preprocessing, metric."""
    from tunedeploy import api
    from tunedeploy.cli.summary import ledger_text
    from tunedeploy.device.comparison import breach_lines

    with heard(as_json):
        names = [name.strip() for name in checks.split(",")] if checks is not None else None
        comparisons = api.comparisons_of(path, names, expect=expect, key=key)
    breaches = breach_lines(comparisons, None if api.holds_manifest(path) else path)
    entries = [comparison.to_json() for comparison in comparisons]
    keys = ("id", "name", "ok", "value", "limit", "at_most", "file", "variant")
    short = [{key: entry[key] for key in keys} for entry in entries]
    say(as_json, {"ok": not breaches, "checks": short}, lambda: ledger_text(entries, verbose=verbose))
    if breaches:
        fail(breaches, 3)


@command(USE, "tunedeploy bench runs/recipe/dist")
def bench(path: given.Target, as_json: given.Json = False) -> None:
    """Time the variants of a bundle against each other on this machine."""
    from tunedeploy.cli.bench_text import verdict
    from tunedeploy.commands.bench import measure

    with heard(as_json):
        measurement = measure(path)
    say(as_json, measurement, lambda: verdict(measurement), is_answer=True)


@command(USE, "tunedeploy sign runs/recipe/dist private.pem")
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
