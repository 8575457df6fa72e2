"""The two kinds of CPU that an integer file is shown to hold on, which of them this is, and a session as on the other.

`avx2` is x86 without VNNI, AVX-512 included: two products are added in 16 bits and may saturate. `vnni` is x86 with
VNNI, and every CPU that adds up in 32 bits as it does, ARM for one.
"""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tunedeploy.device.runtime import Session
from tunedeploy.graphs import files as onnx_files
from tunedeploy.quantization.saturating_file import saturating
from tunedeploy.quantization.saturation import can_saturate
from tunedeploy.run.results import Decisions, OnCpu

SATURATING, EXACT = "avx2", "vnni"
KINDS = (SATURATING, EXACT)
WORDS = {SATURATING: "without VNNI", EXACT: "with VNNI"}


@cache
def native() -> str:
    """The kind of this CPU: asked of onnxruntime, by a product that saturates where any does."""
    full = onnx.numpy_helper.from_array(np.full((2, 1), 127, np.int8), "weights")
    node = onnx.helper.make_node("MatMulInteger", ["activations", "weights"], ["sum"])
    given = onnx.helper.make_tensor_value_info("activations", onnx.TensorProto.UINT8, [1, 2])
    taken = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.INT32, [1, 1])
    graph = onnx.helper.make_graph([node], "pair", [given], [taken], [full])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"activations": np.full((1, 2), 255, np.uint8)})
    return EXACT if int(got[0, 0]) == 2 * 255 * 127 else SATURATING


def session_on(path: Path, kind: str) -> Session | None:
    """A session that gives what a file gives on a kind of CPU.

    Returns:
        None where that cannot be simulated: convolutions that saturate, on a CPU where none does.
    """
    if kind == native():
        return Session(path)
    if kind == EXACT:
        return Session(path, exact=True)
    other = saturating(onnx_files.read(path))
    if other is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        onnx_files.write(other, Path(folder) / path.name)
        return Session(Path(folder) / path.name)


def on_each_kind(path: Path, own: Decisions, measure: Callable[[Session], Decisions]) -> dict[str, OnCpu]:
    """How a file was shown to hold on each kind of CPU.

    Args:
        path: the file.
        own: what was measured of it on this CPU.
        measure: the same of another session.

    Returns:
        For each kind `by`, with the figures: `measured` here; `proved` equal, since no pair of products can leave 16
        bits; `simulated`; or `nothing`, without figures.
    """
    shown: dict[str, OnCpu] = {}
    proved = not can_saturate(onnx_files.read(path))
    for kind in KINDS:
        if kind == native():
            shown[kind] = {"by": "measured", **own}
        elif proved:
            shown[kind] = {"by": "proved", **own}
        else:
            session = session_on(path, kind)
            shown[kind] = {"by": "nothing"} if session is None else {"by": "simulated", **measure(session)}
    return shown
