"""What is left of a finished command: the ledger in a line, the files that ship, and what to type next."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy.cli.console import coloured, figure, table
from tunedeploy.device.figures import digits
from tunedeploy.run.entries import BREACH, HELD, REPORTED, outcome

if TYPE_CHECKING:
    from tunedeploy.run.planned import Plan
    from tunedeploy.run.results import Train, Variant


def ledger_text(comparisons: Sequence[Mapping[str, Any]], *, verbose: bool) -> str:
    """A ledger for people: how many comparisons held, and those that did not, or with `verbose` all of them."""
    counts = Counter(map(outcome, comparisons))
    if not counts[BREACH]:
        line = coloured(f"{counts[HELD]} comparisons held", "green")
    else:
        line = coloured(f"{counts[BREACH]} of {counts[HELD] + counts[BREACH]} comparisons did not hold", "red")
    if counts[REPORTED]:
        line += f", {counts[REPORTED]} {REPORTED}"
    shown = comparisons if verbose else [entry for entry in comparisons if outcome(entry) == BREACH]
    return f"{ledger_table(shown)}\n\n{line}" if shown else line


def ledger_table(comparisons: Iterable[Mapping[str, Any]]) -> str:
    """Comparisons as a table."""
    return table(
        ("comparison", "stage", "value", "limit", "rows", "verdict"),
        [
            (
                entry["name"],
                entry["stage"],
                figure(entry["value"]),
                "" if entry["limit"] is None else ("<= " if entry["at_most"] else ">= ") + figure(entry["limit"]),
                entry["rows"],
                outcome(entry),
            )
            for entry in comparisons
        ],
    )


def variants_table(variants: Mapping[str, "Variant"], metric: str, unit: str) -> str:
    """The variants of a bundle: their metric, what they lose against fp32, their size and their time."""
    places = digits(unit)
    head = ("variant", f"{metric} {unit}".rstrip(), "drop", "MB", "ms a row")
    rows = [
        (
            name,
            f"{variant['metric']:.{places}f}",
            f"{variant['drop']:.{places}f}",
            f"{variant['bytes'] / 1e6:.2f}",
            f"{variant['ms']:.2f}",
        )
        for name, variant in variants.items()
    ]
    return table(head, rows)


def files_text(variants: Mapping[str, "Variant"]) -> str:
    """Each file of each variant, a line each."""
    from tunedeploy.device.manifest import files_of  # numpy is no part of --help

    return "\n".join(f"{name}: {file}" for name, variant in variants.items() for file in files_of(variant).values())


def bundle_text(document: Mapping[str, Any], trained: str, commands: Sequence[str], *, verbose: bool) -> str:
    """The text printed after an export.

    Args:
        document: what --json prints.
        trained: what was trained, a line or two.
        commands: what to type next.
        verbose: with every comparison and the path of every file.
    """
    variants = variants_table(document["variants"], document["metric"], document["unit"])
    return "\n".join(
        [
            trained,
            "",
            variants,
            *(["", files_text(document["variants"])] if verbose else []),
            "",
            ledger_text(document["ledger"], verbose=verbose),
            f"report: {document['report']}",
            "",
            next_text(commands),
            "",
            f"bundle id: {document['bundle_id']}",
            f"bundle: {document['bundle']}",
        ]
    )


def next_text(commands: Sequence[str]) -> str:
    """Commands to go on with, as they can be typed."""
    return "\n".join(["next:", *(f"  {command}" for command in commands)])


def typed(*words: str | Path) -> str:
    """A tunedeploy command quoted for a shell."""
    return shlex.join(["tunedeploy", *map(str, words)])


def training_text(folder: Path, result: "Train") -> str:
    """The text printed after training: report, metrics, run folder, next command."""
    metrics = result["metrics"]
    text = (folder / "train" / "report.txt").read_text(encoding="utf-8", errors="replace")
    figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "rows")
    last = f"{figures} on {metrics['rows']:.0f} rows"
    return f"{text}\n{last}\n\nrun: {folder}\nnext: {typed('export', folder, '--quantize', 'int8')}"


def trained_text(plan: "Plan", train: "Train") -> str:
    """What was trained, and on what; each line fits into 60 columns where the names are ours."""
    epochs = len(train["history"])
    course = f"{epochs} epochs, best {train['best_epoch']}" if epochs > 1 else f"{epochs} epoch"
    share = train["weights"]["trainable"] / max(train["weights"]["total"], 1)
    task, method = (plan["recipe"][key]["value"] for key in ("task", "tune.method"))
    rows = plan["data"]["rows"]
    return (
        f"{task} with {method}: {share:.1%} of {train['weights']['total']:,} weights\n"
        f"{rows['train']:,} rows, {course}; judged on {rows['eval']:,} others"
    )
