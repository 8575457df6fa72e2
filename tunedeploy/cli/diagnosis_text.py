"""A diagnosis for people: the first diverging module, the noisiest nodes, a histogram, and the line for the recipe."""

import math
from typing import TYPE_CHECKING

from tunedeploy.cli.console import figure, table

if TYPE_CHECKING:
    from tunedeploy.commands.diagnose import Diagnosis, Divergence, Lossy

SHOWN = 10  # rows of a table; --json has all
BAR = 40  # characters in the longest bar


def diagnosis_text(diagnosis: "Diagnosis") -> str:
    """Where the differences of a run begin, for people."""
    parts = [divergence_text(diagnosis["torch_vs_onnx"])]
    parts += [noise_text(name, noise) for name, noise in diagnosis["variants"].items()]
    return "\n\n".join(parts)


def divergence_text(divergence: "Divergence") -> str:
    """The first diverging module and those after it, or a line that says that there is none."""
    matched = f"{divergence['compared']} outputs of modules compared, {divergence['not_matched']} not matched"
    first = divergence["first"]
    if first is None:
        return f"torch vs onnx: {matched}; none is over its tolerance"
    facts = first["facts"]
    where = f" on {first['where']}" if first["where"] else ""
    rows = [
        (
            entry["name"],
            entry["facts"]["node"],
            entry["facts"]["operator"],
            figure(entry["value"]),
            figure(entry["limit"]),
        )
        for entry in divergence["over"][:SHOWN]
    ]
    return f"""torch vs onnx: {matched}; {len(divergence["over"])} are over their tolerance

first diverging: {first["name"]} ({facts["class"] or "no class"})
  value {facts["value"]} of node {facts["node"]} ({facts["operator"]})
  differs by {figure(first["value"])}{where}, allowed {figure(first["limit"])}

{table(("module", "node", "operator", "difference", "allowed"), rows)}"""


def noise_text(name: str, noise: "Lossy") -> str:
    """The nodes that lose most, a histogram of all, and the line for the recipe that keeps the worst in float32."""
    rows = [
        (
            f"{tensor['own_db']:.1f}",
            f"{tensor['total_db']:.1f}",
            tensor["operator"],
            tensor["node"] or tensor["tensor"],
            tensor["module"],
        )
        for tensor in noise["tensors"][:SHOWN]
    ]
    most = max((bar["count"] for bar in noise["histogram"]), default=1)
    bars = [
        (f"{bar['from_db']} dB", bar["count"], "#" * math.ceil(bar["count"] * BAR / most)) for bar in noise["histogram"]
    ]
    lost = noise["first_lost"]
    limit = f"{noise['lost_db']:g} dB"
    begins = f"no tensor is under {limit} in total"
    if lost is not None:
        place = f"{lost['tensor']} ({lost['operator']} {lost['node']}, {lost['module'] or 'the whole model'})"
        begins = f"first under {limit} in total: {place}, {lost['total_db']:.1f} dB"
    cure = (
        f"{'to' if lost else 'nothing is lost there; all the same, to'} keep the worst in float32:\n{noise['recipe']}"
        if noise["recipe"]
        else f"nothing to exclude: {noise['note']}"
    )
    return f"""fp32 vs {name}: {noise["file"]}; SQNR in dB, own = of the node alone, total = of all up to it

{table(("own", "total", "operator", "node", "module"), rows)}

{table(("own SQNR", "tensors", ""), bars)}

{begins}
{cure}"""
