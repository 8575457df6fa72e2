"""A measurement by bench, as a table and in words."""

from typing import TYPE_CHECKING

from tunedeploy.cli.console import table

if TYPE_CHECKING:
    from tunedeploy.commands.bench import Bench


def verdict(measurement: "Bench") -> str:
    """The measurement as a table, with a plain word where a variant is slower than fp32 or the machine too noisy."""
    rows, words = [], []
    for shape, variants in measurement["shapes"].items():
        for name, timing in variants.items():
            spread = f"{timing['q1_ms']:.2f} to {timing['q3_ms']:.2f}"
            rows.append(
                (
                    shape,
                    name,
                    f"{timing['median_ms']:.2f}",
                    spread,
                    f"{timing['times_faster']:.2f}",
                    f"{measurement['megabytes'][name]:.2f}",
                )
            )
            if timing["q3_ms"] > 1.5 * timing["q1_ms"]:
                words.append(f"{name} at {shape}: the machine is too noisy for a verdict")
            elif name != "fp32" and timing["times_faster"] < 1:
                words.append(f"{name} at {shape}: slower than fp32 here; ship fp32 where size does not matter")
    head = ("input", "variant", "median ms", "quartiles", "times faster", "MB")
    return "\n".join([table(head, rows), f"cores: {measurement['cores']}", *words])
