"""A diagnosis for people: the first diverging module, the noisiest nodes, a histogram, and the line for the recipe."""

import math
from typing import TYPE_CHECKING

from tunedeploy.cli.console import figure, table

if TYPE_CHECKING:
    from tunedeploy.commands.diagnose import Diagnosis, Divergence, Lossy

SHOWN = 10  # rows of a table; --json has all
BAR = 40  # signs of the longest bar


def diagnosis_text(found: "Diagnosis") -> str:
    """Where the differences of a run begin, for people."""
    parts = [divergence_text(found["torch_vs_onnx"])]
    parts += [noise_text(name, one) for name, one in found["variants"].items()]
    return "\n\n".join(parts)


def divergence_text(found: "Divergence") -> str:
    """The first diverging module and those after it; or that there is none."""
    matched = f"{found['compared']} outputs of modules compared, {found['not_matched']} not matched"
    first = found["first"]
    if first is None:
        return f"torch vs onnx: {matched}; none is over its tolerance"
    facts = first["facts"]
    where = f" on {first['where']}" if first["where"] else ""
    rows = [
        (one["name"], one["facts"]["node"], one["facts"]["operator"], figure(one["value"]), figure(one["limit"]))
        for one in found["over"][:SHOWN]
    ]
    return f"""torch vs onnx: {matched}; {len(found["over"])} are over their tolerance

first diverging: {first["name"]} ({facts["class"] or "no class"})
  value {facts["value"]} of node {facts["node"]} ({facts["operator"]})
  differs by {figure(first["value"])}{where}, allowed {figure(first["limit"])}

{table(("module", "node", "operator", "difference", "allowed"), rows)}"""


def noise_text(name: str, found: "Lossy") -> str:
    """The nodes that lose most, a histogram of all, and the recipe's line that spares the worst."""
    rows = [
        (f"{one['own_db']:.1f}", f"{one['total_db']:.1f}", one["operator"], one["node"] or one["tensor"], one["module"])
        for one in found["tensors"][:SHOWN]
    ]
    most = max((one["count"] for one in found["histogram"]), default=1)
    bars = [
        (f"{one['from_db']} dB", one["count"], "#" * math.ceil(one["count"] * BAR / most)) for one in found["histogram"]
    ]
    lost = found["first_lost"]
    limit = f"{found['lost_db']:g} dB"
    begins = f"no tensor is under {limit} in total"
    if lost is not None:
        place = f"{lost['tensor']} ({lost['operator']} {lost['node']}, {lost['module'] or 'the whole model'})"
        begins = f"first under {limit} in total: {place}, {lost['total_db']:.1f} dB"
    cure = (
        f"{'to' if lost else 'nothing is lost there; all the same, to'} keep the worst in float32:\n{found['recipe']}"
        if found["recipe"]
        else f"nothing to exclude: {found['note']}"
    )
    return f"""fp32 vs {name}: {found["file"]}; SQNR in dB, own = of the node alone, total = of all up to it

{table(("own", "total", "operator", "node", "module"), rows)}

{table(("own SQNR", "tensors", ""), bars)}

{begins}
{cure}"""
