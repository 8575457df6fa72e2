"""What a measurement of bench says, as a table and in words."""

from typing import TYPE_CHECKING

from tunedeploy.cli.console import table

if TYPE_CHECKING:
    from tunedeploy.commands.bench import Bench


def verdict(found: "Bench") -> str:
    """The measurement as a table, with a plain word where a variant is slower than fp32 or the machine too noisy."""
    rows, words = [], []
    for shape, variants in found["shapes"].items():
        for name, one in variants.items():
            spread = f"{one['q1_ms']:.2f} to {one['q3_ms']:.2f}"
            rows.append(
                (
                    shape,
                    name,
                    f"{one['median_ms']:.2f}",
                    spread,
                    f"{one['times_faster']:.2f}",
                    f"{found['megabytes'][name]:.2f}",
                )
            )
            if one["q3_ms"] > 1.5 * one["q1_ms"]:
                words.append(f"{name} at {shape}: the machine is too noisy for a verdict")
            elif name != "fp32" and one["times_faster"] < 1:
                words.append(f"{name} at {shape}: slower than fp32 here; ship fp32 where size does not matter")
    head = ("input", "variant", "median ms", "quartiles", "times faster", "MB")
    return "\n".join([table(head, rows), f"cores: {found['cores']}", *words])
