"""Arguments and options that several commands share, each with its line of help."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tunedeploy.errors import RecipeError

# What files of rows are called and no recipe is; a .json file may be one, since JSON is YAML.
DATA_SUFFIXES = {".csv", ".tsv", ".jsonl", ".parquet", ".conll", ".conllu", ".iob", ".iob2", ".bio"}

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values that win over the recipe's.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as KEY=VALUE; can be given repeatedly.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and train nothing: 'plan' by another name.")]
All = Annotated[bool, typer.Option("--all", help="List every value of the recipe, the defaults too.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print every comparison, also those that held.")]
Run = Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder; the latest under ./runs when left out.")]
Target = Annotated[Path, typer.Argument(metavar="PATH", help="A run or a bundle.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="The run folder; runs/NAME of the recipe when left out.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Redo everything, whatever is there.")]
Json = Annotated[bool, typer.Option("--json", help="A single JSON document on stdout, and nothing else.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="DIST", help="Where the bundle goes; RUN/dist when left out.")
]
Variant = Annotated[str | None, typer.Option("--variant", help="fp32, int8, ...; fp32 when left out.")]
Quantize = Annotated[
    str | None, typer.Option("--quantize", metavar="NAME", help="int8, fp16, ...; see 'list precisions'.")
]
TargetName = Annotated[
    str | None, typer.Option("--target", metavar="NAME", help="python, web, ...; see 'list targets'.")
]
MaxDrop = Annotated[float | None, typer.Option("--max-drop", metavar="P", help="Points of the metric int8 may lose.")]
MaxSize = Annotated[float | None, typer.Option("--max-size", metavar="MB", help="Largest .onnx file.")]
MaxLatency = Annotated[float | None, typer.Option("--max-latency", metavar="MS", help="Slowest median row, here.")]
Checks = Annotated[
    str | None,
    typer.Option("--checks", metavar="NAMES", help="integrity,parity,preprocessing,metric; all when left out."),
]
Expect = Annotated[
    str | None, typer.Option("--expect", metavar="ID", help="The bundle's id, or its first 12 digits or more.")
]
PublicKey = Annotated[Path | None, typer.Option("--key", metavar="PEM", help="The key that a bundle is signed with.")]
LabelledRows = Annotated[
    str | None, typer.Option("--data", metavar="FILE", help="Labelled rows; a run's own evaluation rows when left out.")
]


def joined(overrides: Sequence[str] | None, settings: Sequence[str] | None) -> list[str]:
    """The recipe's overrides, those of --set last."""
    return [*(overrides or ()), *(settings or ())]


def check_recipe(path: Path) -> None:
    """Refuse a data set in the place of a recipe.

    Raises:
        RecipeError: the path is a folder, or is called like a file of rows.
    """
    if path.is_dir() or (path.is_file() and path.suffix.casefold() in DATA_SUFFIXES):
        raise RecipeError(
            f"{path}: this is data, not a recipe; write one with 'tunedeploy init {shlex.quote(str(path))}'"
        )
