"""Weights that one ONNX file cannot hold lie in the file beside it, and are held to all that a file's own are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.finished import Finished, build, repair_bundle, repair_run
from tests.tiny import Tiny
from tunedeploy import api
from tunedeploy.device.bundle import load_bundle
from tunedeploy.device.external_data import data_digest, parts_of_file, size_of_file
from tunedeploy.device.files import read_json
from tunedeploy.errors import RunError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.onnx_graph import Graph

FP32 = "onnx/model.onnx"


@pytest.fixture(scope="module")
def limit() -> Iterator[None]:
    """Files that hold 20 kB of weights: in a tiny model what 2 GB are in a large one."""
    patch = pytest.MonkeyPatch()
    patch.setattr(onnx_files, "ONE_FILE", 20_000)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def large(limit: None, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run whose float32 and float16 weights are too large for their files."""
    return build(tiny, tmp_path_factory.mktemp("large"), "text-classification", export={"quantize": ["int8", "fp16"]})


def test_the_weights_lie_beside_each_file_that_is_too_small_for_them(large: Finished) -> None:
    for file in (FP32, "onnx/model_fp16.onnx"):
        path = large.dist / file
        assert parts_of_file(path) == [path, path.with_name(f"{path.name}_data")]
        assert path.stat().st_size < 100_000
        model = onnx.load(path)  # as any reader of ONNX does
        assert sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 20_000
    assert sorted(path.name for path in (large.run / "quantized").glob("*.onnx*")) == sorted(
        path.name for path in (large.dist / "onnx").glob("*.onnx*") if "model.onnx" not in path.name
    )


def test_bytes_and_digests_are_those_of_both(large: Finished) -> None:
    manifest = read_json(large.dist / "manifest.json")
    assert f"{FP32}_data" in manifest["files"]
    for variant in manifest["variants"].values():
        assert variant["bytes"] == size_of_file(large.dist / variant["file"])
    session = load_bundle(large.dist).session("fp32")
    assert session.metadata["tunedeploy.data_sha256"] == data_digest(large.dist / FP32)


def test_the_run_and_its_bundle_hold_and_answer(large: Finished) -> None:
    for path in (large.run, large.dist):
        assert [one.line() for one in api.comparisons_of(path) if not one.ok] == []
    bundle = load_bundle(large.dist)
    answers = {name: bundle.predict(["soup and bread"], name)[0]["label"] for name in bundle.manifest["variants"]}
    assert answers == dict.fromkeys(answers, "food")
    assert len(answers) == 3


def change(path: Path) -> None:
    """One weight, by some percent."""
    content = bytearray(path.read_bytes())
    at = len(content) // 2 // 4 * 4 + 3  # the byte of a float32 that has its sign and most of its exponent
    content[at] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "changed": change,
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("where", ["run", "dist"])
def test_a_file_beside_that_is_damaged_is_stopped(damage: str, where: str, large: Finished, tmp_path: Path) -> None:
    copy = large.copy(tmp_path)
    root = copy.run if where == "run" else copy.dist
    DAMAGES[damage](root / f"{FP32}_data")
    if (root / f"{FP32}_data").is_file():
        (repair_run if where == "run" else repair_bundle)(root)
    try:
        breaches = [one.line() for one in api.comparisons_of(root) if not one.ok]
    except RunError as error:
        breaches = error.lines
    assert breaches
    assert all(len(line.splitlines()) == 1 for line in breaches)


def test_a_file_that_gets_smaller_leaves_no_weights_beside_it(large: Finished, tmp_path: Path) -> None:
    model = onnx.load(large.run / FP32)
    onnx_files.write(model, tmp_path / "model.onnx")
    assert data_digest(tmp_path / "model.onnx") == data_digest(large.run / FP32)
    for tensor in list(model.graph.initializer):
        model.graph.initializer.remove(tensor)
    onnx_files.write(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert "tunedeploy.data_sha256" not in {entry.key for entry in onnx.load(tmp_path / "model.onnx").metadata_props}


def test_a_tensor_of_an_unknown_type_is_a_line(tmp_path: Path) -> None:
    """The size of weights is looked at before onnxruntime refuses the file."""
    weight = onnx.TensorProto(name="w", data_type=99, dims=[2, 2], raw_data=bytes(16))
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 2]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weight]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match="cannot run it as written") as caught:
        Graph(tmp_path / "model.onnx").run({"x": np.ones((1, 2), np.float32)}, ["y"])
    assert len(caught.value.lines) == 1


def test_types_are_inferred_without_the_values_of_large_tensors(large: Finished) -> None:
    # A model of more than 2 GB cannot be handed to ONNX's shape inference with its weights: protobuf refuses it.
    for file in (FP32, "onnx/model_fp16.onnx", "onnx/model_int8.onnx"):
        model = onnx.load(large.dist / file)
        light = onnx_files.structure(model)
        assert light.ByteSize() < model.ByteSize() - 20_000
        inferred, whole = (onnx.shape_inference.infer_shapes(each).graph for each in (light, model))
        assert len(whole.value_info) > 10
        assert list(inferred.value_info) == list(whole.value_info)
