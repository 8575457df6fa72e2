"""Which file to ship, and why: of those that held their budget, the one that is smallest and fastest taken together."""

from collections.abc import Mapping
from dataclasses import dataclass

from tunedeploy.device.figures import loss_text
from tunedeploy.run.results import Variant

FULL = "fp32"  # the variant that others are measured against
ALIKE = 0.03  # times that differ by less are equal on a machine that also does other things


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The variant to ship, with the reasons, a sentence each."""

    variant: str
    reasons: tuple[str, ...]


def choice(variants: Mapping[str, Variant], *, allowed: float, unit: str) -> Choice:
    """The variant whose bytes times milliseconds are fewest.

    Args:
        variants: those with `problems` broke a limit of the recipe or of its target, and are not chosen.
        allowed: what a variant may lose, in the metric's unit.
        unit: of the metric.
    """
    held = {name: variant for name, variant in variants.items() if not variant.get("problems")} or variants
    name = min(held, key=lambda name: cost(held[name]))
    if len(variants) == 1:
        only = f"it is the only variant; export.quantize adds smaller ones, each within {loss_text(allowed, unit)}"
        return Choice(variant=name, reasons=(only,))
    chosen, full = variants[name], variants[FULL]
    reasons = [place(name, held, among=len(variants))]
    if name != FULL:
        reasons.append(f"{compared(full, chosen)} {FULL}")
        lost = loss_text(max(chosen["drop"], 0.0), unit)
        reasons.append(f"it loses {lost} against {FULL}, where {loss_text(allowed, unit)} are allowed")
    return Choice(variant=name, reasons=(*reasons, *better_at_one(name, held), *left_out(variants)))


def cost(variant: Variant) -> float:
    """Bytes times milliseconds."""
    return variant["bytes"] * max(variant["ms"], 1e-6)


def left_out(variants: Mapping[str, Variant]) -> list[str]:
    """Which limits kept a variant from being chosen."""
    problems = [problem for variant in variants.values() for problem in variant.get("problems", [])]
    return [f"not among them: {problem.removeprefix('quantize: ')}" for problem in problems]


def place(name: str, variants: Mapping[str, Variant], *, among: int) -> str:
    """What the chosen variant is the best at.

    Args:
        name: of the chosen variant.
        variants: those that held their budget.
        among: how many there are with those that did not.
    """
    if len(variants) < 2:
        return f"it is the only one of {among} variants that held its budget"
    chosen = variants[name]
    smallest = chosen["bytes"] == min(variant["bytes"] for variant in variants.values())
    fastest = chosen["ms"] <= (1 + ALIKE) * min(variant["ms"] for variant in variants.values())
    of = f"of {len(variants)} variants that held their budget"
    if smallest and fastest:
        return f"it is the smallest and the fastest {of}"
    if smallest or fastest:
        return f"it is the {'smallest' if smallest else 'fastest'} {of}"
    return f"it is the best compromise of size and speed {of}"


def compared(full: Variant, chosen: Variant) -> str:
    """How much smaller and faster than the full one."""
    smaller = full["bytes"] / max(chosen["bytes"], 1)
    faster = max(full["ms"], 1e-6) / max(chosen["ms"], 1e-6)
    size = f"{smaller:.1f} times smaller" if smaller >= 1 else f"{1 / smaller:.1f} times larger"
    if abs(faster - 1) <= ALIKE:
        return f"it is {size} and as fast as"
    speed = f"{faster:.1f} times faster" if faster > 1 else f"{1 / faster:.1f} times slower"
    return f"it is {size} and {speed} than"


def better_at_one(name: str, variants: Mapping[str, Variant]) -> list[str]:
    """Which others to ship where only size or only speed counts."""
    smallest = min(variants, key=lambda other: variants[other]["bytes"])
    fastest = min(variants, key=lambda other: variants[other]["ms"])
    lines = []
    if variants[smallest]["bytes"] < variants[name]["bytes"]:
        lines.append(f"where only size counts, ship {smallest}")
    if (1 + ALIKE) * variants[fastest]["ms"] < variants[name]["ms"]:
        lines.append(f"where only speed counts, ship {fastest}: it is faster on this machine")
    return lines
