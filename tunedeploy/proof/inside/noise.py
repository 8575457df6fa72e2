"""Where a quantized file loses its signal: the noise that each node adds, and the total up to there."""

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
    """SQNR of a tensor: with its own nodes fed float32's values, and in the file as it runs."""

    tensor: str
    own_db: float
    total_db: float


class Bin(TypedDict):
    """How many tensors have an own SQNR from here up to the next bin."""

    from_db: int
    count: int


class Summary(TypedDict):
    """What `summary` returns."""

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
    # Where rounding has replaced a Relu, two values of the float32 file become one, and readers get the later.
    read = {other.read_as(names[name]): name for name in [*graph.inputs, *graph.makers] if name in names}
    return {origin: name for name, origin in read.items()}


def sqnr_db(reference: Array, other: Array) -> float:
    """`agreement.sqnr_db` of values that are not masks, between BROKEN_DB and EXACT_DB."""
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
    readers = [reader.name for reader in graph.readers.get(name, ())]
    if name not in graph.makers:
        return {"node": "", "operator": "input", "module": "", "class": "", "spare": readers}
    node = heaviest(graph.between(name, shared), graph.stored)
    source = origin(node)
    target_nodes = other.between(shared[name], set(shared.values()))
    operands = [operand for target_node in target_nodes for operand in target_node.input]
    stored = [other.stored[operand] for operand in operands if operand in other.stored]
    # The dynamic quantizer splits Gemm into a product and a sum first, and names the product so.
    split = any(target_node.name.startswith(f"{node.name}_MatMul") for target_node in target_nodes)
    own = f"{node.name}_MatMul" if split else node.name
    # A tensor that is rounded on its way stays so as long as one node that reads it is quantized.
    spare = [own, *readers] if shared[name] != name else [own]
    rounded = any(tensor.data_type in SMALL and len(tensor.dims) > 0 for tensor in stored)
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
    noisy = [tensor for tensor in tensors if tensor["own_db"] < EXACT_DB]
    bins = Counter(math.floor(tensor["own_db"] / BIN_DB) * BIN_DB for tensor in noisy)
    nodes = offenders(noisy)
    options = plugins.load("precisions", precision).Options
    has_option = options is not None and "exclude" in options.model_fields
    note = "" if has_option else f"{precision} has no option 'exclude'"
    return {
        "tensors": sorted(tensors, key=lambda tensor: tensor["own_db"]),
        "histogram": [{"from_db": low, "count": bins[low]} for low in sorted(bins)],
        "lost_db": LOST_DB,
        "first_lost": next((tensor for tensor in tensors if tensor["total_db"] < LOST_DB), None),
        "exclude": nodes if has_option else [],
        "recipe": recipe_line(recipe, precision, nodes) if has_option and nodes else None,
        "note": note or ("" if nodes else "nothing that was rounded makes noise of its own"),
    }


def offenders(noisy: Sequence[Noise]) -> list[str]:
    """Nodes behind the rounded tensors that stand out by their own noise, the worst first; at least the worst one."""
    rounded = sorted((tensor for tensor in noisy if tensor["spare"]), key=lambda tensor: tensor["own_db"])
    if not rounded:
        return []
    limit = float(np.median([tensor["own_db"] for tensor in rounded])) - WORSE_DB
    worst = [tensor for at, tensor in enumerate(rounded) if at == 0 or tensor["own_db"] < limit]
    return list(dict.fromkeys(name for tensor in worst[:OFFENDERS] for name in tensor["spare"]))


def recipe_line(recipe: "Recipe", precision: str, nodes: Sequence[str]) -> str:
    """The recipe's `export` section as one line of YAML that also spares these nodes."""
    options = recipe.export
    defaults = {name: field.default for name, field in type(options).model_fields.items()}
    plain = recipe.resolved()["export"]
    section = {name: value for name, value in plain.items() if getattr(options, name) != defaults[name]}
    precisions = [name for name in options.quantize if name != "fp32"]
    precisions = precisions if precision in precisions else [precision]
    section["quantize"] = precisions[0] if len(precisions) == 1 else precisions
    section["exclude"] = list(dict.fromkeys([*plain.get("exclude", ()), *nodes]))
    first = {"quantize": section.pop("quantize")}
    text = yaml.safe_dump(first | section, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return f"export: {text.strip()}"
