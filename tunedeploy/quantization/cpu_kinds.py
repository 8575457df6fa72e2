"""The two kinds of CPU that an integer file must hold on: which one this is, and sessions that simulate the other.

`avx2` is x86 without VNNI, AVX-512 included: two products are added in 16 bits and may saturate. `vnni` is x86 with
VNNI, and every CPU that adds up in 32 bits as it does, ARM for one.
"""

import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tunedeploy.device.runtime import Sessions
from tunedeploy.device.signature import Run
from tunedeploy.graphs import files as onnx_files
from tunedeploy.quantization.saturating_file import saturating
from tunedeploy.quantization.saturation import can_saturate
from tunedeploy.run.results import Decisions, OnCpu

SATURATING, EXACT = "avx2", "vnni"
KINDS = (SATURATING, EXACT)
WORDS = {SATURATING: "without VNNI", EXACT: "with VNNI"}


@cache
def native() -> str:
    """The kind of this CPU, found by running a product in onnxruntime that saturates where any does."""
    full = onnx.numpy_helper.from_array(np.full((2, 1), 127, np.int8), "weights")
    node = onnx.helper.make_node("MatMulInteger", ["activations", "weights"], ["sum"])
    activations = onnx.helper.make_tensor_value_info("activations", onnx.TensorProto.UINT8, [1, 2])
    total = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.INT32, [1, 1])
    graph = onnx.helper.make_graph([node], "pair", [activations], [total], [full])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"activations": np.full((1, 2), 255, np.uint8)})
    return EXACT if int(got[0, 0]) == 2 * 255 * 127 else SATURATING


def sessions_on(paths: Mapping[str, Path], kind: str) -> Sessions | None:
    """Sessions that give what the files of a variant, by their graphs, give on a kind of CPU.

    Returns:
        None where that cannot be simulated: convolutions that saturate, on a CPU where none does.
    """
    if kind == native():
        return Sessions(paths)
    if kind == EXACT:
        return Sessions(paths, exact=True)
    others = {graph: saturating(onnx_files.read(path)) for graph, path in paths.items()}
    with tempfile.TemporaryDirectory() as folder:
        rewritten = {graph: Path(folder) / path.name for graph, path in paths.items()}
        for graph, other in others.items():
            if other is None:
                return None
            onnx_files.write(other, rewritten[graph])
        return Sessions(rewritten)


def on_each_kind(paths: Mapping[str, Path], own: Decisions, measure: Callable[[Run], Decisions]) -> dict[str, OnCpu]:
    """How a variant was shown to hold on each kind of CPU.

    Args:
        paths: graph to file.
        own: its figures as measured on this CPU.
        measure: measures the same figures with other sessions.

    Returns:
        For each kind `by`, with the figures: `measured` here; `proved` equal, since no pair of products can leave 16
        bits; `simulated`; or `nothing`, without figures.
    """
    shown: dict[str, OnCpu] = {}
    proved = not any(can_saturate(onnx_files.read(path)) for path in paths.values())
    for kind in KINDS:
        if kind == native():
            shown[kind] = {"by": "measured", **own}
        elif proved:
            shown[kind] = {"by": "proved", **own}
        else:
            sessions = sessions_on(paths, kind)
            shown[kind] = {"by": "nothing"} if sessions is None else {"by": "simulated", **measure(sessions)}
    return shown
