"""`tunedeploy init`: its options, and what it shows of the data and of the recipe that it wrote."""

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunedeploy.cli import arguments as given
from tunedeploy.cli.app import START, command
from tunedeploy.cli.console import table
from tunedeploy.cli.output import heard, say

if TYPE_CHECKING:
    from tunedeploy.commands.init import WrittenRecipe

CLASSES = 8  # that are listed with their counts
NARROWEST = 8  # characters of a column, on however narrow a terminal


@command(
    START,
    "tunedeploy init reviews.csv -o recipe.yaml",
    "tunedeploy init survey.csv --text Antwort --label Note",
    "tunedeploy init photos/    # a folder for each class",
)
def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder of class folders or a hub id.")],
    output: Annotated[Path, typer.Option("-o", help="The recipe to write.")] = Path("recipe.yaml"),
    task: Annotated[str | None, typer.Option("--task", metavar="NAME", help="See 'list tasks'.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="The column with the text.")] = None,
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="The column with the label.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="As a recipe names it.")] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="See 'list methods'.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe that is there.")] = False,
    with_schema: Annotated[
        bool, typer.Option("--schema", help="Write recipe.schema.json too, by which editors complete the recipe.")
    ] = False,
    as_json: given.Json = False,
) -> None:
    """Look at the data, write a recipe."""
    from tunedeploy.commands.init import write_recipe
    from tunedeploy.commands.proposal import Given

    with heard(as_json):
        decided = Given(task=task, text=text, label=label, model=model, method=method)
        written = write_recipe(data, output, decided, force=force, with_schema=with_schema)
    say(as_json, written, lambda: written_text(written), brief=f"{written['file']}: written")


def written_text(written: "WrittenRecipe") -> str:
    """What was seen of the data, the recipe, why it is so, and what to do next."""
    seen = [f"{counted(written['rows'], 'row')}{targets_text(written)}", *(f"note: {n}" for n in written["notes"])]
    steps = [written["install"]] if written["install"] else []
    steps.append(f"tunedeploy plan {shlex.quote(written['file'])}")
    hint = "" if written["schema_file"] else "\nfor completion in an editor, write it with --schema"
    nl = "\n"
    return f"""{nl.join(seen)}

{samples_text(written)}

{written["file"]}: written; {written["why"]}

{written["recipe"]}{hint}
{nl.join(f"next: {step}" for step in steps)}"""


def targets_text(written: "WrittenRecipe") -> str:
    """Behind the number of rows: classes with their counts, or the range of the numbers."""
    numbers, classes = written["numbers"], written["classes"]
    if numbers:
        return (
            f", numbers from {numbers['least']:g} to {numbers['largest']:g}, half of them above {numbers['middle']:g}"
        )
    if not classes:
        return ""
    listed = ", ".join(f"{name} {count}" for name, count in list(classes.items())[:CLASSES])
    more = f" and {len(classes) - CLASSES} more" if len(classes) > CLASSES else ""
    return f", {counted(len(classes), 'class', 'classes')}: {listed}{more}"


def samples_text(written: "WrittenRecipe") -> str:
    """Three rows as a table that is no wider than the terminal."""
    rows, columns = written["samples"], shutil.get_terminal_size().columns
    heads = list(rows[0]) if rows else []
    widest = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    widths = fitted(widest, columns - 2 - 2 * max(len(heads) - 1, 0))
    cells = [[cut(row[head], width) for head, width in zip(heads, widths, strict=True)] for row in rows]
    named = [cut(head, width) for head, width in zip(heads, widths, strict=True)]
    return "\n".join(f"  {line}" for line in table(named, cells).splitlines())


def fitted(widest: list[int], room: int) -> list[int]:
    """Widths of columns that share the room: the narrow ones keep theirs, the others get equal parts of the rest."""
    widths = list(widest)
    for at in sorted(range(len(widest)), key=widest.__getitem__):
        left = [other for other in range(len(widest)) if widest[other] > widest[at] or other == at]
        kept = sum(widths[other] for other in range(len(widest)) if other not in left)
        widths[at] = min(widest[at], max((room - kept) // len(left), NARROWEST))
    return widths


def cut(text: str, width: int) -> str:
    """The text in at most `width` characters."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def counted(count: int, name: str, plural: str = "") -> str:
    """1 row, 2 rows, 1,000 rows."""
    return f"{count:,} {name if count == 1 else plural or name + 's'}"
