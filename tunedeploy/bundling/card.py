"""The model card of a bundle, in Markdown."""

from typing import Any

from tunedeploy.device.figures import loss_text, value_text
from tunedeploy.device.manifest import Contents, files_of
from tunedeploy.run.results import LedgerFile


def card(manifest: Contents, ledger: LedgerFile) -> str:
    """README.md of a bundle: what it is, how good, what was compared, what it is not for.

    Latency is left to `tunedeploy bench`: a figure of another machine would be wrong here, and would change the bytes.
    """
    labels, rows, lineage = manifest["labels"], manifest["rows"], manifest["lineage"]
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    value = value_text(manifest["value"], manifest["metric_unit"])
    known = f"Labels ({len(labels)}): {shown}\n\n" if labels else ""
    limits = "It knows the labels above and no others, and" if labels else "It knows"
    return f"""# {manifest["task"]}: {manifest["model"]}, {manifest["method"]}

{known}Tuned on {rows["train"]} rows; {manifest["metric"]} on {rows["eval"]} evaluation rows
({manifest["eval_source"]}): **{value}**. The best epoch and the int8 setting were chosen on these same rows; rows that
were never seen are scored with `tunedeploy eval . --data FILE`.

| variant | file | size | metric | drop |
|---|---|---|---|---|
{files(manifest)}

Latency depends on the device: `tunedeploy bench .` measures it there.

## Parity ledger

Compared on the bytes in this folder, in onnxruntime's default session; a breach would have stopped the build.

| comparison | value | limit | rows |
|---|---|---|---|
{comparisons(ledger)}

Check it on your machine: `pip install numpy onnxruntime pytest tokenizers pillow && pytest parity/`.

## Limits

{limits} inputs like those it was tuned on. With dynamic int8 a row's
outputs depend a little on the rows in its batch, since a tensor has one scale.

Lineage: base {lineage["base"][:12]}, data {lineage["data"][:12]}, adapter {lineage["adapter"][:12]},
merged {lineage["merged"][:12]}.
"""


def files(manifest: Contents) -> str:
    """Rows of the table of variants."""
    unit = manifest["metric_unit"]
    lines = []
    for name, variant in manifest["variants"].items():
        names = ", ".join(f"`{file}`" for file in files_of(variant).values())
        figures = f"{value_text(variant['value'], unit)} | {loss_text(variant['drop'], unit)}"
        lines.append(f"| {name} | {names} | {variant['bytes'] / 1e6:.2f} MB | {figures} |")
    return "\n".join(lines)


def comparisons(ledger: LedgerFile) -> str:
    """Rows of the ledger's table."""
    return "\n".join(
        f"| {entry['name']} | {number(entry['value'])}{entry['unit']} | {number(entry['limit'])} | {entry['rows']} |"
        for entry in [*ledger["merge"], *ledger["comparisons"]]
    )


def number(value: Any) -> str:
    """A figure with three digits; text as it is; nothing for None."""
    return f"{value:.3g}" if isinstance(value, int | float) else str(value or "")
