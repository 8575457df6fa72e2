"""A bundle cannot reach outside of its folder: neither by a name, nor by a link, nor by an ONNX file's own words."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.finished import Finished, repair_bundle
from tests.test_bundle import parity_kit
from tests.test_cli import tunedeploy as tunedeploy  # a fixture
from tunedeploy import api
from tunedeploy.device import external_data
from tunedeploy.device.files import files_below, read_json
from tunedeploy.device.inside import inside
from tunedeploy.errors import RunError
from tunedeploy.proof.bundle import load_bundle
from tunedeploy.run.atomic import write_json

WAYS = {
    "absolute": lambda outside, dist: str(outside),
    "dots": lambda outside, dist: os.path.relpath(outside, dist),
    "dots behind a folder": lambda outside, dist: f"onnx/../{os.path.relpath(outside, dist)}",
}


def move_variant(dist: Path, name: str) -> None:
    """Have manifest and tolerances, repaired, speak of another file for fp32."""
    for path in (dist / "manifest.json", dist / "parity" / "tolerances.json"):
        document = read_json(path)
        document["variants"]["fp32"]["file"] = name
        write_json(path, document)
    manifest = read_json(dist / "manifest.json")
    manifest["files"] |= {name: manifest["variants"]["fp32"]["sha256"]}
    write_json(dist / "manifest.json", manifest)


def lines_of_breaches(dist: Path) -> list[str]:
    return [one.line() for one in api.comparisons_of(dist) if not one.ok]


@pytest.mark.parametrize("way", WAYS)
def test_a_variant_outside_of_the_bundle_is_not_opened(way: str, text_run: Finished, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.copyfile(text_run.dist / "onnx" / "model.onnx", outside)  # it would fit in every way
    name = WAYS[way](outside, text_run.dist)
    move_variant(text_run.dist, name)
    with pytest.raises(RunError, match="leads out of it; expected the name of a file below"):
        load_bundle(text_run.dist).predict(["soup"])
    assert any(name in line and "leads out" in line for line in lines_of_breaches(text_run.dist))
    done = parity_kit(text_run)
    assert done.returncode == 1
    assert "leads out of it" in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_a_golden_image_outside_of_the_bundle_is_not_opened(way: str, image_run: Finished, tmp_path: Path) -> None:
    golden = read_json(image_run.dist / "parity" / "golden.json")
    outside = tmp_path / "outside.png"
    shutil.copyfile(image_run.dist / "parity" / golden["rows"][0]["image"], outside)
    golden["rows"][0]["image"] = WAYS[way](outside, image_run.dist / "parity")
    write_json(image_run.dist / "parity" / "golden.json", golden)
    repair_bundle(image_run.dist)
    assert any("leads out" in line for line in lines_of_breaches(image_run.dist))
    done = parity_kit(image_run)
    assert done.returncode == 1
    assert "leads out of it" in done.stdout


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx", "parity/golden.npz", "tokenizer.json", "manifest.json"])
def test_a_link_is_a_breach_even_to_the_same_bytes(name: str, text_run: Finished, tmp_path: Path) -> None:
    path, outside = text_run.dist / name, tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    lines = lines_of_breaches(text_run.dist)
    assert any(name in line and "is a link" in line for line in lines), lines
    if name in ("onnx/model.onnx", "onnx", "parity/golden.npz"):
        assert parity_kit(text_run).returncode != 0


def test_a_bundle_that_is_reached_over_a_link_holds(text_run: Finished, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(text_run.dist)
    assert lines_of_breaches(tmp_path / "link") == []


def keep_outside(path: Path, location: str) -> None:
    """Have an ONNX file say that its head's weights lie in another file."""
    model = onnx.load(path)
    (weight,) = (one for one in model.graph.initializer if one.name == "head.weight")
    length = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(length))):
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("way", [*WAYS, "link"])
def test_tensors_outside_of_the_bundle_are_not_read(way: str, text_run: Finished, tmp_path: Path) -> None:
    outside, path = tmp_path / "outside.bin", text_run.dist / "onnx" / "model.onnx"
    outside.write_bytes(bytes(100_000))
    if way == "link":
        (text_run.dist / "onnx" / "beside.bin").symlink_to(outside)
    keep_outside(path, WAYS[way](outside, path.parent) if way in WAYS else "beside.bin")
    repair_bundle(text_run.dist)
    with pytest.raises(RunError, match="keeps tensors in"):
        load_bundle(text_run.dist).predict(["soup"])
    done = parity_kit(text_run)
    assert done.returncode == 1
    assert "keeps tensors in" in done.stdout


def test_a_file_that_onnxruntime_refuses_in_words_that_are_not_utf_8_is_one_line(text_run: Finished) -> None:
    path = text_run.dist / "onnx" / "model.onnx"
    content = path.read_bytes()
    assert b"LayerNormalization" in content
    path.write_bytes(content.replace(b"LayerNormalization", b"LayerNormalizatio\xac"))
    with pytest.raises(RunError, match=r"onnxruntime .* cannot load it") as caught:
        load_bundle(text_run.dist).predict(["soup"])
    assert len(caught.value.lines[0].splitlines()) == 1


def test_external_tensors_are_found_wherever_a_graph_can_hold_one(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value="w.bin")
    graph = onnx.helper.make_graph([], "inner", [], [], [tensor])
    node = onnx.helper.make_node("Constant", [], ["w"], value=tensor)
    sparse = onnx.SparseTensorProto(values=tensor)
    nodes: dict[str, onnx.ModelProto] = {
        "initializer": onnx.helper.make_model(graph),
        "constant": onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [])),
        "branch": onnx.helper.make_model(
            onnx.helper.make_graph([onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
        ),
        "sparse": onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], sparse_initializer=[sparse])),
        "function": onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])),
    }
    nodes["function"].functions.add(name="f").node.append(node)
    for name, model in nodes.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        assert external_data.locations(path) == ["w.bin"], name
    plain = onnx.helper.make_model(onnx.helper.make_graph([], "location", [], []))  # the word alone is no tensor
    (tmp_path / "plain.onnx").write_bytes(plain.SerializeToString())
    assert external_data.locations(tmp_path / "plain.onnx") == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/", "/a", "a//b", "a/../b", "./a", "a\\b", "c:a", "c:/a", "a\0", "a/b", "folder", "\ud800"],
)
def test_only_a_regular_file_below_the_folder_is_inside(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        inside(tmp_path, name)
    assert len(caught.value.lines[0].splitlines()) == 1


def test_a_golden_image_of_a_format_that_may_run_programs_is_refused(image_run: Finished) -> None:
    golden = read_json(image_run.dist / "parity" / "golden.json")
    path = image_run.dist / "parity" / golden["rows"][0]["image"]
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    repair_bundle(image_run.dist)
    assert any("is neither PNG nor JPEG" in line for line in lines_of_breaches(image_run.dist))


@pytest.mark.parametrize("command", ["verify", "predict", "eval", "bench"])
def test_a_damaged_manifest_is_a_breach_for_verify_and_one_line_for_the_others(
    command: str, text_run: Finished, tunedeploy: Callable[..., object], tmp_path: Path
) -> None:
    manifest = read_json(text_run.dist / "manifest.json")
    del manifest["labels"]
    (text_run.dist / "manifest.json").write_text(json.dumps(manifest))
    rows = text_run.recipe.parent / "few.csv"
    rows.write_text("text,label\nsoup,food\n")
    more = {"predict": ["soup"], "eval": ["--data", str(rows)]}.get(command, [])
    done = tunedeploy(command, text_run.dist, *more)
    assert done.code == (3 if command == "verify" else 1)  # type: ignore[attr-defined]
    (line,) = done.errors  # type: ignore[attr-defined]
    assert "manifest.json: labels: missing" in line


def test_there_is_something_to_reach_in_these_bundles(text_run: Finished) -> None:
    assert len(files_below(text_run.dist)) > 15


def field(number: int, content: bytes, *, high: int = 0) -> bytes:
    """A field of protobuf that has a length; `high` bits of its tag are those that protobuf drops."""
    return varint(high << 32 | number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def test_a_tensor_elsewhere_is_found_behind_a_tag_that_only_protobuf_reads(tmp_path: Path) -> None:
    """protobuf drops the bits of a tag over 32, so a field can be written that other readers do not know."""
    path = tmp_path / "model.onnx"
    (tmp_path / "other.bin").write_bytes(np.full((2, 2), 3, np.float32).tobytes())
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:])
    bare = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    bare.ClearField("graph")
    weight = onnx.TensorProto(name="w", data_type=1, dims=[2, 2], data_location=onnx.TensorProto.EXTERNAL)
    entry = onnx.StringStringEntryProto(key="location", value="other.bin").SerializeToString()
    for high, line in ((0, "keeps tensors in 'other.bin'"), (1, "is not an ONNX file: tag")):
        tensor = weight.SerializeToString() + field(13, entry, high=high)
        path.write_bytes(bare.SerializeToString() + field(7, graph.SerializeToString() + field(5, tensor)))
        (got,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
            None, {"x": np.ones((1, 2), np.float32)}
        )
        assert got.tolist() == [[6.0, 6.0]]  # so it would be read
        with pytest.raises(RunError, match=line):
            external_data.parts_of_file(path)
