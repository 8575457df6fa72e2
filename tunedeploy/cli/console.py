"""What the terminal shows: progress with time left, notes, tables; plain lines where there is no terminal."""

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy.device.figures import digits

if TYPE_CHECKING:
    from tunedeploy.run.planned import Plan
    from tunedeploy.run.results import Train, Variant

EVERY_S = 10.0  # between plain progress lines: a log stays short and still shows life


class Console:
    """A progress.Listener that writes to stderr, unless it is silent.

    Args:
        silent: print nothing (for `--json`, whose document must be all there is).
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent or sys.stderr is None  # closed: 2>&-
        self.live = not self.silent and sys.stderr.isatty()
        self.open = False
        self.name = ""
        self.began = self.printed = 0.0

    def note(self, text: str) -> None:
        """One line."""
        if self.silent:
            return
        self.close()
        print(text, file=sys.stderr, flush=True)

    def update(self, name: str, done: float, total: float, text: str) -> None:
        """A bar's line, with time left."""
        if self.silent:
            return
        now = time.monotonic()
        if name != self.name or done <= 0:
            self.name, self.began, self.printed = name, now, now
        left = (now - self.began) / done * (total - done) if done else 0.0
        line = f"{name}: {done:.0f}/{total:.0f} ({done / max(total, 1):.0%}), {clock(left)} left  {text}".rstrip()
        if self.live:
            sys.stderr.write(f"\r\x1b[2K{line[:150]}")
            sys.stderr.flush()
            self.open = done < total
            if done >= total:
                self.close(force=True)
        elif now - self.printed >= EVERY_S:
            self.printed = now
            print(line, file=sys.stderr, flush=True)
        if done >= total:
            self.name = ""

    def close(self, *, force: bool = False) -> None:
        """Clear a progress line that is still open."""
        if self.live and (self.open or force):
            sys.stderr.write("\r\x1b[2K")
        self.open = False


def clock(seconds: float) -> str:
    """Seconds as 45 s, 3:20 min or 2:05 h."""
    total = round(seconds)
    if total < 100:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 100 else f"{minutes // 60}:{minutes % 60:02d} h"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Columns aligned with blanks; figures to the right."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_figure(cell) else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def is_figure(cell: str) -> bool:
    """Whether a cell starts like a number."""
    return cell[:1].isdigit() or cell[:1] == "-"


def figure(value: Any) -> str:
    """A number with three significant digits, or text as it is."""
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def ledger_table(comparisons: Iterable[Mapping[str, Any]]) -> str:
    """A ledger for people."""
    return table(
        ("comparison", "stage", "value", "limit", "rows", "verdict"),
        [
            (
                entry["name"],
                entry["stage"],
                figure(entry["value"]),
                "" if entry["limit"] is None else ("<= " if entry["at_most"] else ">= ") + figure(entry["limit"]),
                entry["rows"],
                "held" if entry["ok"] else "BREACH",
            )
            for entry in comparisons
        ],
    )


def variants_table(variants: Mapping[str, "Variant"], metric: str, unit: str) -> str:
    """The files of a bundle for people; of a variant with several, figures stand beside the first."""
    from tunedeploy.device.manifest import files_of  # numpy is no part of --help

    places = digits(unit)
    rows: list[tuple[str, ...]] = []
    for name, variant in variants.items():
        first, *others = files_of(variant).values()
        figures = (f"{variant['metric']:.{places}f}", f"{variant['drop']:.{places}f}", f"{variant['ms']:.2f}")
        rows.append((name, first, f"{variant['bytes'] / 1e6:.2f}", *figures))
        rows += [("", file, "", "", "", "") for file in others]
    return table(("variant", "file", "MB", f"{metric} {unit}".rstrip(), "drop", "ms a row"), rows)


def plan_text(plan: "Plan") -> str:
    """A plan for people: values with provenance, then weights and estimates."""
    rows = [(key, figure(setting["value"]), setting["source"]) for key, setting in plan["recipe"].items()]
    decided = (f"{name} {value}" for name, value in plan["decided"].items() if name != "preprocessing")
    weights, estimates, data = plan["weights"], plan["estimates"], plan["data"]
    share = weights["trainable"] / weights["total"]
    labels = f"labels: {', '.join(data['labels'][:20])}\n" if data["labels"] else ""
    return f"""{table(("key", "value", "from"), rows)}

decided here: {", ".join(decided)}
data: {data["rows"]["train"]} rows to train on, {data["rows"]["eval"]} to evaluate on ({data["eval_source"]})
{labels}weights: {weights["trainable"]:,} of {weights["total"]:,} are trained ({share:.2%})
time: {estimates["minutes"]:.1f} minutes, {estimates["steps"]} steps; memory: {estimates["memory_mb"]} MB
size: fp32 {estimates["fp32_mb"]:.1f}, int8 {estimates["int8_mb"]:.1f}, adapter {estimates["adapter_mb"]:.2f} MB"""


def training_text(folder: Path, result: "Train") -> str:
    """The text printed after training: report, metrics, run folder, next command."""
    metrics = result["metrics"]
    text = (folder / "train" / "report.txt").read_text(encoding="utf-8", errors="replace")
    figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "rows")
    last = f"{figures} on {metrics['rows']:.0f} rows"
    return f"{text}\n{last}\n\nrun: {folder}\nnext: tunedeploy export {folder} --quantize int8"


def indented(rows: list[tuple[str, str]]) -> str:
    """Names and descriptions, indented by two blanks."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name.ljust(width)}  {text}".rstrip() for name, text in rows)


def bundle_text(document: Mapping[str, Any]) -> str:
    """The text printed after an export: the ledger, the files, the folder."""
    variants = variants_table(document["variants"], document["metric"], document["unit"])
    shipped = f"bundle: {document['bundle']}\nbundle id: {document['bundle_id']}"
    return f"{ledger_table(document['ledger'])}\n\n{variants}\n\n{shipped}"
