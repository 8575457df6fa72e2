"""The test sets of a bundle in ONNX's own format, which other programs run, against its goldens."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunedeploy.device.agreement import largest_difference, output_range
from tunedeploy.device.encoders import Array
from tunedeploy.device.goldens import inputs_of, onnx_test_folder
from tunedeploy.device.inside import inside
from tunedeploy.device.signature import Graph, Recording
from tunedeploy.graphs.tensor_files import tensor

if TYPE_CHECKING:
    from tunedeploy.proof.bundle import Bundle

FP32 = "fp32"
ROUNDING = 1e-4  # of the range of values that another machine computes


def test_sets_differ(bundle: "Bundle", arrays: Mapping[str, Array]) -> list[str]:
    """Test sets in ONNX's own format that are not the golden batches, which `verify` runs again."""
    folder = bundle.path / "parity"
    names = sorted({name.split("/")[0] for name in arrays if name.startswith("set")})
    differing = [
        path.name for path in folder.rglob("test_data_set_*") if f"set{path.name.rpartition('_')[2]}" not in names
    ]
    for name in names:
        for graph in bundle.program.graphs:
            place = folder / onnx_test_folder(bundle.program, graph.name, int(name.removeprefix("set")))
            if not set_kept(bundle, graph, place, arrays, name):
                differing.append(place.relative_to(folder).as_posix())
    return differing


def set_kept(bundle: "Bundle", graph: Graph, place: Path, arrays: Mapping[str, Array], name: str) -> bool:
    """Whether a test set has what the graph is given and gives for a golden batch: the goldens to the bit.

    What one graph hands to another is no golden: it is computed anew, and equal but for rounding.
    """
    paths = [*sorted(place.glob("input_*.pb")), *sorted(place.glob("output_*.pb"))]
    files = [inside(bundle.path, path.relative_to(bundle.path).as_posix()) for path in paths]
    stored = {key: (shape, content) for key, shape, content in (tensor(path.read_bytes()) for path in files)}
    recording = Recording(bundle.run(FP32))
    outputs = bundle.program.forward(recording, inputs_of(arrays, name))
    call = next(call for call in recording.calls if call.graph == graph.name)
    expected = {**call.inputs, **call.outputs}
    own = {value.name for value in graph.outputs}
    golden = {key: arrays[f"{name}/output/{FP32}"] for key in outputs if key in own}
    if len(files) != len(expected) or set(stored) != set(expected):
        return False
    return all(alike(stored[key], golden.get(key, value), exact=key in golden) for key, value in expected.items())


def alike(stored: tuple[tuple[int, ...], bytes], value: Array, *, exact: bool) -> bool:
    """Whether a stored tensor, its shape and bytes, is a value; of floats that are not goldens up to rounding."""
    shape, content = stored
    if shape != value.shape or len(content) != value.nbytes:
        return False
    if exact or value.dtype.kind != "f":
        return content == value.tobytes()
    difference = largest_difference(value, np.frombuffer(content, value.dtype).reshape(shape))[0]
    return value.size == 0 or difference <= ROUNDING * output_range(value)
