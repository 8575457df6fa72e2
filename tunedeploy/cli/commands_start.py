"""Commands that make a bundle: from looking at the data to the files that ship."""

from pathlib import Path

from tunedeploy.cli import arguments as given
from tunedeploy.cli.app import START, command
from tunedeploy.cli.output import heard, say, shipped


@command(START, "tunedeploy plan recipe.yaml", "tunedeploy plan recipe.yaml train.epochs=5 --all")
def plan(
    recipe: given.Recipe,
    overrides: given.Overrides = None,
    settings: given.Settings = None,
    everything: given.All = False,
    as_json: given.Json = False,
) -> None:
    """Say what a run will do, with its data report, weights, memory, minutes, sizes; train nothing."""
    show_plan(recipe, given.joined(overrides, settings), everything=everything, as_json=as_json)


def show_plan(recipe: Path, overrides: list[str], *, everything: bool, as_json: bool) -> None:
    """Print the plan of a recipe."""
    from tunedeploy.cli.plan_text import plan_text
    from tunedeploy.recipe import read as recipes
    from tunedeploy.stages.plan import describe

    with heard(as_json):
        given.check_recipe(recipe)
        document = describe(recipes.read(recipe, overrides))
    say(as_json, document, lambda: plan_text(document, everything=everything), is_answer=True)


@command(
    START,
    "tunedeploy run recipe.yaml",
    "tunedeploy run recipe.yaml train.epochs=5 --run runs/longer -o app/model",
    "tunedeploy run recipe.yaml --dry-run",
    name="run",
)
def run_all(
    recipe: given.Recipe,
    overrides: given.Overrides = None,
    settings: given.Settings = None,
    run: given.RunOption = None,
    fresh: given.Fresh = False,
    dry_run: given.DryRun = False,
    output: given.Output = None,
    verbose: given.Verbose = False,
    as_json: given.Json = False,
) -> None:
    """Plan, train, merge, export, quantize, verify, bundle, report."""
    if dry_run:
        return show_plan(recipe, given.joined(overrides, settings), everything=verbose, as_json=as_json)
    from tunedeploy import api

    with heard(as_json):
        given.check_recipe(recipe)
        api.check_output(output, run or api.RUNS / recipe.stem)
        folder = api.through(recipe, given.joined(overrides, settings), run=run, fresh=fresh, until="report")
        dist = api.place(folder, output)
    return shipped(as_json, folder, dist, verbose=verbose)


@command(START, "tunedeploy train recipe.yaml", "tunedeploy train recipe.yaml --set train.lr=0.0005 --fresh")
def train(
    recipe: given.Recipe,
    overrides: given.Overrides = None,
    settings: given.Settings = None,
    run: given.RunOption = None,
    fresh: given.Fresh = False,
    as_json: given.Json = False,
) -> None:
    """Tune the model; an interrupted run resumes by itself."""
    from tunedeploy import api
    from tunedeploy.cli.summary import training_text
    from tunedeploy.run.folder import RunDir

    with heard(as_json):
        given.check_recipe(recipe)
        folder = api.train(recipe, given.joined(overrides, settings), run=run, fresh=fresh)
    result = RunDir(folder).record("train").result
    say(as_json, {"run": str(folder), **result}, lambda: training_text(folder, result), brief=f"run: {folder}")


@command(START, "tunedeploy merge runs/recipe")
def merge(run: given.Run = None, verbose: given.Verbose = False, as_json: given.Json = False) -> None:
    """Fold the adapter into the base weights, and prove it."""
    from tunedeploy import api
    from tunedeploy.cli.summary import ledger_text
    from tunedeploy.run.folder import RunDir

    with heard(as_json):
        folder = api.run_folder(run)
        api.merge(folder)
    result = RunDir(folder).record("merge").result
    say(
        as_json,
        {"run": str(folder), **result},
        lambda: f"{ledger_text(result['comparisons'], verbose=verbose)}\n{folder / 'merged'}",
    )


@command(START, "tunedeploy export runs/recipe --quantize int8 --max-drop 0.5")
def export(
    run: given.Run = None,
    quantize: given.Quantize = None,
    target: given.TargetName = None,
    max_drop: given.MaxDrop = None,
    max_size: given.MaxSize = None,
    max_latency: given.MaxLatency = None,
    output: given.Output = None,
    verbose: given.Verbose = False,
    as_json: given.Json = False,
) -> None:
    """Convert to ONNX, quantize inside the budget, verify, bundle."""
    from tunedeploy import api

    limits = {"max_drop": max_drop, "max_size": max_size, "max_latency": max_latency}
    with heard(as_json):
        folder = api.run_folder(run)
        dist = api.export(folder, {"quantize": quantize, "target": target, **limits}, output=output)
    shipped(as_json, folder, dist, verbose=verbose)
