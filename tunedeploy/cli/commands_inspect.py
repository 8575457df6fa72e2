"""Commands that look: at a run, at what there is to choose from, at this machine."""

import json
from typing import Annotated

import typer

from tunedeploy import plugins
from tunedeploy.cli import arguments as given
from tunedeploy.cli.app import INSPECT, command
from tunedeploy.cli.console import indented, table
from tunedeploy.cli.output import heard, say
from tunedeploy.errors import UsageError


@command(INSPECT, "tunedeploy report runs/recipe")
def report(run: given.Run = None, as_json: given.Json = False) -> None:
    """Write report.html of a finished run again, and say where it is."""
    from tunedeploy import api
    from tunedeploy.run.folder import RunDir
    from tunedeploy.stages import report as stage

    with heard(as_json):
        folder = api.run_folder(run)
        stage.run(api.recipe_of(folder), RunDir(folder))
    say(as_json, {"file": str(folder / "report.html")}, lambda: str(folder / "report.html"))


@command(INSPECT, "tunedeploy diagnose runs/recipe --variant int8")
def diagnose(
    run: given.Run = None,
    variant: Annotated[str | None, typer.Option("--variant", help="int8, fp16, ...; all when left out.")] = None,
    as_json: given.Json = False,
) -> None:
    """Find where a difference begins: the first diverging module, the noisiest nodes of int8."""
    from tunedeploy import api
    from tunedeploy.cli.diagnosis_text import diagnosis_text
    from tunedeploy.commands.diagnose import examine
    from tunedeploy.run.folder import RunDir

    with heard(as_json):
        folder = api.run_folder(run)
        diagnosis = examine(api.recipe_of(folder), RunDir(folder), variant)
    say(as_json, {"run": str(folder), **diagnosis}, lambda: diagnosis_text(diagnosis), is_answer=True)


@command(INSPECT, "tunedeploy list", "tunedeploy list methods", name="list")
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
    say(as_json, listing, lambda: "\n\n".join(texts), is_answer=True)


@command(INSPECT, "tunedeploy schema > recipe.schema.json")
def schema(as_json: given.Json = False) -> None:
    """The JSON Schema of a recipe, for editors."""
    from tunedeploy.recipe import read as recipes

    with heard(as_json):
        document = recipes.schema()
    print(json.dumps(document, indent=2))


@command(INSPECT, "tunedeploy doctor")
def doctor(as_json: given.Json = False) -> None:
    """What this machine has: versions, instruction set, number formats, threads."""
    from tunedeploy.commands.doctor import examine

    with heard(as_json):
        facts = examine()
    say(as_json, facts, lambda: table(("what", "here"), list(facts.items())), is_answer=True)
