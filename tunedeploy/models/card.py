"""The model card of a bundle, in Markdown."""

from collections.abc import Mapping
from typing import Any


def card(manifest: Mapping[str, Any], ledger: Mapping[str, Any]) -> str:
    """README.md of a bundle: what it is, how good, what was compared, what it is not for.

    Latency is left to `tunedeploy bench`: a figure of another machine would be wrong here, and would change the bytes.
    """
    rows = [
        f"| {name} | `{one['file']}` | {one['bytes'] / 1e6:.2f} MB | {one['value']:.2f} % | {one['drop']:.2f} |"
        for name, one in manifest["variants"].items()
    ]
    checks = [
        f"| {one['name']} | {number(one['value'])}{one['unit']} | {'' if one['limit'] is None else number(one['limit'])} | {one['rows']} |"
        for one in [*ledger["merge"], *ledger["comparisons"]]
    ]
    labels = manifest["labels"]
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    return "\n".join(
        [
            f"# {manifest['task']}: {manifest['model']}, {manifest['method']}",
            "",
            f"Labels ({len(labels)}): {shown}",
            "",
            f"Tuned on {manifest['rows']['train']} rows; {manifest['metric']} on {manifest['rows']['eval']} evaluation rows "
            f"({manifest['eval_source']}): **{manifest['value']:.2f} %**.",
            "",
            "| variant | file | size | metric | drop, points |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Latency depends on the device: `tunedeploy bench .` measures it there.",
            "",
            "## Parity ledger",
            "",
            "Compared on the bytes in this folder, in onnxruntime's default session; a breach would have stopped the build.",
            "",
            "| comparison | value | limit | rows |",
            "|---|---|---|---|",
            *checks,
            "",
            "Check it on your machine: `pip install numpy onnxruntime pytest tokenizers pillow && pytest parity/`.",
            "",
            "## Limits",
            "",
            "It knows the labels above and no others, and texts or images like those it was tuned on. "
            "With dynamic int8 a row's logits depend a little on the rows in its batch, since a tensor has one scale.",
            "",
            f"Lineage: base {manifest['lineage']['base'][:12]}, data {manifest['lineage']['data'][:12]}, "
            f"adapter {manifest['lineage']['adapter'][:12]}, merged {manifest['lineage']['merged'][:12]}.",
            "",
        ]
    )


def number(value: Any) -> str:
    """A figure with three digits; text as it is."""
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)
