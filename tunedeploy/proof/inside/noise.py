"""Where a quantized file loses its signal: the noise that each node makes itself, and all that has gathered by then."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import yaml

from tunedeploy import plugins
from tunedeploy.device import agreement
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.graphs.onnx_graph import SMALL, Graph, heaviest, origin
from tunedeploy.proof.inside.origins import origins

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

# Noise is a tenth of the signal's amplitude. A typical int8 node makes 30 to 40 dB here (MiniLM, EfficientNet-Lite0),
# so a tensor below 20 has the noise of ten to a hundred of them. It says where the loss begins and is no verdict:
# files that hold their budget have been seen down to 6 dB in a layer.
LOST_DB = 20.0
WORSE_DB = 6.0  # under the median: four times the noise power that the typical node makes
OFFENDERS = 5  # tensors that the recipe line spares; more of them undo what quantization is for
EXACT_DB, BROKEN_DB = 200.0, -200.0  # bounds: equal to the bit; NaN, infinity or noise beyond any signal
MASK = 1e30  # attention masks hold float32's lowest value; they say what is left out, and are no signal
BIN_DB = 5


# What makes a tensor; `spare` has the nodes whose exclusion makes it exact.
Maker = TypedDict(
    "Maker", {"node": str, "operator": str, "module": str, "class": str, "spare": list[str]}
)  # fmt: skip


class Noise(Maker):
    """SQNR of a tensor: of what its own nodes make of float32's values, and of all that has gathered."""

    tensor: str
    own_db: float
    total_db: float


class Bin(TypedDict):
    """How many tensors have an own SQNR from here up to the next bin."""

    from_db: int
    count: int


class Summary(TypedDict):
    """See `summary`."""

    tensors: list[Noise]
    histogram: list[Bin]
    lost_db: float
    first_lost: Noise | None
    exclude: list[str]
    recipe: str | None
    note: str


def noise(graph: Graph, path: Path, inputs: Inputs, precision: str = "") -> list[Noise]:
    """SQNR of each tensor that a float32 file and a quantized one share and that differs, in the order of execution.

    Args:
        graph: the float32 file.
        path: the quantized file.
        inputs: one batch of real rows.
        precision: of the quantized file; with its rewrites tensors are matched by what makes them, else by name.

    Returns:
        A record a tensor. `own_db` is the SQNR of what its nodes make of float32's own values: of the rounded weights,
        and of the activations that those nodes round. `total_db` is the SQNR in the file as it runs.

    Raises:
        RunError: onnxruntime cannot run a file as written.
        ModelError: the quantized file cannot be read.
    """
    other = Graph(path)
    shared = counterparts(graph, other, precision)
    values = inputs | graph.run(inputs, [name for name in shared if name in graph.makers])
    exact = {
        name: values[name] for name, read in shared.items()
        if values[name].dtype == np.float32 and values[name].size and read in other.makers
    }  # fmt: skip
    total = other.run(inputs, [shared[name] for name in exact])
    fed = {shared[name]: _fitted(value, total[shared[name]].dtype) for name, value in exact.items()}
    own = other.run_fed(inputs, fed, fed)
    records: list[Noise] = []
    for name, value in exact.items():
        own_db, total_db = sqnr_db(value, own[shared[name]]), sqnr_db(value, total[shared[name]])
        if min(own_db, total_db) < EXACT_DB:
            maker = _maker(graph, other, name, shared)
            records.append({"tensor": name, **maker, "own_db": own_db, "total_db": total_db})
    return records


def counterparts(graph: Graph, other: Graph, precision: str) -> dict[str, str]:
    """Each value of the float32 file that the other has too, by the name under which its readers get it there."""
    rewrites = plugins.load("precisions", precision).REWRITES if precision else None
    names = {name: name for name in [*other.inputs, *other.makers]}
    if rewrites is not None:
        matched = origins(graph, other, rewrites)
        names = {name: name for name in other.inputs} | {origin: name for name, origin in matched.values.items()}
        alone = {origin: next(iter(read)) for origin, read in matched.names.items() if len(read) == 1}
        names |= {origin: name for origin, name in alone.items() if origin in graph.makers and name in other.makers}
    # Behind a Relu that rounding has taken the place of, two values of the float32 file are one: readers get the later.
    read = {other.read_as(names[name]): name for name in [*graph.inputs, *graph.makers] if name in names}
    return {origin: name for name, origin in read.items()}


def sqnr_db(reference: Array, other: Array) -> float:
    """`agreement.sqnr_db` of what is no mask, within EXACT_DB and BROKEN_DB."""
    signal = np.abs(reference) < MASK
    with np.errstate(over="ignore", invalid="ignore"):
        value = agreement.sqnr_db(reference[signal], other[signal])
    return BROKEN_DB if np.isnan(value) else round(float(np.clip(value, BROKEN_DB, EXACT_DB)), 2)


def _fitted(value: Array, kind: Any) -> Array:
    """A float32 value in a file's own type; a mask that does not fit becomes its lowest number."""
    largest = np.finfo(kind).max
    return np.clip(value, -largest, largest).astype(kind)


def _maker(graph: Graph, other: Graph, name: str, shared: Mapping[str, str]) -> Maker:
    """The node, operator, module and class behind a tensor; `spare` has the nodes whose exclusion makes it exact."""
    readers = [one.name for one in graph.readers.get(name, ())]
    if name not in graph.makers:
        return {"node": "", "operator": "input", "module": "", "class": "", "spare": readers}
    node = heaviest(graph.between(name, shared), graph.stored)
    source = origin(node)
    there = other.between(shared[name], set(shared.values()))
    stored = [other.stored[one] for made in there for one in made.input if one in other.stored]
    # The dynamic quantizer splits Gemm into a product and a sum first, and names the product so.
    split = any(made.name.startswith(f"{node.name}_MatMul") for made in there)
    own = f"{node.name}_MatMul" if split else node.name
    # A tensor that is rounded on its way stays so as long as one node that reads it is quantized.
    spare = [own, *readers] if shared[name] != name else [own]
    rounded = any(one.data_type in SMALL and len(one.dims) > 0 for one in stored)
    return {
        "node": source.node, "operator": source.operator, "module": source.module, "class": source.kind,
        "spare": spare if rounded or shared[name] != name else [],
    }  # fmt: skip


def summary(recipe: "Recipe", precision: str, tensors: list[Noise]) -> Summary:
    """What follows from the noise of a file's tensors.

    Returns:
        `tensors`, worst own SQNR first; `histogram` of it; `first_lost`, the first tensor in the order of execution
        whose total SQNR is under `lost_db`; `exclude`, the nodes behind those that stand out; `recipe`, the line that
        spares them, None where there is none to spare; `note`, why there is none.
    """
    noisy = [one for one in tensors if one["own_db"] < EXACT_DB]
    bins = Counter(math.floor(one["own_db"] / BIN_DB) * BIN_DB for one in noisy)
    nodes = offenders(noisy)
    options = plugins.load("precisions", precision).Options
    has_option = options is not None and "exclude" in options.model_fields
    note = "" if has_option else f"{precision} has no option 'exclude'"
    return {
        "tensors": sorted(tensors, key=lambda one: one["own_db"]),
        "histogram": [{"from_db": low, "count": bins[low]} for low in sorted(bins)],
        "lost_db": LOST_DB,
        "first_lost": next((one for one in tensors if one["total_db"] < LOST_DB), None),
        "exclude": nodes if has_option else [],
        "recipe": recipe_line(recipe, precision, nodes) if has_option and nodes else None,
        "note": note or ("" if nodes else "nothing that was rounded makes noise of its own"),
    }


def offenders(noisy: Sequence[Noise]) -> list[str]:
    """Nodes behind the rounded tensors that stand out by their own noise, the worst first; at least the worst one."""
    rounded = sorted((one for one in noisy if one["spare"]), key=lambda one: one["own_db"])
    if not rounded:
        return []
    limit = float(np.median([one["own_db"] for one in rounded])) - WORSE_DB
    worst = [one for at, one in enumerate(rounded) if at == 0 or one["own_db"] < limit]
    return list(dict.fromkeys(name for one in worst[:OFFENDERS] for name in one["spare"]))


def recipe_line(recipe: "Recipe", precision: str, nodes: Sequence[str]) -> str:
    """The recipe's `export` section as one line of YAML that also spares these nodes."""
    options = recipe.export
    defaults = {name: field.default for name, field in type(options).model_fields.items()}
    plain = recipe.resolved()["export"]
    section = {name: value for name, value in plain.items() if getattr(options, name) != defaults[name]}
    asked = [one for one in options.quantize if one != "fp32"]
    asked = asked if precision in asked else [precision]
    section["quantize"] = asked[0] if len(asked) == 1 else asked
    section["exclude"] = list(dict.fromkeys([*plain.get("exclude", ()), *nodes]))
    first = {"quantize": section.pop("quantize")}
    text = yaml.safe_dump(first | section, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return f"export: {text.strip()}"
