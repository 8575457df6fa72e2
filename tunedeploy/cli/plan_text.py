"""A plan for people: what will be trained on what, and where the recipe differs from the defaults."""

import textwrap
from typing import TYPE_CHECKING

from tunedeploy.cli.console import columns, figure, table

if TYPE_CHECKING:
    from tunedeploy.run.planned import Plan

LABELS = 20  # that are listed; there may be thousands


def plan_text(plan: "Plan", *, everything: bool) -> str:
    """Values with provenance, then weights and estimates.

    Args:
        plan: what --json prints.
        everything: with the values that are defaults.
    """
    settings = plan["recipe"].items()
    rows = [
        (key, figure(setting["value"]), setting["source"])
        for key, setting in settings
        if everything or not setting["source"].startswith("default")
    ]
    others = len(settings) - len(rows)
    rest = f"\nand {others} defaults; --all lists them" if others else ""
    lines = [line for text in facts(plan) for line in textwrap.wrap(text, max(columns(), 20), subsequent_indent="  ")]
    return "\n".join([table(("key", "value", "from"), rows) + rest, "", *lines])


def facts(plan: "Plan") -> list[str]:
    """What was decided here, the data, the weights, and what it will take."""
    decided = (f"{name} {value}" for name, value in plan["decided"].items() if name != "preprocessing")
    weights, estimates, data = plan["weights"], plan["estimates"], plan["data"]
    share = weights["trainable"] / weights["total"]
    sizes = (
        f"fp32 {estimates['fp32_mb']:.1f}, int8 {estimates['int8_mb']:.1f}, adapter {estimates['adapter_mb']:.2f} MB"
    )
    rows = data["rows"]
    return [
        f"decided here: {', '.join(decided)}",
        f"data: {rows['train']} rows to train on, {rows['eval']} to evaluate on ({data['eval_source']})",
        *([f"labels: {', '.join(data['labels'][:LABELS])}"] if data["labels"] else []),
        f"weights: {weights['trainable']:,} of {weights['total']:,} are trained ({share:.2%})",
        f"time: {estimates['minutes']:.1f} minutes for training alone, {estimates['steps']} steps; converting, "
        "quantizing and verifying come on top",
        f"memory: {estimates['memory_mb']} MB",
        f"size: {sizes}",
    ]
