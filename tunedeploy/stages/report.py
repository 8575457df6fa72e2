"""Report: one HTML page with what was trained, compared and shipped."""

import html
from typing import TYPE_CHECKING, Any

from tunedeploy.bundling.card import number
from tunedeploy.device.figures import loss_text, value_text
from tunedeploy.device.manifest import files_of
from tunedeploy.run.atomic import write_text
from tunedeploy.run.folder import RunDir
from tunedeploy.run.results import Report, value_of

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task",)
AFTER = ("train", "merge", "export", "quantize", "verify", "bundle")
OUTPUTS = ("report.html",)
STYLE = (
    "body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{border-bottom:1px solid #ddd;padding:.2rem .8rem;text-align:left}"
    "pre{overflow:auto;background:#f6f6f6;padding:1rem}.ok{color:#0a7a2f}.no{color:#b00020;font-weight:bold}"
)


def run(recipe: "Recipe", rundir: RunDir) -> Report:
    """Write `report.html`, which loads nothing from elsewhere."""
    train = rundir.record("train").result
    value = value_text(value_of(train), rundir.shipped()["unit"])
    seconds = [(name, f"{rundir.record(name).seconds:.1f}") for name in ("plan", *AFTER) if rundir.has(name)]
    history = [tuple(number(figure) for figure in epoch.values()) for epoch in train["history"]]
    text = (rundir / "train" / "report.txt").read_text(encoding="utf-8", errors="replace")
    parts = [
        f"<h1>{html.escape(recipe.task)}: {value} {train['metric']}</h1>",
        variants(rundir),
        "<h2>Parity ledger</h2>",
        comparisons(rundir),
        "<h2>Training</h2>",
        table(tuple(train["history"][0]) if train["history"] else (), history),
        f"<pre>{html.escape(text)}</pre>",
        "<h2>Seconds</h2>",
        table(("stage", "s"), seconds),
        "<h2>Recipe</h2>",
        f"<pre>{html.escape(recipe.dump())}</pre>",
    ]
    head = f"<meta charset=utf-8><title>tunedeploy report</title><style>{STYLE}</style>"
    write_text(rundir / "report.html", f"<!doctype html><html lang=en>{head}{''.join(parts)}</html>\n")
    return {"file": "report.html"}


def variants(rundir: RunDir) -> str:
    """The files that ship."""
    unit = rundir.shipped()["unit"]
    head = ("variant", "file", "MB", "metric", "drop", "ms a row")
    return table(
        head,
        [
            (
                name,
                ", ".join(files_of(variant).values()),
                f"{variant['bytes'] / 1e6:.2f}",
                value_text(variant["metric"], unit),
                loss_text(variant["drop"], unit),
                f"{variant['ms']:.2f}",
            )
            for name, variant in rundir.record("quantize").result["variants"].items()
        ],
    )


def comparisons(rundir: RunDir) -> str:
    """The ledger."""
    ledger = rundir.ledger()
    rows = []
    for entry in [*ledger["merge"], *ledger["comparisons"]]:
        limit = "" if entry["limit"] is None else number(entry["limit"])
        rows.append((entry["name"], entry["stage"], number(entry["value"]), limit, entry["rows"], verdict(entry["ok"])))
    return table(("comparison", "stage", "value", "limit", "rows", ""), rows)


def verdict(ok: bool) -> str:
    """A cell that is read at a glance."""
    return "held" if ok else "BREACH"


def table(head: tuple[str, ...], rows: list[Any]) -> str:
    """An HTML table of text cells."""
    lines = ["<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>{''.join(lines)}</table>"
